//! A connection to the cluster, which all clones of a session share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio_util::sync::CancellationToken;

use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::fake::store::{Lease, Store};
use crate::cluster::error::{Error, Result};
use crate::cluster::rules::KeyRules;

/// Everything but our own prefix is data.
pub(super) const RULES: KeyRules = KeyRules::flat(cairn_protocol::keys::FLAT_ROOT);

/// A connection: its lease ends with it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) store: Arc<Store>,
    pub(super) ended: CancellationToken,
    pub(super) lease: Lease,
    fault: Fault,
    /// How many writes were asked for.
    pub(super) asked: AtomicUsize,
}

impl Connection {
    pub(super) fn new(store: &Arc<Store>, fault: Fault) -> Self {
        let (ended, lease) = store.connect();
        Self {
            store: Arc::clone(store),
            ended,
            lease,
            fault,
            asked: AtomicUsize::new(0),
        }
    }

    pub(super) fn check(&self, fault: Fault) -> Result<()> {
        if self.ended.is_cancelled() && fault != Fault::Reconnects {
            return Err(Error::Unavailable("the connection has ended".to_owned()));
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.fault != Fault::KeepsOwners {
            self.store.expire(self.lease);
        }
    }
}
