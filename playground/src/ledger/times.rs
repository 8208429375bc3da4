//! How long clients waited: latencies by outcome, and outages by writer. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::outcome::Class;

/// A write that has ended: a point of a plot.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Who wrote.
    pub writer: u32,
    /// When it ended, since the ledger's beginning.
    pub at: Duration,
    /// How long its writer waited.
    pub took: Duration,
    /// With what.
    pub class: Class,
}

/// How long writes took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How many there were.
    pub writes: usize,
    /// Half of them took at most so many milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What a writer had to bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outage {
    /// Whose.
    pub writer: u32,
    /// The longest time without an acknowledged write, in seconds: from the writer's first end on,
    /// until the last moment that is looked at.
    pub longest_s: f64,
    /// The longest that it waited for one write, in seconds.
    pub longest_wait_s: f64,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that were not.
    pub errors: u64,
}

/// What all writers together had to bear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Requests {
    /// Writes that have ended.
    pub writes: u64,
    /// Those that were not acknowledged, whatever else their writer was told.
    pub failed: u64,
    /// `failed` of `writes`, between 0 and 1.
    pub failed_fraction: f64,
    /// The longest that a writer waited for one write, in seconds.
    pub longest_wait_s: f64,
    /// The longest time without an acknowledged write for a writer, in seconds.
    pub longest_outage_s: f64,
}

/// What all writers together had to bear.
#[must_use]
pub fn requests(writers: &[Outage]) -> Requests {
    let mut all = Requests::default();
    for writer in writers {
        all.writes += writer.acknowledged + writer.errors;
        all.failed += writer.errors;
        all.longest_wait_s = all.longest_wait_s.max(writer.longest_wait_s);
        all.longest_outage_s = all.longest_outage_s.max(writer.longest_s);
    }
    #[expect(clippy::cast_precision_loss)] // a ledger does not hold 2^53 writes
    if all.writes > 0 {
        all.failed_fraction = all.failed as f64 / all.writes as f64;
    }
    all
}

/// How long the writes of a class took.
#[must_use]
pub fn latency(points: &[Point], class: Class) -> Latency {
    let mut took: Vec<Duration> = points
        .iter()
        .filter(|point| point.class == class)
        .map(|point| point.took)
        .collect();
    took.sort_unstable();
    // The smallest one that is not exceeded by more than the rest of the share.
    let at = |hundredths: usize| {
        let rank = (took.len() * hundredths).div_ceil(100).max(1);
        took.get(rank - 1)
            .map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    Latency {
        writes: took.len(),
        p50_ms: at(50),
        p99_ms: at(99),
        max_ms: at(100),
    }
}

/// What each writer had to bear until `now`, a time since the ledger's beginning.
#[must_use]
pub fn outages(points: &[Point], now: Duration) -> Vec<Outage> {
    struct So {
        outage: Outage,
        last: Duration,
        longest: Duration,
        wait: Duration,
    }
    let mut writers: BTreeMap<u32, So> = BTreeMap::new();
    for point in points {
        let so = writers.entry(point.writer).or_insert_with(|| So {
            outage: Outage {
                writer: point.writer,
                ..Outage::default()
            },
            last: point.at.saturating_sub(point.took),
            longest: Duration::ZERO,
            wait: Duration::ZERO,
        });
        so.wait = so.wait.max(point.took);
        if point.class == Class::Durable {
            so.outage.acknowledged += 1;
            so.longest = so.longest.max(point.at.saturating_sub(so.last));
            so.last = point.at;
        } else {
            so.outage.errors += 1;
        }
    }
    let told = writers.into_values().map(|so| Outage {
        longest_s: so.longest.max(now.saturating_sub(so.last)).as_secs_f64(),
        longest_wait_s: so.wait.as_secs_f64(),
        ..so.outage
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: u64, took: u64, class: Class) -> Point {
        let (at, took) = (Duration::from_millis(at), Duration::from_millis(took));
        Point {
            writer: 1,
            at,
            took,
            class,
        }
    }

    #[test]
    fn an_outage_is_the_time_without_an_acknowledgement_whatever_else_was_answered() {
        let points = [
            point(110, 10, Class::Durable),
            point(500, 300, Class::Unknown),
            point(2110, 10, Class::Durable),
            point(2120, 10, Class::Durable),
        ];
        let outage = outages(&points, Duration::from_millis(3120))[0];
        assert!((outage.longest_s - 2.0).abs() < 1e-9, "{outage:?}");
        assert!((outage.longest_wait_s - 0.3).abs() < 1e-9, "{outage:?}");
        assert_eq!((outage.acknowledged, outage.errors), (3, 1));
        let all = requests(&[outage, outage]);
        assert_eq!((all.writes, all.failed), (8, 2));
        assert!((all.failed_fraction - 0.25).abs() < 1e-9, "{all:?}");
        // One that goes on is one as well.
        let outage = outages(&points, Duration::from_millis(9120))[0];
        assert!((outage.longest_s - 7.0).abs() < 1e-9, "{outage:?}");
    }

    #[test]
    fn percentiles_are_writes_that_there_were() {
        let points: Vec<_> = (1..=200).map(|n| point(n, n, Class::Durable)).collect();
        let latency = latency(&points, Class::Durable);
        assert_eq!(
            latency,
            Latency {
                writes: 200,
                p50_ms: 100.0,
                p99_ms: 198.0,
                max_ms: 200.0
            }
        );
        assert_eq!(super::latency(&points, Class::Applied), Latency::default());
    }
}
