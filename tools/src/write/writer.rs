//! Changes to records: groups what belongs together, and keeps the disk busy while the rest is
//! read.
//!
//! In whichever order revisions come, a dump of the new journal gives the changes that were pushed,
//! in their order.

use std::fmt;
use std::io;

use cairn_journal::{
    Change, Entry, GapPhase, GapReason, Journal, NewRecord, Op, Revision, Sequence, Timestamp,
    replay::{Effect, Replay},
};

use crate::forms::text::Line;

/// Bounds of what can be written, from the options that the journal was opened with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest payload of a record, in bytes.
    pub max_payload_bytes: usize,
}

/// Bytes that are appended before they are committed: keeps the disk busy while more is parsed, at
/// a cost of one sync per so many bytes.
const COMMIT_BYTES: usize = 8 << 20;

/// An upper bound of what the journal's encoding adds to the bytes of one change.
const CHANGE_OVERHEAD_BYTES: usize = 64;

/// Counts of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Changes that were read.
    pub changes: u64,
    /// Records written for them.
    pub records: u64,
    /// Losses of the journal that was read. In this one each is a gap of its own.
    pub losses: u64,
}

/// Where in the input something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line, counted from 1.
    Line(u64),
    /// An offset in bytes.
    Offset(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
        }
    }
}

/// Why a load ended early. Everything before it is in the journal, and on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The input is malformed.
    #[error("{place}: {detail}")]
    Bad {
        /// Where.
        place: Place,
        /// What is wrong with it.
        detail: String,
    },
    /// The journal did not take the change.
    #[error("{place}: {source}")]
    Journal {
        /// The last change of the record.
        place: Place,
        /// Why.
        source: cairn_journal::Error,
    },
    /// The input could not be read.
    #[error("after {place}: cannot read: {source}")]
    Input {
        /// The last that was read.
        place: Place,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether the input is at fault, not the journal or the machine.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Bad { .. } => true,
            Self::Journal { source, .. } => {
                matches!(source, cairn_journal::Error::TooLarge { .. })
            }
            Self::Input { .. } => false,
        }
    }
}

/// Collects the changes of one record and appends it when the next one begins.
#[derive(Debug)]
pub struct Writer<'a> {
    journal: &'a Journal,
    limits: Limits,
    loaded: Loaded,
    /// The newest revision so far: what the journal covers once `pending` is written.
    newest: Revision,
    /// Whether the changes of `pending` are older than `newest`: part of a gap's difference.
    falling: bool,
    /// The meaning of what was read, in the journal that it comes from.
    replay: Replay,
    pending: Vec<Change>,
    pending_bytes: usize,
    pending_at: Timestamp,
    place: Place,
    uncommitted_bytes: usize,
}

impl<'a> Writer<'a> {
    /// Writes to the end of a journal.
    #[must_use]
    pub fn new(journal: &'a Journal, limits: Limits) -> Self {
        Self {
            journal,
            limits,
            loaded: Loaded::default(),
            newest: Revision::NONE,
            falling: false,
            replay: Replay::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            pending_at: Timestamp(0),
            place: Place::Line(0),
            uncommitted_bytes: 0,
        }
    }

    /// Takes one change. Consecutive changes of one revision become one record.
    pub fn push(&mut self, place: Place, line: Line, at: Timestamp) -> Result<(), LoadError> {
        let change = match line.op {
            Op::Set(value) => Change::set(line.path, value),
            Op::Delete => Change::delete(line.path),
        };
        self.push_change(place, change.at(line.revision), at)
    }

    /// Takes one change, which has its revision.
    fn push_change(
        &mut self,
        place: Place,
        mut change: Change,
        at: Timestamp,
    ) -> Result<(), LoadError> {
        let bytes = size_of(&change);
        let revision = change.revision.take().unwrap_or(self.newest);
        let falling = revision < self.newest;
        let same_record = falling == self.falling && (falling || revision == self.newest);
        let full = self.pending_bytes.saturating_add(bytes) > self.limits.max_payload_bytes;
        if !same_record || full {
            self.write_pending()?;
        }
        if self.pending.is_empty() {
            self.pending_at = at;
        }
        self.falling = falling;
        self.newest = self.newest.max(revision);
        change.revision = falling.then_some(revision);
        self.pending.push(change);
        self.pending_bytes += bytes;
        self.place = place;
        self.loaded.changes += 1;
        Ok(())
    }

    /// Takes one record of another journal. Leaves out the records that only concern that journal's
    /// files: seals, and the marker of an orderly end.
    pub fn push_record(
        &mut self,
        place: Place,
        revision: Revision,
        entry: Entry,
    ) -> Result<(), LoadError> {
        let step = self.replay.take(Sequence::NONE, revision, entry.marker());
        let record = match entry {
            Entry::Changes {
                changes,
                observed_at,
            } if step.effect == Effect::Apply => {
                if changes.is_empty() && revision > self.newest {
                    // It says that its revision was seen.
                    return self.push_record(
                        place,
                        revision,
                        Entry::Watermark {
                            observed_at,
                            closed: false,
                        },
                    );
                }
                for mut change in changes {
                    change.revision.get_or_insert(revision);
                    self.push_change(place, change, observed_at)?;
                }
                return Ok(());
            }
            Entry::Lost { observed_at, .. } if step.effect == Effect::Resync => {
                self.end_diff(observed_at)?;
                self.record_of(revision, entry)
            }
            other => self.record_of(revision, other),
        };
        let Some(record) = record else {
            return Ok(());
        };
        self.write_pending()?;
        self.place = place;
        self.newest = self.newest_after(&record);
        self.append(record)?;
        self.commit_if_due()
    }

    /// Closes the snapshot diff under way where a part of it was lost, so that the part that is
    /// left counts, as it does in the journal that was read. Covers no revision.
    fn end_diff(&mut self, at: Timestamp) -> Result<(), LoadError> {
        let covered = self.journal.end().revision;
        let reason = GapReason::HistoryDiscarded;
        self.append(NewRecord::gap_closed(covered.next(), covered, reason, at))
    }

    /// The record to be written for an entry of another journal, unless it is left out. Counts.
    fn record_of(&mut self, revision: Revision, entry: Entry) -> Option<NewRecord> {
        Some(match entry {
            // A part of a gap's difference.
            Entry::Changes {
                changes,
                observed_at,
            } => {
                self.loaded.changes += changes.len() as u64;
                self.loaded.records += 1;
                self.uncommitted_bytes += changes.iter().map(size_of).sum::<usize>();
                NewRecord::changes(revision, changes, observed_at)
            }
            Entry::Gap {
                first,
                last,
                phase: GapPhase::Opened,
                reason,
                observed_at,
            } => NewRecord::gap_opened(first, last, reason, observed_at),
            Entry::Gap {
                first,
                last,
                phase: GapPhase::Closed,
                reason,
                observed_at,
            } => NewRecord::gap_closed(first, last, reason, observed_at),
            Entry::Lost {
                first,
                last,
                observed_at,
                ..
            } if first <= last => {
                self.loaded.losses += 1;
                NewRecord::gap_opened(first, last, GapReason::Damage, observed_at)
            }
            Entry::Timeline(timeline) => NewRecord::timeline(revision, timeline),
            Entry::Lease {
                id,
                granted_ttl,
                observed_at,
            } => NewRecord::lease(revision, id, granted_ttl, observed_at),
            Entry::Watermark {
                observed_at,
                closed,
            } if !closed || revision > self.newest => NewRecord::watermark(revision, observed_at),
            _ => return None,
        })
    }

    /// The newest revision that the journal covers once it has this record.
    fn newest_after(&self, record: &NewRecord) -> Revision {
        match record.entry() {
            // Where revisions may begin anew.
            Entry::Timeline(_) => record.revision(),
            Entry::Gap {
                phase: GapPhase::Opened,
                ..
            } => self.newest,
            _ => self.newest.max(record.revision()),
        }
    }

    /// Returns once everything is on disk.
    pub fn finish(mut self) -> Result<Loaded, LoadError> {
        self.write_pending()?;
        self.commit()?;
        Ok(self.loaded)
    }

    fn write_pending(&mut self) -> Result<(), LoadError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.pending);
        let at = self.pending_at;
        let record = NewRecord::changes(self.newest, changes, at);
        if self.falling {
            // A gap of no revisions (the first is beyond the last): nothing is missing, but what it
            // encloses is a difference, in which keys have revisions of their own.
            let (first, last) = (self.newest.next(), self.newest);
            let reason = GapReason::HistoryDiscarded;
            self.append(NewRecord::gap_opened(first, last, reason, at))?;
            self.append(record)?;
            self.append(NewRecord::gap_closed(first, last, reason, at))?;
        } else {
            self.append(record)?;
        }
        self.loaded.records += 1;
        self.uncommitted_bytes += std::mem::take(&mut self.pending_bytes);
        self.commit_if_due()
    }

    fn append(&mut self, record: NewRecord) -> Result<(), LoadError> {
        self.journal
            .append(record)
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    fn commit_if_due(&mut self) -> Result<(), LoadError> {
        if self.uncommitted_bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), LoadError> {
        let newest = self.journal.end().next_sequence.previous();
        if newest == Sequence::NONE {
            return Ok(());
        }
        self.journal
            .commit(newest)
            .map_err(|source| self.failed(source))?;
        self.uncommitted_bytes = 0;
        Ok(())
    }

    fn failed(&self, source: cairn_journal::Error) -> LoadError {
        LoadError::Journal {
            place: self.place,
            source,
        }
    }
}

fn size_of(change: &Change) -> usize {
    let value = match &change.op {
        Op::Set(body) => body.len(),
        Op::Delete => 0,
    };
    change.path.len() + value + change.attributes.len() + CHANGE_OVERHEAD_BYTES
}
