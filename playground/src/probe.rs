//! `cairn probe`: writes and reads through a cluster until it is stopped, and says what its users
//! see.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cairn_etcd::Environment;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::ledger::book::Ledger;
use crate::ledger::outcome::{Class, Outcome};
use crate::ledger::times::{Latency, Outage, latency, outages};
use crate::output;

/// The number of the only writer.
const WRITER: u32 = 1;

/// How a cluster is probed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster.
    pub uri: String,
    /// The pause between writes.
    pub every: Duration,
    /// How long one write or read may take.
    pub timeout: Duration,
    /// Below which key to write.
    pub prefix: String,
    /// Whether to say every error as it happens, on standard error.
    pub tell: bool,
}

/// What a probe has seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// How long it looked, in seconds.
    pub took_s: f64,
    /// Writes that were acknowledged as durable, and how long they took.
    pub durable: Latency,
    /// Writes that are in effect and not confirmed to be on disk.
    pub unconfirmed: usize,
    /// Writes that were not done.
    pub not_applied: usize,
    /// Writes of which nobody can tell.
    pub unknown: usize,
    /// Reads that were answered.
    pub reads: u64,
    /// Reads that failed.
    pub reads_failed: u64,
    /// Reads that showed something else than what had been acknowledged.
    pub reads_wrong: u64,
    /// The longest time without an acknowledged write, in seconds.
    pub longest_outage_s: f64,
    /// The longest wait for one write or read, in seconds.
    pub longest_wait_s: f64,
}

impl Seen {
    /// Whether every write was acknowledged and every read right.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let failed = self.unconfirmed + self.not_applied + self.unknown;
        failed == 0 && self.reads_failed + self.reads_wrong == 0 && self.durable.writes > 0
    }
}

/// Probes until it is told to stop.
///
/// # Errors
/// If the cluster cannot be reached at all: then there is nothing to probe.
pub async fn probe(options: &Options, stop: CancellationToken) -> Result<Seen> {
    let environment = Environment::read()?;
    let engine = Engine::connect_as(&options.uri, &environment, options.timeout)
        .await
        .context("cannot begin")?;
    let begun = Instant::now();
    let mut ledger = Ledger::default();
    let mut seen = Seen::default();
    let mut keys = 0;
    let mut key = name(options, keys);
    for n in 1_u64.. {
        let value = format!("{n}");
        let ticket = ledger.begin(WRITER, &key, Some(value.as_bytes()))?;
        let answer = engine.write(&key, Some(value.clone().into())).await;
        ledger.end(ticket, answer.outcome);
        if let Some(says) = answer.says {
            tell(options, begun, &format!("write {n}: {says}"));
        }
        let told = match answer.outcome {
            Outcome::Durable { .. } => Some(value),
            // What is in effect and on no disk may be gone by the time it is read.
            Outcome::Applied | Outcome::NotApplied => None,
            Outcome::Unknown => {
                // The write may still arrive; another key takes over.
                keys += 1;
                key = name(options, keys);
                None
            }
        };
        if let Some(value) = told {
            read(options, &engine, &key, &value, begun, &mut seen).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(options.every) => {}
        }
    }
    // Leaves nothing behind, if the cluster lets it.
    for n in 0..=keys {
        let _ = engine.write(&name(options, n), None).await;
    }
    Ok(sum(seen, &ledger, begun.elapsed()))
}

fn name(options: &Options, n: u32) -> String {
    format!("{}/{n}", options.prefix)
}

async fn read(
    options: &Options,
    engine: &Engine,
    key: &str,
    expected: &str,
    begun: Instant,
    seen: &mut Seen,
) {
    let asked = Instant::now();
    let answer = engine.get(key).await;
    seen.longest_wait_s = seen.longest_wait_s.max(asked.elapsed().as_secs_f64());
    match answer {
        Ok(value) if value.as_deref() == Some(expected.as_bytes()) => seen.reads += 1,
        Ok(value) => {
            seen.reads_wrong += 1;
            let is = value.map_or("gone".to_owned(), |value| format!("{:?}", value.as_ref()));
            tell(
                options,
                begun,
                &format!("read {key}: it is {is}, after {expected} was written"),
            );
        }
        Err(error) => {
            seen.reads_failed += 1;
            tell(options, begun, &format!("read {key}: {error:#}"));
        }
    }
}

fn tell(options: &Options, begun: Instant, what: &str) {
    if options.tell {
        output::note(format_args!(
            "{:>9.3} s  {what}",
            begun.elapsed().as_secs_f64()
        ));
    }
}

fn sum(seen: Seen, ledger: &Ledger, took: Duration) -> Seen {
    let points = ledger.points();
    let count = |class| points.iter().filter(|point| point.class == class).count();
    let outage = outages(points, ledger.age()).first().copied();
    let Outage {
        longest_s,
        longest_wait_s,
        ..
    } = outage.unwrap_or_default();
    Seen {
        took_s: took.as_secs_f64(),
        durable: latency(points, Class::Durable),
        unconfirmed: count(Class::Applied),
        not_applied: count(Class::NotApplied),
        unknown: count(Class::Unknown),
        longest_outage_s: longest_s,
        longest_wait_s: longest_wait_s.max(seen.longest_wait_s),
        ..seen
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            writes,
            p50_ms,
            p99_ms,
            max_ms,
        } = self.durable;
        writeln!(f, "{:.1} s of writing and reading:", self.took_s)?;
        writeln!(
            f,
            "  {writes} writes durable (p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, longest {max_ms:.1} ms)"
        )?;
        let Self {
            unconfirmed,
            not_applied,
            unknown,
            ..
        } = self;
        writeln!(
            f,
            "  {unconfirmed} in effect but unconfirmed, {not_applied} not done, {unknown} unknown"
        )?;
        let Self {
            reads,
            reads_failed,
            reads_wrong,
            ..
        } = self;
        writeln!(
            f,
            "  {reads} reads right, {reads_wrong} wrong, {reads_failed} failed"
        )?;
        let (outage, wait) = (self.longest_outage_s, self.longest_wait_s);
        writeln!(
            f,
            "  longest time without a durable write {outage:.2} s, longest wait for a request {wait:.2} s"
        )
    }
}
