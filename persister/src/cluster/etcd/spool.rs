//! A member's whole database, fetched into the directory of the journal.
//!
//! A watch that catches up costs a member the square of what it has missed, and holds up writes
//! meanwhile (etcd issue 22264). A snapshot has all that history, in order, and costs a member no
//! more than reading its file.
//!
//! Promise: what is read from it has a right checksum. The file has no name, so nothing is left of
//! it whatever happens; it is not begun where the disk has no room for it and a reserve.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_etcd::wire::{Event, EventType, KeyValue};
use cairn_etcd::{ErrorKind, Session};
use cairn_etcd_snapshot::{
    Change, History, Lease, ReadOptions, Record, Records, Snapshot, Window, history,
};
use tokio::task::block_in_place;

use crate::cluster::error::Error;
use crate::cluster::etcd::granted::Times;

type Result<T, E = Error> = std::result::Result<T, E>;

/// How many revisions, or keys, are worth a snapshot.
pub(super) const WORTH_A_SNAPSHOT: i64 = 10_000;

/// What stays free of the journal's disk.
const RESERVE_BYTES: u64 = 256 << 20;

/// The bytes of the checksum behind the database.
const DIGEST_BYTES: u64 = 32;

/// Where snapshots are fetched to, and from how many revisions or keys on.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    pub(super) directory: PathBuf,
    pub(super) worth: i64,
    /// How long a watch that is behind by so many may take to halve it.
    pub(super) patience: Duration,
}

/// Why there is no snapshot. But where the member is away, the cluster is read in another way.
#[derive(Debug, thiserror::Error)]
enum Without {
    #[error("{0}")]
    Member(#[from] Error),
    #[error("{0}")]
    Right(cairn_etcd::Error),
    #[error("it has {bytes} bytes, and of the {free} that are free {RESERVE_BYTES} must stay so")]
    Room { bytes: u64, free: u64 },
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("{0}")]
    Damaged(#[from] cairn_etcd_snapshot::Error),
}

impl Spool {
    /// Fetches one; `None`, and a word in the log, if there can be none.
    pub(super) async fn fetch(&self, session: &Session) -> Result<Option<Snapshot>> {
        match self.try_fetch(session).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(Without::Member(error)) => Err(error),
            Err(without) => {
                tracing::warn!(
                    why = %without,
                    "no snapshot of the member can be had: reading the cluster in a slower way"
                );
                Ok(None)
            }
        }
    }

    async fn try_fetch(&self, session: &Session) -> Result<Snapshot, Without> {
        let mut parts = session.snapshot().await?;
        let (mut file, mut room) = (None, 0);
        while let Some((part, left)) = parts.next().await? {
            block_in_place(|| {
                let bytes = part.len() as u64;
                let file = match &mut file {
                    Some(file) => file,
                    None => {
                        room = bytes + left + DIGEST_BYTES;
                        file.insert(self.create(room)?)
                    }
                };
                if bytes > room {
                    let more = "a snapshot is longer than its member said";
                    return Err(io::Error::other(more).into());
                }
                room -= bytes;
                Ok::<_, Without>(file.write_all(&part)?)
            })?;
        }
        let file = file.ok_or_else(|| Error::Unavailable("a snapshot has no parts".to_owned()))?;
        let name = format!("the snapshot of the member at {}", session.endpoint());
        let open = || Snapshot::from_file(file, name, ReadOptions::default());
        Ok(block_in_place(open)?)
    }

    fn create(&self, bytes: u64) -> Result<File, Without> {
        let free = free(&self.directory)?;
        if !has_room(bytes, free) {
            return Err(Without::Room { bytes, free });
        }
        Ok(tempfile::tempfile_in(&self.directory)?)
    }
}

impl From<cairn_etcd::Error> for Without {
    fn from(error: cairn_etcd::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => Self::Right(error),
            _ => Self::Member(error.into()),
        }
    }
}

fn has_room(bytes: u64, free: u64) -> bool {
    bytes.saturating_add(RESERVE_BYTES) <= free
}

fn free(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The revisions of a snapshot from one on, as a watch would tell them.
pub(super) struct Backlog {
    records: Records,
    from: i64,
    /// The leases that there were at the end.
    times: Times,
    /// The first event of the next revision.
    next: Option<Event>,
}

impl Backlog {
    /// Those from `from` on; `None` if the snapshot does not tell them all.
    pub(super) fn of(snapshot: &Snapshot, from: i64) -> Result<Option<Self>> {
        let Window {
            compacted,
            revision,
        } = snapshot.window();
        if from <= compacted || from > revision {
            return Ok(None);
        }
        let records = snapshot.records().map_err(damaged)?;
        Ok(Some(Self {
            records,
            from,
            times: times(snapshot)?,
            next: None,
        }))
    }

    /// The leases that there were at the end.
    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// The next revisions, each whole, of `about` events or a few more; none at the end.
    pub(super) fn events(&mut self, about: usize) -> Result<Vec<Event>> {
        let mut events: Vec<Event> = self.next.take().into_iter().collect();
        for record in &mut self.records {
            let record = record.map_err(damaged)?;
            let revision = record.at.revision;
            if revision < self.from {
                continue;
            }
            let event = event(record);
            let is_whole = events
                .last()
                .is_some_and(|last| revision_of(last) < revision);
            if is_whole && events.len() >= about {
                self.next = Some(event);
                break;
            }
            events.push(event);
        }
        Ok(events)
    }
}

/// The leases of a snapshot.
pub(super) fn times(snapshot: &Snapshot) -> Result<Times> {
    let leases = snapshot.leases().map_err(damaged)?;
    let time = |lease: cairn_etcd_snapshot::Result<Lease>| {
        let lease = lease.map_err(damaged)?;
        Ok((lease.id, lease.ttl))
    };
    leases.map(time).collect()
}

/// Every key that is live in a snapshot.
pub(super) struct LiveKeys(History);

impl LiveKeys {
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self> {
        let revision = snapshot.revision();
        let window = Window {
            compacted: revision,
            revision,
        };
        Ok(Self(history(snapshot, window).map_err(damaged)?))
    }

    /// The next ones, `about` of them; none at the end.
    pub(super) fn keys(&mut self, about: usize) -> Result<Vec<KeyValue>> {
        let each = self.0.by_ref().take(about);
        each.map(|record| Ok(event(record.map_err(damaged)?).kv.unwrap_or_default()))
            .collect()
    }
}

/// A snapshot whose checksum is right and whose pages are not: the member's disk is not.
fn damaged(error: cairn_etcd_snapshot::Error) -> Error {
    Error::Unavailable(error.to_string())
}

fn event(record: Record) -> Event {
    let mod_revision = record.at.revision;
    let (kind, key) = match record.change {
        Change::Put(put) => (
            EventType::Put,
            KeyValue {
                key: put.key,
                create_revision: put.create_revision,
                mod_revision,
                version: put.version,
                value: put.value,
                lease: put.lease,
            },
        ),
        Change::Delete { key } => (
            EventType::Delete,
            KeyValue {
                key,
                mod_revision,
                ..KeyValue::default()
            },
        ),
        // Not among revisions that can be told: it lies at or before the compacted one.
        Change::Bump => (EventType::Delete, KeyValue::default()),
    };
    Event {
        r#type: kind.into(),
        kv: Some(key),
        prev_kv: None,
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |key| key.mod_revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_its_reserve() {
        assert!(has_room(1, RESERVE_BYTES + 1));
        assert!(!has_room(2, RESERVE_BYTES + 1));
        assert!(!has_room(u64::MAX, u64::MAX - 1));
    }
}
