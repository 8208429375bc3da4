//! Salvage of a damaged journal.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{Error, Result, Revision, Sequence};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// Where its damaged original is kept; `None`: there was no file.
    pub bad_file: Option<PathBuf>,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The first and last sequence lost; `None`: none.
    pub lost: Option<(Sequence, Sequence)>,
    /// The first and last revision that may be lost with them; `None`: only markers.
    pub revisions: Option<(Revision, Revision)>,
    /// What was wrong.
    pub detail: String,
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Every damaged place, oldest first. Empty: there was nothing to repair.
    pub damaged: Vec<Damage>,
    /// How many records the journal holds now.
    pub kept_records: u64,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records kept", self.kept_records)
    }
}

/// Repairs the journal in `dir`.
pub fn repair(dir: &Path) -> Result<RepairReport> {
    Err(Error::NotAJournal {
        path: dir.to_owned(),
        detail: "not written yet".to_owned(),
    })
}
