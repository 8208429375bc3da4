//! Which address to try next, and when.
//!
//! Pure: it decides, others connect and sleep. All addresses are tried in turn without a pause;
//! once all of them have failed there is a pause, which grows with every such round.

use std::time::Duration;

/// The addresses of a cluster and how they have fared.
#[derive(Debug)]
pub(crate) struct Route {
    addresses: Vec<String>,
    next: usize,
    failures: usize,
    rounds: u32,
    backoff_min: Duration,
    backoff_max: Duration,
}

impl Route {
    pub(crate) fn new(addresses: Vec<String>, min: Duration, max: Duration) -> Self {
        Self {
            addresses,
            next: 0,
            failures: 0,
            rounds: 0,
            backoff_min: min,
            backoff_max: max,
        }
    }

    /// How many addresses there are.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The address to try now; each call moves on to another one.
    pub(crate) fn take(&mut self) -> Option<String> {
        let address = self.addresses.get(self.next).cloned();
        self.next = (self.next + 1) % self.addresses.len().max(1);
        address
    }

    /// Takes over a new list, and goes on at its start unless nothing has changed.
    pub(crate) fn replace(&mut self, addresses: Vec<String>) {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.next = 0;
        }
    }

    /// Notes that an address was of no use. After the last one: the longest pause to make
    /// before the next round.
    pub(crate) fn failed(&mut self) -> Option<Duration> {
        self.failures += 1;
        if self.failures < self.addresses.len() {
            return None;
        }
        let factor = 1_u32.checked_shl(self.rounds).unwrap_or(u32::MAX);
        self.failures = 0;
        self.rounds = self.rounds.saturating_add(1);
        Some(
            self.backoff_min
                .saturating_mul(factor)
                .min(self.backoff_max),
        )
    }

    /// Notes that a connection was of use.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.rounds = 0;
    }
}

/// A random part of a pause, between half and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_millis(150);

    #[test]
    fn every_address_is_tried_before_the_first_pause_and_pauses_grow_to_the_limit() {
        let mut route = Route::new(vec!["a".into(), "b".into()], MIN, MAX);
        let mut pauses = Vec::new();
        for expected in ["a", "b", "a", "b", "a", "b"] {
            assert_eq!(route.take().as_deref(), Some(expected));
            pauses.extend(route.failed());
        }
        assert_eq!(pauses, [MIN, MIN * 2, MAX]);

        route.succeeded();
        assert_eq!(route.failed(), None);
        assert_eq!(route.failed(), Some(MIN));
    }

    #[test]
    fn pauses_do_not_overflow() {
        let mut route = Route::new(vec!["a".into()], MIN, MAX);
        for _ in 0..100 {
            assert!(route.failed().is_some_and(|pause| pause <= MAX));
        }
    }

    #[test]
    fn jitter_cuts_at_most_half() {
        for _ in 0..100 {
            let pause = jittered(MAX);
            assert!(pause >= MAX / 2 && pause <= MAX);
        }
    }
}
