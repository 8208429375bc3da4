//! The contract between a persister and any engine.
//!
//! Everything above works in the journal's words (revisions, changes) and in
//! [`ControlKey`]s; only an engine knows which protocol is spoken and what a control key is called
//! there. `conformance` holds each engine to what is promised here.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use cairn_journal::Revision;
use futures::Stream;

use crate::cluster::capabilities::{Capabilities, Limits};
use crate::cluster::control::{Announcements, Control, ControlKey, Id};
use crate::cluster::error::{Error, Result};
use crate::cluster::followed::{Followed, LeaseFact, Live};
use crate::cluster::rules::KeyRules;
use crate::cluster::write::{Expect, Key, Write};

/// Where a cluster is: opens sessions.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// One connection to one node.
    type Session: Session;

    /// Connects to a node that takes writes. Tries every node that is known, each at most once, and
    /// begins with another one each time that it is called, so that a node which lets us in and
    /// takes no writes is not come back to for ever.
    ///
    /// Must not return a session before the node has answered something.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none can be reached.
    fn open(&self) -> impl Future<Output = Result<Self::Session>> + Send;

    /// Each address with the cluster that is there, if there are several and nothing but their
    /// names says that they are nodes of one cluster.
    fn nodes(&self) -> Vec<(String, Self)> {
        Vec::new()
    }
}

/// One connection to one node of a cluster, reduced to what a persister needs.
///
/// **It never reconnects.** When its connection has ended, every call fails with
/// [`Error::Unavailable`], for ever, whatever answers at the same address by then. Were a session
/// to reconnect, a watermark of a cluster that was lost could be written into the fresh one that
/// took its address, where the same revision means something else. Clones share the connection.
///
/// **It answers in time.** Every call has a deadline and fails with [`Error::Unavailable`] when
/// that passes; a session that has failed so never succeeds again. Streams are exempt while nothing
/// happens in the cluster, not while the node is silent to everything.
///
/// **A failed write may have happened** if it failed with [`Error::Unavailable`], and has not
/// happened if it failed in any other way.
///
/// **Revisions** are positive, and each write that changes something takes the next one or a later
/// one. Within one life of a cluster a revision never gets another meaning; what begins another
/// life has another identity, unless the engine [may roll back](Capabilities::may_roll_back).
pub trait Session: Clone + Send + Sync + 'static {
    /// What the engine can do.
    fn capabilities(&self) -> Capabilities;

    /// What its keys look like.
    fn rules(&self) -> KeyRules;

    /// What this cluster takes.
    ///
    /// # Errors
    /// The cluster's.
    fn limits(&self) -> impl Future<Output = Result<Limits>> + Send;

    /// The same connection, whose writes are applied only while the value of the identity key is
    /// `identity`. Replaces an earlier fence. An engine whose [`Guard`] is the key alone cannot do
    /// that, and returns the session as it is.
    ///
    /// [`Guard`]: crate::cluster::capabilities::Guard
    #[must_use]
    fn fenced(&self, identity: &Bytes) -> Self;

    /// The newest revision of the node, and so a lower bound of the cluster's. Where the engine
    /// [may roll back](Capabilities::may_roll_back), it must not return before a majority has
    /// confirmed it: a revision lower than one that was acknowledged is then proof of a loss.
    ///
    /// # Errors
    /// The cluster's.
    fn revision(&self) -> impl Future<Output = Result<Revision>> + Send;

    /// Every revision from `from` on, in order, each exactly once and each whole: never an item
    /// before all of its changes are known. `from` may be newer than the newest revision; then the
    /// stream waits. Must not begin with a later revision if `from` is forgotten: the first item
    /// then is [`Error::HistoryDiscarded`]. Ends after its first error.
    ///
    /// An engine that has a faster way to many old revisions (a snapshot that holds history) takes
    /// it without being told to.
    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static;

    /// Every live key outside the control area, each once, in no particular order. Each is as it
    /// was at some revision at or after `at`, so following from the revision after `at` and
    /// applying every change gives the exact state. Must not leave out a key that was live
    /// throughout. `at` is not newer than what [`Session::revision`] has said.
    fn snapshot(&self, at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static;

    /// Whether two sets of attributes mean the same, however they were learnt.
    fn same_attributes(&self, a: &Bytes, b: &Bytes) -> bool {
        a == b
    }

    /// Every entry of the mirror of paths of persister `id`, each once, in no particular order: the
    /// path, and the revision that it says, if it says one. Each is as it was at some moment after
    /// the call.
    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static;

    /// What became of leases, compared with those that are `known` (the number of each, and the
    /// time to live that it was granted, in seconds): those that there are and are not known, and
    /// those that are known and gone. None where the engine does not
    /// [tell leases](Capabilities::tells_leases).
    ///
    /// # Errors
    /// The cluster's.
    fn leases(
        &self,
        known: &BTreeMap<i64, i64>,
    ) -> impl Future<Output = Result<Vec<LeaseFact>>> + Send {
        let _ = known;
        async { Ok(Vec::new()) }
    }

    /// What each persister says about itself. Persisters that say nothing any more are left out.
    ///
    /// # Errors
    /// The cluster's.
    fn announcements(&self) -> impl Future<Output = Result<Announcements>> + Send;

    /// How long ago the holder of `id` showed that it lives, as far as the cluster knows that
    /// without being watched; `None`: it does not, or nobody holds the id. Offered where its
    /// [liveness](Capabilities::liveness) is a lease.
    ///
    /// # Errors
    /// The cluster's.
    fn silent_for(&self, id: Id) -> impl Future<Output = Result<Option<Duration>>> + Send {
        let _ = id;
        async { Ok(None) }
    }

    /// Reads a control key; `None` where it does not exist. Must not answer from before the last
    /// write of this session that was answered.
    ///
    /// # Errors
    /// The cluster's.
    fn read(&self, key: &ControlKey) -> impl Future<Output = Result<Option<Control>>> + Send;

    /// Applies all of `writes` in one revision if everything that they expect holds, and else
    /// nothing. Each key occurs once. Returns the revision: always if a key was set; for deletes
    /// alone only where the engine tells it and something was deleted. Deleting a key that does not
    /// exist succeeds.
    ///
    /// Must not return before the writes are applied, nor try again what may have been applied.
    ///
    /// # Errors
    /// [`Error::Conflict`], which says what did not hold; [`Error::Refused`] if these can be no
    /// single revision of this engine (see [`Capabilities::writes_per_revision`]), or a key or
    /// value cannot be.
    fn apply(&self, writes: &[Write]) -> impl Future<Output = Result<Option<Revision>>> + Send;

    /// Grants leases, each by its id and the seconds that it lasts. One that is there already stays
    /// as it is. They are kept alive as long as a clone of this session is held, and have their
    /// whole time from then on. Costs no revision.
    ///
    /// # Errors
    /// The cluster's; [`Error::Refused`] if it has no such leases.
    fn grant(&self, leases: &[(i64, i64)]) -> impl Future<Output = Result<()>> + Send {
        let refused = Err(Error::Refused("this cluster has no leases".to_owned()));
        std::future::ready(if leases.is_empty() { Ok(()) } else { refused })
    }

    /// Consumes one revision without changing anything.
    ///
    /// # Errors
    /// The cluster's.
    fn advance(&self) -> impl Future<Output = Result<()>> + Send;

    /// Puts a whole state into a cluster that nobody has written to, each key at its revision, and
    /// the cluster at revision `at` or later. What it forgets, it says it has forgotten.
    ///
    /// # Errors
    /// [`Error::Refused`] if a key cannot be, or the engine [does not load](Capabilities::loads).
    fn load(&self, state: impl IntoIterator<Item = Live>, at: Revision) -> Result<()> {
        let _ = (state, at);
        Err(Error::Refused(
            "a state cannot be loaded into this cluster at once".to_owned(),
        ))
    }

    /// Writes one control key; returns the revision of the write.
    ///
    /// # Errors
    /// As [`Session::apply`].
    fn write(
        &self,
        key: &ControlKey,
        expect: Expect,
        value: Bytes,
    ) -> impl Future<Output = Result<Revision>> + Send {
        set(self, Key::Control(key.clone()), expect, value)
    }

    /// Deletes one control key.
    ///
    /// # Errors
    /// As [`Session::apply`].
    fn delete(
        &self,
        key: &ControlKey,
        expect: Expect,
    ) -> impl Future<Output = Result<Option<Revision>>> + Send {
        remove(self, Key::Control(key.clone()), expect)
    }

    /// Writes one key outside the control area; returns the revision of the write.
    ///
    /// # Errors
    /// As [`Session::apply`].
    fn put(
        &self,
        path: &Bytes,
        expect: Expect,
        value: Bytes,
    ) -> impl Future<Output = Result<Revision>> + Send {
        set(self, Key::Data(path.clone()), expect, value)
    }

    /// Deletes one key outside the control area.
    ///
    /// # Errors
    /// As [`Session::apply`].
    fn remove(
        &self,
        path: &Bytes,
        expect: Expect,
    ) -> impl Future<Output = Result<Option<Revision>>> + Send {
        remove(self, Key::Data(path.clone()), expect)
    }
}

async fn set<S: Session>(session: &S, key: Key, expect: Expect, value: Bytes) -> Result<Revision> {
    let write = Write {
        key,
        expect,
        value: Some(value),
        lease: 0,
    };
    let revision = session.apply(&[write]).await?;
    revision.ok_or_else(|| {
        Error::Unavailable("the cluster did not say at which revision it wrote".to_owned())
    })
}

async fn remove<S: Session>(session: &S, key: Key, expect: Expect) -> Result<Option<Revision>> {
    let write = Write {
        key,
        expect,
        value: None,
        lease: 0,
    };
    session.apply(&[write]).await
}
