//! Restoring: decide, claim, write, compare, say so in the identity.

use std::time::Instant;

use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::{Choice, Outcome};
use crate::restore::apply::Work;
use crate::restore::claim::RestoreClaim;
use crate::restore::decide::{Decision, Fill, decide, differs};
use crate::restore::forecast::Forecast;
use crate::restore::leases::Leases;
use crate::restore::merge::{Merge, Terms};
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::{Restored, Summary};
use crate::restore::plan::Reason;
use crate::restore::snapshot_file::ASSUMED_TTL;
use crate::restore::source::{Source, TargetState};
use crate::restore::target::Target;
use crate::restore::{apply, compare, election, load, merge};

/// How many keys are in flight, unless told otherwise, where the order of writes is kept.
const IN_FLIGHT: usize = 64;

/// How many keys a merge has in flight, where it is not kept: of a merge, order does not matter.
const MERGE_IN_FLIGHT: usize = 8;

/// Restores what `options` says from `source`, if that is called for.
///
/// # Errors
/// The cluster's, the journal's; [`Conflict`] if somebody else was faster, and it is worth looking
/// again; [`Error::WouldLose`] if the journal itself lacks something, or comes too late with what
/// it has more, and that is not accepted; [`Error::DoesNotFit`]; [`Error::RestoreDiffers`] if the
/// result does not compare equal.
///
/// [`Conflict`]: crate::cluster::error::Error::Conflict
pub async fn restore<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let mut decision = decide(session, source, options, None).await?;
    if let Decision::Wait(claim) = &decision
        && election::outlives(session, claim, &source.bidder(options)).await?
    {
        tracing::warn!("nothing has come of the bid {claim}: its bidder counts as dead");
        decision = decide(session, source, options, Some(claim)).await?;
    }
    match decision {
        Decision::Nothing(reason) => Ok(Restored::Nothing(reason)),
        Decision::Wait(claim) => Ok(Restored::Wait(claim)),
        Decision::Merge(target, state, merge, forecast) => {
            warn_of(&state.leases, forecast);
            write_merge(session, source, (&target, &state), merge, forecast, options).await
        }
        Decision::Fill(fill) => run(session, source, options, *fill).await,
    }
}

async fn run<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
    fill: Fill,
) -> Result<Restored, Error> {
    let is_begun = fill.is_begun();
    let Fill {
        remote,
        target,
        state,
        claim,
        lock,
        forecast,
        ..
    } = fill;
    let digest = state.digest;
    warn_of(&state.leases, forecast);
    tracing::info!(keys = digest.keys, hash = %digest, at = %target.at, "restoring");
    if session.capabilities().loads && remote.identity.is_none() {
        return Ok(Restored::Done(
            load::load(session, source, state, lock).await?,
        ));
    }
    let mut claim = RestoreClaim::set(session, &remote, &claim).await?;
    claim.win(options.wait_for_others, &lock).await?;
    let newest = source.local().newest;
    let mut summary = Summary {
        digest,
        at: target.at,
        newest,
        leases: state.leases.clone(),
        forecast,
        ..Summary::default()
    };
    let begun = Instant::now();
    // Nobody else may write from now on; before, somebody may have.
    let found = compare::look(session, &state.files, Some(&mut claim)).await?;
    if !found.foreign.is_empty() {
        if is_begun {
            return Err(differs(session, state, None).await);
        }
        claim.withdraw().await?;
        return Ok(Restored::Nothing(Reason::NotEmpty(found.foreign)));
    }
    // Kept alive as long as the session: none ends before all keys are there.
    session.grant(&state.leases.granted).await?;
    let limits = session.limits().await?;
    let in_order = if limits.in_order { IN_FLIGHT } else { 1 };
    let items = found.missing(state.files);
    summary.written = items.len() as u64;
    summary.shifted = found.shifted;
    let work = Work {
        items,
        upto: newest,
        in_flight: options.in_flight.unwrap_or(in_order),
        fills: forecast.is_none_or(|forecast| forecast.fills()),
        most_keys: session.capabilities().writes_per_revision,
        most_bytes: limits.revision_bytes,
    };
    let fills = work.fills;
    let applied = apply::apply(session, &mut claim, work).await?;
    summary.shifted.extend(applied.shifted);
    summary.surprise = applied.surprise;
    summary.took = begun.elapsed();
    let there = compare::digest(session, &mut claim, &digest).await?;
    if there != digest {
        let (rules, has_leases) = (session.rules(), session.capabilities().leases);
        let read = || source.target_state(&rules, &target, has_leases);
        let state = tokio::task::block_in_place(read)?;
        return Err(differs(session, state, Some(there.describe())).await);
    }
    tracing::info!(keys = digest.keys, hash = %digest, "the cluster equals the journal");
    summary.identity = lock.finished(match target.choice {
        Choice::Only(_) => Outcome::Part,
        _ if summary.shifted.is_empty() && fills => Outcome::Kept,
        _ => Outcome::Shifted,
    });
    summary.counter = claim.finish(&summary.identity).await?;
    tracing::info!(cluster = %summary.identity, revision = %summary.counter, "restored");
    Ok(Restored::Done(summary))
}

async fn write_merge<S: Session>(
    session: &S,
    source: &Source,
    (target, state): (&Target, &TargetState),
    merge: Merge,
    forecast: Option<Forecast>,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let begun = Instant::now();
    let newest = match forecast {
        Some(forecast) if !forecast.fills() => merge.counter,
        _ => source.local().newest,
    };
    session.grant(&state.leases.granted).await?;
    let in_flight = options.in_flight.unwrap_or(MERGE_IN_FLIGHT).max(1);
    let terms = Terms::of(options, target, &session.rules());
    let merge = merge::apply(session, &state.files, newest, in_flight, &terms, merge).await?;
    let summary = Summary {
        digest: state.digest,
        at: target.at,
        newest,
        counter: merge.counter,
        leases: state.leases.clone(),
        forecast,
        written: (merge.created.len() + merge.overwritten.len()) as u64,
        took: begun.elapsed(),
        ..Summary::default()
    };
    Ok(Restored::Merged(merge, summary))
}

/// Says before the first write what the writes cannot bring back.
fn warn_of(leases: &Leases, forecast: Option<Forecast>) {
    if let Some(forecast) = forecast {
        tracing::warn!("{forecast}");
    }
    if leases.detached > 0 {
        let named = leases
            .named
            .iter()
            .map(|key| key.escape_ascii().to_string());
        tracing::warn!(
            keys = leases.detached,
            "come back without the lease that they had, and stay: {} ...",
            named.collect::<Vec<_>>().join(" ")
        );
    }
    if !leases.assumed.is_empty() {
        tracing::warn!(
            leases = leases.assumed.len(),
            "last as long as nobody knows, and get {ASSUMED_TTL} s"
        );
    }
}
