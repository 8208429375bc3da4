//! How a simulated disk fails, and what survives a crash of it.

use fastrand::Rng;

/// What is old or new as a whole.
pub const SECTOR_BYTES: usize = 512;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A failed sync loses any part of what it should have written; a failed write has written
    /// any part.
    Io,
    /// ENOSPC, after a part was written. Reads and syncs are not affected.
    Full,
    /// A write that writes less than it was asked to, and says so. Nothing else is affected.
    Short,
    /// Power fails in the middle of the call: it and all later ones fail.
    Crash,
}

/// Which of what was not synced survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of it.
    All,
    /// Nothing of it.
    Nothing,
    /// Each sector, length and name by itself.
    Any,
    /// Nearly all.
    Most,
    /// Nearly nothing.
    Few,
}

impl Survival {
    /// All ways.
    pub const ALL: [Self; 5] = [Self::All, Self::Nothing, Self::Any, Self::Most, Self::Few];

    pub(super) fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Any => rng.bool(),
            Self::Most => rng.u8(..8) != 0,
            Self::Few => rng.u8(..8) == 0,
        }
    }
}
