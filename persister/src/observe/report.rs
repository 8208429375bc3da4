//! `persister status`: who persists a cluster, told from the keys in the cluster alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use cairn_client::{Client, Uri};
use cairn_protocol::keys;
use futures::TryStreamExt;
use serde::Serialize;

/// One persister, as the cluster shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its number.
    pub id: u32,
    /// Whether its heartbeat came while we watched; `None`: nobody holds the id.
    pub alive: Option<bool>,
    /// The value of its owner key: journal, process, pid.
    pub owner: Option<String>,
    /// Everything up to this revision is on its disk.
    pub watermark: Option<i64>,
    /// The cluster's revisions beyond that. Not all of them are changes: heartbeats and other
    /// control writes count too.
    pub behind: Option<i64>,
    /// How far its per-path mirror is complete.
    pub mirrored: Option<String>,
}

/// All persisters of a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The identity of the cluster.
    pub cluster: Option<String>,
    /// The cluster's newest revision.
    pub revision: i64,
    /// Its persisters, by number.
    pub persisters: Vec<Seen>,
}

/// Looks at a cluster, watching its owner keys for a little more than one heartbeat.
///
/// # Errors
/// The client's.
pub async fn look(uri: &Uri) -> Result<Report> {
    let client = Client::connect(uri)
        .await
        .context("no cluster to look at")?;
    let before = owners(&client).await?;
    if !before.is_empty() {
        tokio::time::sleep(cairn_protocol::owner::HEARTBEAT + Duration::from_millis(500)).await;
    }
    let after = owners(&client).await?;
    let revision = client.rev().await?.0;
    let identity = client.get(keys::IDENTITY, None).await?;
    let glob = format!("{}/*/ctl/*", keys::ROOT);
    let files: Vec<_> = client.walk(&glob, None).try_collect().await?;
    let mut persisters: BTreeMap<u32, Seen> = BTreeMap::new();
    for file in files {
        let Some(id) = id_of(&file.path) else {
            continue;
        };
        let seen = persisters.entry(id).or_insert_with(|| Seen {
            id,
            ..Seen::default()
        });
        let text = String::from_utf8_lossy(&file.value).into_owned();
        if file.path == keys::owner(id) {
            seen.owner = Some(text);
            seen.alive = Some(before.get(&id) != after.get(&id));
        } else if file.path == keys::watermark(id) {
            seen.watermark = text.parse().ok();
            seen.behind = seen
                .watermark
                .map(|watermark| (revision - watermark).max(0));
        } else if file.path == keys::mirror_progress(id) {
            // The revision comes first; the rest is for the persister itself.
            let incomplete = text.ends_with("incomplete");
            let revision = text.split(' ').next().unwrap_or_default();
            seen.mirrored = Some(if incomplete {
                "in the making".to_owned()
            } else {
                revision.to_owned()
            });
        }
    }
    Ok(Report {
        cluster: identity.map(|file| String::from_utf8_lossy(&file.value).into_owned()),
        revision,
        persisters: persisters.into_values().collect(),
    })
}

/// The revision of each owner key.
async fn owners(client: &Client) -> Result<BTreeMap<u32, i64>> {
    let glob = format!("{}/*/ctl/owner", keys::ROOT);
    let files: Vec<_> = client.walk(&glob, None).try_collect().await?;
    Ok(files
        .into_iter()
        .filter_map(|file| Some((id_of(&file.path)?, file.revision.0)))
        .collect())
}

fn id_of(path: &str) -> Option<u32> {
    path.strip_prefix(keys::ROOT)?
        .strip_prefix('/')?
        .split('/')
        .next()?
        .parse()
        .ok()
}

impl Report {
    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "cluster   {}\nrevision  {}\n\n",
            self.cluster
                .as_deref()
                .unwrap_or("(no persister has ever attached)"),
            self.revision
        );
        let _ = writeln!(
            text,
            "{:>4}  {:8}  {:>12}  {:>8}  {:>13}",
            "ID", "STATE", "WATERMARK", "BEHIND", "MIRRORED"
        );
        let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
        for seen in &self.persisters {
            let state = match seen.alive {
                Some(true) => "alive",
                Some(false) => "silent",
                None => "ended",
            };
            let _ = writeln!(
                text,
                "{:>4}  {state:8}  {:>12}  {:>8}  {:>13}",
                seen.id,
                number(seen.watermark),
                number(seen.behind),
                seen.mirrored.as_deref().unwrap_or("-")
            );
        }
        text
    }
}
