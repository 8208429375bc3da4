//! One row of the table: every write was timed from its call to its return.

use std::time::Duration;

pub(crate) const HEADING: &str =
    "                                    in flight    writes/s      p50 µs      p99 µs";

pub(crate) struct Row {
    what: String,
    in_flight: usize,
    took: Duration,
    latencies: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(
        what: impl Into<String>,
        in_flight: usize,
        took: Duration,
        mut latencies: Vec<Duration>,
    ) -> Self {
        latencies.sort_unstable();
        Self {
            what: what.into(),
            in_flight,
            took,
            latencies,
        }
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<36}{:>9}{:>12.0}{:>12.0}{:>12.0}",
            self.what,
            self.in_flight,
            self.rate(),
            self.percentile(50).as_secs_f64() * 1e6,
            self.percentile(99).as_secs_f64() * 1e6,
        );
    }
}
