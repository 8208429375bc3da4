//! The order of it all: open the journal, restore, attach, follow, and again.
//!
//! Promise: returns only when there is nothing left to do, with the journal closed, or with the
//! reason why going on is impossible.

use std::sync::Arc;

use cairn_journal::{GapReason, Journal, Retention};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::doozer::Doozer;
use crate::cluster::{self, Cluster};
use crate::config::{Config, Target};
use crate::embedded::Embedded;
use crate::error::Error;
use crate::observe::{self, Vitals};
use crate::owner::Holder;
use crate::patience::Patience;
use crate::restore::{Restored, Shifted, Source, restore};
use crate::stage::follow::Ended;
use crate::upkeep::Upkeep;
use crate::{attach, pipeline};

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
            let gate = Gate {
                node: None,
                restored: &CancellationToken::new(),
            };
            persist(&config, &cluster, gate, &vitals, &cancel).await
        }
        Target::Embedded(address) => {
            let server = Embedded::start(*address).await?;
            let cluster = Doozer::new(server.uri().clone(), config.id);
            let (restored, closed) = (CancellationToken::new(), CancellationToken::new());
            let opening = server.open_between(restored.clone(), cancel.clone(), closed.clone());
            let gate = Gate {
                node: Some(&server),
                restored: &restored,
            };
            let result = persist(&config, &cluster, gate, &vitals, &closed).await;
            opening.abort();
            server.stop().await;
            result
        }
    };
    telling.cancel();
    told.join_all().await;
    result
}

/// The cluster in our own process, if there is one.
#[derive(Clone, Copy)]
struct Gate<'a> {
    /// That cluster.
    node: Option<&'a Embedded>,
    /// Cancelled when the cluster has all that the journal has to give: others may come in.
    restored: &'a CancellationToken,
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
/// room. Opens `gate` when the cluster has all that the journal has to give.
async fn persist<C: Cluster>(
    config: &Config,
    cluster: &C,
    gate: Gate<'_>,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let mut patience = Patience::new();
    let mut repair = config.repair;
    loop {
        let before = vitals.status().durable_revision;
        let result = persist_once(config, repair, cluster, gate, vitals, cancel).await;
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
    gate: Gate<'_>,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let journal = tokio::task::block_in_place(|| {
        if repair {
            crate::repair::repair(config, cluster)?;
        }
        open_journal(config)
    })?;
    let journal = Arc::new(journal);
    let upkeep = Upkeep::start(Arc::clone(&journal), config.upkeep, Arc::clone(vitals))
        .map_err(|error| Error::Panicked(format!("no thread for checkpoints: {error}")))?;
    let result = follow(config, cluster, gate, &journal, &upkeep, vitals, cancel).await;
    tokio::task::block_in_place(|| upkeep.end());
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

/// Opens the journal. Where even that finds no room, what need not be retained goes first: once open it
/// would go anyway, so a disk that is full must not keep it.
fn open_journal(config: &Config) -> Result<Journal, Error> {
    let open = || Journal::open(&config.journal, config.options.clone());
    let retention = &config.upkeep.retention;
    let opened = open().map_err(Error::from).or_else(|error| {
        if !error.is_disk_full() || *retention == Retention::default() {
            return Err(error);
        }
        let report = match cairn_journal::retire(&config.journal, retention) {
            Ok(report) if report.bytes > 0 => report,
            Ok(_) => return Err(error),
            Err(retiring) => {
                tracing::error!(error = %retiring, "nor can history be removed");
                return Err(error);
            }
        };
        tracing::warn!(
            bytes = report.bytes,
            "no room to open the journal: history that need not be retained was removed first"
        );
        Ok(open()?)
    });
    let (journal, recovery) = opened?;
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
    Ok(journal)
}

/// Restores if asked to, then attaches and follows, again and again.
async fn follow<C: Cluster>(
    config: &Config,
    cluster: &C,
    gate: Gate<'_>,
    journal: &Arc<Journal>,
    upkeep: &Upkeep,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if config.restore && !restore_first(config, cluster, gate.node, journal, cancel).await? {
        return Ok(());
    }
    gate.restored.cancel();
    let me = Holder::new(journal.uuid(), journal.dir());
    let mut take_state = None;
    let mut patience = Patience::new();
    loop {
        let Some(attached) =
            attach::attach(cluster, journal, take_state, config.accept_loss, cancel).await?
        else {
            return Ok(());
        };
        take_state = None;
        if attached.state_taken {
            upkeep.checkpoint_soon();
        }
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

/// Restores, waiting for the cluster, and for others who restore it, as long as it takes. `false` if
/// cancelled.
async fn restore_first<C: Cluster>(
    config: &Config,
    cluster: &C,
    node: Option<&Embedded>,
    journal: &Arc<Journal>,
    cancel: &CancellationToken,
) -> Result<bool, Error> {
    let source = tokio::task::block_in_place(|| Source::of(journal))?;
    let mut patience = Patience::new();
    loop {
        let tried = async {
            let session = cluster.open().await?;
            restore(&session, &source, &config.wish, node).await
        };
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(false),
            tried = tried => tried,
        };
        let why = match tried {
            Ok(Restored::Nothing(reason)) => {
                tracing::info!("nothing was restored: {reason}");
                return Ok(true);
            }
            // `Merged` is never asked for here.
            Ok(Restored::Done(summary) | Restored::Merged(_, summary)) => {
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
                return Ok(true);
            }
            Ok(Restored::Wait(identity)) => format!(
                "another restore goes first ({identity}). If it was interrupted: {}",
                identity.completed_by()
            ),
            // Unavailable, or somebody else was faster: another look tells what there is to do now.
            Err(
                error @ Error::Cluster(cluster::Error::Unavailable(_) | cluster::Error::Conflict),
            ) => error.to_string(),
            Err(error) => return Err(error),
        };
        let pause = patience.pause();
        tracing::warn!(why, "cannot restore yet; trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Ok(false),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
