//! The pipeline: follow, journal, publish. Each stage is bounded, and each hands on only what is
//! true by then.
//!
//! ```text
//!  session ──▶ follow ──Seen──▶ journal ──durable──▶ announce ──▶ session   (watermark)
//!              (task)           (thread)    │        (task)
//!                                 disk ─────┴──▶ owed ──Batch──▶ mirror ──▶ session   (paths)
//!                                              (thread)         (task)
//! ```
//!
//! * [`follow`] proves that revisions are contiguous, and stops reading when the journal is behind:
//!   [`IN_FLIGHT_BYTES`] of values at most are on their way.
//! * [`journal`] writes whatever has queued with one commit, and tells nothing before the fsync
//!   has returned.
//! * [`publish`] writes the watermark, once per commit at most, and beside it the per-path mirror.
//!   What the mirror has to be told is read back from the journal ([`owed`]): the journal is the
//!   queue. So a mirror that is slower than the disk delays nobody, takes no memory, and catches up
//!   after a restart in the same way as ever.
//!
//! A pipeline lives exactly as long as one [`Session`](crate::cluster::Session). When the
//! connection ends the pipeline ends: what was followed is journaled, what was not published is
//! left in the journal, and the next one resumes from there, just as after a restart of the process.

use std::sync::Arc;
use std::time::Instant;

use cairn_journal::{Change, NewRecord, Op, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub mod ahead;
pub mod follow;
pub mod journal;
pub mod owed;
pub mod publish;

/// How many messages may wait for the journal: enough for a commit to gather what queued during
/// the last fsync, at a rate of some ten thousand changes per second.
pub const IN_FLIGHT_MESSAGES: usize = 4096;

/// How many bytes of paths and values may be on their way from the cluster to the disk. 64 values
/// of the greatest size.
pub const IN_FLIGHT_BYTES: usize = 64 << 20;

/// A revision, and when it came to be what it is (durable, mirrored).
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    /// The revision.
    pub revision: Revision,
    /// When.
    pub at: Instant,
}

impl Reached {
    /// `revision`, now.
    #[must_use]
    pub fn now(revision: Revision) -> Self {
        Self {
            revision,
            at: Instant::now(),
        }
    }
}

/// What the follower hands to the journal.
#[derive(Debug)]
pub enum Seen {
    /// A record to be journaled. The permit stands for its bytes and is given back when it is
    /// durable.
    Record(NewRecord, OwnedSemaphorePermit),
    /// Everything up to this revision was seen, and none of it since the last record needed
    /// journaling. Lets a restart resume here, even if the cluster forgot what was before.
    Position(Revision),
}

/// Room for the bytes of changes that are on their way: [`IN_FLIGHT_BYTES`].
#[derive(Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// All of it is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT_BYTES)))
    }

    /// Waits until there is room for `changes`, and takes it until the permit is dropped.
    pub async fn take(&self, changes: &[Change]) -> OwnedSemaphorePermit {
        let bytes: usize = changes.iter().map(bytes_of).sum();
        // What is larger than all the room there is goes alone.
        let permits = u32::try_from(bytes.clamp(1, IN_FLIGHT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.0)
            .acquire_many_owned(permits)
            .await
            .expect("the room is never closed")
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

/// How many bytes of path and value a change carries.
#[must_use]
pub fn bytes_of(change: &Change) -> usize {
    let value = match &change.op {
        Op::Set(value) => value.len(),
        Op::Delete => 0,
    };
    change.path.len() + value
}
