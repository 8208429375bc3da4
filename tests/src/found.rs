//! What a cluster and a journal hold, in forms that can be compared.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use bytes::Bytes;
use cairn_client::{Client, EventKind, Revision};
use cairn_journal::Entry;
use cairn_sync_client::keys;
use futures::TryStreamExt;

/// Live keys with their revisions and values.
pub type Tree = BTreeMap<String, (Revision, Bytes)>;

/// Everything outside the control area, by path.
pub async fn tree(client: &Client) -> Result<Tree> {
    let files: Vec<_> = client.walk("/**", None).try_collect().await?;
    Ok(files
        .into_iter()
        .filter(|file| !keys::is_internal(&file.path))
        .map(|file| (file.path, (file.revision, file.value)))
        .collect())
}

/// The newest state in a journal, by path. Read as anybody may: without its lock.
pub fn journaled(journal: &Path) -> Result<Tree> {
    let reader = cairn_journal::Reader::open(journal)?;
    let state = reader.state(None)?;
    let files = state.files.into_values().map(|kv| {
        let path = String::from_utf8(kv.path.to_vec())?;
        Ok((path, (Revision(kv.revision.0), kv.value)))
    });
    files.collect()
}

/// Every record of a journal.
pub fn records(journal: &Path) -> Result<Vec<cairn_journal::Record>> {
    let reader = cairn_journal::Reader::open(journal)?;
    Ok(reader.records().collect::<Result<_, _>>()?)
}

/// Every change that the cluster made outside the control area, from its own history.
pub async fn history(client: &Client, to: Revision) -> Result<BTreeMap<i64, String>> {
    let mut changes = BTreeMap::new();
    let mut events = client.watch("/**", Revision(1));
    while let Some(event) = events.try_next().await? {
        if event.kind != EventKind::Nop && !keys::is_internal(&event.path) {
            changes.insert(event.revision.0, event.path);
        }
        if event.revision >= to {
            break;
        }
    }
    Ok(changes)
}

/// The same from the journal; fails if a revision stands there twice.
pub fn journaled_once(journal: &Path) -> Result<BTreeMap<i64, String>> {
    let mut changes = BTreeMap::new();
    for record in records(journal)? {
        if let Entry::Changes { changes: some, .. } = record.entry {
            for change in some {
                let path = String::from_utf8(change.path.to_vec())?;
                let twice = changes.insert(record.revision.0, path);
                ensure!(twice.is_none(), "revision {} stands twice", record.revision);
            }
        }
    }
    Ok(changes)
}
