//! An append-only, checksummed, crash-safe journal: segments, group commit, recovery.
//!
//! It stores records of changes, each at a revision, and says when they are on disk. It knows
//! nothing of clusters or networks: no type of either appears here, and nothing is asynchronous.
//!
//! ```
//! use cairn_journal::{Change, Journal, NewRecord, Options, Reader, Revision, Timestamp};
//!
//! # fn main() -> cairn_journal::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let dir = dir.path();
//! let (journal, recovery) = Journal::open(dir, Options::default())?;
//! assert!(recovery.created);
//! let change = Change::set("/greeting", "hello");
//! journal.append_and_commit(NewRecord::changes(Revision(1), vec![change], Timestamp::now()))?;
//! // Here the record is on disk. Threads may share the journal: commits that meet share a sync.
//! journal.close()?;
//!
//! let reader = Reader::open(dir)?; // takes no lock, writes nothing
//! let now = reader.state(None)?;
//! assert_eq!(now.files[&b"/greeting"[..]].value, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! `docs/format.md` has the bytes, the steps of recovery and repair, and what is assumed of the
//! disk. In short:
//!
//! 1. A sequence is acknowledged only after a sync that covers it returned without error.
//! 2. A segment is appended to by one life of one process only; every opening starts a new one with
//!    a fresh salt. So neither a sequence that was cut and is used again nor a stale block can be
//!    mistaken for the other.
//! 3. A file named `.seg` always has a sound header.
//! 4. A segment that has a successor never changes, and its successor's header accounts for every
//!    byte.
//! 5. After a failed write or sync nothing is written any more; only opening anew recovers, and
//!    does not trust the page cache.
//! 6. Corruption is reported before anything is changed; only repair touches a damaged journal.
//! 7. Reading writes nothing, takes no lock, and takes an incomplete end for "not yet" unless a
//!    witness proves that it had been complete.
//! 8. Records are removed only by retention, and only behind a checkpoint that was read in full;
//!    every revision in the window can still be told ([`Journal::checkpoint`],
//!    [`Journal::retire`]).
//!
//! How this is attacked: a simulated disk (`storage::simulated`, feature `faulty`) that keeps any
//! subset of unsynced sectors, lengths and names, at every call of a long life, crashing again in
//! recovery and in repair; every byte and sector of a small journal damaged; EIO, ENOSPC and short
//! writes at every call; SIGKILL of real processes; bytes from anywhere into the decoders. And a
//! disk that lies, to see that these tests can fail.

mod checkpoint;
mod directory;
mod error;
mod format;
pub mod maintain;
mod model;
mod options;
mod read;
mod recovery;
mod repair;
pub mod replay;
mod segment;
mod stop;
pub mod storage;
mod write;

pub use checkpoint::{file::Checkpoint, retention::Retention};
pub use directory::{handle::Directory, lock::DirectoryLock};
pub use error::{Error, Result};
pub use model::{
    entry::{
        Change, Entry, Gap, GapPhase, GapReason, KeyValue, Location, NewRecord, Op, Record,
        Timeline,
    },
    ids::{Revision, Sequence},
    span::Span,
    time::Timestamp,
    view::{ChangeRef, Changes, EntryRef, RecordRef},
};
pub use options::Options;
pub use read::{
    at_time::AtTime,
    reader::Reader,
    records::{EndState, Records},
    state::{State, StateFollower},
};
pub use recovery::open::Recovery;
pub use repair::{
    donor::{Donor, JournalDonor},
    lineage::Turn,
    report::{Damage, Filled, RepairReport},
    run::{Repair, repair},
    watch::{RepairPhase, RepairProgress},
};
pub use stop::Stop;
pub use uuid::Uuid;
pub use write::{journal::Journal, writer::End};

/// What lies in files: segments and checkpoints by themselves, with what frames their records.
pub mod inspect {
    pub use crate::{
        checkpoint::{
            file::Entries,
            stored::{CheckpointFacts, StoredBlock, StoredBlocks},
        },
        model::entry::IndexPoint,
        read::{
            at_time::{TimeFound, TimeSearch},
            reader::Beginning,
            segment_file::{SegmentFacts, SegmentFile, StoredRecord, StoredRecords},
        },
    };
}
