//! Putting the state of a journal back into a cluster that has lost everything.
//!
//! Promises:
//!
//! * Acts only on a cluster without a key outside the control area, or on one that an interrupted
//!   restore of this very journal's state has begun to fill.
//! * Keeps revisions: every key comes back at the very revision that it had, no-operations filling
//!   the space between, so that compare-and-set tokens which clients still hold go on working.
//!   Where that is impossible (the fresh cluster is already past a key's revision, or somebody
//!   else writes) the key comes back at a later one, and is reported.
//! * The cluster's counter ends up at the journal's newest revision or beyond.
//! * Until everything is there and has been compared, the cluster's identity says `restoring`, and
//!   no persister follows it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_journal::{Journal, Revision};
use futures::{StreamExt, TryStreamExt};

use crate::attach::{ours, theirs};
use crate::cluster::{self, Control, ControlKey, Expect, Session};
use crate::digest::Digest;
use crate::error::Error;
use crate::identity::{Identity, Ours, Outcome, Theirs};
use crate::owner::STALE_AFTER;
use crate::progress::Progress;

/// How many no-operations are in flight at most.
const WINDOW: usize = 512;

/// How often another restore's progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a restore came to.
#[derive(Debug)]
pub enum Restored {
    /// There was nothing to do, for this reason.
    Nothing(Reason),
    /// The state is back.
    Done(Summary),
}

/// Why there was nothing to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The journal is empty.
    EmptyJournal,
    /// The cluster is the one that the journal follows, and it lives.
    Alive,
    /// The cluster has been restored from the one that the journal followed.
    AlreadyRestored(Identity),
    /// The cluster has keys: the first few of them.
    NotEmpty(Vec<Bytes>),
    /// The restore of another state is under way, or was interrupted.
    OthersRestore(Identity),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmptyJournal => f.write_str("the journal is empty"),
            Self::Alive => {
                f.write_str("the cluster is alive, and is the one that the journal follows")
            }
            Self::AlreadyRestored(identity) => {
                write!(f, "the cluster has been restored already ({identity})")
            }
            Self::NotEmpty(paths) => {
                f.write_str("the cluster is not empty; it has")?;
                for path in paths {
                    write!(f, " {}", String::from_utf8_lossy(path))?;
                }
                f.write_str(" ...")
            }
            Self::OthersRestore(identity) => write!(
                f,
                "another state is being restored ({identity}): let that finish, or start the cluster anew"
            ),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Count and hash of the live keys, the same in journal and cluster.
    pub digest: Digest,
    /// The journal's newest revision.
    pub at: Revision,
    /// The keys that could not keep their revision: path, revision before, revision now.
    pub shifted: Vec<(Bytes, Revision, Revision)>,
}

/// What to do with a cluster when asked to restore.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing(Reason),
    /// Begin: the identity key is as expected.
    Begin,
    /// Take up a restore of the same state. Unless it is our own it may be alive: look first.
    TakeUp {
        identity: Identity,
        own: bool,
    },
}

/// Pure: whether these two ask for a restore by `journal`. Emptiness is looked at afterwards.
fn plan(ours: &Ours, theirs: &Theirs, journal: &str) -> Plan {
    let Some(bound_to) = &ours.bound_to else {
        return Plan::Nothing(Reason::EmptyJournal);
    };
    let Some(identity) = &theirs.identity else {
        return Plan::Begin;
    };
    match &identity.origin {
        Some(origin) if let Outcome::Restoring { by } = &origin.outcome => {
            if origin.parent == *bound_to && origin.at == ours.newest {
                Plan::TakeUp {
                    identity: identity.clone(),
                    own: by == journal,
                }
            } else {
                Plan::Nothing(Reason::OthersRestore(identity.clone()))
            }
        }
        _ if identity.id == *bound_to => Plan::Nothing(Reason::Alive),
        Some(origin) if origin.parent == *bound_to => {
            Plan::Nothing(Reason::AlreadyRestored(identity.clone()))
        }
        // Named by a persister that attached first. If it is empty it is ours to fill.
        _ => Plan::Begin,
    }
}

/// Restores the journal's newest state into the cluster, if that is called for.
///
/// # Errors
/// The cluster's, the journal's; [`cluster::Error::Conflict`] if somebody else was faster, and it
/// is worth looking again; [`Error::WouldLose`] if the journal itself lacks something and
/// `accept_loss` is not given; [`Error::RestoreDiffers`] if the result does not compare equal.
pub async fn restore<S: Session>(
    session: &S,
    journal: &Journal,
    accept_loss: bool,
) -> Result<Restored, Error> {
    let (theirs, at_start) = theirs(session).await?;
    let ours = tokio::task::block_in_place(|| ours(journal))?;
    let by = journal.uuid().to_string();
    let identity = match plan(&ours, &theirs, &by) {
        Plan::Nothing(reason) => return Ok(Restored::Nothing(reason)),
        Plan::TakeUp { identity, own } => {
            if !own && !stands_still(session, at_start).await? {
                return Err(cluster::Error::Conflict.into());
            }
            Identity {
                id: identity.id,
                ..Identity::restoring(&ours, by)
            }
        }
        Plan::Begin => {
            let paths = first_keys(session, at_start).await?;
            if !paths.is_empty() {
                return Ok(Restored::Nothing(Reason::NotEmpty(paths)));
            }
            Identity::restoring(&ours, by)
        }
    };
    if let Some(gap) = journal.end().open_gap {
        let lacks = format!(
            "this journal itself lacks changes of revisions {} to {} ({}). Another persister's journal may have \
             them: restore from that one",
            gap.first, gap.last, gap.reason
        );
        if !accept_loss {
            return Err(Error::WouldLose(lacks));
        }
        tracing::error!("{lacks}. Restoring what there is, as you asked for");
    }
    let state = tokio::task::block_in_place(|| cairn_journal::state(&journal.reader()?, None))?;
    let wanted = Digest::of(state.files.iter().map(|(path, (_, value))| (path, value)));
    tracing::info!(keys = wanted.keys, hash = %wanted, at = %ours.newest, "restoring");

    let marked_at = mark(session, &theirs, &identity).await?;
    let shifted = fill(session, &state.files, ours.newest).await?;
    compare(session, &state.files, &wanted).await?;

    let finished = identity.finished(if shifted.is_empty() {
        Outcome::Kept
    } else {
        Outcome::Shifted
    });
    let value = finished.to_string().into();
    let finished_at = session
        .write(&ControlKey::Identity, Expect::At(marked_at), value)
        .await?;
    tracing::info!(cluster = %finished, revision = %finished_at, "restored");
    Ok(Restored::Done(Summary {
        digest: wanted,
        at: ours.newest,
        shifted,
    }))
}

/// Whether nobody has written anything since `at`, for as long as a living restore would not pause.
/// A restore writes all the time, so it needs no other sign of life.
async fn stands_still<S: Session>(session: &S, at: Revision) -> Result<bool, Error> {
    tracing::info!("another persister restores the same state; looking whether it is at work");
    let start = Instant::now();
    while start.elapsed() < STALE_AFTER {
        if session.revision().await? > at {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    tracing::warn!("it has not written for {STALE_AFTER:?}: taking its work up");
    Ok(true)
}

/// The first few keys outside the control area.
async fn first_keys<S: Session>(session: &S, at: Revision) -> Result<Vec<Bytes>, Error> {
    let some = session.snapshot(at).take(3);
    Ok(some.map_ok(|live| live.path).try_collect().await?)
}

/// Says in the cluster that a restore is under way, and whose; returns the revision of the mark.
async fn mark<S: Session>(
    session: &S,
    theirs: &Theirs,
    identity: &Identity,
) -> Result<Revision, Error> {
    let expect = match (&theirs.identity, session.read(&ControlKey::Identity).await?) {
        (None, None) => Expect::Absent,
        (Some(seen), Some(Control { revision, value }))
            if seen.to_string().as_bytes() == &value[..] =>
        {
            if seen.to_string() == identity.to_string() {
                return Ok(revision);
            }
            Expect::At(revision)
        }
        _ => return Err(cluster::Error::Conflict.into()),
    };
    let value = identity.to_string().into();
    Ok(session.write(&ControlKey::Identity, expect, value).await?)
}

/// Creates every key at its revision, and pushes the counter to `newest`.
///
/// One key at a time: a cluster may apply pipelined writes in any order, and order is what keeps
/// the revisions. The no-operations between are interchangeable and do fly together.
async fn fill<S: Session>(
    session: &S,
    files: &std::collections::BTreeMap<Bytes, (Revision, Bytes)>,
    newest: Revision,
) -> Result<Vec<(Bytes, Revision, Revision)>, Error> {
    let mut by_revision: Vec<_> = files
        .iter()
        .map(|(path, (revision, value))| (*revision, path, value))
        .collect();
    by_revision.sort();
    let mut current = session.revision().await?;
    let mut there: HashMap<Bytes, Revision> = session
        .snapshot(current)
        .map_ok(|live| (live.path, live.revision))
        .try_collect()
        .await?;
    let progress = Progress::new("restoring", by_revision.len() as u64);
    let mut shifted = Vec::new();
    for (revision, path, value) in by_revision {
        let at = match there.remove(path) {
            // An interrupted restore has come this far.
            Some(at) => at,
            None => {
                advance(session, current, revision.previous()).await?;
                current = session.create(path, value.clone()).await?;
                current
            }
        };
        if at != revision {
            shifted.push((path.clone(), revision, at));
        }
        progress.one();
    }
    advance(session, current, newest).await?;
    progress.done();
    Ok(shifted)
}

/// Consumes revisions from `current` up to `to`.
async fn advance<S: Session>(session: &S, current: Revision, to: Revision) -> Result<(), Error> {
    let missing = u64::try_from(to.0.saturating_sub(current.0)).unwrap_or(0);
    let progress = Progress::new("keeping revisions", missing);
    futures::stream::iter(0..missing)
        .map(|_| session.advance())
        .buffer_unordered(WINDOW)
        .try_for_each(|()| {
            progress.one();
            std::future::ready(Ok(()))
        })
        .await?;
    progress.done();
    Ok(())
}

/// Compares cluster and journal, key by key.
async fn compare<S: Session>(
    session: &S,
    files: &std::collections::BTreeMap<Bytes, (Revision, Bytes)>,
    wanted: &Digest,
) -> Result<(), Error> {
    let at = session.revision().await?;
    let mut live: Vec<(Bytes, Bytes)> = session
        .snapshot(at)
        .map_ok(|live| (live.path, live.value))
        .try_collect()
        .await?;
    live.sort();
    let found = Digest::of(live.iter().map(|(path, value)| (path, value)));
    let same = live.len() == files.len()
        && live
            .iter()
            .zip(files)
            .all(|((path, value), (wanted, (_, body)))| path == wanted && value == body);
    if same {
        tracing::info!(keys = found.keys, hash = %found, "the cluster equals the journal");
        Ok(())
    } else {
        Err(Error::RestoreDiffers {
            expected: wanted.describe(),
            found: found.describe(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(bound_to: Option<&str>, newest: i64, identity: Option<&str>) -> Plan {
        let ours = Ours {
            bound_to: bound_to.map(str::to_owned),
            newest: Revision(newest),
            ancestors: Vec::new(),
        };
        let theirs = Theirs {
            identity: identity.map(|text| Identity::parse(text.as_bytes()).expect("a test value")),
            newest: Revision(58),
        };
        plan(&ours, &theirs, "mine")
    }

    #[test]
    fn a_fresh_cluster_is_filled_whoever_named_it() {
        assert_eq!(decided(Some("a"), 9, None), Plan::Begin);
        assert_eq!(decided(Some("a"), 9, Some("z")), Plan::Begin);
    }

    #[test]
    fn a_living_or_restored_cluster_is_left_alone() {
        assert_eq!(
            decided(Some("a"), 9, Some("a")),
            Plan::Nothing(Reason::Alive)
        );
        for identity in ["b from a at 9 kept", "b from a at 12 shifted"] {
            assert!(matches!(
                decided(Some("a"), 9, Some(identity)),
                Plan::Nothing(Reason::AlreadyRestored(_))
            ));
        }
        assert_eq!(decided(None, 0, None), Plan::Nothing(Reason::EmptyJournal));
    }

    #[test]
    fn a_restore_of_the_same_state_is_taken_up_and_no_other() {
        for (by, is_own) in [("mine", true), ("another", false)] {
            let restoring = format!("b from a at 9 restoring {by}");
            let Plan::TakeUp { own, .. } = decided(Some("a"), 9, Some(&restoring)) else {
                panic!("the same state");
            };
            assert_eq!(own, is_own);
            for (bound_to, newest) in [("a", 8), ("a", 10), ("x", 9)] {
                assert!(matches!(
                    decided(Some(bound_to), newest, Some(&restoring)),
                    Plan::Nothing(Reason::OthersRestore(_))
                ));
            }
        }
    }
}
