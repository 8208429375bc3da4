//! Real clusters of etcd, of one member and of three.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use cairn_etcd::wire::{
    CompactionRequest, DeleteRangeRequest, Event, EventType, PutRequest, TxnRequest,
    WatchCreateRequest,
};
use cairn_etcd::{Cluster, Environment, Options, Session, Target};
use cairn_etcd_member::Member;
use cairn_journal::Revision;
use futures::StreamExt;
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::cluster::conformance::rig::Rig;
use crate::cluster::control::Id;
use crate::cluster::etcd::Etcd;

/// How many revisions, or keys, are worth a snapshot in a test.
const MANY: i64 = 5;

/// A cluster that nobody has written to.
pub(crate) struct EtcdRig {
    members: Mutex<Vec<Member>>,
    target: Target,
    /// Whether next to everything is read from snapshots, and where to.
    spool: Option<TempDir>,
}

impl EtcdRig {
    /// Members that lose nothing by SIGKILL, though they could by a power cut.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let members = block_in_place(|| Member::cluster(count, &["--unsafe-no-fsync"]))?;
        let addresses: Vec<String> = members
            .iter()
            .map(|member| format!("127.0.0.1:{}", member.port()))
            .collect();
        let uri = format!("etcd://{}", addresses.join(",")).parse()?;
        Ok(Self {
            members: Mutex::new(members),
            target: Target::new(&uri, &Environment::default())?,
            spool: None,
        })
    }

    /// The same cluster, next to everything of which is read from snapshots.
    pub(crate) fn spooling(mut self) -> Result<Self> {
        self.spool = Some(tempfile::tempdir()?);
        Ok(self)
    }

    /// A session that the engine knows nothing of.
    pub(crate) async fn plain(&self) -> Result<Session> {
        let cluster = Cluster::new(self.target.clone(), Options::default());
        Ok(cluster.open().await?)
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_all(&self) -> Result<()> {
        let all = block_in_place(|| Member::start_all(&mut self.members()))?;
        ensure!(all, "a member does not start again");
        Ok(())
    }
}

impl Rig for EtcdRig {
    type Cluster = Etcd;

    fn cluster(&self, id: Id) -> Etcd {
        let spool = self.spool.as_ref().map(|spool| spool.path().to_owned());
        Etcd::new(self.target.clone(), id, spool).thinking_many(MANY)
    }

    async fn forget(&self) -> Result<()> {
        let session = self.plain().await?;
        let newest = session.call(PutRequest::new("forget", "")).await?;
        let compaction = CompactionRequest {
            revision: newest.header.context("a put has a revision")?.revision,
            physical: true,
        };
        session.call(compaction).await?;
        Ok(())
    }

    /// All members are killed, and started again with the data that they have.
    async fn cut(&self) -> Result<()> {
        for member in &mut *self.members() {
            member.kill();
        }
        self.start_all()
    }

    /// The members lose everything, and what they had is written again up to `to`: with the flags
    /// that they had, so the cluster has the number that it had.
    async fn roll_back(&self, to: Revision) -> Result<()> {
        let history = history(&self.plain().await?, to).await?;
        for member in &mut *self.members() {
            member.wipe()?;
        }
        self.start_all()?;
        let session = self.plain().await?;
        for events in history.chunk_by(|a, b| revision_of(a) == revision_of(b)) {
            let success = events.iter().map(|event| {
                let key = event.kv.clone().unwrap_or_default();
                match event.r#type == EventType::Delete as i32 {
                    true => DeleteRangeRequest::key(key.key).into(),
                    false => PutRequest::new(key.key, key.value).into(),
                }
            });
            let txn = TxnRequest {
                success: success.collect(),
                ..TxnRequest::default()
            };
            let at = session
                .call(txn)
                .await?
                .header
                .map(|header| header.revision);
            ensure!(at == Some(revision_of(&events[0])), "{at:?} is another one");
        }
        Ok(())
    }
}

/// Everything from the beginning to `to`.
async fn history(session: &Session, to: Revision) -> Result<Vec<Event>> {
    let mut watch = session.watch(WatchCreateRequest::all(2)).await?;
    let mut events: Vec<Event> = Vec::new();
    while events.last().map_or(1, revision_of) < to.0 {
        events.extend(watch.next().await.context("the watch ended")??.events);
    }
    events.retain(|event| revision_of(event) <= to.0);
    Ok(events)
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |key| key.mod_revision)
}
