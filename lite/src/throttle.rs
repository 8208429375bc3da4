//! Lines of the log that strangers can cause, as many as they like: one a second at most.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    count: u64,
}

impl Throttle {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(State {
            told: None,
            count: 0,
        }))
    }

    /// Whether to write the line, and for how many occurrences it stands.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        let told = state.told;
        if told.is_some_and(|told| now.saturating_duration_since(told) < EVERY) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that was full wrote a line for each connection that it refused.
    #[test]
    fn a_thousand_in_a_second_are_one_line_and_their_number() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        assert_eq!(throttle.due(start), Some(1), "the first is told at once");
        for _ in 0..999 {
            assert_eq!(throttle.due(start + EVERY / 2), None);
        }
        assert_eq!(throttle.due(start + EVERY), Some(1_000));
        assert_eq!(throttle.due(start + EVERY), None);
    }
}
