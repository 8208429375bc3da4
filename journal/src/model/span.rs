//! A range of revisions.

use crate::model::ids::Revision;

/// Revisions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Revision,
    /// The last; not less than the first.
    pub last: Revision,
}

impl Span {
    /// From `first` to `last`; `None`: there is no revision in between.
    #[must_use]
    pub fn new(first: Revision, last: Revision) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// What this has in common with `other`.
    #[must_use]
    pub fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}
