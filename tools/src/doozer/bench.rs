//! `doozer bench`: how fast writes are, plain and durable.
//!
//! Writes files of its own below `/bench`, with as many writes in flight as asked for, and removes
//! them. Times every write, from its call to its return; nothing is sampled.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_client::{Entry, Revision};
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::doozer::args::{Args, Bench};
use crate::doozer::failure::Failure;
use crate::doozer::session::Session;

/// Files that are written in turn: enough that writes in flight do not wait for one another, few
/// enough to be removed in a moment.
const FILES: u64 = 1_000;

/// Files that are removed at once.
const REMOVED_AT_ONCE: usize = 64;

/// So many times what is left is removed.
const REMOVALS_MAX: usize = 5;

/// The measurement of one kind of writes.
#[derive(Clone, Debug)]
pub struct Measured {
    what: String,
    took: Duration,
    /// Of every write, sorted.
    latencies: Vec<Duration>,
}

impl Measured {
    /// The measurement of writes that took `took` together and these latencies each.
    #[must_use]
    pub fn new(what: String, took: Duration, mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self {
            what,
            took,
            latencies,
        }
    }

    /// The latency that `permille` of each thousand writes do not exceed.
    #[must_use]
    pub fn permille(&self, permille: usize) -> Duration {
        let rank = (self.latencies.len() * permille).div_ceil(1000);
        let at = rank.clamp(1, self.latencies.len().max(1)) - 1;
        self.latencies.get(at).copied().unwrap_or_default()
    }

    /// Writes a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 writes")]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn json(&self, bench: &Bench) -> serde_json::Value {
        let us = |permille| micros(self.permille(permille));
        json!({
            "writes": self.what,
            "clients": bench.clients,
            "in_flight": bench.in_flight,
            "size": bench.size,
            "count": self.latencies.len(),
            "seconds": self.took.as_secs_f64(),
            "per_second": self.rate(),
            "p50_us": us(500), "p90_us": us(900), "p99_us": us(990), "p999_us": us(999),
            "max_us": us(1000),
        })
    }

    fn row(&self) -> String {
        let mut row = format!("{:<24}{:>12.0}", self.what, self.rate());
        for permille in [500, 900, 990, 999, 1000] {
            // Writing to a string does not fail.
            let _ = write!(row, "{:>11.0}", micros(self.permille(permille)));
        }
        row
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn heading() -> String {
    let mut heading = format!("{:<24}{:>12}", "", "writes/s");
    for column in ["p50 µs", "p90 µs", "p99 µs", "p99.9 µs", "max µs"] {
        let _ = write!(heading, "{column:>11}");
    }
    heading
}

/// Measures plain writes, and durable ones if they are asked for, and prints a row for each.
pub(super) async fn run(args: &Args, bench: &Bench) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut kinds = vec![false];
    if Session::asks_for_durable(args)? {
        kinds.push(true);
    }
    for durable in kinds {
        let mut sessions = Vec::new();
        for _ in 0..bench.clients {
            sessions.push(if durable {
                Session::connect(args).await?
            } else {
                Session::connect_plain(args).await?
            });
        }
        let measured = tokio::select! {
            measured = measure(&sessions, bench) => measured,
            _ = interrupt.recv() => Err(Failure::Interrupted),
            _ = terminate.recv() => Err(Failure::Interrupted),
        };
        let left = remove(&sessions[0]).await;
        let measured = measured?;
        left?;
        let mut out = io::stdout().lock();
        if args.json {
            writeln!(out, "{}", measured.json(bench))?;
        } else {
            if !durable {
                writeln!(out, "{}", heading())?;
            }
            writeln!(out, "{}", measured.row())?;
        }
    }
    Ok(())
}

async fn measure(sessions: &[Session], bench: &Bench) -> Result<Measured, Failure> {
    let what = sessions[0].describe();
    let bar = progress(&what, bench.count);
    let value = Bytes::from(vec![b'x'; bench.size as usize]);
    let paths: Arc<[String]> = (0..FILES).map(path).collect();
    let started = Instant::now();
    let clients = sessions.len() as u64;
    // Ends with this future: nothing is written behind the back of the cleaning up.
    let mut shares = JoinSet::new();
    for (session, client) in sessions.iter().zip(0u64..) {
        let session = session.clone();
        // Counting is part of what is measured, so nothing is counted for nobody.
        let bar = (!bar.is_hidden()).then(|| bar.clone());
        let (paths, value) = (Arc::clone(&paths), value.clone());
        let numbers = (client..bench.count).step_by(usize::try_from(clients).unwrap_or(1));
        let in_flight = bench.in_flight as usize;
        // A task each, so that they do not take turns on one processor.
        shares.spawn(async move {
            stream::iter(numbers)
                .map(|number| {
                    let path = &paths[usize::try_from(number % FILES).unwrap_or(0)];
                    let (session, value, bar) = (&session, value.clone(), bar.as_ref());
                    async move {
                        let called = Instant::now();
                        session.set(path, Revision::ANY, value).await?;
                        if let Some(bar) = bar {
                            bar.inc(1);
                        }
                        Ok::<_, Failure>(called.elapsed())
                    }
                })
                .buffer_unordered(in_flight)
                .try_collect::<Vec<_>>()
                .await
        });
    }
    let mut latencies = Vec::new();
    while let Some(share) = shares.join_next().await {
        let share = share.map_err(|panic| Failure::Output(io::Error::other(panic)))?;
        latencies.extend(share?);
    }
    let took = started.elapsed();
    bar.finish_and_clear();
    Ok(Measured::new(what, took, latencies))
}

/// On standard error, and only if that is a terminal.
fn progress(what: &str, count: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:24} {wide_bar} {human_pos}/{human_len} {per_sec}");
    let bar = ProgressBar::new(count).with_message(what.to_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The directory of the files of this run.
fn directory() -> String {
    format!("/bench/{}", std::process::id())
}

fn path(number: u64) -> String {
    format!("{}/{number}", directory())
}

/// Removes the files of this run. Writes that were under way may land meanwhile, so it looks again.
async fn remove(session: &Session) -> Result<(), Failure> {
    let mut left = Ok(());
    for _ in 0..REMOVALS_MAX {
        let files = session.reader().tree(&directory(), None);
        let files: Vec<Entry> = files.try_collect().await?;
        let files: Vec<_> = files
            .into_iter()
            .filter(|entry| matches!(entry, Entry::File(_)))
            .collect();
        if files.is_empty() {
            return Ok(());
        }
        let count = files.len();
        left = stream::iter(files)
            .map(Ok)
            .try_for_each_concurrent(REMOVED_AT_ONCE, |entry| async move {
                match entry {
                    Entry::File(file) => session.reader().del(&file.path, Revision::ANY).await,
                    Entry::Directory(_) => Ok(()),
                }
            })
            .await
            .map_err(|error| Failure::Left {
                directory: directory(),
                files: count,
                error,
            });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(millis: impl IntoIterator<Item = u64>) -> Measured {
        let latencies = millis.into_iter().map(Duration::from_millis).collect();
        Measured::new("plain".into(), Duration::from_secs(2), latencies)
    }

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let hundred = measured((1..=100).rev());
        for (permille, millis) in [(500, 50), (990, 99), (999, 100), (1000, 100), (0, 1)] {
            assert_eq!(hundred.permille(permille), Duration::from_millis(millis));
        }
        assert_eq!(measured([7]).permille(500), Duration::from_millis(7));
        assert_eq!(measured([]).permille(500), Duration::ZERO);
        assert!((hundred.rate() - 50.0).abs() < 1e-9);
    }
}
