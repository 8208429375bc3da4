//! The metrics: their names, what each means, and nothing about when they change.
//!
//! Base units, `_total` for what only grows; the names are documented in `docs/operations.md`.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub(super) type WholeGauge = Gauge<i64, AtomicI64>;
pub(super) type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) seen: WholeGauge,
    pub(super) durable: WholeGauge,
    pub(super) published: WholeGauge,
    pub(super) mirrored: WholeGauge,
    pub(super) lag_revisions: WholeGauge,
    pub(super) lag: FloatGauge,
    pub(super) connected: WholeGauge,
    pub(super) changes: Counter,
    pub(super) gaps: Counter,
    pub(super) from_snapshot: Counter,
    pub(super) reconnects: Counter,
    pub(super) fsync: Histogram,
    pub(super) batch: Histogram,
    pub(super) publish: Histogram,
    pub(super) journal: WholeGauge,
    pub(super) last_checkpoint: FloatGauge,
    pub(super) checkpoint: WholeGauge,
    pub(super) checkpoint_duration: Histogram,
    pub(super) checkpoint_failures: Counter,
    pub(super) retired: Counter,
    pub(super) log_lost: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of the program", build);
        let r = &mut Registrar(registry);
        Self {
            seen: r.plain("seen_revision", "The newest revision that was seen"),
            durable: r.plain("durable_revision", "The newest revision that is on disk"),
            published: r.plain("published_revision", "The watermark in the cluster"),
            mirrored: r.plain(
                "mirrored_revision",
                "The revision up to which the per-path mirror is complete",
            ),
            lag_revisions: r.plain(
                "lag_revisions",
                "Revisions of the cluster that are not settled yet",
            ),
            lag: r.seconds(
                "lag",
                "How long the oldest change that is not on disk has been waiting; 0 when idle",
            ),
            connected: r.plain("connected", "1 while attached to the cluster"),
            changes: r.plain("changes", "Changes that were journaled"),
            gaps: r.plain(
                "gaps",
                "Times that history had been discarded before it was seen",
            ),
            from_snapshot: r.plain(
                "snapshot_revisions",
                "Revisions that were read from a member's snapshot because its watch was behind",
            ),
            reconnects: r.plain("reconnects", "Times that a session with the cluster ended"),
            fsync: r.duration(
                "fsync_duration",
                "One commit of the journal: write and fsync",
            ),
            batch: r.keep(
                "batch_records",
                "Records in one commit",
                None,
                Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            ),
            publish: r.duration(
                "publish_duration",
                "From durable to the watermark in the cluster",
            ),
            journal: r.bytes("journal", "Size of the journal"),
            last_checkpoint: r.seconds(
                "last_checkpoint_timestamp",
                "When the newest checkpoint was made; 0 if there is none",
            ),
            checkpoint: r.bytes("checkpoint", "Size of the newest checkpoint"),
            checkpoint_duration: r.duration("checkpoint_duration", "Making one checkpoint"),
            checkpoint_failures: r.plain(
                "checkpoint_failures",
                "Times that making a checkpoint, or retiring history, failed",
            ),
            retired: r.keep(
                "retired",
                "History and older checkpoints removed by retention",
                Some(Unit::Bytes),
                Counter::default(),
            ),
            log_lost: r.plain(
                "log_lines_lost",
                "Lines of the log that were dropped because nobody read them",
            ),
        }
    }
}

/// Makes a metric and registers it in one step, so that none can be forgotten.
struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn keep<M: Metric + Clone>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: M,
    ) -> M {
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, metric.clone()),
            None => self.0.register(name, help, metric.clone()),
        }
        metric
    }

    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.keep(name, help, None, M::default())
    }

    fn seconds(&mut self, name: &str, help: &str) -> FloatGauge {
        self.keep(name, help, Some(Unit::Seconds), FloatGauge::default())
    }

    fn bytes(&mut self, name: &str, help: &str) -> WholeGauge {
        self.keep(name, help, Some(Unit::Bytes), WholeGauge::default())
    }

    /// From 32 µs, an fsync of a good SSD, to some 16 s.
    fn duration(&mut self, name: &str, help: &str) -> Histogram {
        let buckets = exponential_buckets(32e-6, 2.0, 20);
        self.keep(name, help, Some(Unit::Seconds), Histogram::new(buckets))
    }
}
