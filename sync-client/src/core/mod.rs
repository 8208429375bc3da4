//! What makes a write durable, decided without an engine: no I/O, no socket, no engine's type.
//!
//! An engine's client (`doozer`, `etcd`) reads keys and watches, tells [`persister::Persister`]
//! what it saw, and asks [`quorum`] whether a write is on enough disks.

pub(crate) mod behind;
pub(crate) mod durability;
pub(crate) mod liveness;
pub(crate) mod persister;
pub(crate) mod progress;
pub(crate) mod quorum;
pub(crate) mod revision;
pub(crate) mod target;
pub(crate) mod waiters;
pub(crate) mod witnesses;
