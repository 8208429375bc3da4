//! Waiting until enough persisters have a write on disk, in the history that has the write.

use std::sync::Arc;
use std::time::Duration;

use cairn_etcd::wire::{LeaseTimeToLiveRequest, RangeRequest, TxnRequest, response_op};
use cairn_etcd::{ErrorKind, Session};
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::core::liveness::Liveness;
use crate::core::quorum::Round;
use crate::core::revision::Revision;
use crate::core::target::Target;
use crate::core::witnesses::Witnesses;
use crate::etcd::effects::Effects;
use crate::etcd::error::{Behind, Error, Reason, Result, Unconfirmed};
use crate::etcd::keeper::Connections;
use crate::etcd::link::Link;
use crate::etcd::written::Written;

/// How long an error may be held up to learn who lives.
const ASK_WHO_LIVES: Duration = Duration::from_secs(1);

/// How late a lease may be renewed before its holder counts as silent: what a busy cluster may add,
/// and a second by which the server's answer is rounded.
const LATE: Duration = Duration::from_secs(3);

/// The pause after a question that could not be asked, over a connection that goes on.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The most reads in one transaction: a member takes 128 by default (`--max-txn-ops`).
const READS: usize = 100;

/// What confirms writes.
#[derive(Debug)]
pub(crate) struct Confirmer {
    pub(crate) witnesses: Arc<Witnesses>,
    pub(crate) connections: Connections,
}

impl Confirmer {
    /// Returns once enough persisters have the write on disk, or says why that is not known. It was
    /// answered over a connection of this client, at `started`.
    pub(crate) async fn confirm(&self, written: Written, started: Instant) -> Result<()> {
        self.until_the_end(written, started, false).await
    }

    /// Returns once enough persisters have the write on disk, or says why that is not known. It may
    /// have been answered over a connection of another client: it is looked for first.
    pub(crate) async fn confirm_later(&self, written: Written) -> Result<()> {
        self.until_the_end(written, Instant::now(), true).await
    }

    async fn until_the_end(&self, written: Written, started: Instant, look: bool) -> Result<()> {
        let end = self.witnesses.end(started);
        let mut confirmed_by = Vec::new();
        let wait = timeout_at(end, self.wait(&written, look, &mut confirmed_by));
        let reason = match wait.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => Reason::Late,
        };
        let waited = started.elapsed();
        Err(self
            .unconfirmed(written, reason, confirmed_by, waited)
            .await)
    }

    async fn wait(
        &self,
        written: &Written,
        look: bool,
        confirmed_by: &mut Vec<u32>,
    ) -> Result<(), Reason> {
        let target = Target::All(Revision(written.revision));
        // Whose connection it is counts, and not its number: two clients count alike.
        let mut link = Arc::clone(&written.link);
        let mut is_ours = !look;
        let mut generation = 0;
        loop {
            if is_ours {
                let over = link.generation;
                let round = self.witnesses.wait(over, &target, None, confirmed_by);
                match round.await {
                    Round::Confirmed => return Ok(()),
                    Round::Moved | Round::Late => generation = link.generation,
                }
                confirmed_by.clear();
            }
            let newer = self.connections.after(generation).await;
            match carry_over(written, &link, &newer).await {
                Ok(()) => (link, is_ours) = (newer, true),
                Err(Some(reason)) => return Err(reason),
                Err(None) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// The error for a write that is in the cluster, and no more is known.
    pub(crate) async fn unconfirmed(
        &self,
        written: Written,
        reason: Reason,
        mut confirmed_by: Vec<u32>,
        waited: Duration,
    ) -> Error {
        confirmed_by.sort_unstable();
        let mut behind = self.witnesses.behind(&confirmed_by);
        self.learn_who_lives(&mut behind).await;
        Error::Unconfirmed(Box::new(Unconfirmed {
            written,
            reason,
            confirmed_by,
            behind,
            waited,
        }))
    }

    /// Whether persisters live is told by what is left of the leases of their owner keys.
    async fn learn_who_lives(&self, behind: &mut [Behind]) {
        let link = self.connections.now();
        let each = behind.iter_mut().map(|one| async {
            let Some(link) = &link else {
                // Nobody can be heard.
                one.liveness = Liveness::Unknown;
                return;
            };
            if let Some(lease) = link.owner_lease(one.persister) {
                let asked = timeout(ASK_WHO_LIVES, liveness(&link.session, lease)).await;
                one.liveness = asked.unwrap_or(Liveness::Unknown);
            }
        });
        join_all(each).await;
    }
}

async fn liveness(session: &Session, lease: i64) -> Liveness {
    let ask = LeaseTimeToLiveRequest {
        id: lease,
        keys: false,
    };
    let Ok(left) = session.call(ask).await else {
        return Liveness::Unknown;
    };
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    // None at all is left of a lease that is gone.
    let (left, granted) = (seconds(left.ttl), seconds(left.granted_ttl));
    of_lease(left, granted)
}

/// What is left of a lease tells when its holder last renewed it, which it does three times as
/// often as it must.
fn of_lease(left: Duration, granted: Duration) -> Liveness {
    let heartbeat = granted.saturating_sub(left);
    if left.is_zero() || heartbeat > granted / 3 + LATE {
        Liveness::Silent { since: heartbeat }
    } else {
        Liveness::Alive { heartbeat }
    }
}

/// Whether the cluster behind `newer` is the one behind `link` and has the write. `Err(None)`: that
/// could not be asked.
async fn carry_over(written: &Written, link: &Link, newer: &Link) -> Result<(), Option<Reason>> {
    if std::ptr::eq(link, newer) {
        return Ok(());
    }
    let Some(was) = link.name() else {
        return Err(unverifiable("no persister had named the cluster"));
    };
    let is = newer.name();
    if is.as_ref() != Some(&was) {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        return Err(Some(Reason::OtherCluster {
            was: text(&was),
            is: is.as_deref().map(text),
        }));
    }
    let Some(effects) = &written.effects else {
        return Err(unverifiable("a revision alone is no proof"));
    };
    match is_there(&newer.session, effects, written.revision).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Some(Reason::WentBack)),
        Err(error) => match error.kind() {
            ErrorKind::FutureRevision => Err(Some(Reason::WentBack)),
            ErrorKind::Compacted(_) | ErrorKind::PermissionDenied | ErrorKind::TooLarge => {
                Err(unverifiable(&error.to_string()))
            }
            _ => {
                tracing::debug!(%error, "cannot look for a write");
                Err(None)
            }
        },
    }
}

fn unverifiable(why: &str) -> Option<Reason> {
    let why = why.to_owned();
    Some(Reason::Unverifiable { why })
}

/// Whether the history of a cluster has a write at its revision.
async fn is_there(
    session: &Session,
    effects: &Effects,
    revision: i64,
) -> Result<bool, cairn_etcd::Error> {
    let questions = effects.questions(revision);
    let mut answers = Vec::with_capacity(questions.len());
    for some in questions.chunks(READS) {
        let asked = some.iter().map(RangeRequest::clone).map(Into::into);
        let read = TxnRequest {
            success: asked.collect(),
            ..TxnRequest::default()
        };
        let told = session.call(read).await?.responses.into_iter();
        answers.extend(told.filter_map(|told| match told.response {
            Some(response_op::Response::Range(range)) => Some(range),
            _ => None,
        }));
    }
    Ok(effects.are_told_by(revision, &answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_lease_tells_who_lives() {
        let secs = Duration::from_secs;
        let of = |left| of_lease(secs(left), secs(9));
        let alive = |heartbeat| Liveness::Alive {
            heartbeat: secs(heartbeat),
        };
        assert_eq!(of(9), alive(0));
        assert_eq!(of(3), alive(6));
        assert_eq!(of(2), Liveness::Silent { since: secs(7) });
        assert_eq!(of(0), Liveness::Silent { since: secs(9) });
    }
}
