//! etcd v3 over the wire: hand-declared messages, and sessions that never reconnect.
//!
//! ```no_run
//! use cairn_etcd::wire::{Compare, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest};
//! use cairn_etcd::{Cluster, Environment, Options, Target, Uri};
//! use futures::StreamExt;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let uri: Uri = "etcd://10.0.0.1:2379,10.0.0.2:2379".parse()?;
//! let target = Target::new(&uri, &Environment::read()?)?;
//! let session = Cluster::new(target, Options::default()).open().await?;
//!
//! // Create a key unless somebody else has.
//! let txn = TxnRequest {
//!     compare: vec![Compare::absent("/users/7")],
//!     success: vec![PutRequest::new("/users/7", "Ada").into()],
//!     failure: vec![RangeRequest::key("/users/7").into()],
//! };
//! match session.call(txn).await {
//!     Ok(answer) if answer.succeeded => println!("created"),
//!     Ok(_) => println!("somebody was faster"),
//!     // Over a network there is a third answer.
//!     Err(error) if error.may_have_happened() => println!("unknown: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//!
//! // Everything that happens from revision 2 on, each revision once, whole and in order.
//! let mut watch = session.watch(WatchCreateRequest::all(2)).await?;
//! while let Some(batch) = watch.next().await {
//!     println!("{:?}", batch?.events);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A [`Session`] is one connection to one member. When it ends, every call fails for ever, whatever
//! answers at the same address by then: a cluster that lost its data may have taken that address,
//! and there the same revision means something else. [`Cluster::open`] opens another session.
//!
//! The modules, from the wire upwards:
//!
//! | module | promise |
//! |---|---|
//! | [`wire`] | messages as bytes, and where each is sent |
//! | [`config`] | URIs, the variables of `etcdctl`, certificates; secrets are never shown |
//! | [`error`] | what failed, where, whether it will pass, whether it happened |
//! | `connection` | one socket to one member, pinged, every call with a deadline |
//! | `auth` | a token, and a fresh one when the member forgot it |
//! | [`watch`] | whole revisions in order, bounded in bytes |
//! | [`snapshot`] | the database of a member, in parts |
//! | [`session`] | a method for what is no plain call, a deadline for each |
//! | [`cluster`] | members tried in turn, and those learned from the cluster |
//!
//! With the feature `tls`, endpoints with `https://` can be reached.

pub mod cluster;
pub mod config;
pub mod error;
pub mod options;
pub mod session;
pub mod snapshot;
pub mod watch;
pub mod wire;

mod auth;
mod connection;

pub use cluster::Cluster;
pub use config::endpoint::Endpoint;
pub use config::environment::Environment;
pub use config::error::{ConfigError, UriError};
pub use config::secret::{Secret, User};
pub use config::target::Target;
pub use config::tls::{Tls, TlsError};
pub use config::uri::Uri;
pub use error::{Error, ErrorKind, Result};
pub use options::Options;
pub use session::Session;
pub use snapshot::Snapshot;
pub use watch::{Batch, Watch};
