//! The two sides of an attach: what the journal holds, and which cluster answers.

use std::fmt;

use cairn_journal::{Entry, Journal, Reader, Revision, Timeline, Uuid, replay::Replay};

use crate::cluster::control::ControlKey;
use crate::cluster::session::Session;
use crate::error::Error;
use crate::identity::decision::{LocalHistory, RemoteCluster};
use crate::identity::lineage::{Ancestor, Identity};

/// Reads from an open journal which cluster it follows, and how far.
///
/// # Errors
/// The journal's.
pub fn local_history(journal: &Journal) -> Result<LocalHistory, cairn_journal::Error> {
    let end = journal.end();
    let reader = journal.reader()?;
    history_of(&reader, journal.uuid(), end.timeline, end.revision)
}

/// Reads from any journal which cluster it follows. Its UUID, newest timeline and newest revision
/// are given, so that nobody need have it open.
///
/// # Errors
/// The journal's.
pub fn history_of(
    reader: &Reader,
    journal: Uuid,
    timeline: Option<Timeline>,
    newest: Revision,
) -> Result<LocalHistory, cairn_journal::Error> {
    if !has_content(reader)? {
        // Whatever it was bound to, it has nothing of it: it may follow any cluster.
        return Ok(LocalHistory::default());
    }
    let lineage = timeline
        .as_ref()
        .and_then(|timeline| timeline.parent.as_deref());
    Ok(LocalHistory {
        ancestors: Ancestor::parse_all(lineage.unwrap_or_default()),
        bound_to: Some(match timeline {
            Some(timeline) => timeline.id,
            // Written by a tool: it has a history, and that history needs a name of its own.
            None => format!("journal.{journal}"),
        }),
        newest,
    })
}

/// Whether the journal holds anything that is not bookkeeping. The first change is found soon; a
/// checkpoint, which may stand for records that are gone, is made only after there were changes.
fn has_content(reader: &Reader) -> Result<bool, cairn_journal::Error> {
    if !reader.checkpoints()?.usable.is_empty() {
        return Ok(true);
    }
    for record in reader.records() {
        match record?.entry {
            Entry::Timeline(_) | Entry::Watermark { .. } | Entry::Seal { .. } => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// The changes that the journal holds and a restored cluster does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    pub(crate) changes: u64,
    /// Whether there may be more, in records that were retired.
    pub(crate) or_more: bool,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.or_more {
            write!(
                f,
                "{} changes, and perhaps others in records that were retired",
                self.changes
            )
        } else {
            write!(f, "{} changes", self.changes)
        }
    }
}

/// How many changes the journal holds beyond `common`, which are not in the restored cluster. Reads
/// no more than the records after it.
pub(crate) fn changes_beyond(
    reader: &Reader,
    common: Revision,
) -> Result<Beyond, cairn_journal::Error> {
    let mut beyond = Beyond {
        changes: 0,
        or_more: false,
    };
    let mut replay = Replay::default();
    let mut records = reader.records_from_revision(common.next());
    while let Some(record) = records.next() {
        let record = match record {
            Err(
                cairn_journal::Error::NotInHistory { .. } | cairn_journal::Error::Retired { .. },
            ) if !beyond.or_more => {
                beyond = Beyond {
                    changes: 0,
                    or_more: true,
                };
                replay = Replay::default();
                records = reader.records();
                continue;
            }
            other => other?,
        };
        let step = replay.record(&record);
        if step.switch.is_some() {
            // What was counted belongs to an older life; only the newest is compared.
            beyond.changes = 0;
        }
        if record.revision > common {
            beyond.changes += record.entry.changes().len() as u64;
        }
    }
    Ok(beyond)
}

/// Reads the identity of the cluster, and before that a revision of it.
///
/// # Errors
/// The cluster's; an identity that cannot be read.
pub async fn remote_cluster<S: Session>(session: &S) -> Result<(RemoteCluster, Revision), Error> {
    let (_, remote, newest) = identified(session).await?;
    Ok((remote, newest))
}

/// The session fenced with the identity that the cluster has, if it has one; and the rest as
/// [`remote_cluster`] says it.
///
/// # Errors
/// The cluster's; an identity that cannot be read.
pub(crate) async fn identified<S: Session>(
    session: &S,
) -> Result<(S, RemoteCluster, Revision), Error> {
    // In this order: an identity written after `newest` will be followed as an event.
    let newest = session.revision().await?;
    let (session, identity) = match session.read(&ControlKey::Identity).await? {
        Some(control) => (
            session.fenced(&control.value),
            Some(Identity::parse(&control.value)?),
        ),
        None => (session.clone(), None),
    };
    let remote = RemoteCluster {
        identity,
        newest,
        may_roll_back: session.capabilities().may_roll_back,
    };
    Ok((session, remote, newest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Change, NewRecord, Options, Retention, Timestamp};
    use std::path::Path;

    fn append(journal: &Journal, revisions: std::ops::RangeInclusive<i64>) {
        for revision in revisions {
            let change = vec![Change::set(format!("/{}", revision % 7), "x")];
            let record = NewRecord::changes(Revision(revision), change, Timestamp(0));
            journal.append_and_commit(record).expect("appended");
        }
    }

    fn open(dir: &Path) -> Journal {
        Journal::open(dir, Options::default()).expect("opened").0
    }

    #[test]
    fn what_lies_beyond_a_restore_is_counted_and_what_was_retired_is_not_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = open(dir.path());
        assert!(
            !has_content(&journal.reader().expect("a reader")).expect("read"),
            "it is new"
        );
        let identity = Identity::generate().timeline(Timestamp(0));
        let bound = NewRecord::timeline(Revision::NONE, identity);
        journal.append_and_commit(bound).expect("appended");
        assert!(
            !has_content(&journal.reader().expect("a reader")).expect("read"),
            "only a name"
        );
        append(&journal, 1..=100);
        assert!(has_content(&journal.reader().expect("a reader")).expect("read"));
        // Each opening begins a segment. The first may go: a checkpoint in the second covers it.
        journal.close().expect("closed");
        let journal = open(dir.path());
        append(&journal, 101..=105);
        journal.checkpoint().expect("a checkpoint");
        journal.close().expect("closed");
        let journal = open(dir.path());
        append(&journal, 106..=110);

        let beyond = |common| {
            let reader = journal.reader().expect("a reader");
            changes_beyond(&reader, Revision(common)).expect("read")
        };
        let counted = |changes, or_more| Beyond { changes, or_more };
        assert_eq!(beyond(110), counted(0, false));
        assert_eq!(beyond(105), counted(5, false));
        assert_eq!(beyond(50), counted(60, false));

        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        let report = journal.retire(&nothing).expect("retired");
        assert_eq!(report.segments.len(), 1, "{report:?}");
        assert!(has_content(&journal.reader().expect("a reader")).expect("read"));
        assert_eq!(beyond(110), counted(0, false));
        assert_eq!(beyond(105), counted(5, false));
        assert_eq!(beyond(100), counted(10, false));
        assert_eq!(beyond(50), counted(10, true), "40 of them are gone");
        let said = beyond(50).to_string();
        assert!(said.contains("perhaps others"), "{said}");
    }
}
