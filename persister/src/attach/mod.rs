//! From "there is a journal" to "this session is our cluster, and here is what follows".
//!
//! Promise: the session that comes out belongs to the cluster that the journal is bound to, and
//! its stream begins with the revision after the newest one that the journal covers. Nothing has
//! been published by then.

pub mod attempt;
mod binding;
pub(crate) mod continuity;
pub(crate) mod nodes;
mod observe;
pub mod sides;
pub mod snapshot_diff;

use std::time::{Duration, Instant};

use cairn_journal::{GapReason, Journal, Stop};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::attach::attempt::{Attached, Attempt, Tried};
use crate::attach::nodes::Nodes;
use crate::cluster::backoff::Backoff;
use crate::cluster::control::Id;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::session::Cluster;
use crate::error::Error;

/// What attaching came to.
pub enum Found<S> {
    /// A session that may be followed and published to.
    Attached(Attached<S>),
    /// A cluster that is to be restored, or is being: whoever restores looks at it.
    ToRestore,
}

impl<S> Found<S> {
    /// The session, if there is one.
    #[must_use]
    pub fn attached(self) -> Option<Attached<S>> {
        match self {
            Self::Attached(attached) => Some(attached),
            Self::ToRestore => None,
        }
    }
}

/// Whether to attach to nothing while a cluster is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Nobody restores here: an empty cluster is refused, one that is being restored is waited for.
    Never,
    /// The same, because who restores has looked and does not; until the cluster was away.
    NotNow,
    /// Whoever restores looks at it.
    Offer,
}

/// Attaches, waiting as long as the cluster is away, behind, or being restored; unless `restore`
/// says who does that. `id`: whose watermark in the cluster is ours; without one, the cluster is
/// only observed, and nothing is written into it.
///
/// `take_state` says why following from the journal's end is not enough. The cluster's state is
/// then taken, as it is when the journal itself says that it lacks something. `accept_loss` lets go
/// of changes that the journal holds and a restored cluster does not.
///
/// `None` if cancelled.
///
/// # Errors
/// [`Error::Refused`] if this is not our cluster; the journal's.
pub async fn attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    id: Option<Id>,
    take_state: Option<GapReason>,
    accept_loss: bool,
    mut restore: Restore,
    cancel: &CancellationToken,
) -> Result<Option<Found<C::Session>>, Error> {
    let mut backoff = Backoff::new();
    let mut nameless = Nameless::default();
    let stop = StopWith::new(cancel);
    loop {
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            tried = try_attach(cluster, journal, id, take_state, accept_loss, &stop.stop) => tried,
        };
        if !matches!(tried, Ok(Tried::Nameless(_) | Tried::Several(_))) {
            nameless = Nameless::default();
        }
        let why = match tried {
            Ok(Tried::Attached(attached)) => return Ok(Some(Found::Attached(attached))),
            Ok(Tried::Again) => continue,
            Ok(Tried::Wait(why)) => why,
            // A claim is a compare-and-set, which no node that lags can win. But where there are
            // several, one may be a cluster of its own: the others are given time to say so.
            Ok(Tried::Nameless(_))
                if restore == Restore::Offer
                    && (cluster.nodes().is_empty()
                        || nameless.seen(Instant::now()) >= NAMELESS_FOR) =>
            {
                return Ok(Some(Found::ToRestore));
            }
            // Every node of our cluster has its name, except one that is so far behind that it has
            // not heard it yet. A fresh cluster looks just the same, so this is not waited for
            // long.
            Ok(Tried::Nameless(refused)) if nameless.seen(Instant::now()) < NAMELESS_FOR => {
                format!("{refused}, or this node lags far behind")
            }
            // The others do not know yet how their cluster is called, perhaps.
            Ok(Tried::Several(refused)) if nameless.seen(Instant::now()) < NAMELESS_FOR => {
                refused.to_string()
            }
            Ok(Tried::Several(refused)) => return Err(refused),
            Ok(Tried::Nameless(refused)) => return Err(refused),
            Ok(Tried::Unfinished(_)) if restore == Restore::Offer => {
                return Ok(Some(Found::ToRestore));
            }
            Ok(Tried::Unfinished(why)) => why,
            Err(Error::Journal(cairn_journal::Error::Stopped)) => return Ok(None),
            Err(error) if error.may_pass() => {
                // Whatever was found before, it may be another cluster that comes back.
                if restore == Restore::NotNow {
                    restore = Restore::Offer;
                }
                error.to_string()
            }
            // The state was being taken, and the cluster forgot faster than we read.
            Err(error @ Error::Cluster(ClusterError::HistoryDiscarded)) => error.to_string(),
            Err(error) => return Err(error),
        };
        let pause = backoff.pause();
        tracing::warn!(reason = why, "not attached; trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn try_attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    id: Option<Id>,
    take_state: Option<GapReason>,
    accept_loss: bool,
    stop: &Stop,
) -> Result<Tried<C::Session>, Error> {
    let attempt = Attempt::begin(cluster, journal, id, stop).await?;
    if attempt.is_first() {
        let nodes = Nodes::ask(cluster).await?;
        if !nodes.all_are(attempt.name_found()) {
            return Ok(Tried::Several(nodes.are_several()));
        }
    }
    attempt.decide(take_state, accept_loss).await
}

/// How long a node without a name, and behind the journal, is given to catch up.
const NAMELESS_FOR: Duration = Duration::from_secs(10);

/// Since when one look after the other has found a node without a name.
#[derive(Clone, Copy, Debug, Default)]
struct Nameless(Option<Instant>);

impl Nameless {
    /// Found again: for how long by now. Whatever else a look finds begins this anew, a cluster
    /// that is away among it: in that time no node catches up.
    fn seen(&mut self, now: Instant) -> Duration {
        now.duration_since(*self.0.get_or_insert(now))
    }
}

/// Asks work in a thread to end when somebody cancels; not any more once this is dropped.
pub(crate) struct StopWith {
    pub(crate) stop: Stop,
    asking: JoinHandle<()>,
}

impl StopWith {
    pub(crate) fn new(cancel: &CancellationToken) -> Self {
        let (stop, cancel) = (Stop::new(), cancel.clone());
        let asked = stop.clone();
        let asking = tokio::spawn(async move {
            cancel.cancelled().await;
            asked.ask();
        });
        Self { stop, asking }
    }
}

impl Drop for StopWith {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node without a name was seen, the cluster was away for long, and the first look after that
    /// was refused as if the node had been given all that time.
    #[test]
    fn time_without_a_name_counts_only_while_every_look_finds_none() {
        let begun = Instant::now();
        let mut nameless = Nameless::default();
        assert_eq!(nameless.seen(begun), Duration::ZERO);
        let later = begun + NAMELESS_FOR;
        assert_eq!(nameless.seen(later), NAMELESS_FOR);
        // As `attach` does for whatever else it finds.
        nameless = Nameless::default();
        assert_eq!(nameless.seen(later), Duration::ZERO);
    }
}
