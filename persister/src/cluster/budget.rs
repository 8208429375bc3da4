//! A bound for the bytes that are on their way from a cluster to the disk.

use std::sync::Arc;

use cairn_journal::{Change, Op};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes of paths and values may be on their way from the cluster to the disk. 64 values
/// of the greatest size.
pub const IN_FLIGHT_BYTES: usize = 64 << 20;

/// Bounds the bytes of changes that are on their way: [`IN_FLIGHT_BYTES`].
#[derive(Debug)]
pub struct ByteBudget(Arc<Semaphore>);

impl ByteBudget {
    /// All of it is free.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT_BYTES)))
    }

    /// Waits until `changes` fit into it; they count until the permit is dropped.
    pub async fn take(&self, changes: &[Change]) -> OwnedSemaphorePermit {
        let bytes: usize = changes.iter().map(bytes_of).sum();
        // A change that is larger than the whole budget goes alone.
        let permits = u32::try_from(bytes.clamp(1, IN_FLIGHT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.0)
            .acquire_many_owned(permits)
            .await
            .expect("the budget is never closed")
    }
}

impl Default for ByteBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// How many bytes of path, value and attributes a change carries.
#[must_use]
pub fn bytes_of(change: &Change) -> usize {
    let value = match &change.op {
        Op::Set(value) => value.len(),
        Op::Delete => 0,
    };
    change.path.len() + value + change.attributes.len()
}
