//! What `cairn` is when it starts itself: the programs of a world, in one binary, so that a drill
//! needs nothing else and never runs a program of another version.

mod client;
pub(crate) mod liar;
pub(crate) mod node;
pub(crate) mod persister;

pub use client::client;
pub use liar::{LIAR, liar};
pub use node::{NODE, node};
pub use persister::{PERSISTER, persister};
