//! `persister status`: who persists a cluster, told from the keys in the cluster alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use cairn_protocol::keys::IDENTITY;
use cairn_protocol::owner::Owner;
use cairn_protocol::progress::{self, MirrorProgress};
use serde::Serialize;

use crate::cluster::address::Address;
use crate::cluster::capabilities::Liveness;
use crate::cluster::connect::{Task, connect};
use crate::cluster::control::{Announced, Control, ControlKey, Id};
use crate::cluster::session::{Cluster, Session};
use crate::error::Error;
use crate::observe::escape::escaped_line;

/// One persister, as the cluster shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Its number.
    pub id: u32,
    /// Whether it shows that it lives; `None`: nobody holds the id.
    pub alive: Option<bool>,
    /// What that means.
    pub state: State,
    /// The value of its owner key: journal, process, pid.
    pub owner: Option<String>,
    /// Everything up to this revision is on its disk.
    pub watermark: Option<i64>,
    /// Everything up to this revision was on its disk, or needed no journaling, at its last
    /// heartbeat.
    pub settled: Option<i64>,
    /// How many revisions of the cluster are neither.
    pub behind: Option<i64>,
    /// How far its per-path mirror is complete.
    pub mirrored: Option<String>,
}

/// Whether a persister works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It shows that it lives.
    Alive,
    /// It holds its id, and shows nothing.
    Silent,
    /// It gave its id back: it left in good order, with everything up to its watermark on its disk.
    #[default]
    Ended,
    /// Nobody holds the id, and the cluster does not tell whether its holder left or died.
    Absent,
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

/// Looks at a cluster. Where a persister shows that it lives by writing its owner key again,
/// watches for a little more than one heartbeat.
///
/// # Errors
/// The cluster's.
pub async fn look(address: &Address) -> Result<Report, Error> {
    connect(address, NO_ID, None, Looking).await
}

/// Nothing is followed here, so no owner key is looked out for.
const NO_ID: Id = 0;

/// How late a heartbeat may come and still be seen.
const LATE: Duration = Duration::from_millis(500);

struct Looking;

impl Task for Looking {
    type Output = Result<Report, Error>;

    async fn run<C: Cluster>(self, cluster: C) -> Result<Report, Error> {
        let session = cluster.open().await?;
        let before = session.announcements().await?;
        let liveness = session.capabilities().liveness;
        if let Liveness::Rewritten { every, .. } = liveness
            && before.values().any(|said| said.owner.is_some())
        {
            tokio::time::sleep(every + LATE).await;
        }
        let revision = session.revision().await?;
        let now = session.announcements().await?;
        let mut silent = BTreeMap::new();
        for id in now.keys() {
            silent.extend(session.silent_for(*id).await?.map(|silent| (*id, silent)));
        }
        let identity = session.read(&ControlKey::Identity).await?;
        let persister = |(id, said): (Id, Announced)| {
            let earlier = before.get(&id).and_then(|said| said.owner.as_ref());
            let lives = |owner: &Control| match liveness {
                Liveness::Rewritten { .. } => {
                    earlier.is_none_or(|earlier| earlier.revision != owner.revision)
                }
                Liveness::Leased { every, .. } => {
                    // One sign may be late.
                    silent.get(&id).is_none_or(|silent| *silent < every * 2)
                }
            };
            let watermark = said.watermark.as_ref();
            let watermark = watermark.and_then(|said| progress::parse_revision(&said.value).ok());
            let owner = said.owner.as_ref();
            let alive = owner.map(lives);
            let settled = owner.and_then(|said| Owner::parse(&said.value).ok()?.settled);
            let passed = settled.max(watermark);
            Seen {
                id,
                alive,
                state: match alive {
                    Some(true) => State::Alive,
                    Some(false) => State::Silent,
                    None if matches!(liveness, Liveness::Leased { .. }) => State::Absent,
                    None => State::Ended,
                },
                owner: owner.map(text),
                watermark,
                settled,
                behind: passed.map(|passed| (revision.0 - passed).max(0)),
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
    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// A table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let nameless = match self.persisters.is_empty() {
            true => "(no persister has ever attached)".to_owned(),
            false => format!("(its name is gone: somebody deleted {IDENTITY})"),
        };
        let cluster = self.cluster.as_deref().map_or(nameless, escaped_line);
        let mut text = format!("cluster   {cluster}\nrevision  {}\n\n", self.revision);
        let _ = writeln!(
            text,
            "{:>4}  {:8}  {:>12}  {:>8}  {:>13}",
            "ID", "STATE", "WATERMARK", "BEHIND", "MIRRORED"
        );
        let number = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
        for seen in &self.persisters {
            let state = match seen.state {
                State::Alive => "alive",
                State::Silent => "silent",
                State::Ended => "ended",
                State::Absent => "absent",
            };
            let mirrored = seen
                .mirrored
                .as_deref()
                .map_or("-".to_owned(), escaped_line);
            let _ = writeln!(
                text,
                "{:>4}  {state:8}  {:>12}  {:>8}  {mirrored:>13}",
                seen.id,
                number(seen.watermark),
                number(seen.behind),
            );
        }
        for seen in &self.persisters {
            let how = match seen.state {
                State::Ended => "left in good order",
                State::Absent => "left or died",
                State::Alive | State::Silent => continue,
            };
            if let Some(watermark) = seen.watermark {
                let _ = writeln!(
                    text,
                    "\npersister {} {how}: everything up to revision {watermark} is on its disk",
                    seen.id
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let seen = |id, state, settled, behind| Seen {
            id,
            state,
            watermark: Some(90),
            settled,
            behind: Some(behind),
            mirrored: Some("90\nall is well\x1b[2J".to_owned()),
            ..Seen::default()
        };
        Report {
            cluster: Some("c\x1b]0;gone\x07".to_owned()),
            revision: 120,
            persisters: vec![
                seen(1, State::Alive, Some(119), 1),
                seen(2, State::Ended, None, 30),
            ],
        }
    }

    #[test]
    fn who_left_in_good_order_is_told_and_up_to_where() {
        let text = report().table();
        let last = text.lines().last().expect("there is one");
        assert_eq!(
            last,
            "persister 2 left in good order: everything up to revision 90 is on its disk"
        );
        assert!(!text.contains("persister 1 left"), "{text}");
        let json = report().json();
        assert_eq!(json["persisters"][1]["state"], "ended");
        assert_eq!(json["persisters"][0]["settled"], 119);
    }

    #[test]
    fn no_value_of_a_stranger_reaches_the_terminal_as_it_is() {
        let text = report().table();
        let is_ours = |c: char| c == '\n' || !c.is_control();
        assert!(text.chars().all(is_ours), "{text:?}");
        assert!(!text.contains("\nall is well"), "{text}");
    }
}
