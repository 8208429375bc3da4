//! Follow, journal and say so, in one task: for a cluster in our own process, whose calls return at
//! once and which holds its clients back while we are behind.
//!
//! Promise: that of the stages. Revisions are contiguous; what is said is on disk, since it is said
//! after the commit that covers it has returned; after the first error nothing is journaled and
//! nothing is said any more. Nothing that was taken is in memory when it ends.
//!
//! A commit blocks only this task: heartbeats, the mirror and the node itself are others.

use std::sync::Arc;

use cairn_journal::{Journal, NewRecord, Revision, Sequence, Timestamp};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::budget::bytes_of;
use crate::cluster::followed::{Changes, Followed, LeaseFact};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::observe::vitals::Vitals;
use crate::pipeline::announce::Announcer;
use crate::pipeline::follow::{Ended, Follower, Taken, Waited, some};
use crate::pipeline::group::Group;
use crate::pipeline::handover::Reached;

/// Everything that the one task works with.
pub(super) struct InStep<S> {
    pub(super) follower: Follower<S>,
    pub(super) journal: Arc<Journal>,
    pub(super) announcer: Announcer<S>,
    /// The watermark as the cluster has it.
    pub(super) published: Option<Revision>,
    /// Told the newest durable sequence whenever anything has become durable.
    pub(super) durable: watch::Sender<Sequence>,
    pub(super) vitals: Arc<Vitals>,
}

/// How following ends, and the work that is to be awaited before anything else is done.
type Started = (
    BoxFuture<'static, Result<Ended, Error>>,
    JoinHandle<Result<(), cairn_journal::Error>>,
);

impl<S: Session> InStep<S> {
    /// Starts it. `cancel` ends it in good order, `halt` after the commit that is under way.
    pub(super) fn start(
        self,
        stream: Changes,
        cancel: CancellationToken,
        halt: CancellationToken,
    ) -> Started {
        let (tell, told) = oneshot::channel();
        let working = tokio::spawn(async move {
            match self.run(stream, cancel, halt).await {
                Err(Error::Journal(error)) => Err(error),
                ended => {
                    // Whoever has asked it to halt knows better why.
                    let _ = tell.send(ended);
                    Ok(())
                }
            }
        });
        let following = async move {
            match told.await {
                Ok(ended) => ended,
                // The work itself says why.
                Err(_) => std::future::pending().await,
            }
        };
        (following.boxed(), working)
    }

    async fn run(
        mut self,
        mut stream: Changes,
        cancel: CancellationToken,
        halt: CancellationToken,
    ) -> Result<Ended, Error> {
        let durable = self.journal.end().revision;
        if self.published != Some(durable) {
            self.announcer.say(durable.to_string()).await?;
        }
        loop {
            let waited = tokio::select! {
                biased;
                () = halt.cancelled() => return Ok(Ended::Cancelled),
                waited = self.follower.wait(&mut stream, &cancel) => waited?,
            };
            tracing::trace!(name: "follower woke", target: "stage", "");
            let mut group = Group::default();
            let mut outcome = match waited {
                Waited::Again => continue,
                Waited::Leases(facts) => self.leases(&mut group, facts).map(|()| None),
                Waited::Followed(first) => self.take(&mut group, first),
                Waited::Done => self
                    .last_position(&mut group)
                    .map(|()| Some(Ended::Cancelled)),
            };
            // All that has happened meanwhile.
            while matches!(outcome, Ok(None))
                && !group.is_full()
                && let Some(next) = stream.next().now_or_never()
            {
                outcome = match some(next) {
                    Ok(next) => self.take(&mut group, next),
                    Err(error) => Err(error.into()),
                };
            }
            // What was taken is journaled in any case. Nothing is said any more in a cluster that
            // is another's by now.
            let newest = self.commit(group)?;
            if matches!(outcome, Ok(None | Some(Ended::Cancelled)))
                && let Some(newest) = newest
            {
                self.announcer.say(newest.revision.to_string()).await?;
                tracing::trace!(name: "published", target: "stage", "");
                let after = newest.at.elapsed();
                self.vitals.published(newest.revision, after);
            }
            if let Some(ended) = outcome? {
                return Ok(ended);
            }
        }
    }

    fn leases(&mut self, group: &mut Group, facts: Vec<LeaseFact>) -> Result<(), Error> {
        for record in self.follower.leases(facts) {
            group.append(&self.journal, record, 0)?;
        }
        Ok(())
    }

    fn take(&mut self, group: &mut Group, mut followed: Followed) -> Result<Option<Ended>, Error> {
        self.leases(group, std::mem::take(&mut followed.leases))?;
        match self.follower.take(followed)? {
            Taken::Changes(revision, changes) => {
                let bytes = changes.iter().map(bytes_of).sum();
                let record = NewRecord::changes(revision, changes, Timestamp::now());
                group.publish(&self.journal, record, bytes)?;
            }
            Taken::Control(revision, changes) => {
                let bytes = changes.iter().map(bytes_of).sum();
                let record = NewRecord::changes(revision, changes, Timestamp::now());
                group.append(&self.journal, record, bytes)?;
            }
            Taken::Nothing => self.position(group)?,
            Taken::Ended(ended) => return Ok(Some(ended)),
        }
        Ok(None)
    }

    fn last_position(&mut self, group: &mut Group) -> Result<(), Error> {
        if let Some(seen) = self.follower.last_position() {
            group.publish_last(&self.journal, seen)?;
        }
        Ok(())
    }

    fn position(&mut self, group: &mut Group) -> Result<(), Error> {
        if let Some(seen) = self.follower.position() {
            let record = NewRecord::watermark(seen, Timestamp::now());
            group.append(&self.journal, record, 0)?;
        }
        Ok(())
    }

    /// Makes a group durable; returns what may be said then.
    fn commit(&self, group: Group) -> Result<Option<Reached>, Error> {
        // Leaving the runtime for nothing would cost a wake-up.
        if group.is_empty() {
            return Ok(None);
        }
        let commit = || group.commit(&self.journal, &self.durable, &self.vitals);
        Ok(tokio::task::block_in_place(commit)?)
    }
}
