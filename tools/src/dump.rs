//! Records to text, raw text or JSON: one pass, in memory that does not grow with the journal, never
//! writing to it.
//!
//! Everything that is valid is printed before anything that is wrong is reported.

use std::io::{self, Write};

use cairn_journal::{EndState, Entry, GapPhase, GapReason, Op, Record, Revision};

use crate::filter::Filter;
use crate::json;
use crate::source::{SourceError, SourceRecords};
use crate::text::write_line;

/// Bytes of text collected before they are written: large enough that the cost of a write to a pipe
/// (64 KiB on Linux) is spread, small enough to stay in a cache.
const CHUNK_BYTES: usize = 256 << 10;

/// How a record is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One change a line, escaped so that it can be read again: [`crate::text`].
    Text,
    /// One change a line as the original Go program prints it: nothing is escaped.
    Raw,
    /// One record a line, with everything it says: [`crate::json`].
    Json,
}

impl Form {
    /// Appends one record; in the text forms, its changes.
    pub fn write(self, out: &mut Vec<u8>, record: &Record) {
        if self == Self::Json {
            return json::write_record(out, record);
        }
        if let Entry::Changes { changes, .. } = &record.entry {
            for change in changes {
                let revision = change.revision.unwrap_or(record.revision);
                self.write_change(out, revision, &change.path, &change.op);
            }
        }
    }

    /// Appends one change that stands alone.
    pub fn write_change(self, out: &mut Vec<u8>, revision: Revision, path: &[u8], op: &Op) {
        match (self, op) {
            (Self::Text, _) => write_line(out, revision, path, op),
            (Self::Json, Op::Set(value)) => json::write_file(out, revision, path, value),
            (Self::Raw | Self::Json, _) => {
                write!(out, "{revision}:").expect("memory takes everything");
                out.extend_from_slice(path);
                if let Op::Set(body) = op {
                    out.push(b'=');
                    out.extend_from_slice(body);
                }
                out.push(b'\n');
            }
        }
    }
}

/// Revisions that were not seen one by one, as a reader meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapSeen {
    /// The first of them.
    pub first: Revision,
    /// The last of them.
    pub last: Revision,
    /// Why.
    pub reason: GapReason,
}

impl GapSeen {
    /// The gap that begins with this entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        match *entry {
            Entry::Gap {
                first,
                last,
                phase: GapPhase::Opened,
                reason,
                ..
            } => Some(Self {
                first,
                last,
                reason,
            }),
            Entry::Lost { first, last, .. } => Some(Self {
                first,
                last,
                reason: GapReason::Damage,
            }),
            _ => None,
        }
    }

    /// Whether history is missing. A baseline is the first sight of a cluster that already had
    /// state: nothing that the journal was there for has been missed.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        self.first <= self.last && self.reason != GapReason::Baseline
    }
}

/// What was read, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records of every kind.
    pub records: u64,
    /// Changes: the lines of the text form.
    pub changes: u64,
    /// How many gaps lose history ([`GapSeen::is_loss`]).
    pub gaps: u64,
    /// What lies behind the last record.
    pub end: EndState,
}

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The journal could not be read further. All that is valid before it has been printed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The text could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),
}

impl DumpError {
    /// Whether the reader of the text went away, as `head` does: no failure.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Prints what `filter` wants of the records to `out` and tells `on_gap` of every gap, where it
/// stands.
///
/// Lines before a gap are written before `on_gap` is called.
pub fn dump(
    records: &mut SourceRecords,
    form: Form,
    filter: &Filter,
    out: &mut impl Write,
    mut on_gap: impl FnMut(GapSeen),
) -> Result<Summary, DumpError> {
    let mut text = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
    let result = read(records, |item| {
        match item {
            Item::Record(record) => {
                if let Some(record) = filter.apply(record) {
                    form.write(&mut text, &record);
                }
            }
            Item::Gap(gap) => {
                flush(&mut text, out)?;
                on_gap(gap);
            }
        }
        if text.len() >= CHUNK_BYTES {
            flush(&mut text, out)?;
        }
        Ok(())
    });
    if matches!(result, Ok(_) | Err(DumpError::Source(_))) {
        flush(&mut text, out)?;
        out.flush().map_err(DumpError::Output)?;
    }
    result
}

/// Reads and verifies everything, and prints nothing.
pub fn check(
    records: &mut SourceRecords,
    mut on_gap: impl FnMut(GapSeen),
) -> Result<Summary, DumpError> {
    read(records, |item| {
        if let Item::Gap(gap) = item {
            on_gap(gap);
        }
        Ok(())
    })
}

enum Item {
    Record(Record),
    Gap(GapSeen),
}

fn read(
    records: &mut SourceRecords,
    mut each: impl FnMut(Item) -> Result<(), DumpError>,
) -> Result<Summary, DumpError> {
    let (mut count, mut changes, mut gaps) = (0, 0, 0);
    for record in records.by_ref() {
        let record = record?;
        count += 1;
        if let Entry::Changes { changes: some, .. } = &record.entry {
            changes += some.len() as u64;
        }
        if let Some(gap) = GapSeen::of(&record.entry) {
            gaps += u64::from(gap.is_loss());
            each(Item::Gap(gap))?;
        }
        each(Item::Record(record))?;
    }
    Ok(Summary {
        records: count,
        changes,
        gaps,
        end: records.end_state(),
    })
}

fn flush(text: &mut Vec<u8>, out: &mut impl Write) -> Result<(), DumpError> {
    out.write_all(text).map_err(DumpError::Output)?;
    text.clear();
    Ok(())
}
