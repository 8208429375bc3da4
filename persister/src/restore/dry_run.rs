//! What a restore would do: found out by looking, without a write anywhere.

use bytes::Bytes;
use cairn_journal::Revision;

use crate::attach::sides::remote_cluster;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::Identity;
use crate::restore::digest::Digest;
use crate::restore::merge::Merge;
use crate::restore::options::RestoreOptions;
use crate::restore::outcome::Shifted;
use crate::restore::plan::{Permission, Plan, Reason, overruled, plan};
use crate::restore::prepare::{
    explained, first_keys, max_value_bytes, merge_of, refuse_if_lacking,
};
use crate::restore::source::{Source, Target, TargetState};
use crate::restore::{compare, validate};

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
}

/// # Errors
/// As [`restore`](crate::restore::job::restore).
pub async fn dry_run<S: Session>(
    session: &S,
    source: &Source,
    options: &RestoreOptions,
) -> Result<DryRun, Error> {
    let (remote, at_start) = remote_cluster(session).await?;
    let target = tokio::task::block_in_place(|| source.target(options))?;
    let may = Permission {
        merge: options.merge,
        accept_loss: options.accept_loss,
    };
    let mut before = compare::Before::new();
    match plan(source.local(), &target, &remote, source.by(), may) {
        Plan::Nothing(reason) => return Ok(DryRun::Nothing(reason)),
        Plan::Wait(identity) => return Ok(DryRun::Wait(identity)),
        Plan::TakeUp(identity, takeover) => {
            let origin = identity.origin.as_ref();
            let over = origin.map(|origin| overruled(source.local(), origin, takeover));
            before = tokio::task::block_in_place(|| explained(source, &over.unwrap_or_default()))?;
        }
        Plan::Begin => {
            let keys = first_keys(session, at_start).await?;
            if !keys.is_empty() && !options.merge {
                return Ok(DryRun::Nothing(Reason::NotEmpty(keys)));
            }
            if !keys.is_empty() {
                return look_merge(session, source, &target, options).await;
            }
        }
        Plan::Merge => return look_merge(session, source, &target, options).await,
    }
    refuse_if_lacking(source, &target, options)?;
    let rules = session.rules();
    let TargetState { mut files, digest } =
        tokio::task::block_in_place(|| source.target_state(&rules, &target))?;
    validate::each_part_is_there(&rules, &files, &target)?;
    validate::validate(&rules, &files, max_value_bytes(session, options).await?)?;
    let found = compare::look(session, &mut files, &before, None).await?;
    if !found.foreign.is_empty() {
        return Ok(DryRun::Nothing(Reason::NotEmpty(found.foreign)));
    }
    let mut order: Vec<(&Bytes, Revision)> =
        files.iter().map(|(path, file)| (path, file.0)).collect();
    order.sort_unstable_by_key(|(_, revision)| *revision);
    // The claim takes the next revision.
    let (mut next, mut shifted) = (at_start.next().next(), found.shifted);
    for (path, revision) in &order {
        if *revision >= next {
            break;
        }
        shifted.push(Shifted {
            path: Bytes::clone(path),
            before: *revision,
            now: next,
        });
        next = next.next();
    }
    Ok(DryRun::Restore(Outlook {
        digest,
        at: target.at,
        newest: source.local().newest,
        counter: at_start,
        there: found.there,
        first: order
            .iter()
            .take(NAMED)
            .map(|(path, _)| Bytes::clone(path))
            .collect(),
        shifted,
    }))
}

async fn look_merge<S: Session>(
    session: &S,
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<DryRun, Error> {
    let (wanted, merge) = merge_of(session, source, target, options).await?;
    let outlook = Outlook {
        digest: wanted.digest,
        at: target.at,
        newest: source.local().newest,
        counter: merge.counter,
        there: merge.same,
        first: merge.created.iter().take(NAMED).cloned().collect(),
        shifted: Vec::new(),
    };
    Ok(DryRun::Merge(merge, outlook))
}
