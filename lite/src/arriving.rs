//! A bound for the memory of all requests of which only a part has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all requests that are sent in part.
#[derive(Debug)]
pub(crate) struct Arriving {
    taken: AtomicUsize,
    limit: usize,
}

impl Arriving {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit,
        }
    }
}

/// The share of one connection; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    all: Arc<Arriving>,
    bytes: usize,
}

impl Share {
    pub(crate) fn of(all: &Arc<Arriving>) -> Self {
        Self {
            all: Arc::clone(all),
            bytes: 0,
        }
    }

    /// Changes the share to `bytes`; `false` if it has grown and all together are too much.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.all.taken.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        let more = bytes - before;
        let taken = self.all.taken.fetch_add(more, Ordering::Relaxed) + more;
        taken <= self.all.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_gives_back_another_may_take() {
        let all = Arc::new(Arriving::new(100));
        let (mut one, mut other) = (Share::of(&all), Share::of(&all));
        assert!(one.take(60) && other.take(40));
        assert!(!other.take(41));
        assert!(other.take(10));
        assert!(one.take(90));
        drop(one);
        assert!(other.take(100));
    }
}
