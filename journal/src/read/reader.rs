//! Reading, without a lock and without writing: works beside a writer, on a damaged journal, on a
//! read-only medium and on a full disk.
//!
//! Every record returned has verified. An incomplete end of a journal that may be in use is "not
//! yet", never corruption: only the proof that what is missing had been synced makes it that. What
//! is returned need not be durable yet; a later record's [`Record::synced`] says so.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::history::{Checkpoints, History},
    directory::{handle::Directory, listing::Listing},
    error::{Error, Result},
    format::names::segment_name,
    model::{
        entry::Timeline,
        ids::{Revision, Sequence},
    },
    read::{begin::Begin, records::Records},
    recovery::leftovers::begun,
};

/// A read-only view of a journal.
#[derive(Clone, Debug)]
pub struct Reader {
    directory: Directory,
    with_control: bool,
}

/// Where the records of a journal begin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Beginning {
    /// The sequence of the oldest record.
    pub sequence: Sequence,
    /// The newest revision covered before it: 0, unless retention has removed what was there.
    pub covered: Revision,
    /// The timeline in force before it.
    pub timeline: Option<Timeline>,
}

impl Beginning {
    /// Whether retention has removed older records; a checkpoint covers them.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.sequence > Sequence(1)
    }
}

impl Directory {
    /// Opens the journal for reading. Takes no lock, writes nothing.
    ///
    /// # Errors
    /// [`Error::NotAJournal`]; the disk's. Damage is met where it is
    /// read.
    pub fn reader(&self) -> Result<Reader> {
        let listing = Listing::read(self.storage(), self.path())?;
        if listing.segments.is_empty() {
            return Err(listing.not_a_journal(self.path()));
        }
        Ok(Reader {
            directory: self.clone(),
            with_control: false,
        })
    }
}

impl Reader {
    /// Opens the journal in `dir` for reading: [`Directory::reader`].
    ///
    /// # Errors
    /// As [`Directory::reader`].
    pub fn open(dir: &Path) -> Result<Self> {
        Directory::at(dir).reader()
    }

    /// Shows control writes, too: in records and in states.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.with_control = true;
        self
    }

    pub(crate) fn shows_control(&self) -> bool {
        self.with_control
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The journal's identity, given when it was created.
    ///
    /// # Errors
    /// The oldest segment's header is damaged, or the disk's.
    pub fn uuid(&self) -> Result<uuid::Uuid> {
        Ok(
            History::read(self.directory.storage(), self.directory.path())?
                .oldest
                .uuid,
        )
    }

    /// Where its records begin.
    ///
    /// # Errors
    /// The oldest segment's header is damaged, or the disk's.
    pub fn beginning(&self) -> Result<Beginning> {
        let oldest = History::read(self.directory.storage(), self.directory.path())?.oldest;
        Ok(Beginning {
            sequence: oldest.first,
            covered: oldest.covered,
            timeline: oldest.context.timeline,
        })
    }

    /// The directory that it reads.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All records that there still are, oldest first. Retention may have removed older ones; then
    /// a checkpoint covers them, else the first item is an error.
    #[must_use]
    pub fn records(&self) -> Records {
        self.records_at(Begin::Sequence(Sequence(1)))
    }

    /// The records from this sequence on. If retention has removed it, the first item is
    /// [`Error::Retired`]; up to sequence 1 this is [`Reader::records`].
    #[must_use]
    pub fn records_from(&self, sequence: Sequence) -> Records {
        self.records_at(Begin::Sequence(sequence))
    }

    /// The records from the first one that covers this revision, in the newest timeline that does.
    /// If retention has removed it, the first item is
    /// [`Error::NotInHistory`]; up to revision 0 this is
    /// [`Reader::records`].
    #[must_use]
    pub fn records_from_revision(&self, revision: Revision) -> Records {
        self.records_at(Begin::Revision(revision))
    }

    fn records_at(&self, begin: Begin) -> Records {
        Records::of(&self.directory, begin, self.with_control)
    }

    /// The checkpoints from which on this journal can be read, newest first, and what is wrong with
    /// the others. Looks at headers and footers; [`Checkpoint::verify`](crate::Checkpoint::verify)
    /// reads all.
    ///
    /// # Errors
    /// The disk's; a directory that is no journal.
    pub fn checkpoints(&self) -> Result<Checkpoints> {
        Ok(History::read(self.directory.storage(), self.directory.path())?.checkpoints)
    }

    /// A segment that was begun, holds something, and has no sound header, and how many bytes it
    /// holds: a crash while its first records were written leaves one, but so does damage. Opening
    /// keeps it aside.
    ///
    /// # Errors
    /// The disk's; a directory that is no journal.
    pub fn headless_segment(&self) -> Result<Option<(PathBuf, u64)>> {
        let storage = self.directory.storage();
        begun(storage, &Listing::read(storage, self.directory.path())?)
    }

    /// Reads every checkpoint in full, and says what is wrong with each that is damaged.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if retention has removed records that no sound checkpoint covers; the
    /// disk's; a directory that is no journal.
    pub fn verify_checkpoints(&self) -> Result<Vec<Error>> {
        let mut history = History::read(self.directory.storage(), self.directory.path())?;
        for checkpoint in std::mem::take(&mut history.checkpoints.usable) {
            match checkpoint.verify() {
                Ok(()) => history.checkpoints.usable.push(checkpoint),
                Err(error) if error.is_corruption() => history.checkpoints.damaged.push(error),
                Err(other) => return Err(other),
            }
        }
        if !history.is_complete() && history.checkpoints.usable.is_empty() {
            let oldest = segment_name(history.oldest.first);
            return Err(history.not_covered(&self.dir().join(oldest)));
        }
        Ok(history.checkpoints.damaged)
    }
}
