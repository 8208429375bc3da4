//! A write that the cluster has answered.

use std::sync::{Arc, Mutex, PoisonError};

use crate::etcd::effects::Effects;
use crate::etcd::link::Link;

/// A write that the cluster has answered: its revision, and what proves that a cluster has it.
#[derive(Clone, Debug)]
pub struct Written {
    pub(crate) revision: i64,
    /// The connection over which it was answered.
    pub(crate) link: Arc<Link>,
    /// `None`: not known, so that it cannot be looked for in another connection's cluster.
    pub(crate) effects: Option<Effects>,
}

impl Written {
    /// Its revision. Of an ended lease: one that is not below.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }
}

/// The newest revisions that writes got, by connection: a bare number that may be one of an earlier
/// connection is not believed to be one of this.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    generation: u64,
    now: i64,
    earlier: i64,
}

impl Newest {
    /// A write got this revision over this connection.
    pub(crate) fn note(&self, generation: u64, revision: i64) {
        self.with(generation, |numbers| {
            if generation == numbers.generation {
                numbers.now = numbers.now.max(revision);
            } else {
                numbers.earlier = numbers.earlier.max(revision);
            }
        });
    }

    /// Whether no write got this revision, or a later one, over an earlier connection.
    pub(crate) fn is_after_all_before(&self, generation: u64, revision: i64) -> bool {
        self.with(generation, |numbers| revision > numbers.earlier)
    }

    fn with<T>(&self, generation: u64, then: impl FnOnce(&mut Numbers) -> T) -> T {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generation > numbers.generation {
            let earlier = numbers.earlier.max(numbers.now);
            *numbers = Numbers {
                generation,
                now: 0,
                earlier,
            };
        }
        then(&mut numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_an_earlier_connection_is_not_one_of_this() {
        let newest = Newest::default();
        newest.note(1, 10);
        assert!(newest.is_after_all_before(1, 5));
        assert!(!newest.is_after_all_before(2, 10));
        assert!(newest.is_after_all_before(2, 11));
        // An answer that came late.
        newest.note(1, 12);
        assert!(!newest.is_after_all_before(2, 12));
        newest.note(2, 20);
        assert!(newest.is_after_all_before(2, 20));
        assert!(!newest.is_after_all_before(3, 20));
    }
}
