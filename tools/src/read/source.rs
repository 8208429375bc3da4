//! The journal at a path: a directory, one of its segments or checkpoints, a snapshot file of etcd,
//! or the journal of another program. All of them but the checkpoint read as records, so that
//! callers need not know which it is.
//!
//! Reading takes no lock and writes nothing. Retention may go past a slow reader: that ends the
//! records with an error, behind which [`SourceRecords::resume`] goes on with what is still there.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use cairn_journal::{
    Change, Checkpoint, EndState, Entry, EntryRef, Location, Op, Reader, Record, RecordRef,
    Revision, Sequence, Timestamp,
    inspect::{SegmentFile, StoredRecords},
};

use crate::forms::foreign::file::{ForeignEntries, ForeignError, ForeignFile};
use crate::read::snapshot::{HEAD, SnapshotFile, SnapshotRecords, is_snapshot};

/// With what a segment begins.
const SEGMENT_MAGIC: &[u8; 8] = b"CAIRNSEG";
/// With what a checkpoint begins.
const CHECKPOINT_MAGIC: &[u8; 8] = b"CAIRNCKP";

/// The journal at a path.
#[derive(Debug)]
pub enum Source {
    /// A journal: its directory.
    Journal(Reader),
    /// One segment alone.
    Segment(Box<SegmentFile>),
    /// One checkpoint alone: a state, and no records.
    Checkpoint(Box<Checkpoint>),
    /// A snapshot file of etcd.
    Snapshot(Box<SnapshotFile>),
    /// A journal that another program wrote.
    Foreign(ForeignFile),
}

/// Why it cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The journal is damaged, or the disk failed.
    #[error(transparent)]
    Journal(#[from] cairn_journal::Error),
    /// The journal of another program is damaged, or cannot be read.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The snapshot file is damaged, or cannot be read.
    #[error(transparent)]
    Snapshot(#[from] cairn_etcd_snapshot::Error),
    /// The path cannot be looked at.
    #[error("{path}: {detail}", path = path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl SourceError {
    /// Whether something is there, and damaged.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_corruption(),
            Self::Foreign(error) => matches!(error, ForeignError::Damaged { .. }),
            Self::Snapshot(error) => matches!(
                error,
                cairn_etcd_snapshot::Error::Damaged { .. }
                    | cairn_etcd_snapshot::Error::Digest { .. }
            ),
            Self::Unusable { .. } => false,
        }
    }
}

impl Source {
    /// Opens the journal at `path`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let unusable = |detail: String| SourceError::Unusable {
            path: path.to_owned(),
            detail,
        };
        let refused = |error| unusable(format!("cannot open: {error}"));
        let metadata = std::fs::metadata(path).map_err(refused)?;
        if metadata.is_dir() {
            return Ok(Self::Journal(Reader::open(path)?));
        }
        if !metadata.is_file() {
            return Err(unusable("is neither a directory nor a file".to_owned()));
        }
        let mut magic = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(HEAD).read_to_end(&mut magic))
            .map_err(refused)?;
        // A damaged header must not turn a segment into something unknown.
        let is_named = |name| path.extension().is_some_and(|extension| extension == name);
        if magic.starts_with(CHECKPOINT_MAGIC) || is_named("ckpt") {
            return Ok(Self::Checkpoint(Box::new(Checkpoint::open(path)?)));
        }
        if magic.starts_with(SEGMENT_MAGIC) || is_named("seg") {
            return Ok(Self::Segment(Box::new(SegmentFile::open(path)?)));
        }
        if is_snapshot(&magic) || is_named("db") {
            return Ok(Self::Snapshot(Box::new(SnapshotFile::open(path)?)));
        }
        Ok(Self::Foreign(ForeignFile::detect(path)?))
    }

    /// Shows control writes, too.
    #[must_use]
    pub fn with_control(self) -> Self {
        match self {
            Self::Journal(reader) => Self::Journal(reader.with_control()),
            Self::Segment(segment) => Self::Segment(Box::new(segment.with_control())),
            Self::Checkpoint(checkpoint) => Self::Checkpoint(Box::new(checkpoint.with_control())),
            Self::Snapshot(snapshot) => Self::Snapshot(Box::new(snapshot.with_control())),
            foreign @ Self::Foreign(_) => foreign,
        }
    }

    /// Its records, oldest first. `from`: those before the first that covers this revision may be
    /// left out; where revisions began anew, the newest timeline that covers it is meant.
    pub fn records(&self, from: Option<Revision>) -> Result<SourceRecords, SourceError> {
        Ok(match (self, from) {
            (Self::Journal(reader), from) => SourceRecords::Journal {
                reader: reader.clone(),
                records: Box::new(match from {
                    None => reader.records(),
                    Some(from) => reader.records_from_revision(from),
                }),
            },
            (Self::Segment(segment), _) => SourceRecords::Segment {
                records: segment.records(),
                last: None,
            },
            (Self::Checkpoint(checkpoint), _) => {
                return Err(SourceError::Unusable {
                    path: checkpoint.path().to_owned(),
                    detail:
                        "a checkpoint is one state and has no history: give the journal's directory"
                            .to_owned(),
                });
            }
            (Self::Snapshot(snapshot), _) => SourceRecords::Snapshot {
                records: Box::new(snapshot.records()?),
                last: None,
            },
            (Self::Foreign(file), _) => SourceRecords::Foreign {
                entries: file.entries(false)?,
                file: file.clone(),
                sequence: Sequence::NONE,
                last: None,
            },
        })
    }
}

/// Iterates over the records of a source. After an error there is nothing more.
#[derive(Debug)]
pub enum SourceRecords {
    /// Of a journal: after `None`, what was written since may follow.
    Journal {
        /// The journal.
        reader: Reader,
        /// Its records.
        records: Box<cairn_journal::Records>,
    },
    /// Of a segment.
    Segment {
        /// Its records.
        records: StoredRecords,
        /// The one that is looked at.
        last: Option<Record>,
    },
    /// Of a snapshot file.
    Snapshot {
        /// Its records.
        records: Box<SnapshotRecords>,
        /// The one that is looked at.
        last: Option<Record>,
    },
    /// Of another program's journal: every entry is given a sequence, and no time is known.
    Foreign {
        /// Its entries.
        entries: ForeignEntries,
        /// Where they lie.
        file: ForeignFile,
        /// The last one given.
        sequence: Sequence,
        /// The one that is looked at.
        last: Option<Record>,
    },
}

/// Records that retention removed while they were about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first of them.
    pub first: Sequence,
    /// The oldest record that is still there.
    pub next: Sequence,
}

impl SourceRecords {
    /// Goes on behind an error that says that retention has removed the next records: their result
    /// is in a checkpoint. `None` for any other error.
    pub fn resume(&mut self, error: &SourceError) -> Option<Skipped> {
        let (Self::Journal { reader, records }, SourceError::Journal(error)) = (self, error) else {
            return None;
        };
        let cairn_journal::Error::Retired { sequence, oldest } = *error else {
            return None;
        };
        **records = reader.records_from(oldest);
        Some(Skipped {
            first: sequence,
            next: oldest,
        })
    }

    /// The next record, without a copy where possible.
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, SourceError>> {
        if let Self::Journal { records, .. } = self {
            return Some(records.next_ref()?.map_err(Into::into));
        }
        let record = match self.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        match self {
            Self::Segment { last, .. }
            | Self::Snapshot { last, .. }
            | Self::Foreign { last, .. } => Some(Ok((&*last.insert(record)).into())),
            Self::Journal { .. } => unreachable!("it was looked at above"),
        }
    }

    /// The end: what follows the last record.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        match self {
            Self::Journal { records, .. } => records.end_state(),
            Self::Segment { records, .. } => records.end_state(),
            // Its sha256 was right.
            Self::Snapshot { .. } => EndState::Clean,
            Self::Foreign { entries, .. } => entries.end_state(),
        }
    }
}

impl Iterator for SourceRecords {
    type Item = Result<Record, SourceError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Journal { records, .. } => Some(records.next()?.map_err(Into::into)),
            Self::Segment { records, .. } => Some(
                records
                    .next()?
                    .map(|stored| stored.record)
                    .map_err(Into::into),
            ),
            Self::Snapshot { records, .. } => Some(records.next()?.map_err(Into::into)),
            Self::Foreign {
                entries,
                file,
                sequence,
                ..
            } => {
                let entry = match entries.next()? {
                    Ok(entry) => entry,
                    Err(error) => return Some(Err(error.into())),
                };
                *sequence = sequence.next();
                let change = match entry.line.op {
                    Op::Set(value) => Change::set(entry.line.path, value),
                    Op::Delete => Change::delete(entry.line.path),
                };
                Some(Ok(Record {
                    sequence: *sequence,
                    synced: Sequence::NONE,
                    revision: entry.line.revision,
                    entry: Entry::Changes {
                        changes: vec![change],
                        observed_at: UNKNOWN_TIME,
                    },
                    location: Location {
                        file: file.path().clone(),
                        offset: entry.offset,
                        length: entry.length,
                    },
                }))
            }
        }
    }
}

/// The time of a record that was written without one.
pub const UNKNOWN_TIME: Timestamp = Timestamp(0);

/// When a record was observed; `None`: a seal, or unknown.
#[must_use]
pub fn time_of(entry: &EntryRef<'_>) -> Option<Timestamp> {
    entry.observed_at().filter(|time| *time != UNKNOWN_TIME)
}
