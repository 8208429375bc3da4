//! What a restore would do: found out by looking, without a write anywhere.

use bytes::Bytes;
use cairn_journal::Revision;

use crate::attach::known::theirs;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::Identity;
use crate::restore::digest::Digest;
use crate::restore::merge::Merge;
use crate::restore::options::Wish;
use crate::restore::outcome::Shifted;
use crate::restore::plan::{Permission, Plan, Reason, overruled, plan};
use crate::restore::prepare::{
    explained, first_keys, max_value_bytes, merge_of, refuse_if_lacking,
};
use crate::restore::source::{Intent, Source, Wanted};
use crate::restore::{compare, fit};

/// How many keys a forecast names.
pub(super) const NAMED: usize = 10;

/// What a restore would do.
#[derive(Debug)]
pub enum Forecast {
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
pub async fn forecast<S: Session>(
    session: &S,
    source: &Source,
    wish: &Wish,
) -> Result<Forecast, Error> {
    let (theirs, at_start) = theirs(session).await?;
    let intent = tokio::task::block_in_place(|| source.intent(wish))?;
    let may = Permission {
        merge: wish.merge,
        accept_loss: wish.accept_loss,
    };
    let mut before = compare::Before::new();
    match plan(source.ours(), &intent, &theirs, source.by(), may) {
        Plan::Nothing(reason) => return Ok(Forecast::Nothing(reason)),
        Plan::Wait(identity) => return Ok(Forecast::Wait(identity)),
        Plan::TakeUp(identity, stance) => {
            let origin = identity.origin.as_ref();
            let over = origin.map(|origin| overruled(source.ours(), origin, stance));
            before = tokio::task::block_in_place(|| explained(source, &over.unwrap_or_default()))?;
        }
        Plan::Begin => {
            let keys = first_keys(session, at_start).await?;
            if !keys.is_empty() && !wish.merge {
                return Ok(Forecast::Nothing(Reason::NotEmpty(keys)));
            }
            if !keys.is_empty() {
                return look_merge(session, source, &intent, wish).await;
            }
        }
        Plan::Merge => return look_merge(session, source, &intent, wish).await,
    }
    refuse_if_lacking(source, &intent, wish)?;
    let rules = session.rules();
    let Wanted { mut files, digest } =
        tokio::task::block_in_place(|| source.wanted(&rules, &intent))?;
    fit::each_part_is_there(&rules, &files, &intent)?;
    fit::check(&rules, &files, max_value_bytes(session, wish).await?)?;
    let found = compare::look(session, &mut files, &before, None).await?;
    if !found.foreign.is_empty() {
        return Ok(Forecast::Nothing(Reason::NotEmpty(found.foreign)));
    }
    let mut order: Vec<(&Bytes, Revision)> =
        files.iter().map(|(path, file)| (path, file.0)).collect();
    order.sort_unstable_by_key(|(_, revision)| *revision);
    // The mark takes the next revision.
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
    Ok(Forecast::Restore(Outlook {
        digest,
        at: intent.at,
        newest: source.ours().newest,
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
    intent: &Intent,
    wish: &Wish,
) -> Result<Forecast, Error> {
    let (wanted, merge) = merge_of(session, source, intent, wish).await?;
    let outlook = Outlook {
        digest: wanted.digest,
        at: intent.at,
        newest: source.ours().newest,
        counter: merge.counter,
        there: merge.same,
        first: merge.created.iter().take(NAMED).cloned().collect(),
        shifted: Vec::new(),
    };
    Ok(Forecast::Merge(merge, outlook))
}
