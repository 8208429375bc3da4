//! What a restore would do: its decision, and no effect.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_journal::Revision;
use futures::future::try_join_all;

use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::Identity;
use crate::restore::apply::NOPS;
use crate::restore::decide::{Decision, Fill, decide};
use crate::restore::digest::Digest;
use crate::restore::forecast::Forecast;
use crate::restore::leases::Leases;
use crate::restore::merge::Merge;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::Shifted;
use crate::restore::plan::Reason;
use crate::restore::source::Source;

/// How many requests tell the rate at which a cluster answers.
const ASKED: u64 = 4 * NOPS as u64;

/// How many keys a dry run names.
pub(super) const NAMED: usize = 10;

/// What a restore would do.
#[derive(Debug)]
pub enum DryRun {
    /// Nothing, for this reason.
    Nothing(Reason),
    /// Wait for another restore.
    Wait(Identity),
    /// Restore.
    Restore(Outlook),
    /// Merge.
    Merge(Merge, Outlook),
}

/// What would be restored.
#[derive(Debug)]
pub struct Outlook {
    /// All keys of the state.
    pub digest: Digest,
    /// Its revision.
    pub at: Revision,
    /// The journal's newest.
    pub newest: Revision,
    /// Where the cluster's counter is.
    pub counter: Revision,
    /// Keys that are there already, left by an interrupted restore.
    pub there: u64,
    /// The first few keys that would be written.
    pub first: Vec<Bytes>,
    /// The revision of the oldest key that would be written.
    pub oldest: Option<Revision>,
    /// Revisions that no key has, and that are filled one by one.
    pub filled: u64,
    /// How long that takes at least, at the rate at which the cluster answers now.
    pub fills_for: Duration,
    /// The keys that could not keep their revision, as things are; `now` is an estimate.
    pub shifted: Vec<Shifted>,
    /// The leases that would come back, and keys that would lose theirs.
    pub leases: Leases,
    /// What the writes take, where something else would bring back more.
    pub forecast: Option<Forecast>,
}

/// # Errors
/// As [`restore`](crate::restore::job::restore).
pub async fn dry_run<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
) -> Result<DryRun, Error> {
    let newest = source.local().newest;
    Ok(match decide(session, source, options, None).await? {
        Decision::Nothing(reason) => DryRun::Nothing(reason),
        Decision::Wait(claim) => DryRun::Wait(claim),
        Decision::Fill(fill) => {
            let mut outlook = outlook(*fill, newest);
            if outlook.filled > 0 && !session.capabilities().loads {
                outlook.fills_for = time_for(session, outlook.filled).await?;
            }
            DryRun::Restore(outlook)
        }
        Decision::Merge(target, state, merge, forecast) => {
            let outlook = Outlook {
                digest: state.digest,
                at: target.at,
                newest,
                counter: merge.counter,
                there: merge.same,
                first: merge.created.iter().take(NAMED).cloned().collect(),
                oldest: None,
                filled: 0,
                fills_for: Duration::ZERO,
                shifted: Vec::new(),
                leases: state.leases,
                forecast,
            };
            DryRun::Merge(merge, outlook)
        }
    })
}

fn outlook(fill: Fill, newest: Revision) -> Outlook {
    let costs = fill.claim_costs();
    let (digest, found) = (fill.state.digest, fill.found);
    let there = found.there.len() as u64;
    let mut order = found.missing(fill.state.files);
    order.sort_unstable_by_key(|item| item.revision);
    let (mut next, mut shifted) = (Revision(fill.at_start.0 + costs).next(), found.shifted);
    let fills = fill.forecast.is_none_or(|forecast| forecast.fills());
    // Keys of one revision come in one, if the cluster takes several: an estimate.
    let together = fill.forecast.is_some();
    let mut last = None;
    for item in &order {
        if item.revision >= next && fills {
            break;
        }
        if together && last == Some(item.revision) {
            next = next.previous();
        }
        last = Some(item.revision);
        shifted.push(Shifted {
            path: item.path.clone(),
            before: item.revision,
            now: next,
        });
        next = next.next();
    }
    let begin = fill.at_start.0 + costs;
    let way = u64::try_from(newest.0.saturating_sub(begin)).unwrap_or(0);
    let oldest = order.first().map(|item| item.revision);
    // A forecast says it by itself.
    let filled = match fill.forecast {
        Some(_) => 0,
        None => way.saturating_sub(order.len() as u64),
    };
    let first = order.into_iter().take(NAMED).map(|item| item.path);
    Outlook {
        digest,
        at: fill.target.at,
        newest,
        counter: fill.at_start,
        there,
        first: first.collect(),
        oldest,
        filled,
        fills_for: Duration::ZERO,
        shifted,
        leases: fill.state.leases,
        forecast: fill.forecast,
    }
}

/// How long so many revisions take to be filled, told by as many requests as a restore has in
/// flight. They only ask; a cluster that has to agree on each revision takes longer.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
async fn time_for<S: Session>(session: &S, filled: u64) -> Result<Duration, Error> {
    let begun = Instant::now();
    let mut asked = 0;
    while asked < filled.min(ASKED) {
        let together = (0..NOPS).map(|_| session.revision());
        try_join_all(together).await?;
        asked += NOPS as u64;
    }
    Ok(begun.elapsed().mul_f64(filled as f64 / asked as f64))
}
