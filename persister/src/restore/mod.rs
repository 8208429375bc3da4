//! Putting the state of a journal back into a cluster that has lost everything.
//!
//! Promises:
//!
//! * Acts only on a cluster without a key outside the control area, or on one that an interrupted
//!   restore of this history has begun to fill; on any other only by a merge that was asked for.
//! * Keeps revisions: every key comes back at the very revision that it had, no-operations filling
//!   the space between, so that compare-and-set tokens which clients still hold go on working.
//!   Where that is impossible (the fresh cluster is already past a key's revision, or somebody
//!   else writes) the key comes back at a later one, and is reported.
//! * The cluster's counter ends up at the journal's newest revision or beyond, whichever state was
//!   restored.
//! * Until everything is there and has been compared, the cluster's identity says `restoring`, and
//!   no persister follows it. Of several restores the one with the highest revision goes on.
//! * What the cluster cannot take is found before the first write.
//!
//! | module | what it decides |
//! |---|---|
//! | `source` | what the journal has to give |
//! | `plan` | whether to restore at all (pure) |
//! | `mark`, `election` | who restores, and whether another one is alive |
//! | `fit` | whether the cluster can take it |
//! | `fill` | in which order keys are written, and how many at once |
//! | `compare` | what is there, and whether it is right |
//! | `merge` | writing into a cluster that has keys |
//! | `forecast` | what would be done |
//! | `load` | the short way into the cluster in our own process |
//! | `command`, `report` | `persister restore`, and what it prints |

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_client::path::Prefix;
use cairn_journal::Revision;
use futures::{StreamExt, TryStreamExt};

mod command;
mod compare;
mod election;
mod fill;
mod fit;
mod forecast;
mod load;
mod mark;
mod merge;
mod plan;
mod report;
mod source;

pub use command::{Request, run};
pub use forecast::{Forecast, Outlook, forecast};
pub use merge::{Merge, Overwritten};
pub use plan::Reason;
pub use report::Report;
pub use source::{At, Source};

use crate::attach::theirs;
use crate::cluster::{self, Session};
use crate::digest::Digest;
use crate::embedded::Embedded;
use crate::error::Error;
use crate::identity::{Choice, Identity, Outcome, Theirs};
use compare::Before;
use fill::Work;
use mark::Mark;
use plan::{Permission, Plan, Stance, overruled, plan};
use source::{Intent, Wanted};

/// How many keys are in flight, unless told otherwise, where the order of writes is kept.
const IN_FLIGHT: usize = 64;

/// How many keys a merge has in flight, where it is not kept: of a merge, order does not matter.
const MERGE_IN_FLIGHT: usize = 8;

/// How often keys that a restore which we overruled wrote at the last moment are put right.
const ROUNDS: usize = 3;

/// What is to be restored, and how.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Which state.
    pub at: At,
    /// Only these keys and what is below them; none: everything.
    pub prefixes: Vec<Prefix>,
    /// Whether it may be written into a cluster that has keys.
    pub merge: bool,
    /// Whether to go on when that lets go of changes.
    pub accept_loss: bool,
    /// How many keys are in flight; `None`: as many as keep their order there.
    pub in_flight: Option<usize>,
    /// The longest value that the cluster takes; `None`: what is known of its implementation.
    pub max_value_bytes: Option<usize>,
    /// How long persisters that have more are waited for.
    pub wait_for_others: Duration,
}

/// What a restore came to.
#[derive(Debug)]
pub enum Restored {
    /// There was nothing to do, for this reason.
    Nothing(Reason),
    /// The restore of another state is under way, or was interrupted: look again.
    Wait(Identity),
    /// The state is back.
    Done(Summary),
    /// It was written into a cluster that has keys.
    Merged(Merge, Summary),
}

/// A key that could not keep its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shifted {
    /// The key.
    pub path: Bytes,
    /// The revision that it had.
    pub before: Revision,
    /// The revision that it has.
    pub now: Revision,
}

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Count and hash of the keys, the same in journal and cluster.
    pub digest: Digest,
    /// The revision of the state.
    pub at: Revision,
    /// The journal's newest revision.
    pub newest: Revision,
    /// The cluster's, afterwards.
    pub counter: Revision,
    /// The cluster's identity, afterwards.
    pub identity: Identity,
    /// How many keys were written; the others were there already.
    pub written: u64,
    /// The keys that could not keep their revision.
    pub shifted: Vec<Shifted>,
    /// The first revision that was not the one that was meant: keys went one at a time from there.
    pub surprise: Option<Revision>,
    /// How long the writing took.
    pub took: Duration,
}

/// Restores what `wish` says from `source`, if that is called for. `node`: the cluster is this one, in
/// our own process.
///
/// # Errors
/// The cluster's, the journal's; [`cluster::Error::Conflict`] if somebody else was faster, and it
/// is worth looking again; [`Error::WouldLose`] if the journal itself lacks something and
/// that is not accepted; [`Error::DoesNotFit`]; [`Error::RestoreDiffers`] if the result does not
/// compare equal.
pub async fn restore<S: Session>(
    session: &S,
    source: &Source,
    wish: &Wish,
    node: Option<&Embedded>,
) -> Result<Restored, Error> {
    let (theirs, at_start) = theirs(session).await?;
    let intent = tokio::task::block_in_place(|| source.intent(wish))?;
    let may = Permission {
        merge: wish.merge,
        accept_loss: wish.accept_loss,
    };
    let (mut identity, stance) = match plan(source.ours(), &intent, &theirs, source.by(), may) {
        Plan::Nothing(reason) => return Ok(Restored::Nothing(reason)),
        Plan::Wait(identity) => return Ok(Restored::Wait(identity)),
        Plan::Merge => return merge(session, source, &intent, wish).await,
        Plan::Begin => {
            let keys = first_keys(session, at_start).await?;
            if !keys.is_empty() {
                if wish.merge {
                    return merge(session, source, &intent, wish).await;
                }
                return Ok(Restored::Nothing(Reason::NotEmpty(keys)));
            }
            (None, None)
        }
        Plan::TakeUp(identity, stance) => (Some(identity), Some(stance)),
    };
    if let Some(Stance::Same | Stance::Lesser) = stance {
        tracing::info!("another persister restores this cluster; looking whether it is at work");
        if election::is_alive(session, at_start).await? {
            return Err(cluster::Error::Conflict.into());
        }
        tracing::warn!("it has not written for long: taking its work up");
    }
    refuse_if_lacking(source, &intent, wish)?;
    let wanted = tokio::task::block_in_place(|| source.wanted::<S>(&intent))?;
    fit::each_part_is_there(&wanted.files, &intent)?;
    fit::check::<S>(&wanted.files, max_value_bytes(session, wish).await?)?;
    tracing::info!(keys = wanted.digest.keys, hash = %wanted.digest, at = %intent.at, "restoring");

    let begun = identity.take().unwrap_or_else(Identity::generate);
    let over = match (&begun.origin, stance) {
        (Some(origin), Some(stance)) => overruled(source.ours(), origin, stance),
        _ => Vec::new(),
    };
    let mine = Identity {
        id: begun.id,
        ..Identity::restoring(
            source.ours(),
            intent.at,
            source.by().to_owned(),
            over.clone(),
            intent.choice.clone(),
        )
    };
    if let Some(node) = node
        && stance.is_none()
        && theirs.identity.is_none()
    {
        return Ok(Restored::Done(
            load::load(session, node, source, wanted, mine).await?,
        ));
    }
    if let Some(Stance::Overrule | Stance::Lesser) = stance {
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
        intent: &intent,
        wish,
        theirs: &theirs,
        overruled: over,
        stance,
    };
    job.run(mine, wanted, node.is_some()).await
}

/// A restore that is called for.
struct Job<'a, S> {
    session: &'a S,
    source: &'a Source,
    intent: &'a Intent,
    wish: &'a Wish,
    theirs: &'a Theirs,
    stance: Option<Stance>,
    /// The states of the restores that were taken over, by us or by whoever began this one.
    overruled: Vec<Revision>,
}

impl<S: Session> Job<'_, S> {
    async fn run(self, mine: Identity, wanted: Wanted, alone: bool) -> Result<Restored, Error> {
        let mut mark = Mark::set(self.session, self.theirs, &mine).await?;
        let is_bid = matches!(self.stance, None | Some(Stance::Overrule));
        if is_bid && !alone && self.intent.choice == Choice::Newest {
            mark.stand(self.wish.wait_for_others).await?;
        }
        // Also if it was overruled in an earlier attempt of ours: that may be a moment ago.
        let takes_over = self.stance == Some(Stance::Overrule) || !self.overruled.is_empty();
        if takes_over && !election::is_quiet_at_last(self.session).await? {
            return Err(cluster::Error::Conflict.into());
        }
        let before = tokio::task::block_in_place(|| explained(self.source, &self.overruled))?;
        let newest = self.source.ours().newest;
        let mut summary = Summary {
            digest: wanted.digest,
            at: self.intent.at,
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
                None => tokio::task::block_in_place(|| self.source.wanted::<S>(self.intent))?.files,
            };
            let found = compare::look(self.session, &mut wanted, &before, Some(&mut mark)).await?;
            if !found.foreign.is_empty() {
                if self.stance.is_none() {
                    mark.withdraw().await?;
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
                in_flight: self.wish.in_flight.unwrap_or(in_order),
            };
            let filled = fill::fill(self.session, &mut mark, work).await?;
            summary.shifted.extend(filled.shifted);
            summary.surprise = summary.surprise.or(filled.surprise);
            summary.took = begun.elapsed();
            let there = compare::digest(self.session, &mut mark, &summary.digest).await?;
            if there == summary.digest {
                break;
            }
            if before.is_empty() || round == ROUNDS {
                return Err(self.differs(&summary.digest, Some(there)).await);
            }
            tracing::warn!("the restore that was taken over has written again: putting that right");
        }
        tracing::info!(keys = summary.digest.keys, hash = %summary.digest, "the cluster equals the journal");
        summary.identity = mine.finished(match self.intent.choice {
            Choice::Only(_) => Outcome::Part,
            _ if summary.shifted.is_empty() => Outcome::Kept,
            _ => Outcome::Shifted,
        });
        summary.counter = mark.finish(&summary.identity).await?;
        tracing::info!(cluster = %summary.identity, revision = %summary.counter, "restored");
        Ok(Restored::Done(summary))
    }

    async fn differs(&self, expected: &Digest, found: Option<Digest>) -> Error {
        let wanted = tokio::task::block_in_place(|| self.source.wanted::<S>(self.intent));
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

/// What the restores of the states at `over` bring back, where our journal knows it.
fn explained(source: &Source, over: &[Revision]) -> Result<Before, cairn_journal::Error> {
    let mut before = Before::new();
    for at in over {
        match source.state(*at) {
            Ok(files) => {
                before.extend(files.into_iter().map(|(path, (_, value))| (path, value)));
            }
            // Then what it has written cannot be told from what others wrote.
            Err(
                cairn_journal::Error::NotInHistory { .. } | cairn_journal::Error::NotSeen { .. },
            ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(before)
}

async fn merge<S: Session>(
    session: &S,
    source: &Source,
    intent: &Intent,
    wish: &Wish,
) -> Result<Restored, Error> {
    let (wanted, merge) = forecast::merge_of(session, source, intent, wish).await?;
    let begun = Instant::now();
    let newest = source.ours().newest;
    let in_flight = wish.in_flight.unwrap_or(MERGE_IN_FLIGHT).max(1);
    let merge = merge::apply(session, &wanted.files, newest, in_flight, merge).await?;
    let summary = Summary {
        digest: wanted.digest,
        at: intent.at,
        newest,
        counter: merge.counter,
        written: (merge.created.len() + merge.overwritten.len()) as u64,
        took: begun.elapsed(),
        ..Summary::default()
    };
    Ok(Restored::Merged(merge, summary))
}

/// # Errors
/// [`Error::WouldLose`] if the journal lacks something of this state, and that is not accepted.
fn refuse_if_lacking(source: &Source, intent: &Intent, wish: &Wish) -> Result<(), Error> {
    let Some(lacks) = source.lacks(intent.at) else {
        return Ok(());
    };
    if !wish.accept_loss {
        return Err(Error::WouldLose(lacks));
    }
    tracing::error!("{lacks}. Restoring what there is, as you asked for");
    Ok(())
}

async fn max_value_bytes<S: Session>(session: &S, wish: &Wish) -> Result<usize, Error> {
    match wish.max_value_bytes {
        Some(bytes) => Ok(bytes),
        None => Ok(session.limits().await?.max_value_bytes),
    }
}

/// The first few keys outside the control area.
async fn first_keys<S: Session>(session: &S, at: Revision) -> Result<Vec<Bytes>, Error> {
    let some = session.snapshot(at).take(3);
    Ok(some.map_ok(|live| live.path).try_collect().await?)
}
