//! Walks the records of one segment, verifying each, and says exactly why it stops.
//!
//! Knows nothing of policy: whether a stop is the end, a torn tail, a write under way or corruption
//! is decided by recovery, reading and repair, each by its own rule.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    error::{Error, Result},
    format::{
        header::HeaderFault,
        kind::Kind,
        layout::{
            ALIGNMENT, Checksums, Digest, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES,
            Seed, SegmentHeader, payload_matches,
        },
        payload,
    },
    model::{
        entry::{Entry, Location, Record},
        ids::{Revision, Sequence},
        view::{EntryRef, RecordRef},
    },
    segment::window::{LEAST_BYTES, Source, unreadable_detail},
    storage::file_handle::FileHandle,
};

/// Reads and decodes the header of a segment file, whichever it is; and the first sector of it that
/// the disk could not read.
pub(crate) fn decode_header(
    file: &FileHandle,
) -> Result<(Result<SegmentHeader, HeaderFault>, Option<u64>)> {
    let mut block = vec![0; SEGMENT_HEADER_BYTES];
    let (n, unreadable) = file.read_around(&mut block, 0)?;
    Ok((SegmentHeader::decode(&block[..n]), unreadable))
}

/// Reads and decodes the header of the segment file that is to begin with this sequence.
pub(crate) fn read_header(file: &FileHandle, named: Sequence) -> Result<SegmentHeader> {
    let (header, unreadable) = decode_header(file)?;
    match header {
        // Its zeros may be those that were there; the disk is failing all the same.
        Ok(header) if header.first == named => match unreadable {
            None => Ok(header),
            Some(at) => Err(Error::Corrupt {
                path: file.path.to_path_buf(),
                offset: 0,
                sequence: named,
                revision: Revision::NONE,
                detail: unreadable_detail(at),
            }),
        },
        Ok(header) => Err(Error::ForeignFile {
            path: file.path.to_path_buf(),
            detail: format!(
                "its header says that it begins with sequence {}",
                header.first
            ),
        }),
        Err(HeaderFault::Format(found)) => Err(Error::other_format(&file.path, found)),
        Err(HeaderFault::Damaged(detail)) => Err(Error::Corrupt {
            path: file.path.to_path_buf(),
            offset: 0,
            sequence: named,
            revision: Revision::NONE,
            detail: unreadable.map_or(detail, unreadable_detail),
        }),
    }
}

/// A record as it lies in the file, verified.
#[derive(Debug)]
pub(crate) struct RawRecord<'a> {
    pub(crate) header: RecordHeader,
    pub(crate) checksums: Checksums,
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
}

/// Why there is no record at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The file ends here.
    EndOfFile,
    /// Zeros where a record header would be.
    Zeros,
    /// Something else.
    Bad(String),
}

impl Stop {
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::EndOfFile => "the file ends here".to_owned(),
            Self::Zeros => "there are zeros where a record should be".to_owned(),
            Self::Bad(detail) => detail.clone(),
        }
    }
}

/// Looks at one offset. Verifies checksums only; the order of records is the scan's business.
#[inline]
pub(crate) fn look<'a>(
    source: &'a mut Source,
    seed: &Seed,
    offset: u64,
) -> Result<std::result::Result<RawRecord<'a>, Stop>> {
    let head = source.get(offset, RECORD_HEADER_BYTES)?;
    if head.len() < RECORD_HEADER_BYTES {
        let stop = if head.is_empty() {
            Stop::EndOfFile
        } else if head.iter().all(|b| *b == 0) {
            Stop::Zeros
        } else {
            Stop::Bad("the file ends inside a record header".to_owned())
        };
        return Ok(Err(stop));
    }
    if head.iter().all(|b| *b == 0) {
        return Ok(Err(Stop::Zeros));
    }
    let at = seed.at(offset);
    let (header, checksums) = match RecordHeader::decode(head, &at) {
        Ok(ok) => ok,
        Err(detail) => return Ok(Err(Stop::Bad(detail))),
    };
    let padded = (header.payload_bytes as usize).next_multiple_of(ALIGNMENT);
    let whole = source.get(offset, RECORD_HEADER_BYTES + padded)?;
    if whole.len() < RECORD_HEADER_BYTES + padded {
        return Ok(Err(Stop::Bad(
            "the file ends inside a record's payload".to_owned(),
        )));
    }
    let body = &whole[RECORD_HEADER_BYTES..];
    if !payload_matches(body, checksums, at) {
        return Ok(Err(Stop::Bad(
            "the payload's checksum does not match".to_owned(),
        )));
    }
    Ok(Ok(RawRecord {
        header,
        checksums,
        offset,
        payload: &body[..header.payload_bytes as usize],
    }))
}

/// A walk over the records of one segment.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) path: Arc<PathBuf>,
    pub(crate) source: Source,
    pub(crate) seed: Seed,
    /// Where the next record should begin.
    pub(crate) offset: u64,
    /// The sequence it should have.
    pub(crate) expected: Sequence,
    /// The newest synced sequence that any record so far, or the header, spoke of.
    pub(crate) synced: Sequence,
    pub(crate) digest: Digest,
    pub(crate) records: u64,
    /// Offset of the seal, once it was passed.
    pub(crate) seal: Option<u64>,
}

impl Scan {
    pub(crate) fn new(path: Arc<PathBuf>, source: Source, header: &SegmentHeader) -> Self {
        Self {
            path,
            source,
            seed: header.seed(),
            offset: SEGMENT_HEADER_BYTES as u64,
            expected: header.first,
            synced: header.synced,
            digest: Digest::default(),
            records: 0,
            seal: None,
        }
    }

    /// The last sequence passed, or the one before the segment.
    pub(crate) fn last(&self) -> Sequence {
        self.expected.previous()
    }

    /// The next record, if there is one that verifies and continues the sequence.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<std::result::Result<RawRecord<'_>, Stop>> {
        if self.seal.is_some() {
            return Ok(Err(Stop::EndOfFile));
        }
        let raw = match look(&mut self.source, &self.seed, self.offset)? {
            Ok(raw) => raw,
            Err(stop) => return Ok(Err(stop)),
        };
        let h = raw.header;
        if let Some(detail) = out_of_order(&raw, self.expected, self.synced) {
            return Ok(Err(Stop::Bad(detail)));
        }
        self.offset += h.length();
        self.expected = h.sequence.next();
        self.synced = h.synced;
        self.digest.add(raw.checksums);
        self.records += 1;
        if h.kind == Kind::Seal {
            self.seal = Some(raw.offset);
        }
        Ok(Ok(raw))
    }

    /// What [`Scan::step`] returned with this header, once more: it is still at hand, and verified.
    #[inline]
    pub(crate) fn passed(&mut self, header: RecordHeader, offset: u64) -> Result<Passed<'_>> {
        let begin = offset + RECORD_HEADER_BYTES as u64;
        let payload = self.source.get(begin, header.payload_bytes as usize)?;
        Ok(Passed {
            header,
            offset,
            payload,
            path: &self.path,
        })
    }

    /// Whether [`Scan::step`] would find a record now.
    pub(crate) fn is_next_there(&mut self) -> Result<bool> {
        let (expected, synced) = (self.expected, self.synced);
        let found = look(&mut self.source, &self.seed, self.offset)?;
        Ok(found.is_ok_and(|raw| out_of_order(&raw, expected, synced).is_none()))
    }

    /// Searches the next `look` bytes for a record that proves that `sequence` was synced before it
    /// was written. A record header that verifies is proof enough. Returns its offset.
    pub(crate) fn proof_of_sync(&mut self, sequence: Sequence, look: u64) -> Result<Option<u64>> {
        let mut found = None;
        let end = self.offset.saturating_add(look);
        search(
            &mut self.source,
            &self.seed,
            self.offset,
            |offset, header| {
                if header.sequence > sequence && header.synced >= sequence {
                    found = Some(offset);
                }
                found.is_none()
            },
            end,
        )?;
        Ok(found)
    }

    /// How many of the next `look` bytes there are up to the last one that is not zero.
    pub(crate) fn nonzero_bytes(&mut self, look: u64) -> Result<u64> {
        let (from, end) = (self.offset, self.offset.saturating_add(look));
        let mut last = from;
        let mut at = from;
        while at < end {
            let bytes = self.source.get(at, LEAST_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(i) = bytes.iter().rposition(|b| *b != 0) {
                last = at + i as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(last - from)
    }
}

/// Why a record that verifies cannot be the next one. Nearly all can be, and of them nothing is
/// moved.
#[inline(always)]
fn out_of_order(raw: &RawRecord<'_>, expected: Sequence, synced: Sequence) -> Option<String> {
    let h = &raw.header;
    if h.sequence == expected && h.synced >= synced {
        return None;
    }
    Some(order_fault(h, expected, synced))
}

#[cold]
fn order_fault(h: &RecordHeader, expected: Sequence, synced: Sequence) -> String {
    if h.sequence == expected {
        format!(
            "the record says that sequence {} was synced, an earlier one said {synced}",
            h.synced
        )
    } else {
        format!("the record here has sequence {}", h.sequence)
    }
}

/// A record behind which the scan is.
pub(crate) struct Passed<'a> {
    header: RecordHeader,
    offset: u64,
    payload: &'a [u8],
    path: &'a Arc<PathBuf>,
}

impl<'a> Passed<'a> {
    /// What it says. Paths and values are parts of the buffer.
    #[inline]
    pub(crate) fn view(&self, with_control: bool) -> Result<RecordRef<'a>, String> {
        let mut record = self.all()?;
        if let EntryRef::Changes { changes, .. } = &mut record.entry
            && !with_control
        {
            changes.retain(|change| !change.is_control);
        }
        Ok(record)
    }

    #[inline]
    fn all(&self) -> Result<RecordRef<'a>, String> {
        Ok(RecordRef {
            sequence: self.header.sequence,
            synced: self.header.synced,
            revision: self.header.revision,
            entry: payload::view(self.header.kind, self.payload)?,
            file: self.path,
            offset: self.offset,
            length: self.header.length(),
        })
    }

    /// What it says, to keep. The path and the value of one change are copies; those of several are
    /// parts of one copy of the payload. Counting references costs more than the second copy, and
    /// less than many.
    #[inline]
    pub(crate) fn record(&self, with_control: bool) -> Result<Record, String> {
        let entry = match self.view(with_control)?.entry {
            EntryRef::Changes { changes, .. } if changes.len() > 1 => {
                let whole = Bytes::copy_from_slice(self.payload);
                let mut entry = payload::decode_within(self.header.kind, &whole, &whole)?;
                if let Entry::Changes { changes, .. } = &mut entry
                    && !with_control
                {
                    changes.retain(|change| !change.is_control);
                }
                entry
            }
            few => payload::copied(few),
        };
        Ok(Record {
            sequence: self.header.sequence,
            synced: self.header.synced,
            revision: self.header.revision,
            entry,
            location: Location {
                file: self.path.clone(),
                offset: self.offset,
                length: self.header.length(),
            },
        })
    }
}

/// Visits every record header that verifies, at any aligned offset from `from` on, until the
/// visitor returns false or `end` is passed.
pub(crate) fn search(
    source: &mut Source,
    seed: &Seed,
    from: u64,
    mut visit: impl FnMut(u64, RecordHeader) -> bool,
    end: u64,
) -> Result<()> {
    let mut at = from.next_multiple_of(ALIGNMENT as u64);
    while at < end {
        let bytes = source.get(at, LEAST_BYTES)?;
        let mut i = 0;
        while i + RECORD_HEADER_BYTES <= bytes.len() {
            let head = &bytes[i..i + RECORD_HEADER_BYTES];
            let offset = at + i as u64;
            if RecordHeader::is_plausible(head)
                && let Ok((header, _)) = RecordHeader::decode(head, &seed.at(offset))
                && !visit(offset, header)
            {
                return Ok(());
            }
            i += ALIGNMENT;
        }
        if i == 0 {
            return Ok(());
        }
        at += i as u64;
    }
    Ok(())
}
