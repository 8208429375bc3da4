//! The cluster's counter, whichever engine counts.

/// A revision: every change has a higher one than the changes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(pub(crate) i64);

impl Revision {
    /// The revision of a key that does not exist.
    pub(crate) const MISSING: Self = Self(0);
}
