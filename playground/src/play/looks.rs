//! Looks at nodes and persisters from outside. Each is short: a paused process accepts connections
//! and never answers.

use std::time::{Duration, Instant};

use cairn_client::{Client, Options, Revision, Uri};
use cairn_persister::identity::{Identity, Outcome};
use cairn_protocol::keys;
use futures::TryStreamExt as _;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::ledger::write::Found;
use crate::play::moment::Moment;
use crate::world::services::probe::http_body;

/// How long a look at a node may take.
const LIMIT: Duration = Duration::from_millis(500);

/// How often all keys of a node are read, at most.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What a node says.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeLook {
    /// Whether it answers.
    pub(crate) answers: bool,
    /// The revision that it has reached.
    pub(crate) revision: Option<i64>,
    /// What it holds, as of the last time that was read.
    pub(crate) moment: Option<Moment>,
    /// Whether its cluster has a name, and is not being restored.
    pub(crate) is_named: bool,
    read: Option<Instant>,
}

impl NodeLook {
    /// It does not answer; what it said last is remembered.
    pub(crate) fn without_answer(self) -> Self {
        Self {
            answers: false,
            is_named: false,
            ..self
        }
    }
}

/// Looks at one node, and keeps a connection for the next look.
#[derive(Debug)]
pub(crate) struct NodeEye {
    uri: Box<str>,
    client: Mutex<Option<Client>>,
}

impl NodeEye {
    /// At the only node that this URI leads to.
    pub(crate) fn new(uri: &str) -> Self {
        Self {
            uri: uri.into(),
            client: Mutex::default(),
        }
    }

    /// `last`: the last look.
    pub(crate) async fn look(&self, last: NodeLook) -> NodeLook {
        let mut slot = self.client.lock().await;
        let looked = timeout(LIMIT, self.ask(&mut slot, &last)).await;
        match looked {
            Ok(Ok(look)) => look,
            _ => {
                *slot = None;
                last.without_answer()
            }
        }
    }

    async fn ask(&self, slot: &mut Option<Client>, last: &NodeLook) -> anyhow::Result<NodeLook> {
        let client = self.client(slot).await?;
        let revision = client.rev().await?;
        let identity = client.get(keys::IDENTITY, None).await?;
        let is_named = identity.is_some_and(|file| is_finished(&file.value));
        let mut look = NodeLook {
            answers: true,
            revision: Some(revision.0),
            is_named,
            ..last.clone()
        };
        let is_due = last.read.is_none_or(|read| read.elapsed() >= READ_EVERY);
        if is_due
            && last
                .moment
                .as_ref()
                .is_none_or(|seen| seen.revision != revision.0)
        {
            let found = everything(&client, revision).await?;
            look.moment = Some(Moment::of(&found, revision.0));
            look.read = Some(Instant::now());
        }
        Ok(look)
    }

    /// Everything that it holds now, at one revision.
    pub(crate) async fn read(&self, limit: Duration) -> Option<(Found, Moment)> {
        let mut slot = self.client.lock().await;
        let read = async {
            let client = self.client(&mut slot).await?;
            let revision = client.rev().await?;
            let found = everything(&client, revision).await?;
            let moment = Moment::of(&found, revision.0);
            anyhow::Ok((found, moment))
        };
        let read = timeout(limit, read).await.ok().and_then(Result::ok);
        if read.is_none() {
            *slot = None;
        }
        read
    }

    async fn client(&self, slot: &mut Option<Client>) -> anyhow::Result<Client> {
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let uri: Uri = self.uri.parse()?;
        let options = Options {
            request_timeout: LIMIT,
            connect_timeout: LIMIT,
            reconnect: false,
            ..Options::default()
        };
        let client = Client::connect_with(&uri, options).await?;
        Ok(slot.insert(client).clone())
    }
}

async fn everything(client: &Client, at: Revision) -> anyhow::Result<Found> {
    let mut files = client.walk("/**", Some(at));
    let mut found = Found::new();
    while let Some(file) = files.try_next().await? {
        if !keys::is_internal(&file.path) {
            found.insert(file.path, (file.revision.0, file.value));
        }
    }
    Ok(found)
}

/// Whether this names a cluster that is not being restored.
fn is_finished(identity: &[u8]) -> bool {
    Identity::parse(identity).is_ok_and(|identity| {
        let outcome = identity.origin.map(|origin| origin.outcome);
        !matches!(
            outcome,
            Some(Outcome::Bidding(_) | Outcome::Restoring { .. })
        )
    })
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
    durable_revision: i64,
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
