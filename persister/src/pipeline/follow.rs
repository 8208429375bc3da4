//! The first stage: every revision, in order, once.
//!
//! Promise: what is handed to the journal is contiguous; a revision that is out of order ends the
//! persister rather than being believed. Memory is bounded: without room the stage stops reading,
//! and nothing is dropped.

use std::time::Duration;

use cairn_journal::{NewRecord, Revision, Timestamp};
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cluster::budget::ByteBudget;
use crate::cluster::capabilities::Liveness;
use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::followed::{Followed, Touched};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::holder::Holder;
use crate::identity::lineage::Identity;
use crate::observe::vitals::Vitals;
use crate::pipeline::handover::Seen;

/// After this many revisions that needed no journaling, the position is journaled all the same. A
/// quarter of the shortest history that real nodes keep by default (2,000 revisions), so that a
/// restart does not find its place forgotten.
const POSITION_EVERY: i64 = 500;

/// How long an orderly end follows what had already happened.
const FINISH: Duration = Duration::from_secs(5);

/// Follows one session, for as long as it lasts.
#[derive(Debug)]
pub struct Follower<'a, S> {
    /// The session that is followed.
    pub session: &'a S,
    /// The persister itself, to notice when somebody else takes its place.
    pub me: &'a Holder,
    /// The identity of the cluster that the session was opened to.
    pub cluster: &'a str,
    /// A revision that was current before that identity was read: what was written to the
    /// identity up to then is history.
    pub identified_at: Revision,
    /// The revision of our claim to the id: what was written to the owner key before is history.
    pub claimed_at: Revision,
    /// The next revision that is due.
    pub next: Revision,
    /// The newest revision that the journal was given.
    pub journaled: Revision,
    /// Told the newest revision that was seen.
    pub seen: watch::Sender<Revision>,
    /// Told each revision that was seen, and whether it was journaled.
    pub vitals: &'a Vitals,
}

/// Why following ended without an error of ours.
#[derive(Debug)]
pub enum Ended {
    /// We were asked to stop.
    Cancelled,
    /// The journal takes nothing any more; its own error says why.
    JournalGone,
    /// The cluster was given another identity while we followed it.
    IdentityChanged,
}

impl<S: Session> Follower<'_, S> {
    /// Follows until told to stop, or until something ends.
    ///
    /// # Errors
    /// The cluster's; [`Error::Replaced`]; [`Error::OutOfOrder`].
    pub async fn run(
        mut self,
        mut stream: impl Stream<Item = ClusterResult<Followed>> + Unpin,
        to: mpsc::Sender<Seen>,
        cancel: &CancellationToken,
    ) -> Result<Ended, Error> {
        let budget = ByteBudget::new();
        let mut goal: Option<Revision> = None;
        let mut deadline = Instant::now();
        loop {
            if goal.is_some_and(|goal| self.next > goal) {
                self.note_position(&to, 1).await;
                return Ok(Ended::Cancelled);
            }
            let followed = tokio::select! {
                biased;
                () = cancel.cancelled(), if goal.is_none() => {
                    // What the cluster had answered when we were asked to end is journaled first.
                    deadline = Instant::now() + FINISH;
                    goal = Some(self.session.revision().await.unwrap_or(Revision::NONE));
                    continue;
                }
                () = sleep_until(deadline), if goal.is_some() => {
                    tracing::warn!(
                        seen = %self.next.previous(),
                        "not everything that had happened was seen within {FINISH:?}; the next \
                         start does it"
                    );
                    goal = Some(Revision::NONE);
                    continue;
                }
                followed = stream.next() => followed,
            };
            let followed = followed.unwrap_or_else(|| {
                Err(ClusterError::Unavailable(
                    "the stream of changes ended".to_owned(),
                ))
            })?;
            if followed.revision != self.next {
                return Err(Error::OutOfOrder {
                    expected: self.next,
                    got: followed.revision,
                });
            }
            for touched in &followed.touched {
                if let Some(ended) = self.react(followed.revision, touched)? {
                    return Ok(ended);
                }
            }
            self.next = followed.revision.next();
            self.seen.send_replace(followed.revision);
            self.vitals
                .seen(followed.revision, !followed.changes.is_empty());
            if followed.changes.is_empty() {
                self.note_position(&to, POSITION_EVERY).await;
            } else if !self.hand_on(&budget, &to, followed).await {
                return Ok(Ended::JournalGone);
            }
        }
    }

    /// Hands one revision to the journal; `false` if the journal is gone.
    async fn hand_on(
        &mut self,
        budget: &ByteBudget,
        to: &mpsc::Sender<Seen>,
        followed: Followed,
    ) -> bool {
        let Followed {
            revision, changes, ..
        } = followed;
        let permit = budget.take(&changes).await;
        self.journaled = revision;
        let record = NewRecord::changes(revision, changes, Timestamp::now());
        to.send(Seen::Record(record, permit)).await.is_ok()
    }

    /// Has the position journaled if at least `every` revisions were seen since the last record.
    async fn note_position(&mut self, to: &mpsc::Sender<Seen>, every: i64) {
        let seen = self.next.previous();
        if seen.0 - self.journaled.0 >= every {
            self.journaled = seen;
            // If the journal is gone, the next record or the end of the pipeline tells why.
            let _ = to.send(Seen::Position(seen)).await;
        }
    }

    fn is_leased(&self) -> bool {
        let liveness = self.session.capabilities().liveness;
        matches!(liveness, Liveness::Leased { .. })
    }

    /// Decides what a write to a deciding key means. Writes from before we attached are history: a
    /// restart sees those of its predecessor again.
    fn react(&self, revision: Revision, touched: &Touched) -> Result<Option<Ended>, Error> {
        match touched {
            Touched::Owner(id, Some(holder))
                if revision > self.claimed_at && !self.me.is_me(holder) =>
            {
                Err(Error::Replaced {
                    id: *id,
                    holder: String::from_utf8_lossy(holder).into_owned(),
                })
            }
            Touched::Identity(value) if revision > self.identified_at => {
                let same = value.as_ref().is_some_and(|value| {
                    Identity::parse(value).is_ok_and(|now| now.id == self.cluster)
                });
                Ok((!same).then_some(Ended::IdentityChanged))
            }
            Touched::Owner(id, None) if revision > self.claimed_at && self.is_leased() => {
                Err(ClusterError::Unavailable(format!("the lease of id {id} ended")).into())
            }
            Touched::Owner(..) | Touched::Identity(_) => Ok(None),
        }
    }
}
