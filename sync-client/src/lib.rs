//! A drop-in for the regular client whose writes return when they are on disk.
//!
//! Names, arguments and results are those of [`cairn_client`]; swapping the import is the whole
//! migration. `set` and `del` return once enough persisters have the write on disk, by the
//! [`Durability`] that the URI, the environment or the program asks for.
//!
//! ```no_run
//! use cairn_sync_client::{Client, Revision, Uri};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let uri: Uri = "doozer:?ca=127.0.0.1:8046&persist=1,2,3&require=2".parse()?;
//! let client = Client::connect(&uri).await?;
//! match client.set("/app/db", Revision::ANY, "postgres://db1").await {
//!     Ok(revision) => println!("on two disks, at revision {revision}"),
//!     Err(error) if error.is_unconfirmed() => println!("in effect, perhaps not on disk: {error}"),
//!     Err(error) => println!("not written: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! For clusters of etcd there is [`etcd`].

mod core;
mod doozer;
pub mod etcd;

pub use cairn_client::{
    ErrorCode, Event, EventKind, File, Options, Revision, Secret, Stat, Status, Uri, frame, glob,
    path, uri, wire,
};
#[cfg(feature = "tls")]
pub use cairn_client::{Tls, TlsError};
pub use cairn_protocol::keys;

pub use crate::core::durability::{
    DEFAULT_TIMEOUT, Durability, DurabilityError, ENV_PERSIST, ENV_REQUIRE, MAX_PERSISTERS,
};
pub use crate::core::liveness::Liveness;
/// A persister that has not confirmed a write.
pub type Behind = crate::core::behind::Behind<Revision>;

pub use crate::doozer::bind::bind;
pub use crate::doozer::client::Client;
pub use crate::doozer::error::{Error, Result};
pub use crate::doozer::streams::{Listing, Walk, Watch};
