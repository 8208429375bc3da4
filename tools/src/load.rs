//! Text to journal: every line becomes a change, in order; on return everything is on disk.
//!
//! The inverse of [`crate::dump`]: dumping what was loaded gives the same text.

use std::io::{self, BufRead, Read};

use cairn_journal::{Change, GapReason, Journal, NewRecord, Revision, Timestamp};

use crate::text::{Line, LineError, parse_line};

/// Bounds of a load, from the options that the journal was opened with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest payload of a record, in bytes.
    pub max_payload_bytes: usize,
}

impl Limits {
    /// The longest line: a body may take four characters a byte.
    fn line_bytes(self) -> usize {
        self.max_payload_bytes.saturating_mul(4).saturating_add(64)
    }
}

/// How much is appended before it is asked to be durable: keeps the disk busy while lines are
/// parsed, at a cost of one sync per so many bytes.
const COMMIT_BYTES: usize = 8 << 20;

/// An upper bound of what the journal's encoding adds to the bytes of one change.
const CHANGE_OVERHEAD_BYTES: usize = 64;

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Lines that held a change.
    pub changes: u64,
    /// Records written for them.
    pub records: u64,
}

/// Why a load ended early. Everything before it is in the journal, and on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The line is not in the text form.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        source: LineError,
    },
    /// The line is longer than any line of a record that the journal takes.
    #[error(
        "line {line}: longer than {limit} bytes, the most that a record of this journal can need"
    )]
    TooLong {
        /// Counted from 1.
        line: u64,
        /// The limit.
        limit: usize,
    },
    /// The journal did not take the change.
    #[error("line {line}: {source}")]
    Journal {
        /// The last line of the record, counted from 1.
        line: u64,
        /// Why.
        source: cairn_journal::Error,
    },
    /// The text could not be read.
    #[error("after line {line}: cannot read: {source}")]
    Input {
        /// The last line that was read.
        line: u64,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether the text is at fault, not the journal or the machine.
    #[must_use]
    pub fn is_bad_text(&self) -> bool {
        match self {
            Self::Line { .. } | Self::TooLong { .. } => true,
            Self::Journal { source, .. } => {
                matches!(source, cairn_journal::Error::TooLarge { .. })
            }
            Self::Input { .. } => false,
        }
    }
}

/// Reads lines to the end of `input` and stores them, observed `now`.
pub fn load(
    journal: &Journal,
    limits: Limits,
    input: &mut impl BufRead,
    now: Timestamp,
) -> Result<Loaded, LoadError> {
    let mut writer = Writer::new(journal, limits, now);
    let read = read_lines(&mut writer, limits, input);
    // Also after a bad line: what came before it is promised to be on disk.
    let written = writer.finish();
    read.and(written)
}

fn read_lines(
    writer: &mut Writer<'_>,
    limits: Limits,
    input: &mut impl BufRead,
) -> Result<(), LoadError> {
    let limit = limits.line_bytes();
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        let taken = (&mut *input)
            .take(limit as u64 + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| LoadError::Input {
                line: number,
                source,
            })?;
        if taken == 0 {
            return Ok(());
        }
        number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > limit {
            return Err(LoadError::TooLong {
                line: number,
                limit,
            });
        }
        if bytes.is_empty() {
            continue;
        }
        let line = parse_line(&bytes).map_err(|source| LoadError::Line {
            line: number,
            source,
        })?;
        writer.push(number, line)?;
    }
}

/// Collects the lines of one record and appends it when the next one begins.
struct Writer<'a> {
    journal: &'a Journal,
    limits: Limits,
    now: Timestamp,
    loaded: Loaded,
    /// The newest revision of any line so far: what the journal covers once `pending` is written.
    newest: Revision,
    /// Whether the lines of `pending` are older than `newest`: part of a gap's difference.
    falling: bool,
    pending: Vec<Change>,
    pending_bytes: usize,
    pending_line: u64,
    uncommitted_bytes: usize,
}

impl<'a> Writer<'a> {
    fn new(journal: &'a Journal, limits: Limits, now: Timestamp) -> Self {
        Self {
            journal,
            limits,
            now,
            loaded: Loaded::default(),
            newest: Revision::NONE,
            falling: false,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_line: 0,
            uncommitted_bytes: 0,
        }
    }

    fn push(&mut self, number: u64, line: Line) -> Result<(), LoadError> {
        let bytes = line.path.len()
            + match &line.op {
                cairn_journal::Op::Set(body) => body.len(),
                cairn_journal::Op::Delete => 0,
            }
            + CHANGE_OVERHEAD_BYTES;
        let falling = line.revision < self.newest;
        let same_record = falling == self.falling && (falling || line.revision == self.newest);
        let full = self.pending_bytes.saturating_add(bytes) > self.limits.max_payload_bytes;
        if !same_record || full {
            self.write_pending()?;
        }
        self.falling = falling;
        self.newest = self.newest.max(line.revision);
        self.pending.push(Change {
            path: line.path,
            op: line.op,
            revision: falling.then_some(line.revision),
        });
        self.pending_bytes += bytes;
        self.pending_line = number;
        self.loaded.changes += 1;
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), LoadError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.pending);
        let record = NewRecord::changes(self.newest, changes, self.now);
        if self.falling {
            // A gap of no revisions (the first is beyond the last): nothing is missing, but what it
            // encloses is a difference, in which keys have revisions of their own.
            let (first, last) = (self.newest.next(), self.newest);
            let reason = GapReason::HistoryDiscarded;
            self.append(NewRecord::gap_opened(first, last, reason, self.now))?;
            self.append(record)?;
            self.append(NewRecord::gap_closed(first, last, reason, self.now))?;
        } else {
            self.append(record)?;
        }
        self.loaded.records += 1;
        self.uncommitted_bytes += std::mem::take(&mut self.pending_bytes);
        if self.uncommitted_bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn append(&mut self, record: NewRecord) -> Result<(), LoadError> {
        self.journal
            .append(record)
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    fn commit(&mut self) -> Result<(), LoadError> {
        let newest = self.journal.end().next_sequence.previous();
        self.journal
            .commit(newest)
            .map_err(|source| self.failed(source))?;
        self.uncommitted_bytes = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        self.write_pending()?;
        if self.loaded.records > 0 {
            self.commit()?;
        }
        Ok(self.loaded)
    }

    fn failed(&self, source: cairn_journal::Error) -> LoadError {
        LoadError::Journal {
            line: self.pending_line,
            source,
        }
    }
}
