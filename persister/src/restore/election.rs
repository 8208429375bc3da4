//! Which of several restores goes first, seen by those that do not.
//!
//! There is no vote and no list of members. The best bid stands in the cluster's identity, and
//! whoever has more writes its own over it ([`plan`](crate::restore::plan::plan)). Bids cost a
//! revision each, and a lonely restorer makes one; who has less writes only where somebody waits
//! for its bid.
//!
//! Whether another restorer is alive is guessed here, from what it does. Nothing rests on that
//! guess while bids are awaited, as no key has been written; and later it is only told.

use std::time::Duration;

use cairn_protocol::owner::STALE_AFTER;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::cluster::control::ControlKey;
use crate::cluster::error::Error as ClusterError;
use crate::cluster::followed::{Followed, Touched};
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::decision::RemoteCluster;
use crate::identity::lineage::{Identity, Origin, Outcome};
use crate::restore::claim::RestoreClaim;
use crate::restore::plan::Bidder;

/// How many revisions nodes and persisters write by themselves while we look, without anybody
/// restoring: about ten a second. A restore writes hundreds a second.
const CHATTER: u64 = 10 * STALE_AFTER.as_secs();

/// How a restore that went first ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The identity is another one: it has finished, was outbid, or has taken its claim back.
    Otherwise,
    /// Nobody has gone on with it for longer than a living restore would pause.
    Dead,
}

/// Waits for the end of the restore whose claim is `claim`, as long as it takes.
pub(super) async fn end_of<S: Session>(session: &S, claim: &Identity) -> Result<Ended, Error> {
    until_changed(session, claim, STALE_AFTER, is_a_restore).await
}

/// Lets the best bid, which is not ours, know that we have seen it, if anybody waits for us. Then
/// waits until it is another one, or its bidder must be dead.
pub(super) async fn outlives<S: Session>(
    session: &S,
    claim: &Identity,
    us: &Bidder,
) -> Result<bool, Error> {
    let (Some(bid), Some(origin)) = (claim.bid(), &claim.origin) else {
        return Ok(false);
    };
    if let Some(seen) = us.seen(bid) {
        let remote = RemoteCluster {
            identity: Some(claim.clone()),
            newest: session.revision().await?,
            may_roll_back: false,
        };
        let seen = Identity {
            origin: Some(Origin {
                outcome: Outcome::Bidding(seen),
                ..origin.clone()
            }),
            ..claim.clone()
        };
        RestoreClaim::set(session, &remote, &seen).await?;
        return Ok(false);
    }
    let Some(patience) = bid.stands_for() else {
        return Ok(false);
    };
    let ended = until_changed(session, claim, patience, |_| false).await?;
    Ok(ended == Ended::Dead)
}

/// Waits until the identity is not `claim` any more, or nothing has shown life for `patience`.
async fn until_changed<S: Session>(
    session: &S,
    claim: &Identity,
    patience: Duration,
    shows_life: fn(&Followed) -> bool,
) -> Result<Ended, Error> {
    let claim = claim.to_string();
    // What happens before the stream begins is seen by reading, what happens later by the stream.
    let mut stream = session.follow(session.revision().await?.next());
    let still = |value: Option<&[u8]>| value == Some(claim.as_bytes());
    let now = session.read(&ControlKey::Identity).await?;
    if !still(now.as_ref().map(|control| &control.value[..])) {
        return Ok(Ended::Otherwise);
    }
    let (mut until, mut chatter) = (Instant::now() + patience, 0);
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
        if shows_life(&followed) || chatter > CHATTER {
            (until, chatter) = (Instant::now() + patience, 0);
        }
    }
    Ok(Ended::Dead)
}

fn is_a_restore(followed: &Followed) -> bool {
    let is_identity = |touched: &Touched| matches!(touched, Touched::Identity(_));
    !followed.changes.is_empty() || followed.touched.iter().any(is_identity)
}

fn gone() -> Error {
    ClusterError::Unavailable("the connection ended".to_owned()).into()
}
