//! The warden: watches servers, and replaces those that fail.

pub(crate) mod keep;
pub(crate) mod state;

pub use keep::{Doing, Server, Told, keep};
pub use state::{Effect, Role, Seen, Warden};
