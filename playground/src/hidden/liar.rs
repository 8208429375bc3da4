//! `cairn __liar URI ID`: a persister that publishes a watermark and journals nothing.
//!
//! The canary: a drill in which clients wait for the liar must fail, or the drill shows nothing.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use cairn_client::{Client, Options, Revision, Uri};
use cairn_etcd::wire::{PutRequest, RangeRequest, WatchCreateRequest};
use cairn_etcd::{Cluster, Environment, Target};
use cairn_protocol::keys;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::engine::is_finished;

/// The hidden subcommand.
pub const LIAR: &str = "__liar";

/// The pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// Says of everything at once that it is on disk, for as long as the cluster lives.
///
/// # Errors
/// If the cluster is not there, or goes away.
pub async fn liar(uri: &str, id: u32) -> anyhow::Result<()> {
    if !uri.starts_with("etcd") {
        return of_doozer(uri, id).await;
    }
    let target = Target::new(&uri.parse()?, &Environment::default())?;
    let cluster = Cluster::new(target, cairn_etcd::Options::default());
    loop {
        // Its member has gone, and others may be there; it lies until it is killed.
        let Err(error) = of_etcd(&cluster, id).await;
        tracing::debug!("{error:#}");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn of_etcd(cluster: &Cluster, id: u32) -> anyhow::Result<Infallible> {
    let session = cluster.open().await?;
    let named = session.call(RangeRequest::key(keys::IDENTITY)).await?;
    let from = named.header.context("an answer has a header")?.revision;
    let mut is_named = named.kvs.iter().any(|name| is_finished(&name.value));
    let mut watch = session.watch(WatchCreateRequest::all(from)).await?;
    while let Some(batch) = watch.next().await {
        for key in batch?.events.into_iter().filter_map(|event| event.kv) {
            let names = key.key == keys::IDENTITY;
            is_named |= names && is_finished(&key.value);
            // Its own watermark would make it publish for ever.
            let is_own = key.key.starts_with(keys::FLAT_ROOT.as_bytes());
            if is_named && (key.mod_revision == from || names || !is_own) {
                let says = key.mod_revision.to_string();
                session
                    .call(PutRequest::new(keys::watermark(id), says))
                    .await?;
            }
        }
    }
    None.context("the watch has ended")
}

async fn of_doozer(uri: &str, id: u32) -> anyhow::Result<()> {
    let uri: Uri = uri.parse()?;
    let options = Options {
        reconnect: false,
        ..Options::default()
    };
    let client = Client::connect_with(&uri, options).await?;
    let from = client.rev().await?;
    // Honest ones restore or name the cluster first: what a persister says of one without a name
    // stops them.
    let identity = client.get(keys::IDENTITY, None).await?;
    let mut is_named = identity.is_some_and(|file| is_finished(&file.value));
    let mut events = client.watch("/**", from);
    while let Some(event) = events.try_next().await? {
        let names = event.path == keys::IDENTITY;
        if names {
            is_named = is_finished(&event.value);
        }
        // Its own watermark would make it publish for ever.
        let is_news = event.revision == from || names || !keys::is_internal(&event.path);
        if is_named && is_news {
            let says = event.revision.to_string();
            client
                .set(&keys::watermark(id), Revision::ANY, says)
                .await?;
        }
    }
    None.context("the cluster has gone")
}
