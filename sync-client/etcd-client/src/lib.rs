//! The crate [`etcd_client`], with writes that return when they are on disk.
//!
//! Its types, methods and errors are those of `etcd_client` themselves. What changes in a program
//! is one line:
//!
//! ```diff
//! -use etcd_client::Client;
//! +use cairn_etcd_client::Client;
//! ```
//!
//! # The invariant
//!
//! **`Ok` of a put, a delete, a transaction or the end of a lease says: enough persisters have this
//! very write on disk, in the cluster that answered it.** It holds because `etcd_client` does not
//! send these calls. It sends every call through a channel, and the channel of this crate takes
//! these four out by their paths and hands them to the sync client,
//! [`cairn_sync_client::etcd::Client`]: the message that was to be sent is decoded, done there, and
//! the answer encoded. So
//!
//! 1. no write reaches a member over a connection of `etcd_client`, which connects again by itself
//!    and spreads calls over members, and
//! 2. no answer to a write is made of anything but the sync client's `Ok`, whose proof stands in
//!    [its module](cairn_sync_client::etcd): write and watermark share one connection that never
//!    reconnects, and a write is looked up over the next one, with all that it did.
//!
//! That is so for whatever sends through the channel: the client, its clones, its
//! [`kv_client`](etcd_client::Client::kv_client) and
//! [`lease_client`](etcd_client::Client::lease_client), and namespaces
//! ([`KvClientPrefix`](etcd_client::KvClientPrefix)) on top of them. What changed nothing (a failed
//! condition, a delete of nothing) waits for nobody.
//!
//! # What is not waited for
//!
//! Every other call goes out over the connections of `etcd_client`: reads, watches, leases,
//! compaction, users, members. Two kinds of them write keys, and return **before that is on disk**:
//! locks (`lock`, `unlock`) and elections (`campaign`, `proclaim`, `resign`). Members do those by
//! themselves, with keys under a lease, which ends with its holder. So does a member when a lease
//! runs out.
//!
//! # How a write ends
//!
//! * `Ok`: durable.
//! * `Err`, and [`unconfirmed`] gives the write: in effect, perhaps not on disk. The code is
//!   `DeadlineExceeded`, which programs take for a write that may have happened anyway.
//! * `Err`, and [`may_have_happened`]: the answer was lost, and nobody can tell.
//! * `Err` else: not done. The code and words are etcd's own; or, for a key of the persisters, below
//!   `/ctl/persistence/`, `InvalidArgument`.
//!
//! ```no_run
//! use cairn_etcd_client::{Client, unconfirmed};
//!
//! # async fn example() -> Result<(), cairn_etcd_client::Error> {
//! let mut client = Client::connect(["10.0.0.1:2379", "10.0.0.2:2379"], None).await?;
//! match client.put("/app/db", "postgres://db1", None).await {
//!     Ok(_) => println!("on disk"),
//!     Err(error) => match unconfirmed(&error) {
//!         Some(it) => println!("in effect, perhaps not on disk: {it}"),
//!         None => return Err(error),
//!     },
//! }
//! # Ok(())
//! # }
//! ```

mod channel;
mod client;
mod error;

pub use cairn_sync_client::Durability;
pub use etcd_client::*;

pub use crate::client::Client;
pub use crate::error::{cause, may_have_happened, unconfirmed};
