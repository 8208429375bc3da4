//! An engine in memory, for tests: what doozer has not, it has.
//!
//! Its revisions change any number of keys, its keys are any bytes and carry attributes, its writes
//! can be fenced by the identity, its owner keys stand under leases, its history comes with its
//! snapshot, and it can be rolled back. It is also the canary of the suite: with a [`Fault`] it is
//! wrong in one way, and the suite must notice.

mod connection;
pub(crate) mod fault;
mod following;
mod session;
mod store;

use std::sync::Arc;

use cairn_journal::Revision;

use crate::cluster::conformance::fake::fault::Fault;
use crate::cluster::conformance::fake::session::FakeSession;
use crate::cluster::conformance::fake::store::Store;
use crate::cluster::conformance::rig::Rig;
use crate::cluster::control::Id;
use crate::cluster::error::Result;
use crate::cluster::session::Cluster;

/// A cluster of this engine.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    store: Arc<Store>,
    id: Id,
    fault: Fault,
}

impl Cluster for Fake {
    type Session = FakeSession;

    async fn open(&self) -> Result<FakeSession> {
        Ok(FakeSession::new(&self.store, self.id, self.fault))
    }
}

/// A running cluster of this engine.
#[derive(Clone, Debug)]
pub(crate) struct FakeRig {
    store: Arc<Store>,
    fault: Fault,
}

impl FakeRig {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            store: Arc::default(),
            fault,
        }
    }

    /// Has `what` done before each call of a session, and after each write.
    pub(crate) fn between_calls(&self, what: Option<Box<dyn FnMut() + Send>>) {
        self.store.between.set(what);
    }
}

impl Rig for FakeRig {
    type Cluster = Fake;

    fn cluster(&self, id: Id) -> Fake {
        Fake {
            store: Arc::clone(&self.store),
            id,
            fault: self.fault,
        }
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.store.forget();
        Ok(())
    }

    async fn cut(&self) -> anyhow::Result<()> {
        self.store.cut();
        Ok(())
    }

    async fn roll_back(&self, to: Revision) -> anyhow::Result<()> {
        self.store.roll_back(to);
        Ok(())
    }
}
