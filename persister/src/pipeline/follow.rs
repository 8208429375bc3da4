//! The first stage: every revision, in order, once.
//!
//! Promise: what is handed to the journal is contiguous; a revision that is out of order ends the
//! persister rather than being believed. Memory is bounded: without room the stage stops reading,
//! and nothing is dropped.

use std::sync::Arc;
use std::time::Duration;

use cairn_journal::{Change, NewRecord, Revision, Timestamp};
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cluster::budget::{ByteBudget, IN_FLIGHT_BYTES, bytes_of};
use crate::cluster::capabilities::Liveness;
use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::followed::{Followed, LeaseFact, Touched};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::holder::Holder;
use crate::identity::lineage::Identity;
use crate::observe::vitals::Vitals;
use crate::pipeline::group::COMMIT_BYTES;
use crate::pipeline::handover::Seen;
use crate::pipeline::leases::Leases;

/// After this many revisions that needed no journaling, the position is journaled all the same. A
/// quarter of the shortest history that real nodes keep by default (2,000 revisions), so that a
/// restart does not find its place forgotten.
const POSITION_EVERY: i64 = 500;

/// Control writes wait so long for a change to be committed with; then nothing else happens, and
/// they are committed alone.
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// How long an orderly end follows what had already happened.
const FINISH: Duration = Duration::from_secs(5);

/// Follows one session, for as long as it lasts.
#[derive(Debug)]
pub struct Follower<S> {
    /// The session that is followed.
    pub session: S,
    /// The persister itself, to notice when somebody else takes its place.
    pub me: Holder,
    /// The identity of the cluster that the session was opened to.
    pub cluster: String,
    /// A revision that was current before that identity was read: what was written to the
    /// identity up to then is history.
    pub identified_at: Revision,
    /// The revision of our claim to the id: what was written to the owner key before is history.
    pub claimed_at: Revision,
    /// The next revision that is due.
    pub next: Revision,
    /// The newest revision that the journal was given.
    pub journaled: Revision,
    /// The newest revision of those that are published once they are durable.
    pub published: Revision,
    /// Told the newest revision that was seen.
    pub seen: watch::Sender<Revision>,
    /// Told each revision that was seen, and whether it was journaled.
    pub vitals: Arc<Vitals>,
    /// Whether nothing of ours stands in the cluster, so that nothing of it decides over us.
    pub observes: bool,
    /// What the journal has of leases, and what the cluster tells of them.
    pub leases: Leases,
    /// Set once it was asked to end.
    pub finishing: Option<Finishing>,
}

/// An orderly end: what the cluster had answered when it was asked for is followed first.
#[derive(Clone, Copy, Debug)]
pub struct Finishing {
    goal: Revision,
    by: Instant,
}

/// What waiting for the next revision came to.
pub(super) enum Waited {
    /// It has come.
    Followed(Followed),
    /// So much was learnt of leases.
    Leases(Vec<LeaseFact>),
    /// Nothing has come; wait again.
    Again,
    /// All that an orderly end has to follow was followed.
    Done,
}

/// What a revision means.
pub(super) enum Taken {
    /// It is to be journaled.
    Changes(Revision, Vec<Change>),
    /// It is to be journaled with the next that is.
    Control(Revision, Vec<Change>),
    /// It only counts.
    Nothing,
    /// It ends the following.
    Ended(Ended),
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

impl<S: Session> Follower<S> {
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
        // Whether control writes were handed on and nothing after them.
        let mut unsettled = false;
        loop {
            let waiting = self.wait(&mut stream, cancel);
            let waited = if unsettled {
                match tokio::time::timeout(SETTLED_AFTER, waiting).await {
                    Ok(waited) => waited?,
                    Err(_) => {
                        unsettled = false;
                        // If the journal is gone, the next record or the end tells why.
                        let _ = to.send(Seen::Settled).await;
                        continue;
                    }
                }
            } else {
                waiting.await?
            };
            let mut followed = match waited {
                Waited::Followed(followed) => followed,
                Waited::Leases(facts) => {
                    self.note_leases(&to, facts).await;
                    continue;
                }
                Waited::Again => continue,
                Waited::Done => {
                    if let Some(seen) = self.last_position() {
                        // If the journal is gone, the end of the pipeline tells why.
                        let _ = to.send(Seen::Last(seen)).await;
                    }
                    return Ok(Ended::Cancelled);
                }
            };
            tracing::trace!(name: "follower woke", target: "stage", "");
            let leases = std::mem::take(&mut followed.leases);
            self.note_leases(&to, leases).await;
            match self.take(followed)? {
                Taken::Nothing => self.note_position(&to).await,
                Taken::Changes(revision, changes) => {
                    let bytes: usize = changes.iter().map(bytes_of).sum();
                    if unsettled && bytes > IN_FLIGHT_BYTES - COMMIT_BYTES {
                        // It may need the room of what waits to be committed with it.
                        let _ = to.send(Seen::Settled).await;
                    }
                    unsettled = false;
                    if !hand_on(&budget, &to, revision, changes, Seen::Record).await {
                        return Ok(Ended::JournalGone);
                    }
                }
                Taken::Control(revision, changes) => {
                    unsettled = true;
                    if !hand_on(&budget, &to, revision, changes, Seen::Control).await {
                        return Ok(Ended::JournalGone);
                    }
                }
                Taken::Ended(ended) => return Ok(ended),
            }
        }
    }

    /// Waits for the next revision, or for the end. Nothing is lost if it is dropped.
    pub(super) async fn wait(
        &mut self,
        stream: &mut (impl Stream<Item = ClusterResult<Followed>> + Unpin),
        cancel: &CancellationToken,
    ) -> Result<Waited, Error> {
        if self.finishing.is_some_and(|end| self.next > end.goal) {
            return Ok(Waited::Done);
        }
        let by = self.finishing.map_or_else(Instant::now, |end| end.by);
        tokio::select! {
            biased;
            () = cancel.cancelled(), if self.finishing.is_none() => {
                // What the cluster had answered when we were asked to end is journaled first.
                let by = Instant::now() + FINISH;
                let goal = self.session.revision().await.unwrap_or(Revision::NONE);
                self.finishing = Some(Finishing { goal, by });
                Ok(Waited::Again)
            }
            () = sleep_until(by), if self.finishing.is_some() => {
                tracing::warn!(
                    seen = %self.next.previous(),
                    "not everything that had happened was seen within {FINISH:?}; the next \
                     start does it"
                );
                Ok(Waited::Done)
            }
            // Before the changes, which may always be ready.
            facts = self.leases.news() => Ok(Waited::Leases(facts?)),
            followed = stream.next() => Ok(Waited::Followed(some(followed)?)),
        }
    }

    /// Takes note of the next revision, and says what it means.
    pub(super) fn take(&mut self, followed: Followed) -> Result<Taken, Error> {
        let has_data = followed.has_data();
        let Followed {
            revision,
            changes,
            touched,
            leases: _,
            from_snapshot,
        } = followed;
        if revision != self.next {
            return Err(Error::OutOfOrder {
                expected: self.next,
                got: revision,
            });
        }
        for touched in &touched {
            if let Some(ended) = self.react(revision, touched)? {
                return Ok(Taken::Ended(ended));
            }
        }
        self.next = revision.next();
        // Nobody looks unless paths are mirrored.
        if self.seen.receiver_count() > 0 {
            self.seen.send_replace(revision);
        }
        self.vitals.seen(revision, has_data);
        if from_snapshot {
            self.vitals.from_snapshot();
        }
        if changes.is_empty() {
            return Ok(Taken::Nothing);
        }
        self.journaled = revision;
        if has_data {
            self.published = revision;
        }
        Ok(match has_data {
            true => Taken::Changes(revision, changes),
            false => Taken::Control(revision, changes),
        })
    }

    /// The position to be journaled, if many revisions were seen since the last record.
    pub(super) fn position(&mut self) -> Option<Revision> {
        let seen = self.next.previous();
        let due = seen.0 - self.journaled.0 >= POSITION_EVERY;
        if due {
            self.journaled = seen;
        }
        due.then_some(seen)
    }

    /// The records of what was learnt of leases by now: before what names them.
    pub(super) fn leases(&mut self, facts: Vec<LeaseFact>) -> Vec<NewRecord> {
        let seen = self.next.previous();
        let records = self.leases.records(seen, facts);
        if !records.is_empty() {
            self.journaled = seen; // as each of them says
        }
        records
    }

    async fn note_leases(&mut self, to: &mpsc::Sender<Seen>, facts: Vec<LeaseFact>) {
        for record in self.leases(facts) {
            // As for a position.
            let _ = to.send(Seen::Lease(record)).await;
        }
    }

    /// The position at an orderly end, if it is newer than what was published.
    pub(super) fn last_position(&mut self) -> Option<Revision> {
        let seen = self.next.previous();
        let due = seen > self.published;
        if due {
            (self.journaled, self.published) = (seen, seen);
        }
        due.then_some(seen)
    }

    /// Has the position journaled if it is due.
    async fn note_position(&mut self, to: &mpsc::Sender<Seen>) {
        if let Some(seen) = self.position() {
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
            _ if self.observes => Ok(None),
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

/// The next item of a stream that has no end in good order.
pub(super) fn some(next: Option<ClusterResult<Followed>>) -> ClusterResult<Followed> {
    let ended = || ClusterError::Unavailable("the stream of changes ended".to_owned());
    next.unwrap_or_else(|| Err(ended()))
}

/// Hands one revision to the journal; `false` if the journal is gone.
async fn hand_on(
    budget: &ByteBudget,
    to: &mpsc::Sender<Seen>,
    revision: Revision,
    changes: Vec<Change>,
    seen: fn(NewRecord, OwnedSemaphorePermit) -> Seen,
) -> bool {
    let permit = budget.take(&changes).await;
    let record = NewRecord::changes(revision, changes, Timestamp::now());
    to.send(seen(record, permit)).await.is_ok()
}
