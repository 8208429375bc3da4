//! The doozer protocol: messages, framing, URIs and an asynchronous client.

pub mod wire;

mod revision;

pub use revision::Revision;
