//! Which of several restores goes on: the one whose journal has the highest revision.
//!
//! There is no vote and no list of members. A claim in the cluster is a bid
//! ([`claim`](crate::restore::claim)): whoever has more overwrites it, at any time until the
//! restore is finished ([`plan`](crate::restore::plan::plan)), and whoever has less waits. Bids
//! cost a revision each, and a lonely restorer makes one. It then stands for a moment before the
//! first key is written, so that persisters which start together do not take each other's work
//! over; that is a courtesy, and nothing rests on it.
//!
//! What rests on something: a restore that somebody else began is taken up only when that one is
//! dead ([`is_alive`]), or overruled, and then only once it has stopped writing
//! ([`is_quiet_at_last`]).

use std::time::Duration;

use cairn_journal::Revision;
use cairn_protocol::owner::STALE_AFTER;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::cluster::control::ControlKey;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::followed::{Followed, Touched};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::lineage::Identity;

/// How many revisions nodes and persisters write by themselves while we look, without anybody
/// restoring: about ten a second. A restore writes hundreds a second.
const CHATTER: u64 = 10 * STALE_AFTER.as_secs();

/// How long a restore that was overruled must have written nothing.
const QUIET: Duration = Duration::from_secs(4);

/// How long that may take.
const QUIET_WITHIN: Duration = Duration::from_secs(30);

/// Whether somebody is at work on the restore that was found when the cluster was at `at`: creates
/// keys, writes the claim again, or consumes revisions by the hundred. Looks for as long as a
/// living restore would not pause.
pub(super) async fn is_alive<S: Session>(session: &S, at: Revision) -> Result<bool, Error> {
    let until = Instant::now() + STALE_AFTER;
    let mut stream = session.follow(at.next());
    let mut chatter = 0;
    while let Ok(next) = timeout_at(until, stream.next()).await {
        let followed = match next {
            // Faster than we can read.
            Some(Err(ClusterError::HistoryDiscarded)) => return Ok(true),
            Some(followed) => followed?,
            None => return Err(gone()),
        };
        chatter += 1;
        if is_a_restore(&followed) || chatter > CHATTER {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How a restore that went first ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The identity is another one: it has finished, was taken over, or has taken its claim back.
    Otherwise,
    /// Nobody has gone on with it for longer than a living restore would pause.
    Dead,
}

/// Waits for the end of the restore whose claim is `claim`, as long as it takes.
pub(super) async fn end_of<S: Session>(session: &S, claim: &Identity) -> Result<Ended, Error> {
    let claim = claim.to_string();
    // What happens before the stream begins is seen by reading, what happens later by the stream.
    let mut stream = session.follow(session.revision().await?.next());
    let still = |value: Option<&[u8]>| value == Some(claim.as_bytes());
    let now = session.read(&ControlKey::Identity).await?;
    if !still(now.as_ref().map(|control| &control.value[..])) {
        return Ok(Ended::Otherwise);
    }
    let (mut until, mut chatter) = (Instant::now() + STALE_AFTER, 0);
    while let Ok(next) = timeout_at(until, stream.next()).await {
        let followed = match next.ok_or_else(gone)? {
            // Faster than we can read: it lives, and is looked at again.
            Err(ClusterError::HistoryDiscarded) => return Ok(Ended::Otherwise),
            followed => followed?,
        };
        let goes = |touched: &Touched| match touched {
            Touched::Identity(value) => !still(value.as_deref()),
            Touched::Owner(..) => false,
        };
        if followed.touched.iter().any(goes) {
            return Ok(Ended::Otherwise);
        }
        chatter += 1;
        if is_a_restore(&followed) || chatter > CHATTER {
            (until, chatter) = (Instant::now() + STALE_AFTER, 0);
        }
    }
    Ok(Ended::Dead)
}

/// Waits until whoever was overruled before has stopped. `false` if it does not.
pub(super) async fn is_quiet_at_last<S: Session>(session: &S) -> Result<bool, Error> {
    let give_up = Instant::now() + QUIET_WITHIN;
    let mut stream = session.follow(session.revision().await?.next());
    let mut until = Instant::now() + QUIET;
    while let Ok(next) = timeout_at(until, stream.next()).await {
        let followed = match next.ok_or_else(gone)? {
            // Faster than we can read.
            Err(ClusterError::HistoryDiscarded) => return Ok(false),
            followed => followed?,
        };
        if is_a_restore(&followed) {
            until = Instant::now() + QUIET;
        }
        if Instant::now() > give_up {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_a_restore(followed: &Followed) -> bool {
    let is_identity = |touched: &Touched| matches!(touched, Touched::Identity(_));
    !followed.changes.is_empty() || followed.touched.iter().any(is_identity)
}

fn gone() -> Error {
    ClusterError::Unavailable("the connection ended".to_owned()).into()
}
