//! A member that tells slower than it is written to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_journal::Revision;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::cluster::conformance::etcd::EtcdRig;
use crate::cluster::conformance::following::bytes;
use crate::cluster::conformance::rig::Rig;
use crate::cluster::error::Result as ClusterResult;
use crate::cluster::followed::Followed;
use crate::cluster::session::{Cluster, Session};
use crate::cluster::write::Expect;

/// Far more than a member and a connection hold of a watch that nobody reads.
const MANY: usize = 3_000;
const VALUE_BYTES: usize = 8 << 10;

/// A busy machine may take long to fetch a snapshot. Only a failure takes so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// What comes up to revision `last`, which must be contiguous from `first` on.
async fn follow_to(
    stream: &mut (impl Stream<Item = ClusterResult<Followed>> + Unpin),
    first: Revision,
    last: Revision,
) -> Result<Vec<Followed>> {
    let mut all = Vec::new();
    for due in first.0..=last.0 {
        let next = tokio::time::timeout(DEADLINE, stream.next()).await;
        let next = next.with_context(|| format!("{due} did not come"))?;
        let followed = next.context("the stream ended")??;
        ensure!(
            followed.revision.0 == due,
            "{} came where {due} was due",
            followed.revision
        );
        all.push(followed);
    }
    Ok(all)
}

/// A persister that ran was left behind for good by a cluster that was written to at full speed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_is_left_behind_is_made_up_for_by_a_snapshot() -> Result<()> {
    let rig = EtcdRig::start(1)?.spooling()?;
    let (writer, reader) = (rig.cluster(1).open().await?, rig.cluster(1).open().await?);
    let first = reader.revision().await?.next();
    let mut followed = reader.follow(first);
    // It runs once something has come, and nobody reads it meanwhile.
    let at = writer.put(&bytes("k"), Expect::Any, bytes("v")).await?;
    follow_to(&mut followed, first, at).await?;
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let puts = stream::iter(0..MANY).map(|at| {
        let path = bytes(&(at % 7).to_string());
        let (writer, value) = (&writer, value.clone());
        async move { writer.put(&path, Expect::Any, value).await }
    });
    let newest = puts.buffer_unordered(64);
    let newest: Vec<Revision> = newest.try_collect().await?;
    let newest = newest.into_iter().max().context("there are puts")?;
    let all = follow_to(&mut followed, at.next(), newest).await?;
    let watched = all.iter().take_while(|one| !one.from_snapshot).count();
    let from_snapshot = all.iter().filter(|one| one.from_snapshot).count();
    ensure!(watched > 0, "none came by the watch");
    ensure!(from_snapshot > 0, "none came from a snapshot");
    // The watch goes on behind the snapshot.
    let now = writer.put(&bytes("now"), Expect::Any, bytes("v")).await?;
    let last = follow_to(&mut followed, newest.next(), now).await?;
    ensure!(last.iter().any(|one| !one.from_snapshot), "{last:?}");
    let told = follow_to(&mut reader.follow(at.next()), at.next(), now).await?;
    for (one, again) in all.iter().chain(&last).zip(&told) {
        let is_same = one.revision == again.revision && one.changes == again.changes;
        ensure!(is_same, "{} is not what it was", one.revision);
    }
    Ok(())
}
