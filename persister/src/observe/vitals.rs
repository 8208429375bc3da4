//! Everything that a running persister knows about itself.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cairn_journal::{Checkpoint, Revision, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::observe::journal_size::JournalSize;
use crate::observe::log;
use crate::observe::metrics::Metrics;
use crate::observe::positions::Positions;

/// A commit that takes longer than this is stuck, not slow.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Everything that a running persister knows about itself.
#[derive(Debug)]
pub struct Vitals {
    id: u32,
    journal: JournalSize,
    ready_lag: Duration,
    started: Instant,
    registry: Registry,
    positions: Mutex<Positions>,
    checkpoint: Mutex<CheckpointStatus>,
    metrics: Metrics,
    following: CancellationToken,
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
    /// The newest checkpoint.
    pub checkpoint: CheckpointStatus,
}

/// What `/status` tells of checkpoints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckpointStatus {
    /// The revision of the newest one; nothing if there is none.
    pub revision: Option<i64>,
    /// When it was made, in seconds since 1970.
    pub timestamp_seconds: Option<f64>,
    /// How many keys it holds.
    pub keys: Option<u64>,
    /// How large it is.
    pub bytes: Option<u64>,
    /// Why the last attempt to make one, or to retire history, failed, if it did.
    pub error: Option<String>,
}

impl Vitals {
    /// The vitals of persister `id`, whose journal is at `journal`.
    #[must_use]
    pub fn new(id: u32, journal: PathBuf, ready_lag: Duration) -> Self {
        let mut registry = Registry::with_prefix("cairn");
        let metrics = Metrics::register(&mut registry);
        Self {
            id,
            journal: JournalSize::of(journal),
            ready_lag,
            started: Instant::now(),
            registry,
            positions: Mutex::default(),
            checkpoint: Mutex::default(),
            metrics,
            following: CancellationToken::new(),
        }
    }

    fn positions(&self) -> std::sync::MutexGuard<'_, Positions> {
        self.positions
            .lock()
            .expect("nothing panics while it holds the positions")
    }

    /// Cancelled once a cluster is followed for the first time: whatever happens there from then on
    /// is journaled, also if the end comes at once.
    pub(crate) fn following(&self) -> &CancellationToken {
        &self.following
    }

    /// Attached to `cluster`, with everything up to `durable` on disk.
    pub fn attached(&self, cluster: &str, durable: Revision) {
        self.following.cancel();
        let mut positions = self.positions();
        positions.cluster = Some(cluster.to_owned());
        positions.connected = true;
        positions.handed = durable;
        positions.durable = durable;
        positions.seen = positions.seen.max(durable);
        positions.waiting_since = None;
        self.metrics.durable.set(durable.0);
    }

    /// No longer attached.
    pub fn detached(&self) {
        let mut positions = self.positions();
        positions.connected = false;
        positions.committing_since = None;
        self.metrics.reconnects.inc();
    }

    /// The cluster is known to have reached `revision`.
    pub fn head(&self, revision: Revision) {
        let mut positions = self.positions();
        positions.head = positions.head.max(revision);
    }

    /// A revision was seen; `journaled` if it was handed to the journal.
    pub fn seen(&self, revision: Revision, journaled: bool) {
        let mut positions = self.positions();
        positions.seen = revision;
        if journaled {
            positions.handed = revision;
            positions.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    /// A commit of `records` begins.
    pub fn committing(&self) {
        self.positions().committing_since = Some(Instant::now());
    }

    /// A commit of `records` records is done; everything up to `durable` is on disk.
    pub fn committed(&self, records: usize, changes: usize, durable: Option<Revision>) {
        let mut positions = self.positions();
        let since = positions.committing_since.take();
        if let Some(since) = since {
            self.metrics.fsync.observe(since.elapsed().as_secs_f64());
        }
        self.metrics.batch.observe(count(records));
        self.metrics.changes.inc_by(changes as u64);
        if let Some(durable) = durable {
            positions.durable = durable;
            positions.last_durable = Some(Timestamp::now());
            self.metrics.durable.set(durable.0);
        }
        // What is still waiting was seen after this commit had begun.
        positions.waiting_since = if positions.handed > positions.durable {
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

    /// A revision was read from a member's snapshot, because its watch was behind.
    pub fn from_snapshot(&self) {
        self.metrics.from_snapshot.inc();
    }

    fn checkpoints(&self) -> std::sync::MutexGuard<'_, CheckpointStatus> {
        self.checkpoint
            .lock()
            .expect("nothing panics while it holds what is known of checkpoints")
    }

    /// This checkpoint is the newest.
    pub fn checkpoint(&self, newest: &Checkpoint) {
        let made = seconds(newest.created_at());
        self.metrics.last_checkpoint.set(made);
        self.metrics.checkpoint.set(whole(newest.file_bytes()));
        *self.checkpoints() = CheckpointStatus {
            revision: Some(newest.revision().0),
            timestamp_seconds: Some(made),
            keys: Some(newest.len()),
            bytes: Some(newest.file_bytes()),
            error: None,
        };
    }

    /// Making a checkpoint took so long.
    pub fn checkpoint_took(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.metrics.checkpoint_duration.observe(seconds);
    }

    /// Making a checkpoint, or retiring history, failed.
    pub fn checkpoint_failed(&self, error: &str) {
        self.metrics.checkpoint_failures.inc();
        self.checkpoints().error = Some(error.to_owned());
    }

    /// Clears the last failure: the next attempt succeeded.
    pub fn checkpoint_works(&self) {
        self.checkpoints().error = None;
    }

    /// So many bytes of history were removed.
    pub fn retired(&self, bytes: u64) {
        self.metrics.retired.inc_by(bytes);
    }

    /// Whether the process does its work: no commit is stuck.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.positions()
            .committing_since
            .is_none_or(|since| since.elapsed() < STUCK_AFTER)
    }

    /// Whether it is attached and keeps up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let positions = self.positions();
        positions.connected && positions.lag() <= self.ready_lag
    }

    /// Everything up to this revision is on disk, or needs no journaling.
    #[must_use]
    pub fn settled(&self) -> Revision {
        self.positions().settled()
    }

    /// Looks how large the journal is, for what is told next. Waits a moment at most.
    pub async fn measure(&self) {
        self.journal.look().await;
    }

    /// One look at everything, from memory.
    #[must_use]
    pub fn status(&self) -> Status {
        let ready = self.is_ready();
        let positions = self.positions();
        Status {
            id: self.id,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs(),
            cluster: positions.cluster.clone(),
            connected: positions.connected,
            ready,
            seen_revision: positions.seen.0,
            durable_revision: positions.durable.0,
            lag_revisions: positions.lag_revisions(),
            lag_seconds: positions.lag().as_secs_f64(),
            journal: self.journal.dir().to_owned(),
            journal_bytes: self.journal.bytes(),
            checkpoint: self.checkpoints().clone(),
        }
    }

    /// Everything in the text format that Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        {
            let positions = self.positions();
            let metrics = &self.metrics;
            metrics.seen.set(positions.seen.0);
            metrics.lag_revisions.set(positions.lag_revisions());
            metrics.lag.set(positions.lag().as_secs_f64());
            metrics.connected.set(i64::from(positions.connected));
            metrics.journal.set(whole(self.journal.bytes()));
            let lost = log::lost_lines();
            metrics
                .log_lost
                .inc_by(lost.saturating_sub(metrics.log_lost.get()));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A time as Prometheus wants it.
#[expect(clippy::cast_precision_loss)]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1e3
}

/// A count as Prometheus wants it. Exact up to 2^53, and batches are smaller.
#[expect(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
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
            "cairn_last_checkpoint_timestamp_seconds 0",
            "cairn_checkpoint_bytes",
            "cairn_checkpoint_duration_seconds_bucket",
            "cairn_checkpoint_failures_total",
            "cairn_retired_bytes_total",
            "cairn_changes_total",
            "cairn_gaps_total 1",
            "cairn_snapshot_revisions_total",
            "cairn_reconnects_total",
            "cairn_fsync_duration_seconds_bucket",
            "cairn_batch_records_bucket",
            "cairn_publish_duration_seconds_bucket",
            "cairn_log_lines_lost_total",
            "cairn_build_info{version=",
        ] {
            assert!(text.contains(name), "{name} is not in\n{text}");
        }
    }
}
