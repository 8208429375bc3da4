//! Writes the mirror of paths: many entries in flight, and never ahead of the own follower.
//!
//! Promise: nothing is said that was not handed over as durable. What is not written when the
//! session ends is written by the next one, which starts from the journal.

use bytes::Bytes;
use cairn_journal::Revision;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::mirror::backlog::{Batch, Progress};
use crate::mirror::ops::{Kind, Op, PathConflicts, coalesce};

/// How many mirror writes are in flight at most: enough to fill a connection, few enough that a
/// watermark written beside them does not wait long.
const WINDOW: usize = 64;

/// How far the mirror may run ahead of our own follower, in revisions. Every mirror write is a
/// revision that the follower has to read; a mirror without this bound pushes revisions out of a
/// short history (2,000 on a real node) before its own persister has seen them.
const AHEAD: i64 = 256;

/// Writes the per-path mirror of one persister.
#[derive(Debug)]
pub struct Mirror<S> {
    session: S,
    id: Id,
    /// The newest revision that the follower has seen.
    seen: watch::Receiver<Revision>,
    /// The newest revision that a mirror write got. A delete's answer does not tell its revision;
    /// it is taken for the next one, which is too high by no more than the window.
    written: Revision,
}

// Else the mirror could wait for revisions that will never be.
const _: () = assert!(AHEAD > WINDOW as i64);

impl<S: Session> Mirror<S> {
    /// A mirror that runs no further ahead than `seen` allows.
    pub fn new(session: S, id: Id, seen: watch::Receiver<Revision>) -> Self {
        let written = *seen.borrow();
        Self {
            session,
            id,
            seen,
            written,
        }
    }

    /// Writes until the sender is gone and everything handed over is written.
    ///
    /// # Errors
    /// The cluster's, if the session ended. An entry that the cluster refuses is logged and left
    /// out.
    pub async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        complete: watch::Sender<Progress>,
    ) -> ClusterResult<()> {
        while let Some(batch) = batches.recv().await {
            self.write(coalesce(batch.ops)).await?;
            if let Some(now) = batch.complete {
                complete.send_replace(now);
            }
            if let Some(landed) = batch.landed {
                // Whoever asked may have ended meanwhile.
                let _ = landed.send(());
            }
        }
        Ok(())
    }

    /// Writes `ops`, many in flight, in an order in which none stands in the way of another.
    async fn write(&mut self, ops: Vec<Op>) -> ClusterResult<()> {
        let mut conflicts = PathConflicts::new(self.session.rules());
        let mut in_flight = FuturesUnordered::new();
        for op in ops {
            // A full window, or a relative in flight: somebody must land first.
            while in_flight.len() >= WINDOW || !conflicts.start(&op.path) {
                let landed = in_flight.next().await;
                let landed: ClusterResult<_> =
                    landed.expect("a relative can only be in flight if something is");
                conflicts.finish(&self.landed(landed?));
            }
            self.keep_behind().await;
            in_flight.push(write_one(self.session.clone(), self.id, op));
        }
        while let Some(landed) = in_flight.next().await {
            self.landed(landed?);
        }
        Ok(())
    }

    /// Counts a write that was answered.
    fn landed(&mut self, (path, got): (Bytes, Got)) -> Bytes {
        self.written = match got {
            Got::Revision(revision) => self.written.max(revision),
            Got::Some => self.written.max(*self.seen.borrow()).next(),
            Got::None => self.written,
        };
        path
    }

    /// Waits until the follower has seen nearly all that was written.
    async fn keep_behind(&mut self) {
        let written = self.written;
        let near = |seen: &Revision| written.0 - seen.0 <= AHEAD;
        // A follower that has ended, in good order or else this would have been aborted, has no
        // history to lose.
        let _ = self.seen.wait_for(near).await;
    }
}

/// Which revision a mirror write got.
#[derive(Clone, Copy, Debug)]
enum Got {
    Revision(Revision),
    /// Some revision: the answer to a delete does not tell which.
    Some,
    /// The cluster refused it.
    None,
}

/// Writes one entry; its path, and what revision that got.
async fn write_one<S: Session>(session: S, id: Id, op: Op) -> ClusterResult<(Bytes, Got)> {
    let key = ControlKey::Mirror(id, op.path.clone());
    let written = match op.kind {
        Kind::Set => {
            let value = op.revision.to_string().into();
            session
                .write(&key, Expect::Any, value)
                .await
                .map(Got::Revision)
        }
        Kind::Delete => session
            .delete(&key, Expect::Any)
            .await
            .map(|at| at.map_or(Got::Some, Got::Revision)),
    };
    match written {
        Ok(got) => Ok((op.path, got)),
        Err(error @ ClusterError::Refused(_)) => {
            tracing::warn!(
                path = %String::from_utf8_lossy(&op.path), revision = %op.revision, %error,
                "the cluster refuses this mirror entry; the change is on disk and the watermark \
                 covers it"
            );
            Ok((op.path, Got::None))
        }
        // Of the session, or of the whole cluster, which may be another one by now.
        Err(other) => Err(other),
    }
}
