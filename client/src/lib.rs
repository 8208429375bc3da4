//! The doozer protocol: messages, framing, URIs and an asynchronous client.
//!
//! ```no_run
//! use cairn_client::{Client, Revision, Uri};
//! use futures::StreamExt;
//!
//! # async fn example() -> cairn_client::Result<()> {
//! let uri: Uri = "doozer:?ca=10.0.0.1:8046&ca=10.0.0.2:8046".parse()?;
//! let client = Client::connect(&uri).await?;
//!
//! // Create a file, then replace it if nobody else has.
//! let created = client.set("/users/7", Revision::MISSING, "Ada").await?;
//! match client.set("/users/7", created, "Ada L.").await {
//!     Err(error) if error.is_rev_mismatch() => println!("somebody was faster"),
//!     // Over a network there is a third answer.
//!     Err(error) if error.may_have_happened() => println!("unknown: {error}"),
//!     other => println!("now at revision {}", other?),
//! }
//!
//! // Everything that happens below /users from that revision on, each once and in order.
//! let mut events = client.watch("/users/**", created);
//! while let Some(event) = events.next().await {
//!     let event = event?;
//!     println!("{} {:?} {}", event.revision, event.kind, event.path);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The modules, from the wire upwards:
//!
//! | module | promise |
//! |---|---|
//! | [`wire`], [`frame`] | messages as bytes, bounded; what a server needs too |
//! | [`path`], [`glob`], [`uri`] | texts that the protocol gives a meaning |
//! | `tags`, `keepalive`, `route` | decisions without I/O: which tag, when to probe, where to go |
//! | `queue` | requests of all callers in one order, each cancelled by dropping its future |
//! | `connection` | one socket: few writes, few reads, any server's bytes survived |
//! | `session` | one connection after the other, secrets presented, the cluster still the same |
//! | `caller` | a session's handle: requests in, outcomes and errors out |
//! | [`Watch`], [`Follow`], [`Walk`], [`Listing`], [`Tree`] | many requests in flight as one ordered stream |
//! | `boot` | the nodes of a cluster that is known by its name |
//! | [`Client`] | one method a verb, each with a deadline unless it waits for a revision |
//!
//! With the feature `tls`, `Options::tls` encrypts all connections.
//!
//! Not here: waiting until a change is on disk, which the sync client adds on top, and the meaning
//! of the files.

pub mod frame;
pub mod glob;
pub mod path;
pub mod uri;
pub mod wire;

mod answer;
mod boot;
mod caller;
mod client;
mod connection;
mod error;
mod follow;
mod keepalive;
mod listing;
mod options;
mod queue;
mod revision;
mod route;
mod session;
mod status;
mod tags;
#[cfg(feature = "tls")]
mod tls;
mod tree;
mod watch;

pub use answer::{Event, EventKind, File, Stat};
pub use client::Client;
pub use error::{Error, ErrorCode, Result};
pub use follow::Follow;
pub use listing::{Listing, Walk};
pub use options::Options;
pub use revision::Revision;
pub use status::Status;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
pub use tree::{Entry, Tree};
pub use uri::{Secret, Uri};
pub use watch::Watch;
