//! The messages between the stages.

use std::time::Instant;

use cairn_journal::{NewRecord, Revision};
use tokio::sync::OwnedSemaphorePermit;

/// How many messages may wait for the journal: enough for a commit to gather what queued during
/// the last fsync, at a rate of some ten thousand changes per second.
pub const IN_FLIGHT_MESSAGES: usize = 4096;

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

/// A message from the follower to the journal.
#[derive(Debug)]
pub enum Seen {
    /// A record to be journaled. The permit stands for its bytes and is given back when it is
    /// durable.
    Record(NewRecord, OwnedSemaphorePermit),
    /// A record of control writes alone, which is committed with the next of the others. What it
    /// says is never published: N persisters would keep each other awake.
    Control(NewRecord, OwnedSemaphorePermit),
    /// A record of a lease, which is never published.
    Lease(NewRecord),
    /// Nothing has come for a while: what was handed over is to be committed.
    Settled,
    /// Everything up to this revision was seen, and none of it since the last record needed
    /// journaling. Lets a restart resume here, even if the cluster forgot what was before.
    Position(Revision),
    /// The last position of an orderly end: published, too, so that it tells up to where everything
    /// is on disk, however long nothing had to be journaled.
    Last(Revision),
}
