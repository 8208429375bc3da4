//! The doozer protocol: messages, framing, URIs and an asynchronous client.

pub mod frame;
pub mod glob;
pub mod path;
pub mod uri;
pub mod wire;

mod answer;
mod client;
mod connection;
mod error;
mod listing;
mod options;
mod pulse;
mod queue;
mod revision;
mod route;
mod session;
mod status;
mod tags;
mod watch;

pub use answer::{Event, EventKind, File, Stat};
pub use client::Client;
pub use error::{Error, ErrorCode, Result};
pub use listing::{Listing, Walk};
pub use options::Options;
pub use revision::Revision;
pub use status::Status;
pub use uri::{Secret, Uri};
pub use watch::Watch;
