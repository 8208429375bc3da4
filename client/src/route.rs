//! The order in which addresses are tried, and the pauses between rounds.
//!
//! Pure: it decides, others connect and sleep. All addresses are tried without a pause; after a
//! round in which all of them have failed there is one, which grows with every such round.

use std::time::Duration;

/// The addresses of a cluster and how they have fared.
#[derive(Debug)]
pub(crate) struct Route {
    addresses: Vec<String>,
    /// Where the next round starts.
    next: usize,
    /// Connections in a row that were of no use.
    useless: usize,
    failed_rounds: u32,
    backoff_min: Duration,
    backoff_max: Duration,
}

impl Route {
    pub(crate) fn new(addresses: Vec<String>, min: Duration, max: Duration) -> Self {
        Self {
            addresses,
            next: 0,
            useless: 0,
            failed_rounds: 0,
            backoff_min: min,
            backoff_max: max,
        }
    }

    /// Starts the first round at this address, counted from 0, modulo their number.
    pub(crate) fn starting_at(mut self, first: usize) -> Self {
        self.next = first.checked_rem(self.addresses.len()).unwrap_or(0);
        self
    }

    /// The number of addresses.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// All addresses, in the order in which to try them.
    pub(crate) fn round(&self) -> Vec<String> {
        let (later, first) = self.addresses.split_at(self.next.min(self.addresses.len()));
        first.iter().chain(later).cloned().collect()
    }

    /// Takes over a new list, and starts at its head unless nothing has changed.
    pub(crate) fn replace(&mut self, addresses: Vec<String>) {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.next = 0;
        }
    }

    /// Notes the address that let us in: the next round tries it last.
    pub(crate) fn entered(&mut self, address: &str) {
        let index = self.addresses.iter().position(|known| known == address);
        self.next = index.map_or(0, |index| (index + 1) % self.addresses.len());
    }

    /// Notes that a connection was of use, so that another is worth making at once.
    pub(crate) fn was_useful(&mut self) {
        self.useless = 0;
        self.failed_rounds = 0;
    }

    /// Notes that a connection was of no use. When as many as there are addresses were not: the
    /// longest pause to make before the next round.
    pub(crate) fn was_useless(&mut self) -> Option<Duration> {
        self.useless += 1;
        (self.useless >= self.addresses.len()).then(|| {
            self.useless = 0;
            self.has_failed()
        })
    }

    /// Notes that no address let us in; returns the longest pause to make.
    pub(crate) fn has_failed(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failed_rounds).unwrap_or(u32::MAX);
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        self.backoff_min
            .saturating_mul(factor)
            .min(self.backoff_max)
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

    fn route(addresses: &[&str]) -> Route {
        let addresses = addresses.iter().map(|&address| address.to_owned());
        Route::new(addresses.collect(), MIN, MAX)
    }

    #[test]
    fn a_round_ends_with_the_address_that_was_used_last() {
        let route = route(&["a", "b", "c"]);
        assert_eq!(route.round(), ["a", "b", "c"]);
        assert_eq!(route.starting_at(4).round(), ["b", "c", "a"]);
        let mut route = self::route(&["a", "b", "c"]);
        route.entered("b");
        assert_eq!(route.round(), ["c", "a", "b"]);
        route.entered("c");
        assert_eq!(route.round(), ["a", "b", "c"]);
        route.entered("a");
        route.replace(vec!["d".to_owned()]);
        assert_eq!(route.round(), ["d"]);
        route.replace(Vec::new());
        assert!(route.round().is_empty());
    }

    #[test]
    fn pauses_grow_to_the_limit_until_a_connection_was_useful() {
        let mut route = route(&["a", "b"]);
        assert_eq!(route.has_failed(), MIN);
        assert_eq!(route.has_failed(), MIN * 2);
        for _ in 0..100 {
            assert_eq!(route.has_failed(), MAX);
        }
        route.was_useful();
        assert_eq!(route.was_useless(), None);
        assert_eq!(route.was_useless(), Some(MIN));
        assert_eq!(route.was_useless(), None);
    }

    #[test]
    fn jitter_cuts_at_most_half() {
        for _ in 0..100 {
            let pause = jittered(MAX);
            assert!(pause >= MAX / 2 && pause <= MAX);
        }
    }
}
