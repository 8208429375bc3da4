//! `persister restore`: restores, says what came of it, and ends.
//!
//! Promise: a journal is only read, whatever happens; with `--dry-run` the cluster is, too.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::cluster::address::Address;
use crate::cluster::backoff::Backoff;
use crate::cluster::connect::{Task, connect};
use crate::cluster::control::Id;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::session::{Cluster, Session};
use crate::error::Error;
use crate::restore::dry_run::{DryRun, dry_run};
use crate::restore::election::{self, Ended};
use crate::restore::job::restore;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::Restored;
use crate::restore::plan::Reason;
use crate::restore::report::Report;
use crate::restore::source::Source;

/// How long a cluster may be away in the middle of a restore, each time.
const AWAY: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The cluster.
    pub cluster: Address,
    /// The journal's directory.
    pub journal: PathBuf,
    /// What to restore.
    pub options: RestoreOptions,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Restores, or says what that would do.
///
/// # Errors
/// As [`restore()`]; [`Error::Interrupted`] if cancelled.
pub async fn run(request: &Request, cancel: &CancellationToken) -> Result<Report, Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        report = connect(&request.cluster, NO_ID, None, Restoring(request)) => report,
    }
}

/// No owner key is looked out for here.
const NO_ID: Id = 0;

struct Restoring<'a>(&'a Request);

impl Task for Restoring<'_> {
    type Output = Result<Report, Error>;

    async fn run<C: Cluster>(self, cluster: C) -> Self::Output {
        run_on(&cluster, self.0).await
    }
}

async fn run_on<C: Cluster>(cluster: &C, request: &Request) -> Result<Report, Error> {
    let exclusive = !request.dry_run;
    tracing::info!(journal = %request.journal.display(), "reading the journal");
    let source = tokio::task::block_in_place(|| Source::open(&request.journal, exclusive))?;
    if exclusive && !source.is_locked() {
        tracing::info!("the journal is in use, or read-only: restoring what is in it now");
    }
    // What is wanted is found out once: a moment takes reading the journal.
    let options = tokio::task::block_in_place(|| source.settled(&request.options))?;
    // A cluster that is not there to begin with is not waited for: somebody is waiting for us.
    let mut session = source.reach(cluster).await?;
    if request.dry_run {
        return Ok(Report::dry_run(dry_run(&session, &source, &options).await?));
    }
    let mut backoff = Backoff::new();
    loop {
        let why = match attempt(&session, &source, &options).await {
            Ok(Attempt::Over(report)) => return Ok(*report),
            Ok(Attempt::Waited(why)) => why,
            Err(Error::Cluster(
                error @ (ClusterError::Conflict(_) | ClusterError::Unavailable(_)),
            )) => error.to_string(),
            Err(other) => return Err(other),
        };
        if options.merge {
            tracing::warn!(
                "keys that this merge wrote before the interruption count as there already; the \
                 values that it overwrote are listed above, not in the report"
            );
        }
        let away = Instant::now();
        loop {
            let pause = backoff.pause();
            tracing::warn!(why, "not restored yet; trying again in {pause:?}");
            tokio::time::sleep(pause).await;
            match source.reach(cluster).await {
                Ok(opened) => {
                    session = opened;
                    break;
                }
                Err(error) if away.elapsed() > AWAY || !error.is_unavailable() => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
    }
}

/// What came of one attempt.
enum Attempt {
    Over(Box<Report>),
    /// It is worth looking again; why nothing was restored.
    Waited(String),
}

/// Restores, or waits for the restore that goes first.
async fn attempt<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
) -> Result<Attempt, Error> {
    let claim = match restore(session, source, options).await? {
        Restored::Wait(claim) => claim,
        restored => return Ok(Attempt::Over(Box::new(Report::restored(restored)))),
    };
    if claim.bid().is_some() {
        let why = format!("another one bids ({claim}): {}", claim.completed_by());
        return Ok(Attempt::Waited(why));
    }
    tracing::info!("another restore goes first ({claim}): waiting for it");
    Ok(match election::end_of(session, &claim).await? {
        Ended::Otherwise => Attempt::Waited("another restore went first".to_owned()),
        Ended::Dead => {
            let reason = DryRun::Nothing(Reason::OthersRestore(claim));
            Attempt::Over(Box::new(Report::dry_run(reason)))
        }
    })
}
