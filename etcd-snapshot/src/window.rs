//! The stretch of a history that is asked for.

use crate::error::{Error, Result};

/// The state at one revision, and every change from there to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The revision C whose state stands for all before; 0 for the history from the beginning.
    pub compacted: i64,
    /// The newest revision R.
    pub revision: i64,
}

impl Window {
    /// Refuses a window that is not within the one that a snapshot tells.
    pub(crate) fn check(self, told: Self) -> Result<()> {
        let (oldest, newest) = (told.compacted, told.revision);
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
