//! The cluster's counter, as a type of its own.

use std::fmt;

/// A revision: the cluster's counter. Every change of the cluster gets exactly one, in order,
/// starting at 1.
///
/// The wire field also carries a few values that are not counters; they have names here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// In an answer: there is no such file. In a write: the file must not exist.
    pub const MISSING: Self = Self(0);
    /// In a write: any revision of the file will do.
    pub const ANY: Self = Self(-1);
    /// In the answer of STAT: the path is a directory.
    pub const DIRECTORY: Self = Self(-2);

    /// The revision after this one; saturates at the end of the range.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<i64> for Revision {
    fn from(n: i64) -> Self {
        Self(n)
    }
}
