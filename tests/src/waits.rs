//! Waits for what a persister does to its cluster. Each has a deadline, and looks again until then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cairn_client::{Client, Event, EventKind, Revision};
use cairn_sync_client::keys;
use futures::TryStreamExt;

use crate::found::Tree;
use crate::process::{DEADLINE, Process};

/// Waits until `condition` yields a value, looking again and again until the deadline.
pub async fn eventually<T, F: Future<Output = Result<Option<T>>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        if start.elapsed() > DEADLINE {
            bail!("{what}: not within {DEADLINE:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until persister `id` has attached: until it says anything at all.
pub async fn attached(client: &Client, id: u32) -> Result<()> {
    let key = keys::watermark(id);
    eventually(&format!("watermark of persister {id}"), || async {
        Ok(client.get(&key, None).await?.map(drop))
    })
    .await
}

/// Waits until persister `id` has everything up to `revision` on disk, as its watermark says.
pub async fn durable(client: &Client, id: u32, revision: Revision) -> Result<()> {
    let key = keys::watermark(id);
    eventually(
        &format!("watermark of persister {id} at {revision}"),
        || async {
            let Some(file) = client.get(&key, None).await? else {
                return Ok(None);
            };
            let durable: i64 = std::str::from_utf8(&file.value)?.parse()?;
            Ok((durable >= revision.0).then_some(()))
        },
    )
    .await
}

/// Waits until the per-path mirror of persister `id` is the image of `live`: an entry for every
/// key, with its revision, and no other.
pub async fn mirrored(client: &Client, id: u32, live: &Tree) -> Result<()> {
    let expected: BTreeMap<_, _> = live
        .iter()
        .map(|(path, (revision, _))| (path.clone(), revision.0))
        .collect();
    let glob = format!("{}/**", keys::directory(id));
    eventually("the mirror is the image of the state", || async {
        let entries: Vec<_> = client.walk(&glob, None).try_collect().await?;
        let found: BTreeMap<_, i64> = entries
            .iter()
            .filter_map(|entry| {
                let path = keys::mirrored(id, &entry.path)?.to_owned();
                Some((path, std::str::from_utf8(&entry.value).ok()?.parse().ok()?))
            })
            .collect();
        Ok((found == expected).then_some(()))
    })
    .await
}

/// Waits until a restore is complete and compared, every key at the revision that it had.
pub async fn restored(client: &Client) -> Result<()> {
    eventually("restore complete", || async {
        let identity = client.get(keys::IDENTITY, None).await?;
        let is_kept = identity.is_some_and(|identity| identity.value.ends_with(b" kept"));
        Ok(is_kept.then_some(()))
    })
    .await
}

/// Shows that persister 1 goes on: a new key at `path` is soon on disk. The key's revision.
pub async fn goes_on(process: &Process, client: &Client, path: &str) -> Result<Revision> {
    let revision = client.set(path, Revision::MISSING, "x").await?;
    durable(client, 1, revision)
        .await
        .with_context(|| process.log())?;
    Ok(revision)
}

/// Waits until the mirror of persister 1 says that the set of `path` at `revision` is on disk.
///
/// As any program may that knows only the public protocol: one WAIT at a time, and nothing of
/// watermarks. So it has no deadline of its own.
pub async fn shows_set(client: &Client, path: &str, revision: Revision) -> Result<()> {
    shows(client, path, revision, |event| {
        let says = std::str::from_utf8(&event.value)?.parse::<i64>();
        Ok(event.kind == EventKind::Set && says? >= revision.0)
    })
    .await
}

/// The same for a delete that followed the set at `revision`.
pub async fn shows_delete(client: &Client, path: &str, revision: Revision) -> Result<()> {
    shows(client, path, revision, |event| {
        Ok(event.kind == EventKind::Delete)
    })
    .await
}

async fn shows(
    client: &Client,
    path: &str,
    mut from: Revision,
    is_it: impl Fn(&Event) -> Result<bool>,
) -> Result<()> {
    let mirror = keys::mirror(1, path);
    loop {
        let event = client.wait(&mirror, from).await?;
        if is_it(&event)? {
            return Ok(());
        }
        from = event.revision.next();
    }
}
