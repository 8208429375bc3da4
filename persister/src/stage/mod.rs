//! The pipeline: follow, journal, publish. Each stage is bounded, and each hands on only what is
//! true by then.
//!
//! ```text
//!  session ──▶ follow ──Seen──▶ journal ──Durable──▶ publish ──▶ session
//!              (task)           (thread)             (tasks)
//! ```
//!
//! * `follow` proves that revisions are contiguous, and stops reading when the journal is behind:
//!   [`IN_FLIGHT_BYTES`] of values at most are on their way.
//! * `journal` writes whatever has queued with one commit, and hands on nothing before the fsync
//!   has returned.
//! * `publish` writes the watermark, once per commit at most, and the per-path mirror beside it.
//!
//! A pipeline lives exactly as long as one [`Session`](crate::cluster::Session). When the
//! connection ends the pipeline ends: what was followed is journaled, what was not published is
//! dropped, and the next one resumes from the journal, just as after a restart of the process.

use cairn_journal::{Change, NewRecord, Revision};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::mirror::{Kind, Op};

pub mod follow;
pub mod journal;
pub mod publish;

/// How many messages may wait for the journal: enough for a commit to gather what queued during
/// the last fsync, at a rate of some ten thousand changes per second.
pub const IN_FLIGHT_MESSAGES: usize = 4096;

/// How many bytes of paths and values may be on their way from the cluster to the disk. 64 values
/// of the greatest size.
pub const IN_FLIGHT_BYTES: usize = 64 << 20;

/// What the follower hands to the journal.
#[derive(Debug)]
pub enum Seen {
    /// A record to be journaled. The permit stands for its bytes and is given back when it is
    /// durable.
    Record {
        /// What to append.
        record: NewRecord,
        /// The mirror operations that become true once it is durable.
        ops: Vec<Op>,
        /// The newest revision that is covered by it.
        covers: Revision,
        /// The room that its bytes take.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// Everything up to this revision was seen, and none of it since the last record needed
    /// journaling. Lets a restart resume here, even if the cluster forgot what was before.
    Position(Revision),
    /// Answered once everything handed over before is durable.
    Flush(oneshot::Sender<()>),
}

/// What the journal hands to the publisher: this is on disk.
#[derive(Debug)]
pub struct Durable {
    /// The newest revision that is durable, with everything before it.
    pub newest: Revision,
    /// The mirror operations that have become true, in order.
    pub ops: Vec<Op>,
}

/// The mirror operations that `changes` of `revision` ask for.
#[must_use]
pub fn mirror_ops(revision: Revision, changes: &[Change]) -> Vec<Op> {
    changes
        .iter()
        .map(|change| Op {
            path: change.path.clone(),
            revision: change.revision.unwrap_or(revision),
            kind: match change.op {
                cairn_journal::Op::Set(_) => Kind::Set,
                cairn_journal::Op::Delete => Kind::Delete,
            },
        })
        .collect()
}
