//! The order of it all: open the journal, restore, attach, follow, and again.
//!
//! Promise: returns only when there is nothing left to do, with the journal closed, or with the
//! reason why going on is impossible.

pub(crate) mod end;
mod opening;
mod went_back;

use std::sync::Arc;
use std::time::Duration;

use cairn_journal::{GapReason, Journal, Revision};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attach::{Found, Restore, StopWith};
use crate::cluster::backoff::Backoff;
use crate::cluster::connect::{Task, connect};
use crate::cluster::error::Error as ClusterError;
use crate::cluster::in_process::node::EmbeddedNode;
use crate::cluster::session::Cluster;
use crate::config::{Config, Endpoint};
use crate::error::Error;
use crate::identity::holder::Holder;
use crate::import::base;
use crate::maintenance::Maintenance;
use crate::mirror::MirrorMode;
use crate::observe::vitals::Vitals;
use crate::pipeline::follow::Ended;
use crate::repair::Repaired;
use crate::restore::job::restore;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::{Restored, Shifted, Summary};
use crate::restore::source::Source;
use crate::run::end::End;
use crate::{attach, observe, pipeline};

/// How long an end waits for what tells about the persister.
const TOLD: Duration = Duration::from_secs(1);

/// How long an orderly end waits for the journal's last record.
const CLOSED: Duration = Duration::from_secs(3);

/// How many keys the log names.
const NAMED: usize = 10;

/// Runs a persister until `end` is asked for, then ends in good order: what was seen is journaled,
/// what is durable is published. `end` is told the reason of any other end as soon as it is known.
///
/// # Errors
/// Whatever makes going on impossible; see [`Error::exit_status`]. A cluster that is away is not
/// among it: it is waited for.
pub async fn run(config: Config, end: &End) -> Result<(), Error> {
    let vitals = Arc::new(Vitals::new(
        config.id,
        config.journal.clone(),
        config.ready_lag,
    ));
    // Ends what tells about the persister after the persister itself.
    let telling = CancellationToken::new();
    let mut told = tell(&config, &vitals, &telling, end).await?;
    let result = persist(&config, &vitals, end).await;
    if let Err(error) = &result {
        end.because(error);
    }
    telling.cancel();
    let all_told = async { while told.join_next().await.is_some() {} };
    if tokio::time::timeout(TOLD, all_told).await.is_err() {
        told.abort_all();
    }
    result
}

async fn persist(config: &Config, vitals: &Arc<Vitals>, end: &End) -> Result<(), Error> {
    let persist = |cancel| Persist {
        config,
        vitals,
        cancel,
        end,
    };
    match &config.endpoint {
        Endpoint::Remote(address) => {
            let journal = Some(&*config.journal);
            connect(address, config.id, journal, persist(end.asked())).await
        }
        Endpoint::Embedded { listen, node } => {
            let node = EmbeddedNode::start(listen, node.clone())
                .await
                .map_err(Error::Embedded)?;
            let (following, closed) = (vitals.following().clone(), CancellationToken::new());
            let asked = end.asked().clone();
            let opening = node.open_between(following, asked, closed.clone());
            let result = persist(&closed).run(node.cluster(config.id)).await;
            opening.abort();
            result
        }
    }
}

/// Starts what tells about the persister: the service manager's messages, and HTTP if asked for.
async fn tell(
    config: &Config,
    vitals: &Arc<Vitals>,
    cancel: &CancellationToken,
    end: &End,
) -> Result<JoinSet<()>, Error> {
    let mut tasks = JoinSet::new();
    let (vital, asked) = (Arc::clone(vitals), end.asked().clone());
    tasks.spawn(observe::service::notify(vital, asked, cancel.clone()));
    if let Some(address) = &config.listen {
        let unable = |source| Error::Listen {
            address: address.clone(),
            source,
        };
        let listener = address.listen().await.map_err(unable)?;
        let bound = listener.local_addr().map_err(unable)?;
        tracing::info!("metrics and health on http://{bound}/");
        let vitals = Arc::clone(vitals);
        tasks.spawn(observe::http::serve(listener, vitals, cancel.clone()));
    }
    Ok(tasks)
}

/// Persists whichever cluster it is given.
struct Persist<'a> {
    config: &'a Config,
    vitals: &'a Arc<Vitals>,
    cancel: &'a CancellationToken,
    end: &'a End,
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
    /// Opens the journal and follows, again and again while the machine is short of something: of
    /// room only with `--on-disk-full wait`.
    async fn persist(&self) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        let mut repair = self.persist.config.repair;
        loop {
            let before = self.persist.vitals.status().durable_revision;
            let error = match self.persist_once(&mut repair).await {
                Err(error) if self.passes(&error) => error,
                other => return other,
            };
            if self.persist.vitals.status().durable_revision > before {
                backoff = Backoff::new();
            }
            if !self.wait_for_room(&error, &mut backoff).await {
                return Err(error);
            }
        }
    }

    fn passes(&self, error: &Error) -> bool {
        error.is_shortage() || self.persist.config.wait_for_room && error.is_disk_full()
    }

    /// Waits until opening the journal again may help; `false` if the end is asked for before.
    async fn wait_for_room(&self, error: &Error, backoff: &mut Backoff) -> bool {
        let pause = backoff.pause();
        if error.is_shortage() {
            tracing::error!(
                %error,
                "the machine is short of something: nothing is published until it is not. Trying \
                 again in {pause:?}"
            );
            return self.rest(pause).await;
        }
        tracing::error!(
            %error,
            "no room on the disk: nothing is published until there is. Trying again in {pause:?}"
        );
        // Each opening begins a segment: not before there is room for one.
        while self.rest(pause).await {
            if opening::has_room(self.persist.config) {
                return true;
            }
        }
        false
    }

    async fn persist_once(&self, repair: &mut bool) -> Result<(), Error> {
        let (config, cancel) = (self.persist.config, self.persist.cancel);
        if let Some(base) = &config.base
            && !base::begin(
                &self.cluster,
                base,
                &config.journal,
                &config.options,
                cancel,
            )
            .await?
        {
            return Ok(());
        }
        if *repair {
            let stop = StopWith::new(cancel);
            let repaired = tokio::task::block_in_place(|| {
                crate::repair::repair(config, &self.cluster, stop.stop.clone())
            });
            match repaired {
                Ok(Repaired::Here) => *repair = false,
                Ok(Repaired::Elsewhere) | Err(Error::Journal(cairn_journal::Error::Stopped)) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        let journal = tokio::task::block_in_place(|| opening::open(config))?;
        let journal = Arc::new(journal);
        let (own, vitals) = (Arc::clone(&journal), Arc::clone(self.persist.vitals));
        let maintenance =
            Maintenance::start(own, config.maintenance, vitals).map_err(Error::NoThread)?;
        let result = self.follow(&journal, &maintenance).await;
        if let Err(error) = &result
            && !self.passes(error)
        {
            self.persist.end.because(error);
        }
        maintenance.end().await;
        let closed = close(journal).await;
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
        let mut restores = Restore::Never;
        if restore {
            let options = &self.persist.config.restore_options;
            if !self.restore(journal, options).await? {
                return Ok(());
            }
            restores = Restore::NotNow;
        }
        let me = Holder::new(journal.uuid(), journal.dir());
        let mut take_state = None;
        let mut backoff = Backoff::new();
        loop {
            let found = attach::attach(
                &self.cluster,
                journal,
                (mirror != Some(MirrorMode::None)).then_some(id),
                take_state,
                accept_loss,
                restores,
                self.persist.cancel,
            );
            let found = match found.await {
                Err(refused) if self.puts_back(&refused) => {
                    if !self.put_back(journal, refused).await? {
                        return Ok(());
                    }
                    continue;
                }
                found => found?,
            };
            let attached = match found {
                None => return Ok(()),
                Some(Found::Attached(attached)) => attached,
                Some(Found::ToRestore) => {
                    tracing::warn!(
                        "the cluster has lost everything, or is being restored: taking part in its \
                         restore"
                    );
                    // Nobody has pointed us to this cluster: it came where ours was.
                    let options = RestoreOptions {
                        nameless_only: true,
                        ..self.persist.config.restore_options.clone()
                    };
                    if !self.restore(journal, &options).await? {
                        return Ok(());
                    }
                    restores = Restore::NotNow;
                    continue;
                }
            };
            if restore {
                restores = Restore::Offer;
            }
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
    async fn restore(
        &self,
        journal: &Arc<Journal>,
        options: &RestoreOptions,
    ) -> Result<bool, Error> {
        let source = tokio::task::block_in_place(|| Source::of(journal))?;
        let mut backoff = Backoff::new();
        loop {
            let tried = async {
                let session = source.reach(&self.cluster).await?;
                restore(&session, &source, options).await
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

/// Closes the journal, if nothing hangs. The last record says that everything before it is durable;
/// without it, recovery finds the end. After an error the journal may be poisoned; what it then
/// says is the error that the caller has already.
async fn close(journal: Arc<Journal>) -> Result<(), cairn_journal::Error> {
    let Ok(journal) = Arc::try_unwrap(journal) else {
        // A reader of the mirror's backlog is still at it.
        return Ok(());
    };
    let closing = tokio::task::spawn_blocking(move || journal.close());
    match tokio::time::timeout(CLOSED, closing).await {
        Ok(Ok(closed)) => closed,
        Ok(Err(_)) => Err(cairn_journal::Error::Bug),
        Err(_) => {
            tracing::error!("the journal was not closed: the disk does not answer");
            Ok(())
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
        Err(error) if error.may_pass() => {
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
    for Shifted { path, before, now } in summary.shifted.iter().take(NAMED) {
        tracing::warn!(
            "{} could not keep its revision {before}: it is at {now}",
            String::from_utf8_lossy(path)
        );
    }
    if !summary.shifted.is_empty() {
        tracing::warn!(
            "{} keys in all could not keep their revisions: the cluster was past them, or somebody \
             else wrote meanwhile (a doozer node does so once a second: restore into one node that \
             was started with -pulse 3600, before the others join)",
            summary.shifted.len()
        );
    }
}
