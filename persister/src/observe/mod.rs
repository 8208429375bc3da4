//! What a persister tells about itself while it runs.
//!
//! [`Vitals`] is written by the stages and read by everybody who asks: Prometheus, health checks,
//! `/status`, the service manager. Writing costs an atomic store; nothing here can slow the pipeline
//! down or fail.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant};

use cairn_journal::{Revision, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

pub mod http;
pub mod report;
pub mod service;

type FloatGauge = Gauge<f64, AtomicU64>;

/// A commit that takes longer than this is stuck, not slow.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Everything that a running persister knows about itself.
#[derive(Debug)]
pub struct Vitals {
    id: u32,
    journal: PathBuf,
    ready_lag: Duration,
    started: Instant,
    registry: Registry,
    progress: Mutex<Progress>,
    metrics: Metrics,
}

/// What was seen, what is durable, and since when there is a difference.
#[derive(Clone, Debug, Default)]
struct Progress {
    cluster: Option<String>,
    connected: bool,
    /// The newest revision that the cluster is known to have.
    head: Revision,
    /// The newest revision that was seen.
    seen: Revision,
    /// The newest revision that was handed to the journal.
    handed: Revision,
    /// The newest revision that is durable.
    durable: Revision,
    /// When the oldest change that is not durable yet was seen.
    waiting_since: Option<Instant>,
    /// When the commit that is under way began.
    committing_since: Option<Instant>,
    last_durable: Option<Timestamp>,
}

impl Progress {
    /// The newest revision that is durable or needs no journaling.
    fn settled(&self) -> Revision {
        if self.handed > self.durable {
            self.durable
        } else {
            self.seen.max(self.durable)
        }
    }

    fn lag_revisions(&self) -> i64 {
        self.head.max(self.seen).0 - self.settled().0
    }

    fn lag(&self) -> Duration {
        self.waiting_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[derive(Debug)]
struct Metrics {
    seen: Gauge<i64, AtomicI64>,
    durable: Gauge<i64, AtomicI64>,
    published: Gauge<i64, AtomicI64>,
    mirrored: Gauge<i64, AtomicI64>,
    lag_revisions: Gauge<i64, AtomicI64>,
    lag_seconds: FloatGauge,
    connected: Gauge<i64, AtomicI64>,
    journal_bytes: Gauge<i64, AtomicI64>,
    last_checkpoint: FloatGauge,
    changes: Counter,
    gaps: Counter,
    reconnects: Counter,
    fsync: Histogram,
    batch: Histogram,
    publish: Histogram,
}

/// One look at a persister, as `/status` tells it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its number.
    pub id: u32,
    /// The version of the program.
    pub version: &'static str,
    /// How long it has run, in seconds.
    pub uptime_seconds: u64,
    /// The identity of the cluster, once it was attached to.
    pub cluster: Option<String>,
    /// Whether it is attached now.
    pub connected: bool,
    /// Whether `/readyz` says yes.
    pub ready: bool,
    /// The newest revision that it has seen.
    pub seen_revision: i64,
    /// The newest revision that is on disk.
    pub durable_revision: i64,
    /// How many of the cluster's revisions are neither on disk nor known to need no journaling.
    pub lag_revisions: i64,
    /// How long the oldest change that is not on disk has been waiting, in seconds; 0 when idle.
    pub lag_seconds: f64,
    /// Where the journal is.
    pub journal: PathBuf,
    /// How large the journal is.
    pub journal_bytes: u64,
}

impl Vitals {
    /// The vitals of persister `id`, whose journal is at `journal`.
    #[must_use]
    pub fn new(id: u32, journal: PathBuf, ready_lag: Duration) -> Self {
        let mut registry = Registry::with_prefix("cairn");
        let metrics = Metrics::register(&mut registry);
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the program", build);
        Self {
            id,
            journal,
            ready_lag,
            started: Instant::now(),
            registry,
            progress: Mutex::default(),
            metrics,
        }
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("nothing panics while it holds the progress")
    }

    /// Attached to `cluster`, with everything up to `durable` on disk.
    pub fn attached(&self, cluster: &str, durable: Revision) {
        let mut progress = self.progress();
        progress.cluster = Some(cluster.to_owned());
        progress.connected = true;
        progress.handed = durable;
        progress.durable = durable;
        progress.seen = progress.seen.max(durable);
        progress.waiting_since = None;
        self.metrics.durable.set(durable.0);
    }

    /// No longer attached.
    pub fn detached(&self) {
        let mut progress = self.progress();
        progress.connected = false;
        progress.committing_since = None;
        self.metrics.reconnects.inc();
    }

    /// The cluster is known to have reached `revision`.
    pub fn head(&self, revision: Revision) {
        let mut progress = self.progress();
        progress.head = progress.head.max(revision);
    }

    /// A revision was seen; `journaled` if it was handed to the journal.
    pub fn seen(&self, revision: Revision, journaled: bool) {
        let mut progress = self.progress();
        progress.seen = revision;
        if journaled {
            progress.handed = revision;
            progress.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    /// A commit of `records` begins.
    pub fn committing(&self) {
        self.progress().committing_since = Some(Instant::now());
    }

    /// A commit of `records` records is done; everything up to `durable` is on disk.
    pub fn committed(&self, records: usize, changes: usize, durable: Option<Revision>) {
        let mut progress = self.progress();
        let since = progress.committing_since.take();
        if let Some(since) = since {
            self.metrics.fsync.observe(since.elapsed().as_secs_f64());
        }
        self.metrics.batch.observe(count(records));
        self.metrics.changes.inc_by(changes as u64);
        if let Some(durable) = durable {
            progress.durable = durable;
            progress.last_durable = Some(Timestamp::now());
            self.metrics.durable.set(durable.0);
        }
        // What is still waiting was seen after this commit had begun.
        progress.waiting_since = if progress.handed > progress.durable {
            since
        } else {
            None
        };
    }

    /// The watermark says `revision` in the cluster, `after` it had become durable.
    pub fn published(&self, revision: Revision, after: Duration) {
        self.metrics.published.set(revision.0);
        self.metrics.publish.observe(after.as_secs_f64());
    }

    /// The per-path mirror is complete up to `revision`.
    pub fn mirrored(&self, revision: Revision) {
        self.metrics.mirrored.set(revision.0);
    }

    /// Revisions were lost to history, and the state was taken instead.
    pub fn gap(&self) {
        self.metrics.gaps.inc();
    }

    /// Whether the process does its work: no commit is stuck.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.progress()
            .committing_since
            .is_none_or(|since| since.elapsed() < STUCK_AFTER)
    }

    /// Whether it is attached and keeps up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let progress = self.progress();
        progress.connected && progress.lag() <= self.ready_lag
    }

    /// One look at everything. Reads the sizes of the journal's files.
    #[must_use]
    pub fn status(&self) -> Status {
        let (ready, journal_bytes) = (self.is_ready(), self.journal_bytes());
        let progress = self.progress();
        Status {
            id: self.id,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            cluster: progress.cluster.clone(),
            connected: progress.connected,
            ready,
            seen_revision: progress.seen.0,
            durable_revision: progress.durable.0,
            lag_revisions: progress.lag_revisions(),
            lag_seconds: progress.lag().as_secs_f64(),
            journal: self.journal.clone(),
            journal_bytes,
        }
    }

    /// Everything in the text format that Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let bytes = self.journal_bytes();
        {
            let progress = self.progress();
            let metrics = &self.metrics;
            metrics.seen.set(progress.seen.0);
            metrics.lag_revisions.set(progress.lag_revisions());
            metrics.lag_seconds.set(progress.lag().as_secs_f64());
            metrics.connected.set(i64::from(progress.connected));
            metrics
                .journal_bytes
                .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    fn journal_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.journal) else {
            return 0;
        };
        let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        sizes.sum()
    }
}

/// A count as Prometheus wants it. Exact up to 2^53, and batches are smaller.
#[expect(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}

impl Metrics {
    fn register(registry: &mut Registry) -> Self {
        // From 32 µs, an fsync of a good SSD, to some 16 s.
        let seconds = || Histogram::new(exponential_buckets(32e-6, 2.0, 20));
        let metrics = Self {
            seen: Gauge::default(),
            durable: Gauge::default(),
            published: Gauge::default(),
            mirrored: Gauge::default(),
            lag_revisions: Gauge::default(),
            lag_seconds: Gauge::default(),
            connected: Gauge::default(),
            journal_bytes: Gauge::default(),
            last_checkpoint: Gauge::default(),
            changes: Counter::default(),
            gaps: Counter::default(),
            reconnects: Counter::default(),
            fsync: seconds(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            publish: seconds(),
        };
        let gauges = [
            (
                "seen_revision",
                "The newest revision that was seen",
                &metrics.seen,
            ),
            (
                "durable_revision",
                "The newest revision that is on disk",
                &metrics.durable,
            ),
            (
                "published_revision",
                "The watermark in the cluster",
                &metrics.published,
            ),
            (
                "mirrored_revision",
                "The revision up to which the per-path mirror is complete",
                &metrics.mirrored,
            ),
            (
                "lag_revisions",
                "Revisions of the cluster that are not settled yet",
                &metrics.lag_revisions,
            ),
            (
                "connected",
                "1 while attached to the cluster",
                &metrics.connected,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register_with_unit(
            "journal",
            "Size of the journal",
            Unit::Bytes,
            metrics.journal_bytes.clone(),
        );
        registry.register_with_unit(
            "lag",
            "How long the oldest change that is not on disk has been waiting; 0 when idle",
            Unit::Seconds,
            metrics.lag_seconds.clone(),
        );
        registry.register_with_unit(
            "last_checkpoint_timestamp",
            "When the newest checkpoint was made; 0 if there is none",
            Unit::Seconds,
            metrics.last_checkpoint.clone(),
        );
        registry.register(
            "changes",
            "Changes that were journaled",
            metrics.changes.clone(),
        );
        registry.register(
            "gaps",
            "Times that history had been discarded before it was seen",
            metrics.gaps.clone(),
        );
        registry.register(
            "reconnects",
            "Times that a session with the cluster ended",
            metrics.reconnects.clone(),
        );
        registry.register_with_unit(
            "fsync_duration",
            "One commit of the journal: write and fsync",
            Unit::Seconds,
            metrics.fsync.clone(),
        );
        registry.register(
            "batch_records",
            "Records in one commit",
            metrics.batch.clone(),
        );
        registry.register_with_unit(
            "publish_duration",
            "From durable to the watermark in the cluster",
            Unit::Seconds,
            metrics.publish.clone(),
        );
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals() -> Vitals {
        Vitals::new(1, PathBuf::from("/nowhere"), Duration::from_secs(10))
    }

    #[test]
    fn idle_is_not_behind_and_stuck_is() {
        let vitals = vitals();
        assert!(!vitals.is_ready(), "not attached yet");
        vitals.attached("c", Revision(10));
        vitals.head(Revision(12));
        assert_eq!(vitals.status().lag_revisions, 2, "not seen yet");
        vitals.seen(Revision(11), false);
        vitals.seen(Revision(12), false);
        let status = vitals.status();
        assert_eq!(
            (status.lag_revisions, status.lag_seconds),
            (0, 0.0),
            "nothing to journal"
        );
        vitals.seen(Revision(13), true);
        vitals.committing();
        vitals.seen(Revision(14), true);
        let status = vitals.status();
        assert_eq!(status.lag_revisions, 4, "from 10 to 14");
        assert!(status.lag_seconds > 0.0);
        vitals.committed(1, 1, Some(Revision(13)));
        assert!(vitals.status().lag_seconds > 0.0, "14 still waits");
        vitals.committing();
        vitals.committed(1, 1, Some(Revision(14)));
        let status = vitals.status();
        assert_eq!((status.lag_revisions, status.lag_seconds), (0, 0.0));
        assert!(vitals.is_ready() && vitals.is_live());
        vitals.detached();
        assert!(!vitals.is_ready());
    }

    #[test]
    fn the_names_are_the_documented_ones() {
        let vitals = vitals();
        vitals.attached("c", Revision(10));
        vitals.gap();
        let text = vitals.prometheus();
        for name in [
            "cairn_seen_revision",
            "cairn_durable_revision 10",
            "cairn_published_revision",
            "cairn_mirrored_revision",
            "cairn_lag_revisions",
            "cairn_lag_seconds",
            "cairn_connected 1",
            "cairn_journal_bytes",
            "cairn_last_checkpoint_timestamp_seconds",
            "cairn_changes_total",
            "cairn_gaps_total 1",
            "cairn_reconnects_total",
            "cairn_fsync_duration_seconds_bucket",
            "cairn_batch_records_bucket",
            "cairn_publish_duration_seconds_bucket",
            "cairn_build_info{version=",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
