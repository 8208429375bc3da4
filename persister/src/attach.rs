//! From "there is a journal" to "this session is our cluster, and here is what follows".
//!
//! Promise: the session that comes out belongs to the cluster that the journal is bound to, and
//! its stream begins with the revision after the newest one that the journal covers. Nothing has
//! been published by then.

use std::path::Path;

use cairn_journal::{GapReason, Journal, NewRecord, Revision, Timestamp};
use futures::Stream;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Cluster, ControlKey, Expect, Followed, Session};
use crate::difference;
use crate::error::Error;
use crate::identity::{self, Attach, Identity, Ours, Outcome, Theirs};
use crate::patience::Patience;

/// A stream of everything that happens in a cluster.
pub type Changes = Box<dyn Stream<Item = cluster::Result<Followed>> + Send + Unpin>;

/// A session that may be followed and published to.
pub struct Attached<S> {
    /// The session.
    pub session: S,
    /// The cluster's identity.
    pub cluster: String,
    /// A revision that was current before the identity was read.
    pub identified_at: Revision,
    /// The revision that the stream begins with.
    pub next: Revision,
    /// Everything from `next` on.
    pub stream: Changes,
}

/// What the journal knows of the cluster that it follows.
#[must_use]
pub fn ours(journal: &Journal) -> Ours {
    let end = journal.end();
    let bound_to = match end.timeline {
        Some(timeline) => Some(timeline.id),
        // Written by a tool: it has a history, and that history needs a name of its own.
        None if end.revision > Revision::NONE => Some(format!("journal.{}", journal.uuid())),
        None => None,
    };
    Ours {
        bound_to,
        newest: end.revision,
    }
}

/// What the cluster says of itself, and a revision that was current before it said it.
///
/// # Errors
/// The cluster's; an identity that cannot be read.
pub async fn theirs<S: Session>(session: &S) -> Result<(Theirs, Revision), Error> {
    // In this order: an identity written after `newest` will be followed as an event.
    let newest = session.revision().await?;
    let identity = match session.read(&ControlKey::Identity).await? {
        Some(control) => Some(Identity::parse(&control.value)?),
        None => None,
    };
    Ok((Theirs { identity, newest }, newest))
}

/// Attaches, waiting as long as the cluster is away, behind, or being restored.
///
/// `take_state` says why following from the journal's end is not enough: the history there is
/// discarded, or the journal lost records to a repair. The cluster's state is then taken.
///
/// `None` if cancelled.
///
/// # Errors
/// [`Error::Refused`] if this is not our cluster; the journal's.
pub async fn attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    take_state: Option<GapReason>,
    cancel: &CancellationToken,
) -> Result<Option<Attached<C::Session>>, Error> {
    let mut patience = Patience::new();
    loop {
        let tried = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(None),
            tried = try_attach(cluster, journal, take_state) => tried,
        };
        let why = match tried {
            Ok(Tried::Attached(attached)) => return Ok(Some(attached)),
            Ok(Tried::Again) => continue,
            Ok(Tried::Wait(why)) => why,
            Err(error) if error.is_unavailable() => error.to_string(),
            // The state was being taken, and the cluster forgot faster than we read.
            Err(error @ Error::Cluster(cluster::Error::HistoryDiscarded)) => error.to_string(),
            Err(error) => return Err(error),
        };
        let pause = patience.pause();
        tracing::warn!(reason = why, "not attached; trying again in {pause:?}");
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

enum Tried<S> {
    Attached(Attached<S>),
    /// Something changed under us: look again at once.
    Again,
    /// Not yet, and why.
    Wait(String),
}

async fn try_attach<C: Cluster>(
    cluster: &C,
    journal: &Journal,
    take_state: Option<GapReason>,
) -> Result<Tried<C::Session>, Error> {
    let session = cluster.open().await?;
    let (theirs, identified_at) = theirs(&session).await?;
    let ours = ours(journal);
    let bind = |identity: &Identity, revision: Revision| {
        NewRecord::timeline(revision, identity.timeline(Timestamp::now()))
    };
    let identity = match identity::decide(&ours, &theirs) {
        Attach::Refuse(refusal) => {
            return Err(Error::Refused {
                refusal,
                journal: Path::to_owned(journal.dir()),
            });
        }
        Attach::Behind => {
            return Ok(Tried::Wait(format!(
                "this node is at revision {}, the journal at {}: the node lags",
                theirs.newest, ours.newest
            )));
        }
        Attach::Unfinished(identity) => {
            return Ok(Tried::Wait(format!(
                "the cluster is being restored ({identity}); if that restore was interrupted, \
                 start the persister that ran it again with -r"
            )));
        }
        Attach::Name => {
            let identity = Identity::generate();
            let named = session
                .write(
                    &ControlKey::Identity,
                    Expect::Absent,
                    identity.to_string().into(),
                )
                .await;
            match named {
                // Looked at again, so that one path leads from a name to a binding.
                Ok(_) | Err(cluster::Error::Conflict) => return Ok(Tried::Again),
                Err(error) => return Err(error.into()),
            }
        }
        Attach::Bind(identity) => {
            tracing::info!(cluster = %identity.id, "following this cluster from now on");
            commit(journal, bind(&identity, Revision::NONE))?;
            identity
        }
        Attach::Continue(identity) => {
            tracing::info!(cluster = %identity, "the cluster was restored with its revisions: going on");
            commit(journal, bind(&identity, ours.newest))?;
            identity
        }
        Attach::Rebase(identity) => {
            let first = first_unknown(&identity, ours.newest);
            let taken = difference::take(
                &session,
                journal,
                first,
                GapReason::HistoryDiscarded,
                |revision| Some(bind(&identity, revision)),
            )
            .await?;
            return Ok(Tried::Attached(after(
                session,
                identity,
                identified_at,
                taken,
            )));
        }
        Attach::Resume => theirs
            .identity
            .ok_or_else(|| cluster::Error::Refused("the cluster lost its identity".to_owned()))?,
    };
    let end = journal.end();
    let next = end.revision.next();
    let incomplete = match end.open_gap {
        // A difference was not completed, by us or by an earlier life of this journal.
        Some(gap) => Some((gap.first, gap.reason)),
        None => take_state.map(|reason| (next, reason)),
    };
    if let Some((first, reason)) = incomplete {
        let taken = difference::take(&session, journal, first, reason, |_| None).await?;
        return Ok(Tried::Attached(after(
            session,
            identity,
            identified_at,
            taken,
        )));
    }
    let stream: Changes = Box::new(session.follow(next));
    Ok(Tried::Attached(Attached {
        session,
        cluster: identity.id,
        identified_at,
        next,
        stream,
    }))
}

/// The first revision of a restored cluster that the journal knows nothing of.
fn first_unknown(identity: &Identity, newest: Revision) -> Revision {
    match &identity.origin {
        Some(origin) if origin.outcome == Outcome::Kept => newest.min(origin.at).next(),
        // The numbers mean something else there: nothing is known.
        _ => Revision(1),
    }
}

fn after<S>(
    session: S,
    identity: Identity,
    identified_at: Revision,
    taken: difference::Taken,
) -> Attached<S> {
    Attached {
        session,
        cluster: identity.id,
        identified_at,
        next: taken.at.next(),
        stream: taken.stream,
    }
}

fn commit(journal: &Journal, record: NewRecord) -> Result<(), cairn_journal::Error> {
    tokio::task::block_in_place(|| journal.append_and_commit(record)).map(drop)
}
