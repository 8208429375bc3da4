//! What a restore would do: its decision, and no effect.

use bytes::Bytes;
use cairn_journal::Revision;

use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::Identity;
use crate::restore::decide::{Decision, Fill, decide};
use crate::restore::digest::Digest;
use crate::restore::forecast::Forecast;
use crate::restore::leases::Leases;
use crate::restore::merge::Merge;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::Shifted;
use crate::restore::plan::Reason;
use crate::restore::source::Source;

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
        Decision::Fill(fill) => DryRun::Restore(outlook(*fill, newest)),
        Decision::Merge(target, state, merge, forecast) => {
            let outlook = Outlook {
                digest: state.digest,
                at: target.at,
                newest,
                counter: merge.counter,
                there: merge.same,
                first: merge.created.iter().take(NAMED).cloned().collect(),
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
    let first = order.into_iter().take(NAMED).map(|item| item.path);
    Outlook {
        digest,
        at: fill.target.at,
        newest,
        counter: fill.at_start,
        there,
        first: first.collect(),
        shifted,
        leases: fill.state.leases,
        forecast: fill.forecast,
    }
}
