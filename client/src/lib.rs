//! The doozer protocol: messages, framing, URIs and an asynchronous client.

pub mod frame;
pub mod glob;
pub mod path;
pub mod uri;
pub mod wire;

mod answer;
mod client;
mod error;
mod listing;
mod options;
mod revision;
mod watch;

pub use answer::{Event, EventKind, File, Stat};
pub use client::Client;
pub use error::{Error, ErrorCode, Result};
pub use listing::{Listing, Walk};
pub use options::Options;
pub use revision::Revision;
pub use uri::{Secret, Uri};
pub use watch::Watch;
