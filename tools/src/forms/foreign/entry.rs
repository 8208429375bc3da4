//! An entry of another program's journal, or the reason why there is none.

use crate::forms::text::Line;

/// One entry: one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEntry {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes, with everything that frames it.
    pub length: u64,
    /// The change.
    pub line: Line,
    /// Its SHA-1, where the format has one.
    pub checksum: Option<[u8; 20]>,
}

/// Why no entry begins at an offset.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) detail: String,
    /// Whether the entry is all there, and says something that makes no sense: no torn tail.
    pub(super) complete: bool,
}

impl Fault {
    pub(super) fn torn(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            complete: false,
        }
    }
}
