//! How much memory the making of a checkpoint holds at any time, counted where it is held.
//!
//! The bound that is promised (neither state nor history) is checked by this count, which depends
//! on nothing that the allocator or other threads do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes held now, and the most that ever were.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Meter {
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// A holder of nothing yet.
    pub(crate) fn holder(self: &Arc<Self>) -> Held {
        Held {
            meter: self.clone(),
            bytes: 0,
        }
    }
}

/// One holder of memory.
#[derive(Debug)]
pub(crate) struct Held {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            let more = bytes - self.bytes;
            let now = self.meter.now.fetch_add(more, Ordering::Relaxed) + more;
            self.meter.peak.fetch_max(now, Ordering::Relaxed);
        } else {
            self.meter
                .now
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
