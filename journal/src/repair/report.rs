//! What a repair found and did, in words.

use std::{fmt, path::PathBuf};

use crate::model::ids::{Revision, Sequence};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The segment or checkpoint.
    pub file: PathBuf,
    /// Where it is kept as it was; `None`: there was no file, or it is where it was.
    pub kept: Option<PathBuf>,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The first and last sequence lost, as they were in the damaged journal; `None`: none, or
    /// nobody knows.
    pub lost: Option<(Sequence, Sequence)>,
    /// The first and last revision that may be lost with them; `None`: only markers.
    pub revisions: Option<(Revision, Revision)>,
    /// Whether these revisions are lost for certain: the header of the damaged record still names
    /// them.
    pub exact: bool,
    /// What was wrong.
    pub detail: String,
}

/// Revisions that a donor gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// The first.
    pub first: Revision,
    /// The last.
    pub last: Revision,
    /// How many of them have changes.
    pub events: u64,
    /// The donor.
    pub from: String,
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Every damaged place, oldest first. Empty: there was nothing to repair.
    pub damaged: Vec<Damage>,
    /// What donors gave back, oldest first.
    pub filled: Vec<Filled>,
    /// How many records the journal holds now.
    pub kept_records: u64,
    /// Whether this completed an earlier repair that was interrupted while it moved files: that
    /// one's losses are recorded in the journal, and not in `damaged`.
    pub resumed: bool,
}

impl RepairReport {
    /// Whether the journal was changed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.resumed || !self.damaged.is_empty() || !self.filled.is_empty()
    }
}

impl Damage {
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.file.extension().is_some_and(|e| e == "ckpt")
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: damaged at offset {}: {}; ",
            self.file.display(),
            self.offset,
            self.detail
        )?;
        match self.lost {
            None if self.revisions.is_some() => {
                f.write_str("lost: nobody knows how many records")?;
            }
            None => f.write_str("no record is lost")?,
            Some((a, b)) if a == b => write!(f, "lost: sequence {a}")?,
            Some((a, b)) => write!(f, "lost: sequences {a} to {b}")?,
        }
        let perhaps = if self.exact { "" } else { "perhaps " };
        match (self.lost, self.revisions) {
            (None, None) => {}
            (_, None) => f.write_str(" (no revision)")?,
            (_, Some((a, b))) if a == b => write!(f, ", with it {perhaps}revision {a}")?,
            (_, Some((a, b))) => write!(f, ", with it {perhaps}revisions {a} to {b}")?,
        }
        if let Some(kept) = &self.kept {
            write!(f, "; the file is kept as {}", kept.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "revision {} from {}", self.first, self.from)
        } else {
            write!(
                f,
                "revisions {} to {} from {} ({} with changes)",
                self.first, self.last, self.from, self.events
            )
        }
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.resumed {
            f.write_str("an interrupted repair was completed; ")?;
        }
        if self.damaged.is_empty() && self.filled.is_empty() {
            return write!(f, "nothing is damaged; {} records", self.kept_records);
        }
        write!(f, "{} records kept or given back", self.kept_records)?;
        for damage in &self.damaged {
            write!(f, "\n{damage}")?;
        }
        for filled in &self.filled {
            write!(f, "\ngiven back: {filled}")?;
        }
        Ok(())
    }
}
