//! The order of it all: open the journal, restore, attach, follow, and again.
//!
//! Promise: returns only when there is nothing left to do, with the journal closed, or with the
//! reason why going on is impossible.

mod opening;

use std::sync::Arc;
use std::time::Duration;

use cairn_journal::{GapReason, Journal, Revision};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attach::StopWith;
use crate::cluster::backoff::Backoff;
use crate::cluster::connect::{Task, connect};
use crate::cluster::error::Error as ClusterError;
use crate::cluster::in_process::node::EmbeddedNode;
use crate::cluster::session::Cluster;
use crate::config::{Config, Endpoint};
use crate::error::Error;
use crate::identity::holder::Holder;
use crate::maintenance::Maintenance;
use crate::observe::vitals::Vitals;
use crate::pipeline::follow::Ended;
use crate::repair::Repaired;
use crate::restore::job::restore;
use crate::restore::outcome::{Restored, Shifted, Summary};
use crate::restore::source::Source;
use crate::{attach, observe, pipeline};

/// Runs a persister until `cancel`, then ends in good order: what was seen is journaled, what is
/// durable is published.
///
/// # Errors
/// Whatever makes going on impossible; see [`Error::exit_status`]. A cluster that is away is not
/// among it: it is waited for.
pub async fn run(config: Config, cancel: CancellationToken) -> Result<(), Error> {
    let vitals = Arc::new(Vitals::new(
        config.id,
        config.journal.clone(),
        config.ready_lag,
    ));
    // Ends what tells about the persister after the persister itself.
    let telling = CancellationToken::new();
    let told = tell(&config, &vitals, &telling).await?;
    let result = match &config.endpoint {
        Endpoint::Remote(address) => {
            let persist = Persist {
                config: &config,
                restored: CancellationToken::new(),
                vitals: &vitals,
                cancel: &cancel,
            };
            connect(address, config.id, persist).await
        }
        Endpoint::Embedded(address) => {
            let node = EmbeddedNode::start(*address)
                .await
                .map_err(Error::Embedded)?;
            let (restored, closed) = (CancellationToken::new(), CancellationToken::new());
            let opening = node.open_between(restored.clone(), cancel.clone(), closed.clone());
            let persist = Persist {
                config: &config,
                restored,
                vitals: &vitals,
                cancel: &closed,
            };
            let result = persist.run(node.cluster(config.id)).await;
            opening.abort();
            result
        }
    };
    telling.cancel();
    told.join_all().await;
    result
}

/// Starts what tells about the persister: the service manager's messages, and HTTP if asked for.
async fn tell(
    config: &Config,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<JoinSet<()>, Error> {
    let mut tasks = JoinSet::new();
    tasks.spawn(observe::service::notify(Arc::clone(vitals), cancel.clone()));
    if let Some(address) = config.listen {
        let unable = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(unable)?;
        let bound = listener.local_addr().map_err(unable)?;
        tracing::info!("metrics and health on http://{bound}/");
        let served = observe::http::serve(listener, Arc::clone(vitals), cancel.clone());
        tasks.spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "metrics and health are no longer served");
            }
        });
    }
    Ok(tasks)
}

/// Persists whichever cluster it is given.
struct Persist<'a> {
    config: &'a Config,
    /// Cancelled when the cluster has all that the journal has to give: others may come in.
    restored: CancellationToken,
    vitals: &'a Arc<Vitals>,
    cancel: &'a CancellationToken,
}

impl Task for Persist<'_> {
    type Output = Result<(), Error>;

    async fn run<C: Cluster>(self, cluster: C) -> Self::Output {
        let incarnation = Incarnation {
            cluster,
            persist: self,
        };
        incarnation.persist().await
    }
}

/// A persister with its cluster, from its start to its end.
struct Incarnation<'a, C> {
    cluster: C,
    persist: Persist<'a>,
}

/// What to do when a pipeline has ended.
enum Next {
    End,
    Attach,
    /// Attach, and take the cluster's state: what led to it cannot be followed.
    TakeState(GapReason),
}

impl<C: Cluster> Incarnation<'_, C> {
    /// Opens the journal and follows; with `--on-disk-full wait`, again and again while there is no
    /// room.
    async fn persist(&self) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        let mut repair = self.persist.config.repair;
        loop {
            let before = self.persist.vitals.status().durable_revision;
            let full = match self.persist_once(repair).await {
                Err(error) if self.persist.config.wait_for_room && error.is_disk_full() => error,
                other => return other,
            };
            repair &= matches!(full, Error::Journal(cairn_journal::Error::NoRoom { .. }));
            if self.persist.vitals.status().durable_revision > before {
                backoff = Backoff::new();
            }
            let pause = backoff.pause();
            tracing::error!(
                error = %full,
                "no room on the disk: nothing is published until there is. \
                 Trying again in {pause:?}"
            );
            if !self.rest(pause).await {
                return Err(full);
            }
        }
    }

    async fn persist_once(&self, repair: bool) -> Result<(), Error> {
        if repair {
            let stop = StopWith::new(self.persist.cancel);
            let config = self.persist.config;
            let repaired = tokio::task::block_in_place(|| {
                crate::repair::repair(config, &self.cluster, stop.stop.clone())
            });
            match repaired {
                Ok(Repaired::Here) => {}
                Ok(Repaired::Elsewhere) | Err(Error::Journal(cairn_journal::Error::Stopped)) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        let journal = tokio::task::block_in_place(|| opening::open(self.persist.config))?;
        let journal = Arc::new(journal);
        let (own, vitals) = (Arc::clone(&journal), Arc::clone(self.persist.vitals));
        let maintenance = Maintenance::start(own, self.persist.config.maintenance, vitals)
            .map_err(|error| Error::Panicked(format!("no thread for checkpoints: {error}")))?;
        let result = self.follow(&journal, &maintenance).await;
        tokio::task::block_in_place(|| maintenance.end());
        // The last record says that everything before it is durable. After an error the journal may
        // be poisoned; what it then says is the error that is returned anyway.
        let closed = match Arc::try_unwrap(journal) {
            Ok(journal) => tokio::task::block_in_place(|| journal.close()),
            // A reader of the mirror's backlog is still at it: recovery finds the end without it.
            Err(_) => Ok(()),
        };
        result?;
        Ok(closed?)
    }

    /// Restores if asked to, then attaches and follows, again and again.
    async fn follow(&self, journal: &Arc<Journal>, maintenance: &Maintenance) -> Result<(), Error> {
        let Config {
            id,
            mirror,
            accept_loss,
            restore,
            ..
        } = *self.persist.config;
        if restore && !self.restore_first(journal).await? {
            return Ok(());
        }
        self.persist.restored.cancel();
        let me = Holder::new(journal.uuid(), journal.dir());
        let mut take_state = None;
        let mut backoff = Backoff::new();
        loop {
            let attached = attach::attach(
                &self.cluster,
                journal,
                id,
                take_state,
                accept_loss,
                self.persist.cancel,
            );
            let Some(attached) = attached.await? else {
                return Ok(());
            };
            if attached.state_taken {
                maintenance.checkpoint_soon();
            }
            let before = journal.end().revision;
            let lived = pipeline::run(
                attached,
                journal,
                id,
                &me,
                mirror,
                self.persist.vitals,
                self.persist.cancel,
            );
            let ended = lived.await;
            self.persist.vitals.detached();
            take_state = match next(ended, journal)? {
                Next::End => return Ok(()),
                Next::Attach => None,
                Next::TakeState(reason) => {
                    self.persist.vitals.gap();
                    Some(reason)
                }
            };
            if journal.end().revision > before {
                backoff = Backoff::new();
            }
            if !self.rest(backoff.pause()).await {
                return Ok(());
            }
        }
    }

    /// Restores, waiting for the cluster, and for others who restore it, as long as it takes.
    /// `false` if cancelled.
    async fn restore_first(&self, journal: &Arc<Journal>) -> Result<bool, Error> {
        let source = tokio::task::block_in_place(|| Source::of(journal))?;
        let mut backoff = Backoff::new();
        loop {
            let tried = async {
                let session = self.cluster.open().await?;
                restore(&session, &source, &self.persist.config.restore_options).await
            };
            let tried = tokio::select! {
                biased;
                () = self.persist.cancel.cancelled() => return Ok(false),
                tried = tried => tried,
            };
            let why = match tried {
                Ok(Restored::Nothing(reason)) => {
                    tracing::info!("nothing was restored: {reason}");
                    return Ok(true);
                }
                // `Merged` is never asked for here.
                Ok(Restored::Done(summary) | Restored::Merged(_, summary)) => {
                    tell_restored(&summary);
                    return Ok(true);
                }
                Ok(Restored::Wait(identity)) => format!(
                    "another restore goes first ({identity}): {}",
                    identity.completed_by()
                ),
                // Unavailable, or somebody else was faster: another look tells what there is to do
                // now.
                Err(
                    error
                    @ Error::Cluster(ClusterError::Unavailable(_) | ClusterError::Conflict(_)),
                ) => error.to_string(),
                Err(error) => return Err(error),
            };
            let pause = backoff.pause();
            tracing::warn!(why, "cannot restore yet; trying again in {pause:?}");
            if !self.rest(pause).await {
                return Ok(false);
            }
        }
    }

    /// Lets some time pass; `false` if it is over.
    async fn rest(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.persist.cancel.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

fn next(ended: Result<Ended, Error>, journal: &Journal) -> Result<Next, Error> {
    match ended {
        Ok(Ended::Cancelled) => Ok(Next::End),
        Ok(Ended::IdentityChanged) => {
            tracing::warn!("the cluster was given another identity; looking at it again");
            Ok(Next::Attach)
        }
        Ok(Ended::JournalGone) => Err(Error::Panicked(
            "the journal stage ended without an error".to_owned(),
        )),
        Err(Error::Cluster(ClusterError::HistoryDiscarded)) => {
            let is_new = journal.end().revision == Revision::NONE;
            Ok(Next::TakeState(if is_new {
                GapReason::Baseline
            } else {
                GapReason::HistoryDiscarded
            }))
        }
        Err(error) if error.is_unavailable() => {
            tracing::warn!(%error, "the connection to the cluster ended; going on with another");
            Ok(Next::Attach)
        }
        Err(error) => Err(error),
    }
}

fn tell_restored(summary: &Summary) {
    tracing::info!(
        "restored {} at revision {}",
        summary.digest.describe(),
        summary.at
    );
    for Shifted { path, before, now } in &summary.shifted {
        tracing::warn!(
            "{} could not keep its revision {before}: it is at {now}",
            String::from_utf8_lossy(path)
        );
    }
}
