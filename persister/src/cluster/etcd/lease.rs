//! The lease under which the owner's key stands: it lasts as long as the session that wrote it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cairn_etcd::Session;
use cairn_etcd::wire::{LeaseGrantRequest, LeaseRevokeRequest};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::error::Result;

/// How long an owner's key outlives an owner that is gone.
pub(super) const LEASE_TIME: Duration = Duration::from_secs(9);

/// How often it is kept alive.
pub(super) const KEPT_EVERY: Duration = Duration::from_secs(3);

/// How long an owner's key may outlive its owner all in all: a new leader gives every lease its
/// whole time again.
pub(super) const EXPIRES_AFTER: Duration = Duration::from_secs(20);

/// The lease of one session, granted when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct OwnerLease {
    granted: OnceCell<i64>,
    /// Cancelled with the last clone of the session.
    over: CancellationToken,
    guard: OnceCell<DropGuard>,
}

impl OwnerLease {
    /// The number of the lease; `None` if nobody has asked for one.
    pub(super) fn id(&self) -> Option<i64> {
        self.granted.get().copied()
    }

    /// The number of the lease, which is kept alive from now on.
    pub(super) async fn get(&self, session: &Session) -> Result<i64> {
        let grant = || async {
            let ttl = i64::try_from(LEASE_TIME.as_secs()).unwrap_or(i64::MAX);
            let granted = session.call(LeaseGrantRequest { ttl, id: 0 }).await?;
            let over = self.over.clone();
            let _ = self.guard.set(over.clone().drop_guard()); // granted once
            tokio::spawn(keep(session.clone(), granted.id, over));
            Ok(granted.id)
        };
        self.granted.get_or_try_init(grant).await.copied()
    }
}

/// Leases that were granted for keys of applications, kept alive until the session is over.
#[derive(Debug, Default)]
pub(super) struct KeptAlive(Mutex<Option<DropGuard>>);

impl KeptAlive {
    /// Keeps these alive from now on, and no others.
    pub(super) fn keep(&self, session: &Session, leases: &[(i64, i64)]) {
        let shortest = leases.iter().map(|(_, ttl)| *ttl).min();
        let keeping = shortest.map(|shortest| {
            // A member raises what is shorter than that.
            let shortest = Duration::from_secs(shortest.max(2).unsigned_abs());
            let ids = leases.iter().map(|(id, _)| *id).collect();
            let over = CancellationToken::new();
            tokio::spawn(keep_all(session.clone(), ids, shortest / 3, over.clone()));
            over.drop_guard()
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keeping;
    }
}

/// Keeps leases alive, each once in a round. One that is gone was ended by somebody.
async fn keep_all(session: Session, ids: Vec<i64>, every: Duration, over: CancellationToken) {
    let keeping = async {
        loop {
            for id in &ids {
                if let Err(error) = session.keep_alive(*id).await {
                    tracing::debug!(%error, id, "a lease was not kept alive");
                }
            }
            sleep(every).await;
        }
    };
    tokio::select! {
        () = over.cancelled() => {}
        () = session.ended() => {}
        () = keeping => {}
    }
}

/// Keeps a lease alive until `over`, then ends it. If it has ended before, so has the session: who
/// was thought dead must not go on as if nothing had been.
async fn keep(session: Session, id: i64, over: CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(KEPT_EVERY) => {}
            () = session.ended() => return,
            () = over.cancelled() => {
                // If this fails, the lease ends by itself.
                let _ = session.call(LeaseRevokeRequest { id }).await;
                return;
            }
        }
        match session.keep_alive(id).await {
            Ok(Some(_)) => {}
            Ok(None) => return session.close("the lease of its owner key has ended"),
            Err(error) => return session.close(&error.to_string()),
        }
    }
}
