//! `doozer-lite` with persisters as processes of their own, and a client in this one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::{Client as Regular, Revision};
use cairn_sync_client::{Client, Durability, keys};
use cairn_tests::{Lite, Process, attached, persister};
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;

use crate::{Row, VALUE};

/// What the persisters write into the cluster beside the watermark.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirror {
    /// An entry for each path, as by default.
    Paths,
    /// Nothing, as for clusters whose clients all look at the watermark.
    Watermark,
}

pub(crate) struct Cluster {
    lite: Lite,
    persisters: u32,
    mirror: Mirror,
    _persisters: Vec<Process>,
    _journals: TempDir,
}

impl Cluster {
    pub(crate) async fn start(persisters: u32, mirror: Mirror) -> Result<Self> {
        let lite = Lite::start()?;
        let journals = tempfile::tempdir()?;
        let mut processes = Vec::new();
        for id in 1..=persisters {
            let journal = journals.path().join(id.to_string());
            let args: &[&str] = match mirror {
                Mirror::Paths => &["--mirror", "paths"],
                Mirror::Watermark => &["--mirror", "watermark"],
            };
            processes.push(persister(id, &lite.uri, &journal, args)?);
        }
        for id in 1..=persisters {
            attached(&lite.client().await?, id).await?;
        }
        Ok(Self {
            lite,
            persisters,
            mirror,
            _persisters: processes,
            _journals: journals,
        })
    }

    /// A row's name, with what sets this cluster apart.
    fn described(&self, what: String) -> String {
        match self.mirror {
            Mirror::Paths => format!("{what}, --mirror paths"),
            Mirror::Watermark => what,
        }
    }
}

/// Calls `write` so often, so many at once, and times each call.
pub(crate) async fn timed<F: Future<Output = Result<()>>>(
    what: String,
    in_flight: usize,
    writes: usize,
    write: impl Fn(usize) -> F,
) -> Result<Row> {
    let started = Instant::now();
    let latencies = stream::iter(0..writes)
        .map(|number| {
            let write = &write;
            async move {
                let called = Instant::now();
                write(number).await?;
                anyhow::Ok(called.elapsed())
            }
        })
        .buffer_unordered(in_flight)
        .try_collect()
        .await?;
    Ok(Row::new(what, in_flight, started.elapsed(), latencies))
}

fn path(number: usize) -> String {
    format!("/bench/{}", number % 1000)
}

/// Plain writes, to a cluster that its persisters follow.
pub(crate) async fn plain(cluster: Cluster, in_flight: usize, writes: usize) -> Result<Row> {
    let client = cluster.lite.client().await?;
    let value = Bytes::from(vec![b'x'; VALUE]);
    let set = |number| {
        let (client, value) = (&client, value.clone());
        async move {
            let path = path(number);
            client.set(&path, Revision::ANY, value).await?;
            Ok(())
        }
    };
    timed(String::new(), in_flight, writes / 10, set).await?;
    let what = match cluster.persisters {
        0 => "plain SET, no persister".to_owned(),
        some => format!("plain SET, {some} following"),
    };
    let what = cluster.described(what);
    timed(what, in_flight, writes, set).await
}

/// Writes that wait for so many of the cluster's persisters.
pub(crate) async fn sync(
    cluster: Cluster,
    required: usize,
    in_flight: usize,
    writes: usize,
) -> Result<Row> {
    let persisters = cluster.persisters;
    let durability = Durability {
        timeout: Duration::from_secs(60),
        ..Durability::new((1..=persisters).collect::<Vec<_>>(), required)
    };
    let client = Client::connect_durable(&cluster.lite.uri, durability).await?;
    let value = Bytes::from(vec![b'x'; VALUE]);
    let set = |number| {
        let (client, value) = (&client, value.clone());
        async move {
            let path = path(number);
            client.set(&path, Revision::ANY, value).await?;
            Ok(())
        }
    };
    timed(String::new(), in_flight, writes / 10, set).await?;
    let what = cluster.described(format!("sync SET, {required} of {persisters}"));
    timed(what, in_flight, writes, set).await
}

/// When something about one write became known, from its call on.
#[derive(Default)]
struct Seen(Vec<Duration>);

impl Seen {
    fn median(mut self) -> Duration {
        self.0.sort_unstable();
        self.0.get(self.0.len() / 2).copied().unwrap_or_default()
    }
}

/// Follows single writes through all stages, and says where the time goes.
pub(crate) async fn trace(writes: usize, disk: &Row) -> Result<()> {
    let cluster = Cluster::start(1, Mirror::Watermark).await?;
    let writer = cluster.lite.client().await?;
    // As the persister watches, and as a sync client does, each over a connection of its own.
    let follower: Regular = cluster.lite.client().await?;
    let client: Regular = cluster.lite.client().await?;
    let start = writer.rev().await?;
    let mut changes = follower.watch("/**", start.next());
    let mut watermarks = client.watch(&keys::about(1), start.next());
    let (mut answered, mut followed, mut durable) =
        (Seen::default(), Seen::default(), Seen::default());
    for number in 0..writes {
        let called = Instant::now();
        let path = path(number);
        let set = async {
            let revision = writer.set(&path, Revision::ANY, vec![b'x'; VALUE]).await?;
            answered.0.push(called.elapsed());
            anyhow::Ok(revision)
        };
        let follow = async {
            while changes.next().await.context("it is endless")??.path != path {}
            followed.0.push(called.elapsed());
            anyhow::Ok(())
        };
        let (revision, ()) = tokio::try_join!(set, follow)?;
        loop {
            let event = watermarks.next().await.context("it is endless")??;
            let newest = std::str::from_utf8(&event.value)
                .unwrap_or_default()
                .parse();
            if event.path == keys::watermark(1)
                && newest.is_ok_and(|newest: i64| newest >= revision.0)
            {
                break;
            }
        }
        durable.0.push(called.elapsed());
    }
    let (answered, followed, durable) = (answered.median(), followed.median(), durable.median());
    let sync = disk.percentile(50);
    println!("one write through all stages, one in flight, medians:");
    println!("{answered:>10.0?}  the cluster has it and has answered");
    println!("{followed:>10.0?}  a follower has seen it, such as the persister");
    println!("{durable:>10.0?}  the persister's watermark has come back");
    println!("between the last two: fdatasync {sync:.0?}, a SET and its event {followed:.0?}, and");
    let rest = durable.saturating_sub(followed * 2).saturating_sub(sync);
    println!("{rest:>10.0?}  for the rest: the persister's threads, its records, waking up");
    Ok(())
}
