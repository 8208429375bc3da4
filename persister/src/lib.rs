//! The persister: follows a cluster, journals every change, and says inside the cluster what is
//! on disk.
//!
//! ```text
//!  run ── open journal ── (restore) ──▶ attach ──▶ pipeline ──▶ attach ──▶ ...
//!                                       identify    follow, journal, publish
//! ```
//!
//! One idea carries most of it: *a reconnect is a restart*. A [`pipeline`] lives as long as one
//! connection to one identified cluster, and the next begins where the journal ends. There is one
//! way to resume, whatever was interrupted, and nothing that was known about one cluster is ever
//! said to another.
//!
//! Where to find what:
//!
//! | module | what it decides |
//! |---|---|
//! | [`identity`] | whether a cluster is the one that the journal followed (pure) |
//! | [`mirror`] | which mirror writes are needed, and which may fly together (pure) |
//! | [`owner`] | who holds an id |
//! | [`attach`], [`difference`] | how a session becomes one that may be followed, also across a gap |
//! | [`pipeline`], [`stage`] | follow, journal, publish |
//! | [`mod@restore`] | how a journal's state goes back into an empty cluster |
//! | [`observe`] | what is told to Prometheus, health checks, the service manager, people |
//! | [`config`] | flags over environment over file over defaults |
//! | [`cluster`] | what a cluster is to all of them; the only place that knows a protocol |

use std::sync::Arc;

use cairn_journal::{GapReason, Journal};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod attach;
pub mod cluster;
pub mod config;
pub mod difference;
pub mod digest;
pub mod error;
pub mod identity;
pub mod mirror;
pub mod observe;
pub mod owner;
pub mod patience;
pub mod pipeline;
pub mod progress;
pub mod restore;
pub mod stage;

use cluster::Cluster;
use cluster::doozer::Doozer;
use config::{Config, Target};
use error::Error;
use observe::Vitals;
use owner::Holder;
use patience::Patience;
use restore::{Restored, restore};
use stage::follow::Ended;

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
    let result = match &config.target {
        Target::Remote(uri) => {
            let cluster = Doozer::new(uri.clone(), config.id);
            persist(&config, &cluster, &vitals, &cancel).await
        }
        Target::Embedded(address) => {
            let (uri, server) = embedded::start(*address).await?;
            let cluster = Doozer::new(uri, config.id);
            let result = persist(&config, &cluster, &vitals, &cancel).await;
            server.stop().await;
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

/// Opens the journal and follows; with `--on-disk-full wait`, again and again while there is no
/// room.
async fn persist<C: Cluster>(
    config: &Config,
    cluster: &C,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let mut patience = Patience::new();
    let mut repair = config.repair;
    loop {
        let before = vitals.status().durable_revision;
        let result = persist_once(config, repair, cluster, vitals, cancel).await;
        let full = match result {
            Err(error) if config.wait_for_room && error.is_disk_full() => error,
            other => return other,
        };
        repair = false;
        if vitals.status().durable_revision > before {
            patience = Patience::new();
        }
        let pause = patience.pause();
        tracing::error!(error = %full, "no room on the disk: nothing is published until there is. Trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Err(full),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn persist_once<C: Cluster>(
    config: &Config,
    repair: bool,
    cluster: &C,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let (journal, repaired) = tokio::task::block_in_place(|| open_journal(config, repair))?;
    let journal = Arc::new(journal);
    let result = follow(config, cluster, &journal, repaired, vitals, cancel).await;
    // The last record says that everything before it is durable. After an error the journal may
    // have latched; what it then says is the error that is returned anyway.
    let closed = match Arc::try_unwrap(journal) {
        Ok(journal) => tokio::task::block_in_place(|| journal.close()),
        // A reader of the mirror's backlog is still at it: recovery finds the end without it.
        Err(_) => Ok(()),
    };
    result?;
    Ok(closed?)
}

/// Opens the journal, repairing it first if asked to. Also says whether a repair lost anything.
fn open_journal(config: &Config, repair: bool) -> Result<(Journal, bool), Error> {
    let mut lost = false;
    if repair && config.journal.exists() {
        let report = cairn_journal::repair(&config.journal)?;
        lost = !report.damaged.is_empty();
        if lost {
            tracing::warn!("the journal was damaged and has been repaired:\n{report}");
        } else {
            tracing::info!("the journal is whole: nothing to repair");
        }
    }
    let (journal, recovery) = Journal::open(&config.journal, config.options.clone())?;
    tracing::info!(
        journal = %config.journal.display(),
        created = recovery.created,
        valid_to = %recovery.valid_to,
        torn_bytes = recovery.torn_bytes,
        "journal open"
    );
    if let Some(torn) = &recovery.torn_file {
        tracing::warn!(
            "a write was under way at the end of the last run: {} bytes that were never acknowledged are kept in {}",
            recovery.torn_bytes,
            torn.display()
        );
    }
    Ok((journal, lost))
}

/// Restores if asked to, then attaches and follows, again and again.
async fn follow<C: Cluster>(
    config: &Config,
    cluster: &C,
    journal: &Arc<Journal>,
    repaired: bool,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if config.restore && !restore_first(cluster, journal, cancel).await? {
        return Ok(());
    }
    let me = Holder::new(journal.uuid());
    let mut take_state = repaired.then_some(GapReason::Damage);
    let mut patience = Patience::new();
    loop {
        let Some(attached) = attach::attach(cluster, journal, take_state, cancel).await? else {
            return Ok(());
        };
        take_state = None;
        let before = journal.end().revision;
        let ended = pipeline::run(
            attached,
            journal,
            config.id,
            &me,
            config.mirror,
            vitals,
            cancel,
        )
        .await;
        vitals.detached();
        match ended {
            Ok(Ended::Cancelled) => return Ok(()),
            Ok(Ended::IdentityChanged) => {
                tracing::warn!("the cluster was given another identity; looking at it again");
            }
            Ok(Ended::JournalGone) => {
                return Err(Error::Panicked(
                    "the journal stage ended without an error".to_owned(),
                ));
            }
            Err(Error::Cluster(cluster::Error::HistoryDiscarded)) => {
                vitals.gap();
                take_state = Some(if journal.end().revision == cairn_journal::Revision::NONE {
                    GapReason::Baseline
                } else {
                    GapReason::HistoryDiscarded
                });
            }
            Err(error) if error.is_unavailable() => {
                tracing::warn!(%error, "the connection to the cluster ended; going on with another");
            }
            Err(error) => return Err(error),
        }
        if journal.end().revision > before {
            patience = Patience::new();
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(patience.pause()) => {}
        }
    }
}

/// Restores, waiting for the cluster as long as it takes. `false` if cancelled.
async fn restore_first<C: Cluster>(
    cluster: &C,
    journal: &Arc<Journal>,
    cancel: &CancellationToken,
) -> Result<bool, Error> {
    let mut patience = Patience::new();
    loop {
        let tried = async {
            let session = cluster.open().await?;
            restore(&session, journal).await
        };
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(false),
            tried = tried => tried,
        };
        match tried {
            Ok(Restored::Nothing(reason)) => {
                tracing::info!("nothing was restored: {reason}");
                return Ok(true);
            }
            Ok(Restored::Done(summary)) => {
                tracing::info!(
                    "restored {} at revision {}",
                    summary.digest.describe(),
                    summary.at
                );
                for (path, before, now) in &summary.shifted {
                    tracing::warn!(
                        "{} could not keep its revision {before}: it is at {now}",
                        String::from_utf8_lossy(path)
                    );
                }
                return Ok(true);
            }
            Err(error) if error.is_unavailable() => {
                let pause = patience.pause();
                tracing::warn!(%error, "cannot restore yet; trying again in {pause:?}");
                tokio::select! {
                    () = cancel.cancelled() => return Ok(false),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
}

mod embedded {
    //! The cluster that lives in this process.

    use std::net::SocketAddr;

    use super::{CancellationToken, Error, TcpListener};
    use anyhow::Context as _;
    use cairn_client::Uri;
    use tokio::task::JoinHandle;

    /// A running server.
    pub(super) struct Server {
        task: JoinHandle<anyhow::Result<()>>,
        stop: CancellationToken,
    }

    /// Starts one at `address`; returns when it can be connected to.
    pub(super) async fn start(address: SocketAddr) -> Result<(Uri, Server), Error> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| {
                format!("cannot listen on {address}; is another cluster running there? Choose another with -l HOST:PORT")
            })
            .map_err(Error::Embedded)?;
        let bound = listener
            .local_addr()
            .context("the address of a listener")
            .map_err(Error::Embedded)?;
        let uri = Uri::from_address(&bound.to_string())
            .context("our own address")
            .map_err(Error::Embedded)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(cairn_lite::run(listener, stop.clone().cancelled_owned()));
        tracing::info!("embedded cluster listening on {bound}: DOOZER_URI='{uri}'");
        Ok((uri, Server { task, stop }))
    }

    impl Server {
        /// Stops it; its state is gone then.
        pub(super) async fn stop(self) {
            self.stop.cancel();
            match self.task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("the embedded cluster: {error:#}"),
                Err(panic) => tracing::error!("the embedded cluster: {panic}"),
            }
        }
    }
}
