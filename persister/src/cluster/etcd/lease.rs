//! The lease under which the owner's key stands: it lasts as long as the session that wrote it.

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
