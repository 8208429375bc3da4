//! The journal of another program to a journal of ours; on return everything is on disk.

use cairn_journal::{EndState, Journal, Timestamp};

use crate::forms::foreign::file::{DamagedPart, ForeignError, ForeignFile};
use crate::write::writer::{Limits, LoadError, Loaded, Place, Writer};

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The changes and records that were written.
    pub loaded: Loaded,
    /// The end of the file: what follows the last entry.
    pub end: EndState,
    /// Damaged parts that were left out.
    pub skipped: u64,
}

/// Why an import ended early. Everything before it is in the journal, and on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is damaged, or cannot be read.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The journal did not take it.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl ImportError {
    /// Whether the file is at fault, not the journal or the machine.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Foreign(error) => !matches!(error, ForeignError::Io { .. }),
            Self::Load(error) => error.is_bad_input(),
        }
    }
}

/// Reads `file` to its end and stores its changes, observed `now`: these formats have no times.
///
/// `skip_damaged`: leave damaged parts out and call `on_skip` for each, instead of ending at the
/// first.
pub fn import(
    journal: &Journal,
    limits: Limits,
    file: &ForeignFile,
    skip_damaged: bool,
    now: Timestamp,
    on_skip: impl FnMut(&DamagedPart),
) -> Result<Imported, ImportError> {
    let mut writer = Writer::new(journal, limits);
    let read = read_entries(&mut writer, file, skip_damaged, now, on_skip);
    // Also after damage: everything before it is promised to be on disk.
    let loaded = writer.finish();
    let (end, skipped) = read?;
    Ok(Imported {
        loaded: loaded?,
        end,
        skipped,
    })
}

fn read_entries(
    writer: &mut Writer<'_>,
    file: &ForeignFile,
    skip_damaged: bool,
    now: Timestamp,
    mut on_skip: impl FnMut(&DamagedPart),
) -> Result<(EndState, u64), ImportError> {
    let mut entries = file.entries(skip_damaged)?;
    let mut skipped = 0;
    loop {
        let next = entries.next();
        for part in entries.take_skipped() {
            skipped += 1;
            on_skip(&part);
        }
        let Some(entry) = next else {
            return Ok((entries.end_state(), skipped));
        };
        let entry = entry?;
        writer.push(Place::Offset(entry.offset), entry.line, now)?;
    }
}
