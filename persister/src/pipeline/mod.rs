//! The pipeline: follow, journal, publish. Each stage is bounded, and each hands on only what is
//! true by then.
//!
//! ```text
//!  session ──▶ follow ──Seen──▶ journal ──durable──▶ announce ──▶ session   (watermark)
//!              (task)           (thread)    │        (task)
//!                                 disk ─────┴──▶ backlog ──Batch──▶ mirror ──▶ session   (paths)
//!                                              (thread)         (task)
//! ```
//!
//! * [`follow`] proves that revisions are contiguous, and stops reading when the journal is behind:
//!   [`IN_FLIGHT_BYTES`](crate::cluster::budget::IN_FLIGHT_BYTES) of values at most are on their
//!   way.
//! * [`leases`] has no revisions to prove: what the journal says of leases is compared with what
//!   the cluster says.
//! * [`journal`] writes whatever has queued with one commit, and tells nothing before the fsync
//!   has returned.
//! * [`mod@announce`] writes the watermark, once per commit at most, and beside it the per-path
//!   mirror. What the mirror has to be told is read back from the journal
//!   ([`backlog`](crate::mirror::backlog)): the journal is the queue. So a mirror that is slower
//!   than the disk delays nobody, takes no memory, and catches up after a restart in the same way
//!   as ever.
//!
//! Where the engine [holds back](crate::cluster::capabilities::Capabilities::holds_back), one task
//! follows, journals and writes the watermark ([`in_step`]): its calls wait for nobody, so there is
//! nothing to be done beside them, and each hand-over would cost a wake-up.
//!
//! A pipeline lives exactly as long as one [`Session`]. When the
//! connection ends the pipeline ends: what was followed is journaled, what was not published is
//! left in the journal, and the next one resumes from there, just as after a restart of the
//! process.
//!
//! Promise: when [`run`] returns, everything that was followed is journaled (or the journal's error
//! is returned), and nothing of it is in memory any more. What was not published is found in the
//! journal by the next pipeline.

pub mod announce;
#[cfg(test)]
mod any_engine;
pub mod follow;
mod group;
pub mod handover;
pub mod in_step;
pub mod journal;
pub mod leases;
pub mod owner;

use std::sync::Arc;
use std::time::Duration;

use cairn_journal::{Journal, Revision, Sequence};
use cairn_protocol::progress;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attach::attempt::Attached;
use crate::cluster::ahead::read_ahead;
use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Conflict, Error as ClusterError};
use crate::cluster::followed::Changes;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::holder::Holder;
use crate::mirror::MirrorMode;
use crate::mirror::backlog::{Backlog, BacklogReader, Ending, Progress};
use crate::mirror::write::Mirror;
use crate::observe::vitals::Vitals;
use crate::pipeline::announce::{Announcer, MIRRORED_EVERY, announce};
use crate::pipeline::follow::{Ended, Follower};
use crate::pipeline::handover::{IN_FLIGHT_MESSAGES, Reached};
use crate::pipeline::in_step::InStep;
use crate::pipeline::leases::Leases;

/// How many batches of operations may wait for the mirror; what follows them waits in the journal.
const MIRROR_BATCHES: usize = 4;

/// A claim to the id that takes longer than this is contended, and may take as long as a holder has
/// to show that it lives.
const CONTENDED_AFTER: Duration = Duration::from_millis(200);

/// How long an end waits for what was followed to be journaled. Only a hanging disk takes longer.
const JOURNALED: Duration = Duration::from_secs(5);

/// How long an orderly end waits for what is durable to be published.
const DRAIN: Duration = Duration::from_secs(5);

/// How long the end of a session waits for its publishers.
const ABORTED: Duration = Duration::from_secs(5);

/// How long an orderly end waits for the id to be given back.
const RELEASED: Duration = Duration::from_secs(1);

/// Follows, journals and publishes until told to stop or until the session ends.
///
/// # Errors
/// Whatever ended it. [`Error::may_pass`] tells whether another session may help.
pub async fn run<S: Session>(
    attached: Attached<S>,
    journal: &Arc<Journal>,
    id: Id,
    me: &Holder,
    mirror: Option<MirrorMode>,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<Ended, Error> {
    let Attached {
        session,
        cluster,
        identified_at,
        next,
        stream,
        state_taken: _,
    } = attached;
    let observes = mirror == Some(MirrorMode::None);
    let (claimed_at, stream) = match observes {
        true => (identified_at, stream),
        false => match claim(&session, id, me, stream, cancel).await? {
            Some(claimed) => claimed,
            None => return Ok(Ended::Cancelled),
        },
    };
    let leases = Leases::compared(&session, journal).await?;
    let end = journal.end();
    tracing::info!(cluster, from = %next, durable = %end.revision, "following");

    vitals.attached(&cluster, end.revision);
    vitals.head(claimed_at);

    let (durable, durables) = watch::channel(end.durable);
    let (newest_seen, seen_by_mirror) = watch::channel(next.previous());
    let published = match observes {
        true => None,
        false => read_revision(&session, &ControlKey::Watermark(id)).await?,
    };
    warn_if_ahead(published, end.revision);
    let mut publishers = Publishers::default();
    let usual = match session.capabilities().mirrors_paths {
        true => MirrorMode::Paths,
        false => MirrorMode::Watermark,
    };
    let mirrors_paths = mirror.unwrap_or(usual) == MirrorMode::Paths;
    // Only the mirror reads what was just written.
    journal.set_uncached_bytes(match mirrors_paths {
        true => journal.options().uncached_bytes,
        false => 0,
    });
    if mirrors_paths {
        let mirror = Mirror::new(session.clone(), id, seen_by_mirror);
        publishers
            .mirror(&session, id, journal, mirror, durables, vitals)
            .await?;
    } else {
        drop(seen_by_mirror);
    }

    let follower = Follower {
        session: session.clone(),
        me: me.clone(),
        cluster,
        identified_at,
        claimed_at,
        next,
        journaled: end.revision,
        published: end.revision,
        seen: newest_seen,
        vitals: Arc::clone(vitals),
        leases,
        observes,
        finishing: None,
    };
    let halt = CancellationToken::new();
    let (following, mut journaling) = if session.capabilities().holds_back {
        let announcer = Announcer::new(&session, ControlKey::Watermark(id)).await?;
        let in_step = InStep {
            follower,
            journal: Arc::clone(journal),
            announcer,
            published,
            durable,
            vitals: Arc::clone(vitals),
        };
        in_step.start(stream, cancel.clone(), halt.clone())
    } else {
        let (watermark, watermarks) = watch::channel(Reached::now(end.revision));
        if !observes {
            publishers.watermark(&session, id, watermarks, published, vitals);
        }
        let (seen, handed_over) = mpsc::channel(IN_FLIGHT_MESSAGES);
        let (journal, vitals) = (Arc::clone(journal), Arc::clone(vitals));
        let journaling = tokio::task::spawn_blocking(move || {
            journal::run(&journal, handed_over, &watermark, &durable, &vitals)
        });
        (follower.run(stream, seen, cancel).boxed(), journaling)
    };
    let head = |revision| vitals.head(revision);
    let settled = || vitals.settled();
    let heartbeat = owner::heartbeat(&session, id, me, claimed_at, settled, head);
    let mut journaled = None;
    let mut following = following;
    let ended = tokio::select! {
        biased;
        ended = &mut following => ended,
        beat = heartbeat => match beat {
            Err(error) => Err(error),
            Ok(never) => match never {},
        },
        error = publishers.failure() => Err(of_a_publisher(error)),
        result = &mut journaling => {
            journaled = Some(result);
            Ok(Ended::JournalGone)
        }
    };

    // The follower goes and with it the sender: the journal stage drains and ends. Unless the end
    // is in good order, nobody is left to publish to.
    drop(following);
    halt.cancel();
    // Not returned from here: the journal stage is at work.
    let ended = match ended {
        Err(Error::Cluster(ClusterError::Conflict(Conflict::Identity))) => {
            Ok(Ended::IdentityChanged)
        }
        // Somebody else writes what only the holder of the id may write.
        Err(Error::Cluster(ClusterError::Conflict(Conflict::Key))) => {
            let (Ok(error) | Err(error)) = owner::replaced(&session, id, me).await;
            Err(error)
        }
        other => other,
    };
    if !matches!(ended, Ok(Ended::Cancelled)) {
        publishers.abort().await;
    }
    let is_final = ended.as_ref().is_err_and(|error| !error.may_pass());
    let journaled = match journaled {
        Some(result) => result,
        None => tokio::select! {
            result = &mut journaling => result,
            () = overdue(is_final, cancel) => {
                tracing::error!(
                    "not everything that was followed was journaled within {JOURNALED:?}: the \
                     disk does not answer. The next start does it"
                );
                publishers.abort().await;
                return ended.and(Ok(Ended::Cancelled));
            }
        },
    };
    journaled.map_err(|panic| Error::Panicked(panic.to_string()))??;
    if matches!(ended, Ok(Ended::Cancelled)) {
        publishers.finish().await;
        if observes {
            return ended;
        }
        let released = tokio::time::timeout(RELEASED, owner::release(&session, id, me)).await;
        if !matches!(released, Ok(Ok(()))) {
            tracing::warn!("the id was not given back; it is free once its key is stale");
        }
    }
    ended
}

/// Returns when an end has waited long enough for the journal: one that has begun already, or one
/// that somebody asks for.
async fn overdue(has_begun: bool, cancel: &CancellationToken) {
    if !has_begun {
        cancel.cancelled().await;
    }
    tokio::time::sleep(JOURNALED).await;
}

/// Takes the id. Where that takes a while, what happens meanwhile is read ahead. `None` if
/// cancelled.
async fn claim<S: Session>(
    session: &S,
    id: Id,
    me: &Holder,
    stream: Changes,
    cancel: &CancellationToken,
) -> Result<Option<(Revision, Changes)>, Error> {
    let mut claim = std::pin::pin!(owner::claim(session, id, me));
    tokio::select! {
        claimed = &mut claim => return Ok(Some((claimed?, stream))),
        () = cancel.cancelled() => return Ok(None),
        () = tokio::time::sleep(CONTENDED_AFTER) => {}
    }
    let stream: Changes = Box::new(read_ahead(stream));
    tokio::select! {
        claimed = claim => Ok(Some((claimed?, stream))),
        () = cancel.cancelled() => Ok(None),
    }
}

/// Says so if the cluster was told of more than the journal holds.
fn warn_if_ahead(published: Option<Revision>, durable: Revision) {
    if let Some(published) = published.filter(|published| *published > durable) {
        tracing::error!(
            %published, %durable,
            "this persister has said that everything up to revision {published} is on its disk, \
             but its journal ends at {durable}: the end of the journal was damaged, or another \
             directory is in its place. Fetching the difference from the cluster"
        );
    }
}

/// The tasks that write into the cluster.
#[derive(Default)]
struct Publishers {
    tasks: JoinSet<Result<(), Error>>,
    /// Ends the thread among them, which cannot be aborted.
    ending: Ending,
}

impl Publishers {
    /// Starts writing the watermark: at once where the cluster has another one.
    fn watermark<S: Session>(
        &mut self,
        session: &S,
        id: Id,
        mut watermark: watch::Receiver<Reached>,
        published: Option<Revision>,
        vitals: &Arc<Vitals>,
    ) {
        if published != Some(watermark.borrow().revision) {
            watermark.mark_changed();
        }
        let key = ControlKey::Watermark(id);
        let (session, vitals) = (session.clone(), Arc::clone(vitals));
        self.tasks.spawn(async move {
            let say = |reached: &Reached| reached.revision.to_string();
            let told = |reached: &Reached| vitals.published(reached.revision, reached.at.elapsed());
            Ok(announce(&session, key, watermark, Duration::ZERO, say, told).await?)
        });
    }

    /// Starts the per-path mirror: first what the journal still owes, then what comes to be.
    async fn mirror<S: Session>(
        &mut self,
        session: &S,
        id: Id,
        journal: &Arc<Journal>,
        mirror: Mirror<S>,
        durable: watch::Receiver<Sequence>,
        vitals: &Arc<Vitals>,
    ) -> Result<(), Error> {
        let backlog = Backlog::read(session, id, journal).await?;
        let (complete, completions) = watch::channel(backlog.progress);
        let (to, batches) = mpsc::channel(MIRROR_BATCHES);
        let reading = BacklogReader {
            session: session.clone(),
            id,
            durable,
            to,
            ending: self.ending.clone(),
        };
        let journal = Arc::clone(journal);
        self.tasks
            .spawn_blocking(move || reading.run(&journal, backlog));
        self.tasks
            .spawn(async move { Ok(mirror.run(batches, complete).await?) });
        self.tasks.spawn({
            let (session, vitals) = (session.clone(), Arc::clone(vitals));
            let (key, every) = (ControlKey::Mirrored(id), MIRRORED_EVERY);
            async move {
                let told = |progress: &Progress| vitals.mirrored(progress.revision);
                let say = Progress::to_string;
                Ok(announce(&session, key, completions, every, say, told).await?)
            }
        });
        Ok(())
    }

    /// Returns when a publisher has failed; those that are done are not waited for.
    async fn failure(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(panic)) => return Error::Panicked(panic.to_string()),
                None => std::future::pending().await,
            }
        }
    }

    /// Lets everything handed over be written, for as long as an orderly end may take.
    async fn finish(mut self) {
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(joined) = self.tasks.join_next().await {
                if let Ok(Err(error)) = joined {
                    tracing::warn!(
                        %error,
                        "not everything durable was published; the next start does it"
                    );
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "not everything durable was published within {DRAIN:?}; the next start does it"
            );
            self.abort().await;
        }
    }

    /// Ends them all. Returns once they are gone, and with them their hold on the journal, or once
    /// it is clear that one of them hangs in a system call.
    async fn abort(&mut self) {
        self.ending.now();
        if tokio::time::timeout(ABORTED, self.tasks.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("a reader of the journal hangs: the disk does not answer");
            self.tasks.detach_all();
        }
    }
}

/// Translates the error of a publisher into one of the session. A listing of the mirror may be
/// overtaken by history; that is no gap in what is followed, and no reason to give up the changes
/// of the meantime for the cluster's state.
fn of_a_publisher(error: Error) -> Error {
    match error {
        Error::Cluster(ClusterError::HistoryDiscarded) => ClusterError::Unavailable(
            "the cluster forgot the revision at which the mirror of paths was being listed"
                .to_owned(),
        )
        .into(),
        other => other,
    }
}

async fn read_revision<S: Session>(
    session: &S,
    key: &ControlKey,
) -> Result<Option<Revision>, ClusterError> {
    let control = session.read(key).await?;
    Ok(control.and_then(|control| progress::parse_revision(&control.value).ok().map(Revision)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mirror that could not be listed in time had the whole state taken, and a gap recorded,
    /// although not one change had been missed.
    #[test]
    fn a_listing_that_history_overtook_is_no_gap() {
        let error = of_a_publisher(ClusterError::HistoryDiscarded.into());
        assert!(error.is_unavailable(), "{error}");
        let error = of_a_publisher(ClusterError::Conflict(Conflict::Key).into());
        assert!(!error.is_unavailable(), "{error}");
    }
}
