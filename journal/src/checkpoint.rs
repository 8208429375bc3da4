//! Checkpoints: the whole state at a settled point of the journal, sorted by path, in a file of its own.
//!
//! Promises: memory depends neither on the size of the state nor on the length of history; a checkpoint
//! has its name only once it is complete, on disk and read back, and is believed only where its
//! checksums match; records are removed only behind a verified checkpoint, oldest first, so that the
//! directory can be opened at every step. Appending never waits for any of this.

use std::{path::Path, sync::Arc};

use crate::{
    Journal, Reader, Result, Sequence, Stop,
    directory::{Listing, Segment},
    recovery,
    storage::{Access, Disk, Named, SharedStorage, Storage},
};

mod blocks;
mod buffers;
mod collect;
mod file;
mod history;
mod layout;
mod merge;
mod retention;
mod retire;
mod runs;
mod sorted;
mod stored;
mod vet;
mod write;

pub use file::{Checkpoint, CheckpointEntry, Entries};
pub use history::Checkpoints;
pub(crate) use history::{History, retired, unless_changing};
pub use retention::{CheckpointSpan, Retention, Retired, SegmentSpan, decide};
pub use retire::RetentionReport;
pub use sorted::{SettledState, SortedEntries, Sorter};
pub use stored::{CheckpointFacts, StoredBlock, StoredBlocks};
pub(crate) use vet::Vetted;
pub use write::{CheckpointOutcome, CheckpointReport};

/// How much of the changes since the last checkpoint is sorted in memory at once. 16 MiB: runs are
/// long enough that 16 of them, merged with a block of each in memory, are 256 MiB of changes. A
/// difference that is held back may take as much again, twice.
const BUFFER_BYTES: usize = 16 << 20;

impl Journal {
    /// Makes a checkpoint of what is settled and durable. Meant to be called from a thread of its own
    /// while others append: it reads files only, and never waits for a writer or makes one wait.
    ///
    /// If a checkpoint or retention is under way already: [`crate::Error::Locked`].
    ///
    /// # Errors
    /// Damage in what is read, and a disk without room. What was journaled is not affected, and no half a
    /// checkpoint is left that counts.
    pub fn checkpoint(&self) -> Result<CheckpointReport> {
        self.checkpoint_unless(&Stop::new())
    }

    /// The same; ends with [`crate::Error::Stopped`] soon after `stop` has been asked.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`].
    pub fn checkpoint_unless(&self, stop: &Stop) -> Result<CheckpointReport> {
        let reader = self.reader()?;
        let upto = self.end().durable;
        write::write(reader.storage(), self.dir(), upto, BUFFER_BYTES, stop)
    }

    /// How long the segments are that begin behind this record. What is behind it in the record's own
    /// segment is not counted, nor the segment being written: see [`Journal::appended_bytes`].
    ///
    /// # Errors
    /// The disk's.
    pub fn segment_bytes_after(&self, sequence: Sequence) -> Result<u64> {
        let reader = self.reader()?;
        let listing = Listing::read(&**reader.storage(), self.dir())?;
        let last = listing.segments.keys().next_back().copied();
        let mut bytes = 0;
        for (first, path) in listing.segments.range(sequence.next()..) {
            if Some(*first) != last {
                bytes += Named::open(&**reader.storage(), path, Access::Read)?.len()?;
            }
        }
        Ok(bytes)
    }

    /// Removes what is outside the window and covered by a checkpoint. May be called from any thread
    /// while others append and read; a reader that is overtaken is told so ([`crate::Error::Retired`]).
    ///
    /// # Errors
    /// [`crate::Error::Locked`] if a checkpoint or retention is under way already; the disk's. A damaged
    /// checkpoint is none: it is in the report, and nothing goes on its word.
    pub fn retire(&self, retention: &Retention) -> Result<RetentionReport> {
        self.retire_unless(retention, &Stop::new())
    }

    /// The same; ends with [`crate::Error::Stopped`] soon after `stop` has been asked. What was removed by then is
    /// gone; the rest stays for the next time.
    ///
    /// # Errors
    /// As [`Journal::retire`].
    pub fn retire_unless(&self, retention: &Retention, stop: &Stop) -> Result<RetentionReport> {
        retire::retire(&**self.reader()?.storage(), self.dir(), retention, stop)
    }
}

/// Removes what is outside the window and covered by a checkpoint from the journal in `dir`, which
/// nobody has open for writing.
///
/// # Errors
/// As [`Journal::retire`]; [`crate::Error::Locked`] also while a process has the journal open.
pub fn retire(dir: &Path, retention: &Retention) -> Result<RetentionReport> {
    retire_with(&Disk, dir, retention)
}

/// The same on any storage.
///
/// # Errors
/// As [`retire`].
pub fn retire_with(
    storage: &dyn Storage,
    dir: &Path,
    retention: &Retention,
) -> Result<RetentionReport> {
    let listing = Listing::read(storage, dir)?;
    if listing.segments.is_empty() {
        return Err(listing.not_a_journal(dir));
    }
    let _lock = recovery::take_lock(storage, dir)?;
    recovery::refuse_half_repaired(storage, dir)?;
    retire::retire(storage, dir, retention, &Stop::new())
}

/// Makes a checkpoint of the journal in `dir`, which nobody has open for writing: of all that its own
/// records prove to be durable.
///
/// # Errors
/// As [`Journal::checkpoint`]; [`crate::Error::Locked`] also while a process has the journal open.
pub fn checkpoint(dir: &Path) -> Result<CheckpointReport> {
    checkpoint_with(Arc::new(Disk), dir, BUFFER_BYTES)
}

/// The same on any storage, with so many bytes of changes sorted in memory at once.
///
/// # Errors
/// As [`checkpoint`].
pub fn checkpoint_with(
    storage: SharedStorage,
    dir: &Path,
    buffer_bytes: usize,
) -> Result<CheckpointReport> {
    let listing = Listing::read(&*storage, dir)?;
    if listing.segments.is_empty() {
        return Err(listing.not_a_journal(dir));
    }
    let _lock = recovery::take_lock(&*storage, dir)?;
    recovery::refuse_half_repaired(&*storage, dir)?;
    let upto = proven_durable(&*storage, dir)?;
    write::write(&storage, dir, upto, buffer_bytes, &Stop::new())
}

/// The newest sequence that the journal itself proves to be durable.
fn proven_durable(storage: &dyn Storage, dir: &Path) -> Result<Sequence> {
    let listing = Listing::read(storage, dir)?;
    let Some((first, path)) = listing.segments.last_key_value() else {
        return Err(listing.not_a_journal(dir));
    };
    let last = Segment::open(storage, path, *first)?;
    Ok(recovery::read_last(&last)?.scan.synced)
}

impl Reader {
    /// The checkpoints from which on this journal can be read, newest first, and what is wrong with
    /// the others. Looks at headers and footers; [`Checkpoint::verify`] reads all.
    ///
    /// # Errors
    /// The disk's; a directory that is no journal.
    pub fn checkpoints(&self) -> Result<Checkpoints> {
        Ok(History::read(&**self.storage(), self.dir())?.checkpoints)
    }
}
