//! The writer.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::{Error, Gap, NewRecord, Options, Reader, Result, Revision, Sequence, Timeline};

/// Where a journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// The sequence that the next record will get.
    pub next_sequence: Sequence,
    /// The newest sequence known to be durable.
    pub durable: Sequence,
    /// The newest revision covered, once everything appended so far is durable.
    pub revision: Revision,
    /// The timeline in force.
    pub timeline: Option<Timeline>,
    /// The gap whose difference is not complete, or the revisions that damage has cost and no later
    /// gap has made good.
    pub open_gap: Option<Gap>,
}

/// What opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Everything up to here is whole and durable.
    pub valid_to: Sequence,
    /// `None` if the journal was closed in good order. Otherwise the sequence from which an
    /// acknowledged record could be missing if the disk lost what it had synced: a crash leaves no
    /// proof that nothing is.
    pub maybe_lost_from: Option<Sequence>,
    /// How many bytes of a torn tail were cut.
    pub torn_bytes: u64,
    /// Where they are kept.
    pub torn_file: Option<PathBuf>,
    /// Whether the journal was created by this opening.
    pub created: bool,
}

/// The writer of a journal. Holds its lock.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
}

impl Journal {
    /// Opens the journal in `dir`, creating both if there is none, and recovers it.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Recovery)> {
        options.validate()?;
        Err(Error::NotAJournal {
            path: dir.to_owned(),
            detail: "not written yet".to_owned(),
        })
    }

    /// Queues a record and returns its sequence. It is durable once [`Journal::commit`] says so.
    pub fn append(&self, _record: NewRecord) -> Result<Sequence> {
        unreachable!("open never succeeds yet")
    }

    /// Returns once everything up to `sequence` is durable, with the newest durable sequence.
    pub fn commit(&self, _sequence: Sequence) -> Result<Sequence> {
        unreachable!("open never succeeds yet")
    }

    /// Both in one.
    pub fn append_and_commit(&self, record: NewRecord) -> Result<Sequence> {
        let sequence = self.append(record)?;
        self.commit(sequence)?;
        Ok(sequence)
    }

    /// Where the journal ends.
    #[must_use]
    pub fn end(&self) -> End {
        unreachable!("open never succeeds yet")
    }

    /// The journal's identity.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        unreachable!("open never succeeds yet")
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A reader of the same directory.
    pub fn reader(&self) -> Result<Reader> {
        Reader::open(&self.dir)
    }

    /// Writes a closing watermark and syncs.
    pub fn close(self) -> Result<()> {
        Ok(())
    }
}
