//! What a restore does: decided once, by reading alone. [`restore`](crate::restore::job::restore)
//! does it, and a dry run prints it.
//!
//! Promise: nothing is written here, and everything for which the cluster could refuse a write is
//! known when this is done.

use bytes::Bytes;
use cairn_journal::Revision;
use futures::{StreamExt, TryStreamExt};

use crate::attach::sides::remote_cluster;
use crate::cluster::capabilities::Restores;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::decision::RemoteCluster;
use crate::identity::lineage::{Choice, Identity, Origin, Outcome};
use crate::restore::compare::{self, Found};
use crate::restore::forecast::Forecast;
use crate::restore::merge::{self, Merge, Terms};
use crate::restore::options::RestoreOptions;
use crate::restore::plan::{Permission, Plan, Reason, plan};
use crate::restore::source::{Source, TargetState};
use crate::restore::target::Target;
use crate::restore::validate;

/// What a restore does.
#[derive(Debug)]
pub(super) enum Decision {
    /// Nothing, for this reason.
    Nothing(Reason),
    /// Wait for another restore.
    Wait(Identity),
    /// Write into a cluster that has keys.
    Merge(Target, TargetState, Merge, Option<Forecast>),
    /// Fill the cluster.
    Fill(Box<Fill>),
}

/// How a cluster is filled.
#[derive(Debug)]
pub(super) struct Fill {
    /// The cluster as it was found, and its revision then.
    pub(super) remote: RemoteCluster,
    pub(super) at_start: Revision,
    pub(super) target: Target,
    pub(super) state: TargetState,
    /// What an interrupted restore has left.
    pub(super) found: Found,
    /// What is written into the cluster's identity first: a bid, or the lock.
    pub(super) claim: Identity,
    /// The lock, under which keys are written.
    pub(super) lock: Identity,
    /// What it takes, where something else would bring back more.
    pub(super) forecast: Option<Forecast>,
}

impl Fill {
    /// Whether another restore has begun this.
    pub(super) fn is_begun(&self) -> bool {
        let identity = self.remote.identity.as_ref();
        identity.is_some_and(|identity| identity.is_unfinished() && identity.bid().is_none())
    }

    /// How many revisions it costs to claim the cluster, if nobody else bids.
    pub(super) fn claim_costs(&self) -> i64 {
        let first = self.remote.identity.as_ref() != Some(&self.claim);
        i64::from(first) + i64::from(self.claim != self.lock)
    }
}

/// Finds out what a restore does. `dead`: a bid whose bidder is known to be dead.
///
/// # Errors
/// As [`restore`](crate::restore::job::restore).
pub(super) async fn decide<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
    dead: Option<&Identity>,
) -> Result<Decision, Error> {
    let (remote, at_start) = remote_cluster(session).await?;
    let target = tokio::task::block_in_place(|| source.target(options))?;
    let may = Permission {
        merge: options.merge,
        accept_loss: options.accept_loss,
        take_over: options.take_over,
        nameless_only: options.nameless_only,
    };
    let local = source.local();
    let over = match plan(local, &target, &remote, source.by(), may, dead) {
        Plan::Nothing(reason) => return Ok(Decision::Nothing(reason)),
        Plan::Wait(claim) => return Ok(Decision::Wait(claim)),
        Plan::TooLate(claim) => {
            refuse_if_more(source, &claim, options)?;
            return Ok(Decision::Wait(claim));
        }
        Plan::Merge => return merge_of(session, source, target, options).await,
        Plan::Begin(over) => {
            let keys = first_keys(session, at_start).await?;
            if !keys.is_empty() && options.merge {
                return merge_of(session, source, target, options).await;
            }
            if !keys.is_empty() {
                return Ok(Decision::Nothing(Reason::NotEmpty(keys)));
            }
            over
        }
        Plan::Complete(claim) => Some(claim),
    };
    let restores = session.capabilities().restores;
    if matches!(restores, Restores::Files(_)) && !options.by_writes {
        let journal = source.dir().to_owned();
        return Err(Error::ComesFromFiles { journal });
    }
    let state = target_state(session, source, &target, options).await?;
    let bidder = source.bidder(options);
    let id = over
        .as_ref()
        .map_or_else(Identity::generate, Identity::clone)
        .id;
    let claim_for = |outcome| local.claim(id.clone(), target.at, outcome);
    let lock = claim_for(Outcome::Restoring {
        by: bidder.by.clone(),
        choice: target.choice.clone(),
    });
    let is_begun = over.as_ref().is_some_and(|over| over.bid().is_none());
    let bid = over.as_ref().and_then(Identity::bid);
    let is_bid = !is_begun && target.choice == Choice::Newest && !session.capabilities().loads;
    let claim = if is_bid && (!bidder.is_alone() || bid.is_some_and(|bid| !bid.of.is_empty())) {
        claim_for(Outcome::Bidding(bidder.bid(bid)))
    } else {
        lock.clone()
    };
    let found = if is_begun {
        let found = compare::look(session, &state.files, None).await?;
        if !found.foreign.is_empty() {
            return Err(differs(session, state, None).await);
        }
        found
    } else {
        Found::default()
    };
    let newest = source.local().newest;
    let forecast = Forecast::of(
        restores,
        &state.files,
        at_start,
        newest,
        options.accept_loss,
    )?;
    Ok(Decision::Fill(Box::new(Fill {
        remote,
        at_start,
        forecast,
        target,
        state,
        found,
        claim,
        lock,
    })))
}

/// What is to be restored, if all of it can be.
async fn target_state<S: Session>(
    session: &S,
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<TargetState, Error> {
    refuse_if_lacking(source, target, options)?;
    let rules = session.rules();
    let has_leases = session.capabilities().leases;
    let read = || source.target_state(&rules, target, has_leases);
    let state = tokio::task::block_in_place(read)?;
    validate::each_part_is_there(&rules, &state.files, target)?;
    let limits = session.limits().await?;
    validate::validate(&rules, &state.files, &limits, options.max_value_bytes)?;
    Ok(state)
}

/// What a merge comes to, if all of it can be done.
async fn merge_of<S: Session>(
    session: &S,
    source: &Source,
    target: Target,
    options: &RestoreOptions,
) -> Result<Decision, Error> {
    let state = target_state(session, source, &target, options).await?;
    let terms = Terms::of(options, &target, &session.rules());
    let merge = merge::look(session, &state.files, &terms).await?;
    let forecast = Forecast::of(
        session.capabilities().restores,
        &state.files,
        merge.counter,
        source.local().newest,
        options.accept_loss,
    )?;
    Ok(Decision::Merge(target, state, merge, forecast))
}

/// # Errors
/// [`Error::WouldLose`] if the journal lacks something of this state, and that is not accepted.
fn refuse_if_lacking(
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<(), Error> {
    let Some(lacks) = source.lacks(target.at) else {
        return Ok(());
    };
    if !options.accept_loss {
        return Err(Error::WouldLose(lacks));
    }
    tracing::error!("{lacks}. Restoring what there is, as you asked for");
    Ok(())
}

/// # Errors
/// [`Error::WouldLose`] if the journal has changes that the restore under this claim has not, and
/// that is not accepted.
fn refuse_if_more(
    source: &Source,
    claim: &Identity,
    options: &RestoreOptions,
) -> Result<(), Error> {
    let Some(origin) = claim.origin.as_ref().filter(|_| !options.accept_loss) else {
        return Ok(());
    };
    let beyond = tokio::task::block_in_place(|| source.beyond(origin))?;
    let Some(beyond) = beyond else {
        return Ok(());
    };
    let Origin { parent, at, .. } = origin;
    Err(Error::WouldLose(format!(
        "it is too late to restore from this journal: the cluster is being restored ({claim}) to \
         the state of {parent} at revision {at}, and this journal holds {beyond} up to revision \
         {}. Start the cluster anew, empty, and restore it from this journal (--restore-with 1,2,3 \
         has persisters wait for each other)",
        source.local().newest
    )))
}

/// The first few keys outside the control area.
async fn first_keys<S: Session>(session: &S, at: Revision) -> Result<Vec<Bytes>, Error> {
    let some = session.snapshot(at).take(3);
    Ok(some.map_ok(|live| live.path).try_collect().await?)
}

/// The error for a cluster that is not what was restored; `found`: its digest, if that is known.
pub(super) async fn differs<S: Session>(
    session: &S,
    state: TargetState,
    found: Option<String>,
) -> Error {
    let expected = state.digest.describe();
    match compare::differences(session, state.files).await {
        Ok(keys) => Error::RestoreDiffers {
            expected,
            found: found.unwrap_or_else(|| "other keys".to_owned()),
            keys,
        },
        Err(error) => error,
    }
}
