//! One row of the table: every write was timed from its call to its return.

use std::time::Duration;

pub(crate) const HEADING: &str = "                                    in flight    writes/s      p50 µs      p99 µs    / base   / its p50";

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
}

/// The medians of the same row, measured several times.
#[derive(Clone)]
pub(crate) struct Medians {
    what: String,
    in_flight: usize,
    rate: f64,
    p50: Duration,
    p99: Duration,
}

impl Medians {
    /// `None`: it was never measured.
    pub(crate) fn of(rows: &[Row]) -> Option<Self> {
        let first = rows.first()?;
        let mut rates: Vec<f64> = rows.iter().map(Row::rate).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let percentile = |percent| {
            let mut all: Vec<Duration> = rows.iter().map(|row| row.percentile(percent)).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        Some(Self {
            what: first.what.clone(),
            in_flight: first.in_flight,
            rate: rates[rates.len() / 2],
            p50: percentile(50),
            p99: percentile(99),
        })
    }

    /// Whether a row is shown beside this one: etcd by gRPC beside etcd with fsync, others beside
    /// redis.
    pub(crate) fn is_base_of(&self, row: &Self) -> bool {
        let base = match row.what.strip_prefix("etcd, ") {
            Some(how) if !how.starts_with("HTTP") => "etcd, fsync",
            _ => "redis",
        };
        self.what.starts_with(base)
    }

    /// With its rate and its median beside those of a base, if that was measured.
    pub(crate) fn print(&self, base: Option<&Self>) {
        print!(
            "{:<36}{:>9}{:>12.0}{:>12.0}{:>12.0}",
            self.what,
            self.in_flight,
            self.rate,
            self.p50.as_secs_f64() * 1e6,
            self.p99.as_secs_f64() * 1e6,
        );
        match base {
            Some(base) => println!(
                "{:>10.2}{:>10.2}",
                self.rate / base.rate,
                self.p50.as_secs_f64() / base.p50.as_secs_f64()
            ),
            None => println!(),
        }
    }
}
