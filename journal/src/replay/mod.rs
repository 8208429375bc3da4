//! What records mean: the one place that knows.

pub(crate) mod last_segment;
pub(crate) mod machine;
#[cfg(test)]
mod model;
pub(crate) mod timeline_switch;
pub(crate) mod tracker;

pub use machine::{Effect, Replay, Step, Switch, Unseen};
