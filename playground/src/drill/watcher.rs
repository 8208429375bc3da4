//! Somebody who watches a drill.

use std::fmt;
use std::sync::Arc;

use crate::world::feed::Feed;
use crate::world::machine::Machine;
use crate::writers::Shared;

/// Somebody who watches a drill. Told in between its steps, so it must not take long.
pub trait Watcher: fmt::Debug + Send + Sync {
    /// The drill begins: what it runs on, its machines, what happens to them, and the ledger.
    fn begins(&self, shape: &str, machines: &[Arc<Machine>], feed: &Feed, ledger: &Shared);

    /// A step begins.
    fn step(&self, says: &str);
}
