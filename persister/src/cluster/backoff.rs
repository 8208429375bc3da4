//! How long to wait before the next attempt: longer each time, never in step with others.

use std::time::Duration;

/// The first pause.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The bound of all pauses: how late a persister may notice that its cluster is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Doubling pauses with jitter.
#[derive(Debug)]
pub struct Backoff {
    bound: Duration,
}

impl Backoff {
    /// Starts with a short pause.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bound: SHORTEST_PAUSE,
        }
    }

    /// The next pause: between half and all of a bound that doubles up to five seconds.
    pub fn pause(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = (bound * 2).min(LONGEST_PAUSE);
        bound.mul_f64(fastrand::f64() / 2.0 + 0.5)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
