//! The seam: the one place where the persister meets a cluster.
//!
//! | module | what it has |
//! |---|---|
//! | [`session`] | the contract: what an engine must do, and must not do |
//! | [`control`], [`followed`], [`write`](mod@write) | what goes through it |
//! | [`rules`], [`capabilities`] | what engines differ in, as values |
//! | [`error`] | how a call fails, and what that means |
//! | [`address`], [`connect`](mod@connect) | which engine is at an address |
//! | [`leases`] | which lease a key stood under, in any engine's journal |
//! | [`ahead`], [`budget`], [`backoff`] | reading, holding back and trying again, for any engine |
//! | [`doozer`] | the doozer protocol |
//! | [`etcd`] | etcd v3 |
//! | [`in_process`] | the embedded node, without a socket between |
//! | `conformance` | the properties that every engine must have, as tests |
//!
//! A new engine is one folder here, one arm in [`connect`](mod@connect) and one in [`address`], and
//! it must pass `conformance`.

pub mod address;
pub mod ahead;
pub mod backoff;
pub mod budget;
pub mod capabilities;
#[cfg(test)]
pub(crate) mod conformance;
pub mod connect;
pub mod control;
pub mod doozer;
pub mod error;
pub mod etcd;
pub mod followed;
pub mod in_process;
pub mod leases;
pub mod rules;
pub mod session;
pub mod write;

pub use address::{Address, AddressError};
pub use capabilities::{Capabilities, Guard, Limits, Liveness, Restores, WriteRates};
pub use connect::{Task, connect};
pub use control::{Announced, Announcements, Control, ControlKey, Id};
pub use error::{Conflict, Error, Result};
pub use followed::{Attributes, Followed, Live, Touched};
pub use rules::{KeyPrefix, KeyRules};
pub use session::{Cluster, Session};
pub use write::{Expect, Key, Write};
