//! Journal to text: one pass, in memory that does not grow with the journal, never writing to it.
//!
//! Everything that is valid is printed before anything that is wrong is reported.

use std::io::{self, Write};

use cairn_journal::{EndState, Entry, GapPhase, GapReason, Reader, Record, Revision};

use crate::text::write_line;

/// Bytes of text collected before they are written: large enough that the cost of a write to a pipe
/// (64 KiB on Linux) is spread, small enough to stay in a cache.
const CHUNK_BYTES: usize = 256 << 10;

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
    Journal(#[from] cairn_journal::Error),
    /// The text could not be written.
    #[error("cannot write the text: {0}")]
    Output(#[source] io::Error),
}

impl DumpError {
    /// Whether the reader of the text went away, as `head` does: no failure.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Prints every change of the journal to `out` and tells `on_gap` of every gap, where it stands.
///
/// Lines before a gap are written before `on_gap` is called.
pub fn dump(
    reader: &Reader,
    out: &mut impl Write,
    mut on_gap: impl FnMut(GapSeen),
) -> Result<Summary, DumpError> {
    let mut text = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
    let result = read(reader, |item| {
        match item {
            Item::Record(record) => print_changes(record, &mut text),
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
    if matches!(result, Ok(_) | Err(DumpError::Journal(_))) {
        flush(&mut text, out)?;
        out.flush().map_err(DumpError::Output)?;
    }
    result
}

/// Reads and verifies everything, and prints nothing.
pub fn check(reader: &Reader, mut on_gap: impl FnMut(GapSeen)) -> Result<Summary, DumpError> {
    read(reader, |item| {
        if let Item::Gap(gap) = item {
            on_gap(gap);
        }
        Ok(())
    })
}

enum Item<'a> {
    Record(&'a Record),
    Gap(GapSeen),
}

fn read(
    reader: &Reader,
    mut each: impl FnMut(Item<'_>) -> Result<(), DumpError>,
) -> Result<Summary, DumpError> {
    let mut records = reader.records();
    let (mut count, mut changes, mut gaps) = (0, 0, 0);
    for record in records.by_ref() {
        let record = record?;
        count += 1;
        if let Entry::Changes { changes: some, .. } = &record.entry {
            changes += some.len() as u64;
        }
        if let Some(gap) = gap_of(&record.entry) {
            gaps += u64::from(gap.is_loss());
            each(Item::Gap(gap))?;
        }
        each(Item::Record(&record))?;
    }
    Ok(Summary {
        records: count,
        changes,
        gaps,
        end: records.end_state(),
    })
}

fn gap_of(entry: &Entry) -> Option<GapSeen> {
    match *entry {
        Entry::Gap {
            first,
            last,
            phase: GapPhase::Opened,
            reason,
            ..
        } => Some(GapSeen {
            first,
            last,
            reason,
        }),
        Entry::Lost { first, last, .. } => Some(GapSeen {
            first,
            last,
            reason: GapReason::Damage,
        }),
        _ => None,
    }
}

fn print_changes(record: &Record, text: &mut Vec<u8>) {
    if let Entry::Changes { changes, .. } = &record.entry {
        for change in changes {
            let revision = change.revision.unwrap_or(record.revision);
            write_line(text, revision, &change.path, &change.op);
        }
    }
}

fn flush(text: &mut Vec<u8>, out: &mut impl Write) -> Result<(), DumpError> {
    out.write_all(text).map_err(DumpError::Output)?;
    text.clear();
    Ok(())
}
