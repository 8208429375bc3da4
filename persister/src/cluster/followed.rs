//! What a cluster hands on: revisions as they come, and the state that they lead to.

use bytes::Bytes;
use cairn_journal::{Change, Revision};
use futures::Stream;

use crate::cluster::control::Id;
use crate::cluster::error::Result;

/// A stream of everything that happens in a cluster.
pub type Changes = Box<dyn Stream<Item = Result<Followed>> + Send + Unpin>;

/// One revision of the cluster, as the follower sees it: all of it, never a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The revision; one more than that of the item before.
    pub revision: Revision,
    /// What it changed outside the control area, in the order in which the engine applied it; empty
    /// for no-operations. Control writes are among it, and [flagged](Change::is_control), only
    /// where the engine [tells them](crate::cluster::capabilities::Capabilities::tells_control).
    pub changes: Vec<Change>,
    /// The control keys it wrote, of those that a persister must react to.
    pub touched: Vec<Touched>,
    /// How long the leases last that its changes name, of those that were not told before by the
    /// same session; only where the engine
    /// [tells leases](crate::cluster::capabilities::Capabilities::tells_leases). One that was gone
    /// before it could be asked is not told.
    pub leases: Vec<LeaseFact>,
    /// Whether it came by the engine's faster way to many old revisions.
    pub from_snapshot: bool,
}

/// What was learnt of a lease: a key that has it goes when the lease does. Costs no revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFact {
    /// Its number.
    pub id: i64,
    /// The time to live that it was granted, in seconds; `None`: it is gone.
    pub granted_ttl: Option<i64>,
}

impl Followed {
    /// Whether it changed anything outside the control area.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.changes.iter().any(|change| !change.is_control)
    }
}

/// A write to a control key that decides over the life of a persister.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// The cluster's identity was written (`Some`) or deleted.
    Identity(Option<Bytes>),
    /// The holder of an id was written (`Some`) or deleted.
    Owner(Id, Option<Bytes>),
}

/// One live key of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its path.
    pub path: Bytes,
    /// The revision that set it.
    pub revision: Revision,
    /// Its value.
    pub value: Bytes,
    /// What else the engine knows of it.
    pub attributes: Attributes,
}

/// What an engine knows of a key besides path, revision and value: when it was created, how often
/// it was written, under which lease it stands. Nobody above the engine interprets these bytes;
/// they are kept so that a restore can give them back to the same engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Bytes);

impl Attributes {
    /// These bytes, in the engine's own form.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes; none for an engine that knows nothing else.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}
