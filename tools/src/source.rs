//! What a path holds: a journal, one of its segments, or the journal of another program. Whichever it
//! is, reading it yields records, so that everything above need not know.
//!
//! Reading takes no lock and writes nothing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use cairn_journal::{
    EndState, Entry, Location, Reader, Record, Revision, SegmentFile, Sequence, StoredRecords,
    Timestamp,
};

use crate::foreign::{ForeignEntries, ForeignError, ForeignFile};

/// With what a segment begins.
const SEGMENT_MAGIC: &[u8; 8] = b"CAIRNSEG";

/// What a path holds.
#[derive(Debug)]
pub enum Source {
    /// A journal: its directory.
    Journal(Reader),
    /// One segment alone.
    Segment(Box<SegmentFile>),
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
    /// The same of another program's.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
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
            Self::Unusable { .. } => false,
        }
    }
}

impl Source {
    /// Looks at what `path` is.
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
        if path
            .extension()
            .is_some_and(|extension| extension == "ckpt")
        {
            return Err(unusable(
                "a checkpoint is read as part of its journal: give the directory".to_owned(),
            ));
        }
        let mut magic = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(8).read_to_end(&mut magic))
            .map_err(refused)?;
        // A damaged header must not turn a segment into something unknown.
        let named = path.extension().is_some_and(|extension| extension == "seg");
        if magic == SEGMENT_MAGIC || named {
            return Ok(Self::Segment(Box::new(SegmentFile::open(path)?)));
        }
        Ok(Self::Foreign(ForeignFile::detect(path)?))
    }

    /// Its records, oldest first. `from`: those before the first that covers this revision may be
    /// left out; where revisions began anew, the newest timeline that covers it is meant.
    pub fn records(&self, from: Option<Revision>) -> Result<SourceRecords, SourceError> {
        Ok(match (self, from) {
            (Self::Journal(reader), None) => SourceRecords::Journal(reader.records()),
            (Self::Journal(reader), Some(from)) => {
                SourceRecords::Journal(reader.records_from_revision(from))
            }
            (Self::Segment(segment), _) => SourceRecords::Segment(segment.records()),
            (Self::Foreign(file), _) => SourceRecords::Foreign {
                entries: file.entries(false)?,
                file: file.clone(),
                sequence: Sequence::NONE,
            },
        })
    }
}

/// Iterates over the records of a source. After an error there is nothing more.
#[derive(Debug)]
pub enum SourceRecords {
    /// Of a journal: after `None`, what was written since may follow.
    Journal(cairn_journal::Records),
    /// Of a segment.
    Segment(StoredRecords),
    /// Of another program's journal: every entry is given a sequence, and no time is known.
    Foreign {
        /// Its entries.
        entries: ForeignEntries,
        /// Where they lie.
        file: ForeignFile,
        /// The last one given.
        sequence: Sequence,
    },
}

impl SourceRecords {
    /// What is behind the last record.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        match self {
            Self::Journal(records) => records.end_state(),
            Self::Segment(records) => records.end_state(),
            Self::Foreign { entries, .. } => entries.end_state(),
        }
    }
}

impl Iterator for SourceRecords {
    type Item = Result<Record, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Journal(records) => Some(records.next()?.map_err(Into::into)),
            Self::Segment(records) => Some(
                records
                    .next()?
                    .map(|stored| stored.record)
                    .map_err(Into::into),
            ),
            Self::Foreign {
                entries,
                file,
                sequence,
            } => {
                let entry = match entries.next()? {
                    Ok(entry) => entry,
                    Err(error) => return Some(Err(error.into())),
                };
                *sequence = sequence.next();
                let change = cairn_journal::Change {
                    path: entry.line.path,
                    op: entry.line.op,
                    revision: None,
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

/// The time of records for which nobody wrote one down.
pub const UNKNOWN_TIME: Timestamp = Timestamp(0);

/// When a record was observed; `None`: a seal, or unknown.
#[must_use]
pub fn time_of(entry: &Entry) -> Option<Timestamp> {
    let time = match entry {
        Entry::Changes { observed_at, .. }
        | Entry::Gap { observed_at, .. }
        | Entry::Watermark { observed_at, .. }
        | Entry::Lost { observed_at, .. } => *observed_at,
        Entry::Timeline(timeline) => timeline.observed_at,
        _ => return None,
    };
    (time != UNKNOWN_TIME).then_some(time)
}
