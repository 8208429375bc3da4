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

use std::time::Instant;

use cairn_journal::{NewRecord, Revision};
use tokio::sync::OwnedSemaphorePermit;

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
