//! Records to text, raw text or JSON: one pass, in memory that does not grow with the journal,
//! never writing to it.
//!
//! Everything that is valid is printed before anything that is wrong is reported.

use std::io::{self, Write};

use cairn_journal::{
    EndState, Entry, EntryRef, GapPhase, GapReason, RecordRef, Revision, Sequence,
};

use crate::forms::form::Form;
use crate::read::background::BackgroundWriter;
use crate::read::filter::Filter;
use crate::read::source::{Skipped, SourceError, SourceRecords};

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
    pub fn of(entry: &EntryRef<'_>) -> Option<Self> {
        match *entry.marker()? {
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

/// Counts of a read, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records of every kind.
    pub records: u64,
    /// Changes: the lines of the text form.
    pub changes: u64,
    /// Gaps that lose history ([`GapSeen::is_loss`]).
    pub gaps: u64,
    /// Revision and sequence of the last record; `None`: there was none.
    pub newest: Option<(Revision, Sequence)>,
    /// The end of the journal: what follows the last record.
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

/// An incident between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Revisions that were not seen one by one.
    Gap(GapSeen),
    /// Records that retention removed before they could be read.
    Skipped(Skipped),
}

/// Prints the records that `filter` wants to `out`, and calls `on_seen` for every gap at its place.
///
/// Lines before a gap are written before `on_seen` is called.
pub fn dump(
    records: &mut SourceRecords,
    form: Form,
    filter: &Filter,
    out: &mut (impl Write + Send),
    mut on_seen: impl FnMut(Seen),
) -> Result<Summary, DumpError> {
    std::thread::scope(|scope| {
        let mut out = BackgroundWriter::new(scope, out);
        let is_all_wanted = filter.is_all();
        let result = read(records, |item| {
            match item {
                Item::Record(record) if is_all_wanted => form.write(&mut out.text, &record),
                Item::Record(record) => {
                    if let Some(record) = filter.apply(record) {
                        form.write(&mut out.text, &record);
                    }
                }
                Item::Seen(seen) => {
                    out.flush().map_err(DumpError::Output)?;
                    on_seen(seen);
                }
            }
            out.offer().map_err(DumpError::Output)
        });
        if matches!(result, Ok(_) | Err(DumpError::Source(_))) {
            out.flush().map_err(DumpError::Output)?;
        }
        result
    })
}

/// Reads and verifies everything, and prints nothing.
pub fn check(
    records: &mut SourceRecords,
    mut on_seen: impl FnMut(Seen),
) -> Result<Summary, DumpError> {
    read(records, |item| {
        if let Item::Seen(seen) = item {
            on_seen(seen);
        }
        Ok(())
    })
}

/// A record, or an incident between records.
pub(crate) enum Item<'a> {
    Record(RecordRef<'a>),
    Seen(Seen),
}

/// Reads to the end, or to the first damage.
pub(crate) fn read(
    records: &mut SourceRecords,
    mut each: impl FnMut(Item<'_>) -> Result<(), DumpError>,
) -> Result<Summary, DumpError> {
    let (mut count, mut changes, mut gaps, mut newest) = (0, 0, 0, None);
    loop {
        let error = match records.next_ref() {
            None => break,
            Some(Err(error)) => error,
            Some(Ok(record)) => {
                count += 1;
                newest = Some((record.revision, record.sequence));
                changes += record.entry.changes().count() as u64;
                if let Some(gap) = GapSeen::of(&record.entry) {
                    gaps += u64::from(gap.is_loss());
                    each(Item::Seen(Seen::Gap(gap)))?;
                }
                each(Item::Record(record))?;
                continue;
            }
        };
        let skipped = records.resume(&error).ok_or(error)?;
        each(Item::Seen(Seen::Skipped(skipped)))?;
    }
    Ok(Summary {
        records: count,
        changes,
        gaps,
        newest,
        end: records.end_state(),
    })
}
