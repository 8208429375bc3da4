//! One segment file by itself, with what its bytes say beyond its records: for looking at, also
//! when it is damaged, set aside, or cut off from its journal.
//!
//! Never writes, takes no lock, and looks at no other file: what only a successor can tell (that
//! records are missing at the end) is not found here, but by reading the whole journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{
    directory::{handle::Directory, listing::Listing},
    error::{Error, Result},
    format::{
        layout::{SEGMENT_HEADER_BYTES, SegmentHeader},
        names::{Name, classify},
    },
    model::{
        entry::{Gap, Record, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    read::records::EndState,
    segment::{
        ending::{self, Tail},
        open::Segment,
        scan::{Scan, Stop},
        window::unreadable_detail,
    },
    storage::{
        disk::Disk,
        file_handle::FileHandle,
        traits::{Access, SharedStorage, Storage},
    },
};
use uuid::Uuid;

/// A segment whose header is sound.
#[derive(Debug)]
pub struct SegmentFile {
    segment: Segment,
    with_control: bool,
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SegmentFacts {
    /// The journal that it belongs to.
    pub uuid: Uuid,
    /// What its checksums are seeded with.
    pub salt: u64,
    /// The sequence of its first record.
    pub first: Sequence,
    /// The last sequence of the segment before it; 0: it is the first.
    pub predecessor_last: Sequence,
    /// The digest of the segment before it.
    pub predecessor_digest: u32,
    /// The newest revision covered before it.
    pub covered: Revision,
    /// When it was created.
    pub created_at: Timestamp,
    /// The timeline in force before its first record.
    pub timeline: Option<Timeline>,
    /// The gap that was open there.
    pub open_gap: Option<Gap>,
}

/// A record with what frames it in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// The record.
    pub record: Record,
    /// The newest revision covered before it, by its own header.
    pub prev_revision: Revision,
    /// The length of its payload without padding, in bytes.
    pub payload_bytes: u32,
    /// The checksum of the payload.
    pub payload_crc: u32,
    /// The checksum of the header.
    pub header_crc: u32,
}

impl Directory {
    /// The segment files of the journal, oldest first.
    ///
    /// # Errors
    /// The disk's; a directory that is no journal.
    pub fn segment_files(&self) -> Result<Vec<PathBuf>> {
        let listing = Listing::read(self.storage(), self.path())?;
        if listing.segments.is_empty() {
            return Err(listing.not_a_journal(self.path()));
        }
        Ok(listing.segments.into_values().collect())
    }
}

impl SegmentFile {
    /// Opens the segment at `path`. Under a name like that of a segment it must be that one; any
    /// other name will do too, as that of a damaged segment which repair has set aside.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if its header does not verify; [`Error::OtherFormat`]; the disk's.
    pub fn open(path: &Path) -> Result<Self> {
        let storage: SharedStorage = Arc::new(Disk);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let first = match classify(&name) {
            Name::Segment(first) => first,
            _ => named_within(&*storage, path)?,
        };
        let segment = Segment::open(&*storage, path, first)?;
        Ok(Self {
            segment,
            with_control: false,
        })
    }

    /// Shows control writes, too.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.with_control = true;
        self
    }

    /// What its header says.
    #[must_use]
    pub fn facts(&self) -> SegmentFacts {
        let header = &self.segment.header;
        SegmentFacts {
            uuid: header.uuid,
            salt: header.salt,
            first: header.first,
            predecessor_last: header.predecessor_last,
            predecessor_digest: header.predecessor_digest,
            covered: header.covered,
            created_at: header.created_at,
            timeline: header.context.timeline.clone(),
            open_gap: header.context.open_gap,
        }
    }

    /// Its records, oldest first.
    #[must_use]
    pub fn records(&self) -> StoredRecords {
        StoredRecords {
            scan: self.segment.scan_patiently(),
            covered: self.segment.header.covered,
            end: EndState::Clean,
            ended: false,
            with_control: self.with_control,
        }
    }
}

/// The first sequence that a file itself claims; 0 if it is no segment, which is then found out.
fn named_within(storage: &dyn Storage, path: &Path) -> Result<Sequence> {
    let file = FileHandle::open(storage, path, Access::Read)?;
    let mut block = vec![0; SEGMENT_HEADER_BYTES];
    let n = file.read_at(&mut block, 0)?;
    Ok(SegmentHeader::decode(&block[..n]).map_or(Sequence::NONE, |header| header.first))
}

/// Iterates over the records of one segment. After an error there is nothing more.
#[derive(Debug)]
pub struct StoredRecords {
    scan: Scan,
    covered: Revision,
    end: EndState,
    ended: bool,
    with_control: bool,
}

impl StoredRecords {
    /// What is behind the last record, once the iteration has ended.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        self.end.clone()
    }

    fn advance(&mut self) -> Result<Option<StoredRecord>> {
        let (offset, sequence) = (self.scan.offset, self.scan.expected);
        let path = self.scan.path.clone();
        let covered = self.covered;
        let corrupt = |detail: String| Error::Corrupt {
            path: path.to_path_buf(),
            offset,
            sequence,
            revision: covered,
            detail,
        };
        match self.scan.step()? {
            Ok(raw) => {
                let (header, checksums) = (raw.header, raw.checksums);
                let passed = self.scan.passed(header, offset)?;
                let record = passed.record(self.with_control).map_err(corrupt)?;
                self.covered = record.revision;
                Ok(Some(StoredRecord {
                    record,
                    prev_revision: header.position.prev_revision,
                    payload_bytes: header.payload_bytes,
                    payload_crc: checksums.payload,
                    header_crc: checksums.header,
                }))
            }
            Err(stop) => self.judge(&stop, corrupt),
        }
    }

    fn judge(
        &mut self,
        stop: &Stop,
        corrupt: impl FnOnce(String) -> Error,
    ) -> Result<Option<StoredRecord>> {
        if let Some(at) = self.scan.source.unreadable() {
            return Err(corrupt(unreadable_detail(at)));
        }
        match ending::judge(&mut self.scan, stop, u64::MAX)? {
            Tail::Clean => Ok(None),
            Tail::Torn(bytes) => {
                self.end = EndState::TornTail {
                    file: self.scan.path.to_path_buf(),
                    offset: self.scan.offset,
                    bytes,
                };
                Ok(None)
            }
            Tail::Corrupt { detail, .. } => {
                // What was read may have been half of a write under way, and the proof younger.
                self.scan.source.refresh();
                if self.scan.is_next_there()? {
                    return self.advance();
                }
                Err(corrupt(detail))
            }
        }
    }
}

impl Iterator for StoredRecords {
    type Item = Result<StoredRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}
