//! Reading, without a lock and without writing.

use std::path::{Path, PathBuf};

use crate::{Error, Record, Result, Revision, Sequence};

/// A read-only view of a journal.
#[derive(Clone, Debug)]
pub struct Reader {
    dir: PathBuf,
}

/// How iteration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndState {
    /// After the last record there is nothing yet.
    Clean,
    /// After the last record there are bytes that are no record: a torn tail, or a write under way.
    TornTail {
        /// The segment.
        file: PathBuf,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
}

impl Reader {
    /// Opens a directory for reading.
    pub fn open(dir: &Path) -> Result<Self> {
        Err(Error::NotAJournal {
            path: dir.to_owned(),
            detail: "not written yet".to_owned(),
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All records, oldest first.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {}
    }

    /// The records from this sequence on.
    #[must_use]
    pub fn records_from(&self, _sequence: Sequence) -> Records {
        Records {}
    }

    /// The records that cover this revision and later ones, in the newest timeline.
    #[must_use]
    pub fn records_from_revision(&self, _revision: Revision) -> Records {
        Records {}
    }
}

/// Iterates over records. Ends at the end of the journal as it is now; calling `next` again later
/// goes on with what was written since.
#[derive(Debug)]
pub struct Records {}

impl Records {
    /// How the iteration ended.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        EndState::Clean
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}
