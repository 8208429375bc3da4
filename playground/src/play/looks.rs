//! Looks at nodes and persisters from outside. Each is short: a paused process accepts connections
//! and never answers.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::ledger::write::Found;
use crate::moment::Moment;
use crate::play::connection::{Connection, Said};
use crate::told::state::HashKv;
use crate::world::services::probe::http_body;

/// How long a look at a node may take.
const LIMIT: Duration = Duration::from_millis(500);

/// How often all keys of a node are read, at most.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What a node says.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeLook {
    /// What it said now, if it answered.
    pub(super) said: Option<Said>,
    /// The revision that it had reached when it answered last.
    pub(crate) revision: Option<i64>,
    /// What it holds, as of the last time that was read.
    pub(crate) moment: Option<Moment>,
    read: Option<Instant>,
}

impl NodeLook {
    /// It does not answer; what it said last is remembered.
    pub(super) fn without_answer(self) -> Self {
        Self { said: None, ..self }
    }

    /// Whether its cluster can be used.
    pub(super) fn is_whole(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.is_whole)
    }

    /// Whether it leads.
    pub(super) fn leads(&self) -> bool {
        self.said
            .as_ref()
            .is_some_and(|said| said.leads == Some(true))
    }
}

/// Looks at one node, and keeps a connection for the next look.
pub(crate) struct NodeEye {
    uri: Box<str>,
    connection: Mutex<Option<Connection>>,
}

impl fmt::Debug for NodeEye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEye")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

impl NodeEye {
    /// At the only node that this URI leads to.
    pub(super) fn new(uri: &str) -> Self {
        Self {
            uri: uri.into(),
            connection: Mutex::default(),
        }
    }

    /// `last`: the last look.
    pub(super) async fn look(&self, last: NodeLook) -> NodeLook {
        match timeout(LIMIT, self.try_look(&last)).await {
            Ok(Ok(look)) => look,
            _ => last.without_answer(),
        }
    }

    async fn try_look(&self, last: &NodeLook) -> anyhow::Result<NodeLook> {
        let mut slot = self.connection.lock().await;
        let connection = self.take(&mut slot, LIMIT).await?;
        let said = connection.say().await?;
        let revision = said.revision;
        let mut look = NodeLook {
            revision: Some(revision),
            said: Some(said),
            ..last.clone()
        };
        let is_due = last.read.is_none_or(|read| read.elapsed() >= READ_EVERY);
        let seen = last.moment.as_ref().map(|seen| seen.revision);
        if is_due && seen != Some(revision) {
            let found = connection.everything(revision).await?;
            look.moment = Some(Moment::of(&found, revision));
            look.read = Some(Instant::now());
        }
        *slot = Some(connection);
        Ok(look)
    }

    /// Everything that its cluster holds now, at one revision: the keys that are text, and a moment
    /// of all.
    pub(super) async fn read(&self, limit: Duration) -> Option<(Found, Moment)> {
        timeout(limit, self.try_read(limit)).await.ok()?.ok()
    }

    async fn try_read(&self, limit: Duration) -> anyhow::Result<(Found, Moment)> {
        let mut slot = self.connection.lock().await;
        let connection = self.take(&mut slot, limit).await?;
        connection.catch_up().await?;
        let revision = connection.say().await?.revision;
        let found = connection.everything(revision).await?;
        *slot = Some(connection);
        let moment = Moment::of(&found, revision);
        // What is no text is no key of a writer, and is in the moment.
        let text = found.into_iter().filter_map(|(key, at, value)| {
            Some((String::from_utf8(key.to_vec()).ok()?, (at, value)))
        });
        Ok((text.collect(), moment))
    }

    /// What this member of etcd says of the whole history up to a revision.
    pub(super) async fn hash_kv(&self, revision: i64) -> Option<HashKv> {
        let asked = async {
            let mut slot = self.connection.lock().await;
            let connection = self.take(&mut slot, LIMIT).await?;
            let said = connection.hash_kv(revision).await;
            *slot = Some(connection);
            said
        };
        timeout(LIMIT, asked).await.ok()?.ok()
    }

    /// The connection that there is, or a new one. It is put back only where it works.
    async fn take(
        &self,
        slot: &mut Option<Connection>,
        limit: Duration,
    ) -> anyhow::Result<Connection> {
        match slot.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.uri, limit).await,
        }
    }
}

/// What a persister says.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersisterLook {
    /// Its `/status`, if it answered.
    pub(crate) status: Option<Status>,
    /// How long its commits took since the look before, in milliseconds.
    pub(crate) fsync_ms: Option<f64>,
    commits: Option<(f64, f64)>,
}

/// The part of a persister's `/status` that is shown.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) connected: bool,
    seen_revision: i64,
    pub(super) durable_revision: i64,
    pub(crate) lag_revisions: i64,
    pub(crate) lag_seconds: f64,
    pub(crate) journal_bytes: u64,
}

impl Status {
    /// Everything up to this revision is on disk, or needs no journaling.
    pub(crate) fn on_disk_up_to(&self) -> i64 {
        match self.lag_revisions {
            0 => self.seen_revision.max(self.durable_revision),
            _ => self.durable_revision,
        }
    }
}

/// Looks at the persister that serves its health here.
pub(crate) async fn look_at_persister(address: &str, last: PersisterLook) -> PersisterLook {
    let status = http_body(address, "/status").await;
    let status = status.and_then(|body| serde_json::from_str(&body).ok());
    if status.is_none() {
        return PersisterLook::default();
    }
    let metrics = http_body(address, "/metrics").await.unwrap_or_default();
    let metric = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<f64>().ok()
    };
    let commits = metric("cairn_fsync_duration_seconds_sum ")
        .zip(metric("cairn_fsync_duration_seconds_count "));
    let (before_sum, before_count) = last.commits.unwrap_or_default();
    let fsync_ms = commits.and_then(|(sum, count)| {
        let commits = count - before_count;
        // Idle: what is known is still true.
        if commits <= 0.0 {
            return last.fsync_ms;
        }
        Some(((sum - before_sum) / commits * 1e5).round() / 1e2)
    });
    PersisterLook {
        status,
        fsync_ms,
        commits,
    }
}
