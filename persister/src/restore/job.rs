//! Restoring: decide, prepare, write, compare, say so in the identity.

use std::time::Instant;

use cairn_journal::Revision;

use crate::attach::sides::remote_cluster;
use crate::cluster::error::{Conflict, Error as ClusterError};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::decision::RemoteCluster;
use crate::identity::lineage::{Choice, Identity, Outcome};
use crate::restore::apply::Work;
use crate::restore::claim::RestoreClaim;
use crate::restore::digest::Digest;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::{Restored, Summary};
use crate::restore::plan::{Permission, Plan, Reason, Takeover, overruled, plan};
use crate::restore::prepare::{
    explained, first_keys, max_value_bytes, merge_of, refuse_if_lacking,
};
use crate::restore::source::{Source, Target, TargetState};
use crate::restore::{apply, compare, election, load, merge, validate};

/// How many keys are in flight, unless told otherwise, where the order of writes is kept.
const IN_FLIGHT: usize = 64;

/// How many keys a merge has in flight, where it is not kept: of a merge, order does not matter.
const MERGE_IN_FLIGHT: usize = 8;

/// How often keys that a restore which we overruled wrote at the last moment are put right.
const ROUNDS: usize = 3;

/// Restores what `options` says from `source`, if that is called for.
///
/// # Errors
/// The cluster's, the journal's; [`ClusterError::Conflict`] if somebody else was faster, and it
/// is worth looking again; [`Error::WouldLose`] if the journal itself lacks something and
/// that is not accepted; [`Error::DoesNotFit`]; [`Error::RestoreDiffers`] if the result does not
/// compare equal.
pub async fn restore<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let (remote, at_start) = remote_cluster(session).await?;
    let target = tokio::task::block_in_place(|| source.target(options))?;
    let may = Permission {
        merge: options.merge,
        accept_loss: options.accept_loss,
    };
    let (mut identity, takeover) = match plan(source.local(), &target, &remote, source.by(), may) {
        Plan::Nothing(reason) => return Ok(Restored::Nothing(reason)),
        Plan::Wait(identity) => return Ok(Restored::Wait(identity)),
        Plan::Merge => return merge(session, source, &target, options).await,
        Plan::Begin => {
            let keys = first_keys(session, at_start).await?;
            if !keys.is_empty() {
                if options.merge {
                    return merge(session, source, &target, options).await;
                }
                return Ok(Restored::Nothing(Reason::NotEmpty(keys)));
            }
            (None, None)
        }
        Plan::TakeUp(identity, takeover) => (Some(identity), Some(takeover)),
    };
    if let Some(Takeover::Same | Takeover::Lesser) = takeover {
        tracing::info!("another persister restores this cluster; looking whether it is at work");
        if election::is_alive(session, at_start).await? {
            return Err(ClusterError::Conflict(Conflict::Key).into());
        }
        tracing::warn!("it has not written for long: taking its work up");
    }
    refuse_if_lacking(source, &target, options)?;
    let rules = session.rules();
    let wanted = tokio::task::block_in_place(|| source.target_state(&rules, &target))?;
    validate::each_part_is_there(&rules, &wanted.files, &target)?;
    validate::validate(
        &rules,
        &wanted.files,
        max_value_bytes(session, options).await?,
    )?;
    tracing::info!(keys = wanted.digest.keys, hash = %wanted.digest, at = %target.at, "restoring");

    let begun = identity.take().unwrap_or_else(Identity::generate);
    let over = match (&begun.origin, takeover) {
        (Some(origin), Some(takeover)) => overruled(source.local(), origin, takeover),
        _ => Vec::new(),
    };
    let mine = Identity {
        id: begun.id,
        ..source.local().restoring(
            target.at,
            source.by().to_owned(),
            over.clone(),
            target.choice.clone(),
        )
    };
    if session.capabilities().loads && takeover.is_none() && remote.identity.is_none() {
        return Ok(Restored::Done(
            load::load(session, source, wanted, mine).await?,
        ));
    }
    if let Some(Takeover::Overrule | Takeover::Lesser) = takeover {
        // Nothing is touched that others may have written.
        let before = tokio::task::block_in_place(|| explained(source, &over))?;
        let mut files = wanted.files.clone();
        let found = compare::look(session, &mut files, &before, None).await?;
        if !found.foreign.is_empty() {
            return Ok(Restored::Wait(Identity {
                id: mine.id,
                origin: begun.origin,
            }));
        }
    }
    let job = Job {
        session,
        source,
        target: &target,
        options,
        remote: &remote,
        overruled: over,
        takeover,
    };
    job.run(mine, wanted).await
}

/// A restore that is called for.
struct Job<'a, S> {
    session: &'a S,
    source: &'a Source,
    target: &'a Target,
    options: &'a RestoreOptions,
    remote: &'a RemoteCluster,
    takeover: Option<Takeover>,
    /// The states of the restores that were taken over, by us or by whoever began this one.
    overruled: Vec<Revision>,
}

impl<S: Session> Job<'_, S> {
    async fn run(self, mine: Identity, wanted: TargetState) -> Result<Restored, Error> {
        let mut claim = RestoreClaim::set(self.session, self.remote, &mine).await?;
        let is_bid = matches!(self.takeover, None | Some(Takeover::Overrule));
        let alone = self.session.capabilities().loads;
        if is_bid && !alone && self.target.choice == Choice::Newest {
            claim.hold(self.options.wait_for_others).await?;
        }
        // Also if it was overruled in an earlier attempt of ours: that may be a moment ago.
        let takes_over = self.takeover == Some(Takeover::Overrule) || !self.overruled.is_empty();
        if takes_over && !election::is_quiet_at_last(self.session).await? {
            return Err(ClusterError::Conflict(Conflict::Key).into());
        }
        let before = tokio::task::block_in_place(|| explained(self.source, &self.overruled))?;
        let newest = self.source.local().newest;
        let mut summary = Summary {
            digest: wanted.digest,
            at: self.target.at,
            newest,
            ..Summary::default()
        };
        let limits = self.session.limits().await?;
        let in_order = if limits.in_order { IN_FLIGHT } else { 1 };
        let begun = Instant::now();
        let mut files = Some(wanted.files);
        for round in 1.. {
            let mut wanted = match files.take() {
                Some(files) => files,
                None => {
                    tokio::task::block_in_place(|| {
                        self.source.target_state(&self.session.rules(), self.target)
                    })?
                    .files
                }
            };
            let found = compare::look(self.session, &mut wanted, &before, Some(&mut claim)).await?;
            if !found.foreign.is_empty() {
                if self.takeover.is_none() {
                    claim.withdraw().await?;
                    return Ok(Restored::Nothing(Reason::NotEmpty(found.foreign)));
                }
                return Err(self.differs(&summary.digest, None).await);
            }
            let items = found.items(wanted);
            summary.written += items.len() as u64;
            if round == 1 {
                summary.shifted = found.shifted;
            }
            let work = Work {
                items,
                deletes: found.deletes,
                upto: newest,
                in_flight: self.options.in_flight.unwrap_or(in_order),
            };
            let applied = apply::apply(self.session, &mut claim, work).await?;
            summary.shifted.extend(applied.shifted);
            summary.surprise = summary.surprise.or(applied.surprise);
            summary.took = begun.elapsed();
            let there = compare::digest(self.session, &mut claim, &summary.digest).await?;
            if there == summary.digest {
                break;
            }
            if before.is_empty() || round == ROUNDS {
                return Err(self.differs(&summary.digest, Some(there)).await);
            }
            tracing::warn!("the restore that was taken over has written again: putting that right");
        }
        tracing::info!(
            keys = summary.digest.keys, hash = %summary.digest,
            "the cluster equals the journal"
        );
        summary.identity = mine.finished(match self.target.choice {
            Choice::Only(_) => Outcome::Part,
            _ if summary.shifted.is_empty() => Outcome::Kept,
            _ => Outcome::Shifted,
        });
        summary.counter = claim.finish(&summary.identity).await?;
        tracing::info!(cluster = %summary.identity, revision = %summary.counter, "restored");
        Ok(Restored::Done(summary))
    }

    async fn differs(&self, expected: &Digest, found: Option<Digest>) -> Error {
        let wanted = tokio::task::block_in_place(|| {
            self.source.target_state(&self.session.rules(), self.target)
        });
        let files = match wanted {
            Ok(wanted) => wanted.files,
            Err(error) => return error.into(),
        };
        let keys = match compare::differences(self.session, files).await {
            Ok(keys) => keys,
            Err(error) => return error,
        };
        Error::RestoreDiffers {
            expected: expected.describe(),
            found: found.map_or_else(|| "other keys".to_owned(), |found| found.describe()),
            keys,
        }
    }
}

async fn merge<S: Session>(
    session: &S,
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let (wanted, merge) = merge_of(session, source, target, options).await?;
    let begun = Instant::now();
    let newest = source.local().newest;
    let in_flight = options.in_flight.unwrap_or(MERGE_IN_FLIGHT).max(1);
    let merge = merge::apply(session, &wanted.files, newest, in_flight, merge).await?;
    let summary = Summary {
        digest: wanted.digest,
        at: target.at,
        newest,
        counter: merge.counter,
        written: (merge.created.len() + merge.overwritten.len()) as u64,
        took: begun.elapsed(),
        ..Summary::default()
    };
    Ok(Restored::Merged(merge, summary))
}
