//! The one place where the persister meets a cluster.
//!
//! Everything above [`Cluster`] works in the journal's words (revisions, changes) and in
//! [`ControlKey`]s; only an implementation knows which protocol is spoken and what a control key is
//! called there. Doozer is the first implementation ([`doozer`]).
//!
//! A [`Session`] is one connection to one node. All that a persister reads and writes goes through a
//! session whose cluster it has identified, and a session never reconnects: when its connection
//! ends, every call fails, and whoever wants to go on opens another and identifies it first. Were
//! a session to reconnect by itself, a watermark of the lost cluster could be published into the
//! fresh one that took its address, where the same revision number means something else.

use std::future::Future;
use std::time::Instant;

use bytes::Bytes;
use cairn_journal::{Change, Revision};
use futures::Stream;

pub mod ahead;
pub mod backoff;
pub mod budget;
pub mod doozer;

/// The number in `--id`: names one persister within a cluster.
pub type Id = u32;

/// A key through which persisters and clients agree; never journaled, never mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ControlKey {
    /// Which cluster this is, and what it was restored from.
    Identity,
    /// Who holds a persister id.
    Owner(Id),
    /// The newest revision up to which everything is durable.
    Watermark(Id),
    /// The newest revision up to which the per-path mirror is complete.
    Mirrored(Id),
    /// The durable revision of one path.
    Mirror(Id, Bytes),
}

/// What must hold for a write to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// The key does not exist.
    Absent,
    /// The key has not been written since this revision.
    At(Revision),
}

/// What a cluster takes, as far as its implementation is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest value, in bytes.
    pub max_value_bytes: usize,
    /// Whether the writes of one session are applied in the order in which they were first polled,
    /// also while several are under way.
    pub in_order: bool,
}

/// A control key's value and the revision that set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The revision of the write that set it.
    pub revision: Revision,
    /// Its value.
    pub value: Bytes,
}

/// One revision of the cluster, as the follower sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The revision; one more than that of the item before.
    pub revision: Revision,
    /// What it changed outside the control area; empty for control writes and no-operations.
    pub changes: Vec<Change>,
    /// The control key it wrote, where that is one that a persister must react to.
    pub touched: Option<Touched>,
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
}

/// Why a call to a cluster failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The write's [`Expect`] did not hold; nothing was written.
    #[error("the key was written by somebody else in the meantime")]
    Conflict,
    /// The cluster no longer keeps the revisions asked for.
    #[error("the cluster no longer keeps the history that was asked for")]
    HistoryDiscarded,
    /// The cluster cannot be reached, or did not answer in time; worth another try.
    #[error("{0}")]
    Unavailable(String),
    /// The cluster answered, and the answer is no; another try would get the same.
    #[error("{0}")]
    Refused(String),
}

/// The result of a call to a cluster.
pub type Result<T> = std::result::Result<T, Error>;

/// Where a cluster is: opens sessions.
pub trait Cluster: Clone + Send + Sync + 'static {
    /// One connection to one node.
    type Session: Session;

    /// Connects to a node that takes writes, trying every known one once.
    fn open(&self) -> impl Future<Output = Result<Self::Session>> + Send;
}

/// One connection to one node of a cluster, reduced to what a persister needs.
///
/// * Every call has a deadline and fails with [`Error::Unavailable`] when it passes, or when the
///   connection has ended. A session that has failed that way never succeeds again.
/// * A write that fails with [`Error::Unavailable`] may have happened.
pub trait Session: Clone + Send + Sync + 'static {
    /// The same session, of which no call is sent after `by`, however long this process is stopped meanwhile.
    #[must_use]
    fn sending_by(&self, by: Instant) -> Self;

    /// The newest revision of the node; a lower bound of the cluster's.
    fn revision(&self) -> impl Future<Output = Result<Revision>> + Send;

    /// Every revision from `from` on, in order, each exactly once. Changes below the control area
    /// are reported as revisions without changes. Ends after its first error.
    fn follow(
        &self,
        from: Revision,
    ) -> impl Stream<Item = Result<Followed>> + Send + Unpin + 'static;

    /// Every live key outside the control area, each once, in no particular order. Each is as it
    /// was at some revision at or after `at`, so following from the revision after `at` and
    /// applying every change gives the exact state. `at` is not newer than [`Session::revision`].
    fn snapshot(&self, at: Revision) -> impl Stream<Item = Result<Live>> + Send + Unpin + 'static;

    /// Every entry of the per-path mirror of persister `id`, each once, in no particular order: the path,
    /// and the revision that it says, if it says one. Each is as it was at some moment after the call.
    fn mirrored(
        &self,
        id: Id,
    ) -> impl Stream<Item = Result<(Bytes, Option<Revision>)>> + Send + Unpin + 'static;

    /// Reads a control key; `None` where it does not exist.
    fn read(&self, key: &ControlKey) -> impl Future<Output = Result<Option<Control>>> + Send;

    /// Writes a control key; returns the revision of the write.
    fn write(
        &self,
        key: &ControlKey,
        expect: Expect,
        value: Bytes,
    ) -> impl Future<Output = Result<Revision>> + Send;

    /// Deletes a control key. Deleting one that does not exist succeeds.
    fn delete(&self, key: &ControlKey, expect: Expect) -> impl Future<Output = Result<()>> + Send;

    /// What the cluster takes.
    fn limits(&self) -> impl Future<Output = Result<Limits>> + Send;

    /// Whether a path belongs to the control area. Pure.
    fn is_control(path: &[u8]) -> bool;

    /// Why there can be no key of this path, if so. Pure.
    fn why_not(path: &[u8]) -> Option<&'static str>;

    /// Writes a key outside the control area; returns the revision of the write.
    fn put(
        &self,
        path: &Bytes,
        expect: Expect,
        value: Bytes,
    ) -> impl Future<Output = Result<Revision>> + Send;

    /// Deletes a key outside the control area. Deleting one that does not exist succeeds.
    fn remove(&self, path: &Bytes, expect: Expect) -> impl Future<Output = Result<()>> + Send;

    /// Consumes one revision without changing anything.
    fn advance(&self) -> impl Future<Output = Result<()>> + Send;
}
