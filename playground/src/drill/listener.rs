//! A client that watches everything, and goes on with another member when its own is lost.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cairn_etcd::Cluster;
use cairn_etcd::wire::{RangeRequest, WatchCreateRequest};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long it may be behind.
const LIMIT: Duration = Duration::from_secs(30);

/// The pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that watches everything. It ends when this is dropped.
pub(super) struct Listener {
    cluster: Cluster,
    from: i64,
    seen: watch::Receiver<i64>,
    task: JoinSet<Result<()>>,
}

impl Listener {
    /// Watches from now on.
    pub(super) async fn new(cluster: Cluster) -> Result<Self> {
        let from = newest(&cluster).await?;
        let (sees, seen) = watch::channel(from);
        let mut task = JoinSet::new();
        task.spawn(listen(cluster.clone(), sees));
        Ok(Self {
            cluster,
            from,
            seen,
            task,
        })
    }

    /// Waits until it has seen everything up to now; says how many revisions that is.
    ///
    /// # Errors
    /// If it missed one, or does not get there in time.
    pub(super) async fn has_seen_all(&mut self) -> Result<i64> {
        let newest = newest(&self.cluster).await?;
        let seen = self.seen.wait_for(|seen| *seen >= newest);
        let seen = tokio::select! {
            Some(ended) = self.task.join_next() => {
                ended??;
                bail!("the watching client ended");
            }
            seen = tokio::time::timeout(LIMIT, seen) => seen.context("it is behind")?.map(|it| *it),
        };
        Ok(seen? - self.from)
    }
}

async fn newest(cluster: &Cluster) -> Result<i64> {
    let session = cluster.open().await?;
    let answer = session.call(RangeRequest::key("/")).await?;
    Ok(answer.header.context("an answer has a header")?.revision)
}

/// Every revision has an event, so none may be missing.
async fn listen(cluster: Cluster, sees: watch::Sender<i64>) -> Result<()> {
    loop {
        let Ok(session) = cluster.open().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let from = *sees.borrow() + 1;
        let Ok(mut watch) = session.watch(WatchCreateRequest::all(from)).await else {
            continue;
        };
        while let Some(Ok(batch)) = watch.next().await {
            for key in batch.events.into_iter().filter_map(|event| event.kv) {
                let (last, revision) = (*sees.borrow(), key.mod_revision);
                ensure!(
                    revision == last || revision == last + 1,
                    "the watching client was told of revision {revision} after {last}"
                );
                sees.send_replace(revision);
            }
        }
    }
}
