//! Persisters that are played by hand: by the keys that they write, which is all that a client sees
//! of them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cairn_etcd::wire::{PutRequest, WatchCreateRequest};
use cairn_etcd::{Cluster, Environment, Options, Session, Target};
use cairn_etcd_client::Durability;
use cairn_etcd_member::Member;
use cairn_protocol::keys;
use futures::StreamExt as _;

/// Longer than anything takes that is to happen.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// How long a write waits that is not going to be confirmed.
#[allow(dead_code, reason = "of one of the two tests that have this module")]
pub(crate) const BRIEF: Duration = Duration::from_millis(300);

/// Persister 1 has it on disk within this time.
pub(crate) fn within(timeout: Duration) -> Durability {
    Durability {
        timeout,
        ..Durability::default()
    }
}

pub(crate) fn endpoint(member: &Member) -> String {
    format!("127.0.0.1:{}", member.port())
}

pub(crate) fn target(member: &Member) -> Result<Target> {
    let uri = member.uri().parse()?;
    Ok(Target::new(&uri, &Environment::default())?)
}

/// A connection for what persisters write.
pub(crate) async fn hand(member: &Member) -> Result<Session> {
    open(target(member)?).await
}

pub(crate) async fn open(target: Target) -> Result<Session> {
    Ok(Cluster::new(target, Options::default()).open().await?)
}

/// Writes a key as a persister does; its revision.
pub(crate) async fn write(hand: &Session, key: &str, value: &str) -> Result<i64> {
    let put = PutRequest::new(key.to_owned(), value.to_owned());
    let header = hand.call(put).await?.header;
    Ok(header.context("an answer has a header")?.revision)
}

/// Plays persister 1, which has everything on disk at once.
pub(crate) async fn play(hand: Session) -> Result<()> {
    let mut watch = hand.watch(WatchCreateRequest::all(1)).await?;
    while let Some(batch) = watch.next().await {
        let events = batch?.events.into_iter().filter_map(|event| event.kv);
        let data = events.filter(|kv| !kv.key.starts_with(keys::FLAT_ROOT.as_bytes()));
        if let Some(newest) = data.map(|kv| kv.mod_revision).max() {
            write(&hand, &keys::watermark(1), &newest.to_string()).await?;
        }
    }
    Ok(())
}
