//! The embedded node, or `doozer-lite` with persisters as processes of their own, and a client in
//! this one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::{Client as Regular, Revision, Uri};
use cairn_playground::world::Ports;
use cairn_sync_client::{Client, Durability};
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

/// Which processes there are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `persister --embedded`.
    Embedded,
    /// `doozer-lite`, and so many persisters.
    Apart(u32),
}

pub(crate) struct Cluster {
    uri: Uri,
    shape: Shape,
    mirror: Mirror,
    _lite: Option<Lite>,
    _persisters: Vec<Process>,
    _journals: TempDir,
}

impl Shape {
    /// As a row calls it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Embedded => "embedded".to_owned(),
            Self::Apart(0) => "no persister".to_owned(),
            Self::Apart(some) => format!("{some} apart"),
        }
    }
}

impl Cluster {
    pub(crate) async fn start(shape: Shape, mirror: Mirror) -> Result<Self> {
        let journals = tempfile::tempdir()?;
        let args: &[&str] = match mirror {
            Mirror::Paths => &["--mirror", "paths"],
            Mirror::Watermark => &["--mirror", "watermark"],
        };
        let (uri, lite, processes) = match shape {
            Shape::Embedded => {
                let address = Ports::default().port()?.address();
                let journal = journals.path().join("1");
                let journal = journal.to_str().context("a directory for tests is UTF-8")?;
                let fixed = ["--id", "1", "--embedded", "-l", &address, "-j", journal];
                let process = Process::start("persister", [&fixed, args].concat())?;
                (Uri::from_address(&address)?, None, vec![process])
            }
            Shape::Apart(persisters) => {
                let lite = Lite::start()?;
                let all = 1..=persisters;
                let processes = all.map(|id| {
                    let journal = journals.path().join(id.to_string());
                    persister(id, &lite.uri, &journal, args)
                });
                let processes = processes.collect::<Result<_>>()?;
                (lite.uri.clone(), Some(lite), processes)
            }
        };
        let cluster = Self {
            uri,
            shape,
            mirror,
            _lite: lite,
            _persisters: processes,
            _journals: journals,
        };
        let client = cairn_tests::eventually("the cluster answers", || async {
            Ok(Regular::connect(&cluster.uri).await.ok())
        });
        let client = client.await?;
        for id in 1..=cluster.persisters() {
            attached(&client, id).await?;
        }
        Ok(cluster)
    }

    async fn client(&self) -> Result<Regular> {
        Ok(Regular::connect(&self.uri).await?)
    }

    fn persisters(&self) -> u32 {
        match self.shape {
            Shape::Embedded => 1,
            Shape::Apart(persisters) => persisters,
        }
    }

    /// A row's name, with what sets this cluster apart.
    fn described(&self, what: &str) -> String {
        let mirror = match self.mirror {
            Mirror::Paths => ", paths",
            Mirror::Watermark => "",
        };
        format!("{}, {what}{mirror}", self.shape.name())
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

/// Plain writes.
pub(crate) async fn plain(cluster: Cluster, in_flight: usize, writes: usize) -> Result<Row> {
    let client = cluster.client().await?;
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
    timed(cluster.described("plain SET"), in_flight, writes, set).await
}

/// Writes that wait for so many of the cluster's persisters.
pub(crate) async fn sync(
    cluster: Cluster,
    required: usize,
    in_flight: usize,
    writes: usize,
) -> Result<Row> {
    let durability = Durability {
        timeout: Duration::from_secs(60),
        ..Durability::new((1..=cluster.persisters()).collect::<Vec<_>>(), required)
    };
    let client = Client::connect_durable(&cluster.uri, durability).await?;
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
    let what = match required {
        1 => "sync SET".to_owned(),
        some => format!("sync SET by {some}"),
    };
    timed(cluster.described(&what), in_flight, writes, set).await
}
