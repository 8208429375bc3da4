//! One life of the pipeline: from an attached session to its end.
//!
//! Promise: when this returns, everything that was followed is journaled (or the journal's error
//! is returned), and nothing of it is in memory any more. What was not published is found in the
//! journal by the next life.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_journal::{Entry, Journal, Revision};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attach::Attached;
use crate::cluster::{self, ControlKey, Expect, Id, Session};
use crate::error::Error;
use crate::mirror::{Kind, Op};
use crate::owner::{self, Holder};
use crate::stage::follow::{Ended, Follower};
use crate::stage::{self, Durable, IN_FLIGHT_MESSAGES, mirror_ops};

/// How many durable batches may wait for the mirror. Beyond it the journal waits for the mirror.
const MIRROR_BATCHES: usize = 1024;

/// How many operations of the journal's backlog go to the mirror at a time.
const BACKLOG_OPS: usize = 4096;

/// How long an orderly end waits for what is durable to be published.
const DRAIN: Duration = Duration::from_secs(10);

/// Which mirror to keep in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mirror {
    /// The watermark and an entry for every path.
    #[default]
    Paths,
    /// The watermark only.
    Watermark,
}

/// Follows, journals and publishes until told to stop or until the session ends.
///
/// # Errors
/// Whatever ended it. [`Error::is_unavailable`] tells whether another session may help.
pub async fn run<S: Session>(
    attached: Attached<S>,
    journal: &Arc<Journal>,
    id: Id,
    me: &Holder,
    mirror: Mirror,
    cancel: &CancellationToken,
) -> Result<Ended, Error> {
    let Attached {
        session,
        cluster,
        identified_at,
        next,
        stream,
    } = attached;
    let claimed_at = owner::claim(&session, id, me).await?;
    let durable = journal.end().revision;
    tracing::info!(cluster, from = %next, durable = %durable, "following");

    let (watermark, watermark_changes) = watch::channel(durable);
    let mut publishers = Publishers::start(&session, id, watermark_changes).await?;
    let mirror = match mirror {
        Mirror::Watermark => None,
        Mirror::Paths => Some(publishers.mirror(&session, id, journal).await?),
    };

    let (seen, handed_over) = mpsc::channel(IN_FLIGHT_MESSAGES);
    let mut journaling = {
        let journal = Arc::clone(journal);
        tokio::task::spawn_blocking(move || {
            stage::journal::run(&journal, handed_over, &watermark, mirror.as_ref())
        })
    };

    let follower = Follower {
        me,
        cluster: &cluster,
        identified_at,
        claimed_at,
        next,
        journaled: durable,
    };
    let mut journaled = None;
    let ended = tokio::select! {
        ended = follower.run(stream, seen, cancel) => ended,
        beat = owner::heartbeat(&session, id, me, claimed_at) => match beat {
            Err(error) => Err(error),
            Ok(never) => match never {},
        },
        error = publishers.failure() => Err(error.into()),
        result = &mut journaling => {
            journaled = Some(result);
            Ok(Ended::JournalGone)
        }
    };

    // The follower is gone and with it the sender: the journal stage drains and ends. Unless the
    // end is in good order, nobody is left to publish to.
    if !matches!(ended, Ok(Ended::Cancelled)) {
        publishers.abort().await;
    }
    let journaled = match journaled {
        Some(result) => result,
        None => journaling.await,
    };
    journaled.map_err(|panic| Error::Panicked(panic.to_string()))??;
    if matches!(ended, Ok(Ended::Cancelled)) {
        publishers.finish().await;
        if let Err(error) = owner::release(&session, id, me).await {
            tracing::warn!(%error, "the id was not given back; it is free once its key is stale");
        }
    }
    ended
}

/// The tasks that write into the cluster.
struct Publishers {
    tasks: JoinSet<cluster::Result<()>>,
}

impl Publishers {
    /// Starts with the watermark: written at once where the cluster does not have it yet.
    async fn start<S: Session>(
        session: &S,
        id: Id,
        mut watermark: watch::Receiver<Revision>,
    ) -> Result<Self, Error> {
        let key = ControlKey::Watermark(id);
        if read_revision(session, &key).await? != Some(*watermark.borrow()) {
            watermark.mark_changed();
        }
        let mut tasks = JoinSet::new();
        let session = session.clone();
        tasks.spawn(async move {
            stage::publish::announce(&session, key, watermark, Duration::ZERO).await
        });
        Ok(Self { tasks })
    }

    /// Starts the per-path mirror: first what the journal still owes, then what is handed over.
    async fn mirror<S: Session>(
        &mut self,
        session: &S,
        id: Id,
        journal: &Arc<Journal>,
    ) -> Result<mpsc::Sender<Durable>, Error> {
        let end = journal.end().revision;
        let owed_from = Owed::read(session, id, end).await?;
        let done = match owed_from {
            Owed::After(revision) => revision,
            Owed::State(_) => Revision::NONE,
        };
        let (mirrored, mirrored_changes) = watch::channel(done);
        let (live, live_batches) = mpsc::channel(MIRROR_BATCHES);
        let (owed, owed_batches) = mpsc::channel(4);
        self.tasks.spawn({
            let session = session.clone();
            async move {
                let progress = mirrored.clone();
                stage::publish::mirror(&session, id, owed_batches, progress).await?;
                stage::publish::mirror(&session, id, live_batches, mirrored).await
            }
        });
        self.tasks.spawn({
            let session = session.clone();
            let (key, every) = (ControlKey::Mirrored(id), stage::publish::MIRRORED_EVERY);
            async move { stage::publish::announce(&session, key, mirrored_changes, every).await }
        });
        if done < end {
            let journal = Arc::clone(journal);
            self.tasks.spawn(async move {
                let read = tokio::task::spawn_blocking(move || {
                    send_backlog(&journal, owed_from, end, &owed)
                });
                match read.await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(cluster::Error::Refused(format!(
                        "what the mirror still owes cannot be read from the journal: {error}"
                    ))),
                    Err(panic) => Err(cluster::Error::Refused(panic.to_string())),
                }
            });
        }
        Ok(live)
    }

    /// Returns when a publisher has failed; those that are done are not waited for.
    async fn failure(&mut self) -> cluster::Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return error,
                Some(Err(panic)) => return cluster::Error::Refused(panic.to_string()),
                None => std::future::pending().await,
            }
        }
    }

    /// Lets everything handed over be written, for as long as an orderly end may take.
    async fn finish(mut self) {
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(joined) = self.tasks.join_next().await {
                if let Ok(Err(error)) = joined {
                    tracing::warn!(%error, "not everything durable was published; the next start does it");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                "not everything durable was published within {DRAIN:?}; the next start does it"
            );
        }
    }

    async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn read_revision<S: Session>(
    session: &S,
    key: &ControlKey,
) -> Result<Option<Revision>, cluster::Error> {
    let control = session.read(key).await?;
    Ok(control.and_then(|control| {
        let text = std::str::from_utf8(&control.value).ok()?;
        text.parse().ok().map(Revision)
    }))
}

/// Where the per-path mirror has to be taken up.
///
/// Its progress stands in the cluster: a revision, or `REVISION incomplete` while the state at that
/// revision is being mirrored for the first time. Only so can an interrupted first time be told
/// from none: entries that it wrote may have been deleted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// The state at this revision, then what came after it.
    State(Revision),
    /// What came after this revision.
    After(Revision),
}

impl Owed {
    /// Reads the progress, and where there is none begins with the state at `end`.
    async fn read<S: Session>(session: &S, id: Id, end: Revision) -> Result<Self, cluster::Error> {
        let key = ControlKey::Mirrored(id);
        let control = session.read(&key).await?;
        let known = control.and_then(|control| {
            let text = std::str::from_utf8(&control.value).ok()?;
            match text.strip_suffix(INCOMPLETE) {
                Some(number) => Some(Self::State(Revision(number.parse().ok()?))),
                None => Some(Self::After(Revision(text.parse().ok()?))),
            }
        });
        if let Some(known) = known {
            return Ok(known);
        }
        if end > Revision::NONE {
            let value = format!("{end}{INCOMPLETE}");
            session.write(&key, Expect::Any, value.into()).await?;
        }
        Ok(Self::State(end))
    }
}

/// See [`Owed`].
const INCOMPLETE: &str = " incomplete";

/// Hands over what the mirror owes, up to `end`, with what is handed over live following on.
fn send_backlog(
    journal: &Journal,
    owed: Owed,
    end: Revision,
    to: &mpsc::Sender<Durable>,
) -> Result<(), cairn_journal::Error> {
    let reader = journal.reader()?;
    let mut backlog = Backlog {
        ops: Vec::new(),
        to,
    };
    let done = match owed {
        Owed::After(done) => done,
        Owed::State(at) => {
            let files = cairn_journal::state(&reader, Some(at))?.files;
            let in_order: BTreeSet<(Revision, Bytes)> = files
                .into_iter()
                .map(|(path, (revision, _))| (revision, path))
                .collect();
            for (revision, path) in in_order {
                let kind = Kind::Set;
                backlog.push(
                    Revision::NONE,
                    [Op {
                        path,
                        revision,
                        kind,
                    }],
                );
            }
            backlog.send(at);
            at
        }
    };
    for record in reader.records_from_revision(done.next()) {
        let record = record?;
        if record.revision > end {
            break;
        }
        if let Entry::Changes { changes, .. } = record.entry {
            let ops = mirror_ops(record.revision, &changes);
            backlog.push(record.revision.previous(), ops);
        }
    }
    backlog.send(end);
    Ok(())
}

struct Backlog<'a> {
    ops: Vec<Op>,
    to: &'a mpsc::Sender<Durable>,
}

impl Backlog<'_> {
    /// `before`: the newest revision of which no part is still to come.
    fn push(&mut self, before: Revision, ops: impl IntoIterator<Item = Op>) {
        if self.ops.len() >= BACKLOG_OPS {
            self.send(before);
        }
        self.ops.extend(ops);
    }

    fn send(&mut self, newest: Revision) {
        let ops = std::mem::take(&mut self.ops);
        // The publisher is gone when the session is: the next one starts over.
        let _ = self.to.blocking_send(Durable { newest, ops });
    }
}
