//! `persister restore`: restores, says what came of it, and ends.
//!
//! Promise: a journal is only read, whatever happens; with `--dry-run` the cluster is, too.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_client::Uri;
use tokio_util::sync::CancellationToken;

use super::{Forecast, Reason, Report, Restored, Source, Wish, election, forecast, restore};
use crate::cluster::doozer::Doozer;
use crate::cluster::{self, Cluster, Session};
use crate::error::Error;
use crate::patience::Patience;

/// How long a cluster may be away in the middle of a restore.
const AWAY: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The cluster.
    pub cluster: Uri,
    /// The journal's directory.
    pub journal: PathBuf,
    /// What to restore.
    pub wish: Wish,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Restores, or says what that would do.
///
/// # Errors
/// As [`restore()`]; [`Error::Interrupted`] if cancelled.
pub async fn run(request: &Request, cancel: &CancellationToken) -> Result<Report, Error> {
    // No id: nothing is followed here.
    let cluster = Doozer::new(request.cluster.clone(), 0);
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        report = run_on(&cluster, request) => report,
    }
}

async fn run_on<C: Cluster>(cluster: &C, request: &Request) -> Result<Report, Error> {
    let exclusive = !request.dry_run;
    let source = tokio::task::block_in_place(|| Source::open(&request.journal, exclusive))?;
    if exclusive && !source.is_locked() {
        tracing::info!("the journal is in use, or read-only: restoring what is in it now");
    }
    let mut patience = Patience::new();
    // A cluster that is not there to begin with is not waited for: somebody is waiting for us.
    let mut session = cluster.open().await?;
    let mut reached = Instant::now();
    loop {
        if request.dry_run {
            return Ok(Report::forecast(
                forecast(&session, &source, &request.wish).await?,
            ));
        }
        let why = match restore(&session, &source, &request.wish, None).await {
            Ok(Restored::Wait(identity)) => {
                tracing::info!("another restore goes first ({identity}): waiting for it");
                let at = session.revision().await?;
                if !election::is_alive(&session, at).await? {
                    let reason = Reason::OthersRestore(identity);
                    return Ok(Report::forecast(Forecast::Nothing(reason)));
                }
                continue;
            }
            Ok(restored) => return Ok(Report::restored(restored)),
            Err(Error::Cluster(error @ cluster::Error::Conflict)) => {
                reached = Instant::now();
                error
            }
            Err(Error::Cluster(error @ cluster::Error::Unavailable(_))) => error,
            Err(other) => return Err(other),
        };
        loop {
            let pause = patience.pause();
            tracing::warn!(%why, "not restored yet; trying again in {pause:?}");
            tokio::time::sleep(pause).await;
            match cluster.open().await {
                Ok(opened) => {
                    session = opened;
                    reached = Instant::now();
                    break;
                }
                Err(error) if reached.elapsed() > AWAY => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}
