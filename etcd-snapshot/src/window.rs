//! The stretch of a history that is asked for.

use crate::{
    error::{Error, Result},
    read::snapshot::Snapshot,
};

/// The state at one revision, and every change from there to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The revision C whose state stands for all before; 0 for the history from the beginning.
    pub compacted: i64,
    /// The newest revision R.
    pub revision: i64,
}

impl Window {
    /// Whether the snapshot tells all of it.
    pub(crate) fn check(self, snapshot: &Snapshot) -> Result<()> {
        let (oldest, newest) = (snapshot.compacted(), snapshot.revision());
        let outside = |asked| {
            Err(Error::Revision {
                asked,
                oldest,
                newest,
            })
        };
        if self.revision < oldest || self.revision > newest {
            return outside(self.revision);
        }
        if self.compacted < oldest || self.compacted > self.revision {
            return outside(self.compacted);
        }
        Ok(())
    }
}
