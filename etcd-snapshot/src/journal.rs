//! What a snapshot tells, as records of a journal of Cairn.
//!
//! The journal is that of a persister which began at the compacted revision C with the state there,
//! and saw every revision up to R. Its changes have the same bytes as those that a persister
//! journals, number within the revision among them, so both can be compared.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_journal::{Change, GapReason, NewRecord, Revision, Timestamp};

use crate::{
    attributes::KeyAttributes,
    error::Result,
    history::{History, history},
    read::snapshot::Snapshot,
    record::{self, Put, Record},
    window::Window,
};

/// The most bytes of keys and values, and keys, in one record of the state at C.
const RECORD_BYTES: usize = 1 << 20;
const RECORD_CHANGES: usize = 4096;

/// Everything that `snapshot` tells. Keys that begin with `control` are a persister's own.
/// `observed_at`: when it is said to have been seen, since no snapshot knows.
///
/// Memory: as [`history`](crate::history()), and the largest revision.
///
/// # Errors
///
/// What reading can meet.
pub fn journal_records(
    snapshot: &Snapshot,
    control: &'static [u8],
    observed_at: Timestamp,
) -> Result<JournalRecords> {
    let window = snapshot.window();
    let leases = snapshot.leases()?;
    let leases = leases.map(|lease| {
        let lease = lease?;
        let at = Revision(window.revision);
        Ok(NewRecord::lease(at, lease.id, Some(lease.ttl), observed_at))
    });
    let mut ready = VecDeque::new();
    let has_state = window.compacted > 0;
    if has_state {
        ready.push_back(gap(window, true, observed_at));
    }
    Ok(JournalRecords {
        history: history(snapshot, window)?,
        leases: leases.collect::<Result<VecDeque<_>>>()?,
        window,
        control,
        observed_at,
        ready,
        in_state: has_state,
        next: None,
        has_ended: false,
    })
}

fn gap(window: Window, is_opened: bool, at: Timestamp) -> NewRecord {
    let (first, last) = (Revision(1), Revision(window.compacted));
    match is_opened {
        true => NewRecord::gap_opened(first, last, GapReason::Baseline, at),
        false => NewRecord::gap_closed(first, last, GapReason::Baseline, at),
    }
}

/// An iterator over the records. After an error it ends.
pub struct JournalRecords {
    history: History,
    leases: VecDeque<NewRecord>,
    window: Window,
    control: &'static [u8],
    observed_at: Timestamp,
    /// What comes before anything else is read.
    ready: VecDeque<NewRecord>,
    /// Whether the state at C is under way.
    in_state: bool,
    /// The first record of the next one.
    next: Option<Record>,
    has_ended: bool,
}

impl JournalRecords {
    fn read(&mut self) -> Result<Option<Record>> {
        match self.next.take() {
            Some(record) => Ok(Some(record)),
            None => self.history.next().transpose(),
        }
    }

    fn change(&self, record: Record) -> Option<Change> {
        let is_control = record.key().starts_with(self.control);
        let sub = Some(record.at.sub);
        let change = match record.change {
            record::Change::Put(put) => {
                let attributes = attributes(&put, sub).to_bytes();
                Change::set(put.key, put.value).with_attributes(attributes)
            }
            record::Change::Delete { key } => Change::delete(key),
            // It stands for a revision that is compacted.
            record::Change::Bump => return None,
        };
        Some(if is_control { change.control() } else { change })
    }

    /// The next part of the state; what closes it where there is none.
    fn state(&mut self) -> Result<NewRecord> {
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while bytes < RECORD_BYTES && changes.len() < RECORD_CHANGES {
            let Some(record) = self.read()? else {
                self.in_state = false;
                break;
            };
            let revision = record.at.revision;
            if revision > self.window.compacted {
                self.next = Some(record);
                self.in_state = false;
                break;
            }
            let Some(change) = self.change(record) else {
                continue;
            };
            bytes += change.path.len() + change.attributes.len() + value_bytes(&change);
            changes.push(change.at(Revision(revision)));
        }
        let closed = gap(self.window, false, self.observed_at);
        if changes.is_empty() {
            return Ok(closed);
        }
        if !self.in_state {
            self.ready.push_back(closed);
        }
        let last = Revision(self.window.compacted);
        Ok(NewRecord::changes(last, changes, self.observed_at))
    }

    /// The next revision.
    fn revision(&mut self) -> Result<Option<NewRecord>> {
        let (mut changes, mut revision) = (Vec::new(), None);
        while let Some(record) = self.read()? {
            let at = record.at.revision;
            if *revision.get_or_insert(at) != at {
                self.next = Some(record);
                break;
            }
            changes.extend(self.change(record));
        }
        let record = |at| NewRecord::changes(Revision(at), changes, self.observed_at);
        Ok(revision.map(record))
    }

    fn step(&mut self) -> Result<Option<NewRecord>> {
        if let Some(record) = self.ready.pop_front() {
            return Ok(Some(record));
        }
        if self.in_state {
            return self.state().map(Some);
        }
        match self.revision()? {
            Some(record) => Ok(Some(record)),
            None => Ok(self.leases.pop_front()),
        }
    }
}

impl Iterator for JournalRecords {
    type Item = Result<NewRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let step = self.step();
        self.has_ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

fn attributes(put: &Put, sub: Option<i64>) -> KeyAttributes {
    KeyAttributes {
        create_revision: put.create_revision,
        version: put.version,
        lease: put.lease,
        sub,
    }
}

fn value_bytes(change: &Change) -> usize {
    match &change.op {
        cairn_journal::Op::Set(value) => Bytes::len(value),
        cairn_journal::Op::Delete => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        read::snapshot::ReadOptions,
        record::Lease,
        write::{encoder::WriteOptions, file::Writer},
    };
    use cairn_journal::{Entry, GapPhase};

    fn put(key: &'static str, create_revision: i64, version: i64) -> Put {
        Put {
            key: key.into(),
            value: "v".into(),
            create_revision,
            version,
            lease: 0,
        }
    }

    #[test]
    fn a_state_is_a_gap_and_what_follows_is_told_by_revision() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s.db");
        let options = WriteOptions {
            compacted: 7,
            ..WriteOptions::default()
        };
        let mut writer = Writer::create(&path, options).expect("created");
        for record in [
            Record::put(5, 1, put("a", 4, 2)),
            Record::put(8, 0, put("ctl/x", 8, 1)),
            Record::put(8, 1, put("b", 8, 1)),
            Record::delete(9, 0, "a"),
        ] {
            writer.record(&record).expect("written");
        }
        let lease = Lease {
            id: 3,
            ttl: 60,
            remaining_ttl: 0,
        };
        writer.lease(&lease).expect("written");
        writer.finish().expect("finished");
        let snapshot = Snapshot::open(&path, ReadOptions::default()).expect("a snapshot");
        let records = journal_records(&snapshot, b"ctl/", Timestamp(5)).expect("readable");
        let records: Vec<NewRecord> = records.collect::<Result<_>>().expect("readable");
        let revisions: Vec<i64> = records.iter().map(|record| record.revision().0).collect();
        assert_eq!(revisions[1..], [7, 7, 8, 9, 9]);
        let phase = |record: &NewRecord| match record.entry() {
            Entry::Gap {
                phase, first, last, ..
            } => Some((*phase, first.0, last.0)),
            _ => None,
        };
        assert_eq!(phase(&records[0]), Some((GapPhase::Opened, 1, 7)));
        assert_eq!(phase(&records[2]), Some((GapPhase::Closed, 1, 7)));
        let state = records[1].entry().changes();
        assert_eq!(state.len(), 1);
        assert_eq!(state[0].revision, Some(Revision(5)));
        let known = KeyAttributes::from_bytes(&state[0].attributes).expect("attributes");
        assert_eq!((known.create_revision, known.version), (4, 2));
        assert_eq!((known.lease, known.sub), (0, Some(1)));
        let both = records[3].entry().changes();
        assert!(both[0].is_control && !both[1].is_control);
        assert_eq!(records[4].entry().changes(), [Change::delete("a")]);
        assert!(matches!(records[5].entry(), Entry::Lease { id: 3, .. }));
    }
}
