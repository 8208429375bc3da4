//! Where every record lies, in which file, and what frames it: offsets, sequences, sizes,
//! checksums.
//!
//! Segments are read one by one, so that damage in one does not hide the next: the frames before it
//! are printed, the damage is told, and the next segment follows. Of a journal's checkpoints only
//! what their headers and footers say is printed; one that is given by itself is printed block by
//! block ([`crate::read::checkpoint::headers`]).

use std::io::Write;

use bytes::Bytes;
use cairn_journal::{
    Checkpoint, EndState, Entry, EntryRef, RecordRef,
    inspect::{SegmentFacts, SegmentFile, StoredRecord},
};
use serde::Serialize;

use crate::forms::foreign::file::ForeignFile;
use crate::forms::json::write_object;
use crate::read::checkpoint::write_facts;
use crate::read::dump::DumpError;
use crate::read::filter::Filter;
use crate::read::source::{Source, SourceError};

/// Prints the frames of everything in `source`. `on_damage` is told of what could not be read, and
/// `on_end` of what lies behind the last record of the last file.
pub fn headers(
    source: &Source,
    json: bool,
    filter: &Filter,
    out: &mut impl Write,
    mut on_damage: impl FnMut(&SourceError),
) -> Result<EndState, DumpError> {
    let mut printer = Printer {
        out,
        json,
        line: Vec::new(),
    };
    let end = match source {
        Source::Journal(reader) => {
            let mut end = EndState::Clean;
            for path in reader
                .directory()
                .checkpoint_files()
                .map_err(SourceError::from)?
            {
                match Checkpoint::open(&path) {
                    Ok(checkpoint) => printer.checkpoint(&checkpoint)?,
                    // Retention was at work since they were listed.
                    Err(error) if error.is_gone() => {}
                    Err(error) => on_damage(&error.into()),
                }
            }
            for path in reader
                .directory()
                .segment_files()
                .map_err(SourceError::from)?
            {
                match SegmentFile::open(&path) {
                    Ok(segment) => {
                        end = printer.segment(&segment, filter, &mut on_damage)?;
                    }
                    Err(error) if error.is_gone() => {}
                    Err(error) => on_damage(&error.into()),
                }
            }
            end
        }
        Source::Segment(segment) => printer.segment(segment, filter, &mut on_damage)?,
        Source::Checkpoint(checkpoint) => {
            crate::read::checkpoint::headers(checkpoint, json, filter, printer.out)?;
            EndState::Clean
        }
        Source::Snapshot(file) => {
            return Err(DumpError::Source(SourceError::Unusable {
                path: file.path().to_owned(),
                detail: "a snapshot has pages and no records that lie somewhere: leave out \
                         --headers"
                    .to_owned(),
            }));
        }
        Source::Foreign(file) => printer.foreign(file, &mut on_damage)?,
    };
    printer.out.flush().map_err(DumpError::Output)?;
    Ok(end)
}

struct Printer<'a, W> {
    out: &'a mut W,
    json: bool,
    line: Vec<u8>,
}

#[derive(Serialize)]
struct SegmentRow<'a> {
    r#type: &'a str,
    journal: String,
    salt: String,
    first_sequence: u64,
    predecessor_last: u64,
    predecessor_digest: String,
    covered: i64,
    created_at_ms: i64,
}

#[derive(Serialize)]
struct RecordRow<'a> {
    r#type: &'a str,
    file: String,
    offset: u64,
    length: u64,
    payload_bytes: u32,
    sequence: u64,
    synced: u64,
    revision: i64,
    after: i64,
    changes: usize,
    payload_crc: String,
    header_crc: String,
}

#[derive(Serialize)]
struct EntryRow<'a> {
    r#type: &'a str,
    file: String,
    offset: u64,
    length: u64,
    revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha1: Option<String>,
}

impl<W: Write> Printer<'_, W> {
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), DumpError> {
        self.line.clear();
        write_facts(&mut self.line, &checkpoint.facts(), self.json);
        self.out.write_all(&self.line).map_err(DumpError::Output)
    }

    fn segment(
        &mut self,
        segment: &SegmentFile,
        filter: &Filter,
        on_damage: &mut impl FnMut(&SourceError),
    ) -> Result<EndState, DumpError> {
        let mut records = segment.records();
        self.facts(&segment.facts())?;
        for stored in records.by_ref() {
            match stored {
                Ok(stored) => {
                    if let Some(record) = filter.apply((&stored.record).into()) {
                        self.record(&record, &stored)?;
                    }
                }
                Err(error) => {
                    self.out.flush().map_err(DumpError::Output)?;
                    on_damage(&error.into());
                }
            }
        }
        Ok(records.end_state())
    }

    fn facts(&mut self, facts: &SegmentFacts) -> Result<(), DumpError> {
        if self.json {
            return self.object(&SegmentRow {
                r#type: "segment",
                journal: facts.uuid.to_string(),
                salt: format!("{:016x}", facts.salt),
                first_sequence: facts.first.0,
                predecessor_last: facts.predecessor_last.0,
                predecessor_digest: format!("{:08x}", facts.predecessor_digest),
                covered: facts.covered.0,
                created_at_ms: facts.created_at.0,
            });
        }
        self.text(format_args!(
            "# segment {}, journal {}, salt {:016x}, after sequence {} (digest {:08x}), after \
             revision {}, created {}\n{:>10} {:>10} {:>10} {:>10} {:>10} {:<9} {:>7} {:>9} \
             {:>9} {:>8} {:>8}\n",
            facts.first,
            facts.uuid,
            facts.salt,
            facts.predecessor_last,
            facts.predecessor_digest,
            facts.covered,
            facts.created_at.show(),
            "offset",
            "sequence",
            "synced",
            "revision",
            "after",
            "type",
            "changes",
            "length",
            "payload",
            "p-crc",
            "h-crc",
        ))
    }

    fn record(&mut self, record: &RecordRef<'_>, stored: &StoredRecord) -> Result<(), DumpError> {
        let changes = record.entry.changes().count();
        let kind = kind(&record.entry);
        if self.json {
            return self.object(&RecordRow {
                r#type: kind,
                file: record.file.display().to_string(),
                offset: record.offset,
                length: record.length,
                payload_bytes: stored.payload_bytes,
                sequence: record.sequence.0,
                synced: record.synced.0,
                revision: record.revision.0,
                after: stored.prev_revision.0,
                changes,
                payload_crc: format!("{:08x}", stored.payload_crc),
                header_crc: format!("{:08x}", stored.header_crc),
            });
        }
        self.text(format_args!(
            "{:>10} {:>10} {:>10} {:>10} {:>10} {kind:<9} {changes:>7} {:>9} {:>9} {:08x} {:08x}\n",
            record.offset,
            record.sequence.0,
            record.synced.0,
            record.revision.0,
            stored.prev_revision.0,
            record.length,
            stored.payload_bytes,
            stored.payload_crc,
            stored.header_crc,
        ))
    }

    fn foreign(
        &mut self,
        file: &ForeignFile,
        on_damage: &mut impl FnMut(&SourceError),
    ) -> Result<EndState, DumpError> {
        if !self.json {
            self.text(format_args!(
                "# {}\n{:>10} {:>10} {:>9} sha1\n",
                file.format().name(),
                "offset",
                "revision",
                "length"
            ))?;
        }
        let mut entries = file.entries(false).map_err(SourceError::from)?;
        for entry in entries.by_ref() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.out.flush().map_err(DumpError::Output)?;
                    on_damage(&error.into());
                    break;
                }
            };
            let sha1 = entry
                .checksum
                .map(|sum| format!("{:x}", Bytes::copy_from_slice(&sum)));
            if self.json {
                self.object(&EntryRow {
                    r#type: "entry",
                    file: file.path().display().to_string(),
                    offset: entry.offset,
                    length: entry.length,
                    revision: entry.line.revision.0,
                    sha1,
                })?;
            } else {
                self.text(format_args!(
                    "{:>10} {:>10} {:>9} {}\n",
                    entry.offset,
                    entry.line.revision.0,
                    entry.length,
                    sha1.as_deref().unwrap_or("-")
                ))?;
            }
        }
        Ok(entries.end_state())
    }

    fn object(&mut self, object: &impl Serialize) -> Result<(), DumpError> {
        self.line.clear();
        write_object(&mut self.line, object);
        self.out.write_all(&self.line).map_err(DumpError::Output)
    }

    fn text(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), DumpError> {
        self.out.write_fmt(text).map_err(DumpError::Output)
    }
}

fn kind(entry: &EntryRef<'_>) -> &'static str {
    let Some(marker) = entry.marker() else {
        return "changes";
    };
    match marker {
        Entry::Gap { .. } => "gap",
        Entry::Timeline(_) => "timeline",
        Entry::Watermark { .. } => "watermark",
        Entry::Seal { .. } => "seal",
        Entry::Lost { .. } => "lost",
        Entry::Lease { .. } => "lease",
        _ => "unknown",
    }
}
