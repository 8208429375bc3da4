//! A journal's keys and changes as records of etcd.

use bytes::{BufMut, Bytes, BytesMut};
use cairn_etcd_snapshot::{KeyAttributes, Position, Put, Record};
use cairn_journal::maintain::{SortedEntries, Sorter};
use cairn_journal::{Change, Entry, KeyValue, Op, Reader, Revision, Stop};

use crate::cluster::etcd::names::PAD_KEY;
use crate::error::Error;
use crate::file_error::FileError;
use crate::restore::snapshot_file::EMPTY;
use crate::restore::snapshot_file::survey::Point;

/// The number of a put whose number within its revision is not known: behind those that are.
const UNNUMBERED: i64 = i64::MAX;

/// A key as etcd knows it, and where its put stands.
///
/// # Errors
/// It has no attributes of etcd.
pub(super) fn put_of(key: KeyValue) -> Result<(Put, Position), FileError> {
    let attributes = KeyAttributes::from_bytes(&key.attributes);
    let Some(attributes) = attributes else {
        return Err(FileError::NoAttributes {
            key: key.path.escape_ascii().to_string(),
            revision: key.revision,
        });
    };
    let at = Position {
        revision: key.revision.0,
        sub: attributes.sub.unwrap_or(UNNUMBERED),
    };
    let put = Put {
        key: key.path,
        value: key.value,
        create_revision: attributes.create_revision,
        version: attributes.version,
        lease: attributes.lease,
    };
    Ok((put, at))
}

/// A state, in the order of its revisions.
pub(super) struct StateRecords {
    sorted: SortedEntries,
    last: Position,
    /// How many puts had no number within their revision.
    pub(super) unnumbered: u64,
}

impl StateRecords {
    /// Sorts `entries`, which come by path, with files in `scratch`.
    pub(super) fn sort(
        entries: SortedEntries,
        scratch: &std::path::Path,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let mut sorter = Sorter::within(scratch);
        for entry in entries.with_control() {
            stop.check()?;
            let entry = entry?;
            let (_, at) = put_of(entry.clone())?;
            let mut path = BytesMut::with_capacity(16 + entry.path.len());
            path.put_i64(at.revision);
            path.put_i64(at.sub);
            path.extend_from_slice(&entry.path);
            let path = path.freeze();
            sorter.push(KeyValue { path, ..entry })?;
        }
        Ok(Self {
            sorted: sorter.sorted()?.with_control(),
            last: Position {
                revision: 0,
                sub: 0,
            },
            unnumbered: 0,
        })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Error> {
        let Some(entry) = self.sorted.next().transpose()? else {
            return Ok(None);
        };
        let path = entry.path.slice(16..);
        let (put, at) = put_of(KeyValue { path, ..entry })?;
        let mut sub = at.sub;
        if sub == UNNUMBERED {
            self.unnumbered += 1;
            let follows = self.last.revision == at.revision;
            sub = if follows { self.last.sub + 1 } else { 0 };
        }
        self.last = Position { sub, ..at };
        Ok(Some(Record::put(at.revision, sub, put)))
    }
}

/// Tells every change behind one point up to another, in order, and fills what was not journaled.
/// Returns how many revisions were filled.
pub(super) fn history(
    reader: &Reader,
    after: Point,
    upto: Point,
    stop: &Stop,
    mut tell: impl FnMut(Record) -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut pads = Pads::default();
    let mut due = after.revision.max(EMPTY).next();
    if upto.revision < due {
        return Ok(0);
    }
    let records = reader.clone().with_control();
    for record in records.records_from(after.sequence.next()) {
        stop.check()?;
        let record = record?;
        if record.sequence > upto.sequence {
            break;
        }
        let Entry::Changes { changes, .. } = record.entry else {
            continue;
        };
        if record.revision > upto.revision {
            break;
        }
        if record.revision < due || changes.is_empty() {
            continue;
        }
        pads.fill(due, record.revision.previous(), &mut tell)?;
        due = record.revision.next();
        for (sub, change) in (0..).zip(changes) {
            tell(record_of(record.revision, sub, change)?)?;
        }
    }
    pads.fill(due, upto.revision, &mut tell)?;
    Ok(pads.count.unsigned_abs())
}

fn record_of(revision: Revision, sub: i64, change: Change) -> Result<Record, Error> {
    let Op::Set(value) = change.op else {
        return Ok(Record::delete(revision.0, sub, change.path));
    };
    let (put, _) = put_of(KeyValue {
        attributes: change.attributes,
        ..KeyValue::new(change.path, revision, value)
    })?;
    Ok(Record::put(revision.0, sub, put))
}

/// Puts of a key of our own.
#[derive(Default)]
struct Pads {
    count: i64,
    created: i64,
}

impl Pads {
    fn fill(
        &mut self,
        first: Revision,
        last: Revision,
        tell: &mut impl FnMut(Record) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for revision in first.0..=last.0 {
            if self.count == 0 {
                self.created = revision;
            }
            self.count += 1;
            let put = Put {
                key: Bytes::from_static(PAD_KEY),
                create_revision: self.created,
                version: self.count,
                ..Put::default()
            };
            tell(Record::put(revision, 0, put))?;
        }
        Ok(())
    }
}
