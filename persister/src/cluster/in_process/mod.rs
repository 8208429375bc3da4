//! The embedded node as an engine: by calls and shared values, without a socket between.
//!
//! | module | what it has |
//! |---|---|
//! | [`session`] | the contract, call by call |
//! | [`listing`] | states read a part at a time |
//! | [`node`] | the node, and when the public may talk to it |
//!
//! What holds, whichever thread does what:
//!
//! 1. **One order.** Every write, a client's or our own, is applied under the node's lock and takes
//!    the next revision there. The follower takes events in that order, from the very history that
//!    clients read; it cannot miss one, and cannot see one that they cannot.
//! 2. **Nothing is published before its fsync.** Watermark and mirror are ordinary writes of ours.
//!    They are made by the stages of the pipeline, which are told of a revision only by the commit
//!    that covers it; this engine has no way of its own to publish.
//! 3. **Nothing is dropped and memory is bounded.** The node's history is the queue: events in it
//!    are shared, not copied. While the follower has as much before it as it may have
//!    ([`Local::follow`]), writes of clients wait, and what their connection has sent behind them.
//!    What the follower has taken is bounded by the pipeline's own budget.
//! 4. **Who makes room never waits for room.** Our own writes are not held back: a heartbeat, one
//!    watermark a commit, and as many entries of the mirror as the mirror may be ahead of the
//!    follower.
//! 5. **A hanging disk stops only writes.** No lock of the node is held while anything waits for
//!    the disk, so reads, heartbeats and new connections go on; durable writes are not confirmed,
//!    and plain ones are taken until the bound of 3.
//! 6. **A session ends like any other.** When the node closes its connections every session of the
//!    process is over, and no call of one succeeds afterwards.
//!
//! Clients see the keys and events that they would see if the persister were a process of its own.

#[cfg(test)]
mod hanging_disk;
pub mod listing;
pub mod node;
pub mod session;

#[cfg(doc)]
use cairn_lite::Local;
use cairn_lite::Server;

use crate::cluster::control::Id;
use crate::cluster::error::Result;
use crate::cluster::in_process::session::InProcessSession;
use crate::cluster::session::Cluster;

/// The cluster whose only node is in this process, reached by nobody else before it is restored.
#[derive(Clone, Debug)]
pub struct InProcess {
    node: Server,
    id: Id,
}

impl InProcess {
    /// The cluster of `node`, which has begun, for the persister `id`: whose owner key a follower
    /// reports.
    #[must_use]
    pub fn new(node: Server, id: Id) -> Self {
        Self { node, id }
    }
}

impl Cluster for InProcess {
    type Session = InProcessSession;

    async fn open(&self) -> Result<InProcessSession> {
        Ok(InProcessSession::new(self.node.clone(), self.id))
    }
}
