//! Holding an id: at most one live persister does.
//!
//! The holder's key says which journal it writes and which process it is, and is refreshed by
//! compare-and-set. A persister that finds the key held asks two questions:
//!
//! * Is it held for *this* journal, in this very directory of this very machine? Then the holder is
//!   dead: we hold the journal's lock. Take over at once, so that a restart costs no waiting. (The
//!   directory counts, because a copy of a journal has the same UUID and a lock of its own.)
//! * Otherwise: is the key refreshed while we look? Then its holder lives, and we are refused. A
//!   key that stays as it is for three heartbeats is taken over. Where the engine deletes the key
//!   of a holder that is gone ([`Liveness::Leased`]), that is waited for instead.
//!
//! Time is only ever measured on our own clock, between two looks; clocks need not agree.

use std::time::Duration;

use cairn_journal::Revision;
use tokio::time::{Instant, sleep};

use crate::cluster::capabilities::Liveness;
use crate::cluster::control::{Control, ControlKey, Id};
use crate::cluster::error::Error as ClusterError;
use crate::cluster::session::Session;
use crate::cluster::write::Expect;
use crate::error::Error;
use crate::identity::holder::Holder;

/// How often a contender looks whether the key was refreshed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Somebody else who holds the id, and lives or not.
struct Rival {
    id: Id,
    /// Where the key stood when we first saw it, and when that was.
    seen_at: Revision,
    since: Instant,
    liveness: Liveness,
}

impl Rival {
    fn met(id: Id, held: &Control, liveness: Liveness) -> Self {
        let (Liveness::Rewritten {
            stale_after: most, ..
        }
        | Liveness::Leased {
            expires_after: most,
            ..
        }) = liveness;
        tracing::warn!(
            id, holder = %String::from_utf8_lossy(&held.value),
            "another persister holds this id; looking whether it is alive for up to {most:?}"
        );
        Self {
            id,
            seen_at: held.revision,
            since: Instant::now(),
            liveness,
        }
    }

    /// Whether it has been silent for so long that it counts as dead. An error if it lives.
    fn is_dead(&self, held: &Control) -> Result<bool, Error> {
        let waited = self.since.elapsed();
        let (lives, is_dead) = match self.liveness {
            Liveness::Rewritten { stale_after, .. } => (false, waited >= stale_after),
            // The key of a dead one goes by itself.
            Liveness::Leased { expires_after, .. } => (waited >= expires_after, false),
        };
        if lives || held.revision != self.seen_at {
            return Err(Error::IdTaken {
                id: self.id,
                holder: String::from_utf8_lossy(&held.value).into_owned(),
            });
        }
        if is_dead {
            tracing::warn!(
                id = self.id,
                "its holder has been silent for {waited:.0?}: taking the id over"
            );
        }
        Ok(is_dead)
    }
}

/// Takes the id, waiting for a stale holder's time to run out if need be.
///
/// # Errors
/// [`Error::IdTaken`] if the holder lives; whatever the cluster answers otherwise.
pub async fn claim<S: Session>(session: &S, id: Id, me: &Holder) -> Result<Revision, Error> {
    let key = ControlKey::Owner(id);
    let mut rival: Option<Rival> = None;
    loop {
        let expect = match session.read(&key).await? {
            None => Expect::Absent,
            Some(held) if me.is_me(&held.value) || me.had_my_lock(&held.value) => {
                Expect::At(held.revision)
            }
            Some(held) => {
                let rival = rival
                    .get_or_insert_with(|| Rival::met(id, &held, session.capabilities().liveness));
                if !rival.is_dead(&held)? {
                    sleep(LOOK_EVERY).await;
                    continue;
                }
                Expect::At(held.revision)
            }
        };
        match session.write(&key, expect, me.value()).await {
            Ok(revision) => return Ok(revision),
            // Somebody was faster: look again. Not at once: a node that lags shows for a while yet
            // what was there before.
            Err(ClusterError::Conflict(_)) => sleep(LOOK_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Refreshes the key for ever, if the engine wants that, each time with what `settled` says by
/// then, and calls `beat` with the revision of each time; returns only with an error.
///
/// # Errors
/// [`Error::Replaced`] if somebody else took the id; whatever the cluster answers otherwise.
pub async fn heartbeat<S: Session>(
    session: &S,
    id: Id,
    me: &Holder,
    mut held_at: Revision,
    settled: impl Fn() -> Revision,
    beat: impl Fn(Revision),
) -> Result<std::convert::Infallible, Error> {
    let Liveness::Rewritten { every, .. } = session.capabilities().liveness else {
        return std::future::pending().await;
    };
    let key = ControlKey::Owner(id);
    loop {
        sleep(every).await;
        let value = me.value_at(settled());
        held_at = match session.write(&key, Expect::At(held_at), value).await {
            Ok(revision) => {
                beat(revision);
                revision
            }
            Err(ClusterError::Conflict(_)) => return Err(replaced(session, id, me).await?),
            Err(error) => return Err(error.into()),
        };
    }
}

/// Gives the id back, so that another journal can take it without waiting.
///
/// # Errors
/// Whatever the cluster answers, except that the id was not ours any more.
pub async fn release<S: Session>(session: &S, id: Id, me: &Holder) -> Result<(), Error> {
    let key = ControlKey::Owner(id);
    match session.read(&key).await? {
        Some(held) if me.is_me(&held.value) => {
            match session.delete(&key, Expect::At(held.revision)).await {
                Ok(_) | Err(ClusterError::Conflict(_)) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
        _ => Ok(()),
    }
}

/// The error for a key of the id that somebody else has written: [`Error::Replaced`] if the id is
/// somebody else's by now. Otherwise nobody has taken it (somebody wrote the key by hand), and the
/// session is over: the next one claims the id, and writes its keys, anew.
///
/// # Errors
/// The cluster's, if it cannot say who has it.
pub async fn replaced<S: Session>(session: &S, id: Id, me: &Holder) -> Result<Error, Error> {
    let held = session.read(&ControlKey::Owner(id)).await?;
    Ok(match held.filter(|held| !me.is_me(&held.value)) {
        Some(held) => Error::Replaced {
            id,
            holder: String::from_utf8_lossy(&held.value).into_owned(),
        },
        None => ClusterError::Unavailable(format!(
            "somebody wrote the owner, the watermark or the mirror's progress of id {id}, which \
             only its holder may write"
        ))
        .into(),
    })
}
