//! What writers were told, second by second. A minute is kept, and the sums.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::ledger::outcome::Class;
use crate::told::state::{Second, Writes};

/// How many seconds are kept.
const KEPT: usize = 60;

/// How many writes of a second are measured; the others are counted.
const MEASURED: usize = 8_192;

/// Counts and measures writes.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    in_flight: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sums: Writes,
    /// What has ended since the last second was closed.
    now: Writes,
    took: Vec<Duration>,
    seconds: VecDeque<Second>,
    /// Whether something was down since.
    down: bool,
    /// The second that is under way, in unix seconds.
    second: u64,
}

/// A write that is under way. It counts as one until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicU64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Latency {
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(&self.in_flight)
    }

    pub(crate) fn end(&self, class: Class, took: Duration) {
        let mut kept = self.kept();
        count(&mut kept.sums, class);
        count(&mut kept.now, class);
        if class != Class::NotApplied && kept.took.len() < MEASURED {
            kept.took.push(took);
        }
    }

    /// Closes every second that is over at `now`, in unix milliseconds. `down`: whether something
    /// is down at this moment.
    pub(crate) fn roll(&self, now: u64, down: bool) {
        let mut kept = self.kept();
        kept.down |= down;
        let second = now / 1_000;
        if kept.second == 0 {
            kept.second = second;
        }
        // A clock that was set back closes nothing; one that was set on begins anew.
        let over = second.saturating_sub(kept.second).min(KEPT as u64);
        for n in (1..=over).rev() {
            kept.close(second - n, down);
        }
        kept.second = second;
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        self.kept().seconds.iter().copied().collect()
    }

    pub(crate) fn sums(&self) -> Writes {
        Writes {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            ..self.kept().sums
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn close(&mut self, second: u64, down: bool) {
        let now = std::mem::take(&mut self.now);
        self.took.sort_unstable();
        let at = |hundredths: usize| {
            let rank = (self.took.len() * hundredths).div_ceil(100).max(1);
            let took = self.took.get(rank - 1)?;
            Some((took.as_secs_f64() * 1e5).round() / 1e2)
        };
        let (p50, p99) = (at(50), at(99));
        self.took.clear();
        if self.seconds.len() == KEPT {
            self.seconds.pop_front();
        }
        self.seconds.push_back(Second {
            t: second * 1_000,
            durable: now.durable,
            applied: now.applied,
            refused: now.refused,
            unknown: now.unknown,
            p50,
            p99,
            down: self.down,
        });
        self.down = down;
    }
}

fn count(writes: &mut Writes, class: Class) {
    match class {
        Class::Durable => writes.durable += 1,
        Class::Applied => writes.applied += 1,
        Class::NotApplied => writes.refused += 1,
        Class::Unknown => writes.unknown += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_what_ended_in_it_and_a_minute_is_kept() {
        let latency = Latency::default();
        latency.roll(10_000, false);
        for n in 1..=100 {
            latency.end(Class::Durable, Duration::from_millis(n));
        }
        latency.end(Class::NotApplied, Duration::from_secs(9));
        latency.roll(10_900, true);
        assert!(latency.seconds().is_empty(), "it is not over");
        latency.roll(12_100, false);
        let seconds = latency.seconds();
        assert_eq!(seconds.len(), 2);
        let first = seconds[0];
        assert_eq!((first.t, first.durable, first.refused), (10_000, 100, 1));
        assert_eq!(
            (first.p50, first.p99, first.down),
            (Some(50.0), Some(99.0), true)
        );
        assert_eq!(
            (seconds[1].t, seconds[1].durable, seconds[1].p50),
            (11_000, 0, None)
        );
        assert!(!seconds[1].down);
        latency.roll(10_000_000, false);
        assert_eq!(latency.seconds().len(), KEPT);
        let under_way = latency.begin();
        assert_eq!(latency.sums().in_flight, 1);
        drop(under_way);
        assert_eq!((latency.sums().in_flight, latency.sums().durable), (0, 100));
    }
}
