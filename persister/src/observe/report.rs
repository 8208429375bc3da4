//! `persister status`: who persists a cluster, told from the keys in the cluster alone.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use cairn_protocol::progress::{self, MirrorProgress};
use serde::Serialize;

use crate::cluster::address::Address;
use crate::cluster::capabilities::Liveness;
use crate::cluster::connect::{Task, connect};
use crate::cluster::control::{Announced, Control, ControlKey, Id};
use crate::cluster::session::{Cluster, Session};

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
/// The cluster's.
pub async fn look(address: &Address) -> Result<Report> {
    connect(address, NO_ID, Looking).await
}

/// Nothing is followed here, so no owner key is looked out for.
const NO_ID: Id = 0;

/// How late a heartbeat may come and still be seen.
const LATE: Duration = Duration::from_millis(500);

struct Looking;

impl Task for Looking {
    type Output = Result<Report>;

    async fn run<C: Cluster>(self, cluster: C) -> Result<Report> {
        let session = cluster.open().await.context("no cluster to look at")?;
        let before = session.announcements().await?;
        let liveness = session.capabilities().liveness;
        if let Liveness::Rewritten { every, .. } = liveness
            && before.values().any(|said| said.owner.is_some())
        {
            tokio::time::sleep(every + LATE).await;
        }
        let revision = session.revision().await?;
        let now = session.announcements().await?;
        let identity = session.read(&ControlKey::Identity).await?;
        let persister = |(id, said): (Id, Announced)| {
            let earlier = before.get(&id).and_then(|said| said.owner.as_ref());
            let lives = |owner: &Control| match liveness {
                Liveness::Rewritten { .. } => {
                    earlier.is_none_or(|earlier| earlier.revision != owner.revision)
                }
                Liveness::Leased { .. } => true,
            };
            let watermark = said.watermark.as_ref();
            let watermark = watermark.and_then(|said| progress::parse_revision(&said.value).ok());
            Seen {
                id,
                alive: said.owner.as_ref().map(lives),
                owner: said.owner.as_ref().map(text),
                watermark,
                behind: watermark.map(|watermark| (revision.0 - watermark).max(0)),
                mirrored: said.mirrored.as_ref().map(mirrored),
            }
        };
        Ok(Report {
            cluster: identity.as_ref().map(text),
            revision: revision.0,
            persisters: now.into_iter().map(persister).collect(),
        })
    }
}

fn text(control: &Control) -> String {
    String::from_utf8_lossy(&control.value).into_owned()
}

/// How far a mirror has come, for people. What somebody else wrote there is shown as it is.
fn mirrored(control: &Control) -> String {
    match MirrorProgress::parse(&control.value) {
        Ok(progress) if progress.incomplete => "in the making".to_owned(),
        Ok(progress) => progress.revision.to_string(),
        Err(_) => text(control),
    }
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
