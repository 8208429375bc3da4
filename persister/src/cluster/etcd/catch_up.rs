//! When a watch that runs is behind for so long that a snapshot is read instead.
//!
//! A member that is written to at full speed leaves a watch behind, and then tells it some 5,000
//! revisions a second, at the cost of its writers (etcd issue 22264).
//!
//! Promise: a watch that catches up by itself is left alone. The member is busy with snapshots for
//! a fifth of the time at most, however fast the cluster writes, so that no cluster is read in
//! circles. Pure: it is told what time it is.

use std::time::{Duration, Instant};

/// A watch that is behind has so long to halve what it lacks.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// After a snapshot the member has so many times as long a rest.
const REST: u32 = 4;

/// When there was no snapshot, none is asked for again so soon.
const NO_SNAPSHOT: Duration = Duration::from_secs(600);

/// What is known of how far a watch is behind.
#[derive(Debug)]
pub(super) struct CatchUp {
    /// So many revisions are worth a snapshot.
    worth: i64,
    patience: Duration,
    /// Since when it is behind, and by how many revisions it was then.
    behind: Option<(Instant, i64)>,
    not_before: Option<Instant>,
}

impl CatchUp {
    pub(super) fn new(worth: i64, patience: Duration) -> Self {
        Self {
            worth,
            patience,
            behind: None,
            not_before: None,
        }
    }

    /// Whether a snapshot is to be read, as the watch is so many revisions `behind` at `now`.
    pub(super) fn is_due(&mut self, behind: i64, now: Instant) -> bool {
        if behind < self.worth {
            self.behind = None;
            return false;
        }
        let (since, was) = *self.behind.get_or_insert((now, behind));
        if behind <= was / 2 {
            self.behind = Some((now, behind));
            return false;
        }
        let has_rested = self.not_before.is_none_or(|at| now >= at);
        let is_due = has_rested && now.saturating_duration_since(since) >= self.patience;
        if is_due {
            self.behind = None;
        }
        is_due
    }

    /// A snapshot was asked for at `asked`, and by `now` there was one or could be none.
    pub(super) fn fetched(&mut self, asked: Instant, now: Instant, has_one: bool) {
        let rest = match has_one {
            true => now.saturating_duration_since(asked) * REST,
            false => NO_SNAPSHOT,
        };
        self.not_before = now.checked_add(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_watch_that_halves_what_it_lacks_is_left_alone() {
        let (mut watch, begun) = (CatchUp::new(100, 2 * SECOND), Instant::now());
        for (second, behind) in [(0, 1_000), (1, 700), (2, 500), (3, 400), (4, 250), (6, 99)] {
            assert!(!watch.is_due(behind, begun + second * SECOND), "{behind}");
        }
        // What it lacks now is another matter.
        assert!(!watch.is_due(1_000, begun + 7 * SECOND));
        assert!(watch.is_due(900, begun + 9 * SECOND));
    }

    #[test]
    fn a_member_has_four_fifths_of_the_time_for_itself() {
        let (mut watch, begun) = (CatchUp::new(100, Duration::ZERO), Instant::now());
        assert!(watch.is_due(1_000_000, begun));
        let now = begun + 10 * SECOND;
        watch.fetched(begun, now, true);
        assert!(!watch.is_due(1_000_000, now));
        assert!(!watch.is_due(9_000_000, now + 39 * SECOND));
        assert!(watch.is_due(9_000_000, now + 40 * SECOND));
        watch.fetched(now, now, false);
        assert!(!watch.is_due(9_000_000, now + 599 * SECOND));
        assert!(watch.is_due(9_000_000, now + 600 * SECOND));
    }
}
