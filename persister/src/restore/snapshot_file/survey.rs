//! Where a journal's history has no hole, and where the states lie that are asked for: one pass
//! over its records.
//!
//! Promise: between [`Survey::begins`] and [`Survey::newest`] every revision is known. It was told
//! by a record, or the journal proves that nothing of it had to be journaled.

use std::collections::VecDeque;

use cairn_journal::replay::{Effect, Replay, Unseen};
use cairn_journal::{Change, Entry, Error, Gap, Op, Reader, Record, Revision, Sequence, Stop};

use crate::restore::progress_bar::Bar;
use crate::restore::snapshot_file::EMPTY;

/// What a change costs in a file besides key, value and attributes, about.
const OVERHEAD_BYTES: u64 = 64;

/// What a revision that is filled costs in a file, about.
const PAD_BYTES: u64 = 100;

/// How far apart marks are.
const MARK_BYTES: u64 = 1 << 20;

/// More revisions in a row that were not journaled are no history that anybody wants: they are what
/// an earlier restore jumped over.
const MOST_PADS: i64 = 1_000_000;

/// A point between two revisions at which the state is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    /// The revision of the state; 0 for the one before everything.
    pub(super) revision: Revision,
    /// The last record that it takes in.
    pub(super) sequence: Sequence,
}

/// A point from which on a known amount of history follows.
#[derive(Clone, Copy, Debug)]
struct Mark {
    point: Point,
    /// The bytes of history before it.
    bytes: u64,
}

/// What a journal can tell.
#[derive(Debug)]
pub(super) struct Survey {
    replay: Replay,
    /// The last record.
    last: Sequence,
    /// Every revision up to here is known.
    told: Revision,
    /// The oldest state that can be told; `None` until there is one.
    oldest: Option<Revision>,
    begins: Mark,
    marks: VecDeque<Mark>,
    history_bytes: u64,
    bytes: u64,
    unseen: Vec<Gap>,
    /// For each revision that is asked for the last record of its state.
    asked: Vec<(Revision, Option<Sequence>)>,
}

impl Survey {
    /// Reads the journal, to find among other things the states at the revisions `asked`.
    /// `history_bytes`: how much history is wanted.
    pub(super) fn of(
        reader: &Reader,
        asked: &[Revision],
        history_bytes: u64,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let beginning = reader.beginning()?;
        // Where the first records are gone, the oldest checkpoint is the oldest state.
        let base = match beginning.is_retired() {
            true => reader.checkpoints()?.usable.pop(),
            false => None,
        };
        let mut survey = Self::new(asked, history_bytes);
        let mut base = base.map(|base| Point {
            revision: base.revision(),
            sequence: base.sequence(),
        });
        if base.is_none() {
            survey.begin(Point::default());
        }
        let mut bar = Bar::new("reading the journal", segment_bytes(reader));
        for record in reader.clone().with_control().records() {
            stop.check()?;
            let record = record?;
            survey.take(&record);
            if let Some(point) = base.take_if(|base| base.sequence <= record.sequence) {
                survey.begin(point);
                survey.find(point.revision);
            }
            bar.add(record.location.length);
        }
        bar.done();
        Ok(survey)
    }

    fn new(asked: &[Revision], history_bytes: u64) -> Self {
        let begins = Mark {
            point: Point::default(),
            bytes: 0,
        };
        Self {
            replay: Replay::default(),
            last: Sequence::NONE,
            told: EMPTY,
            oldest: None,
            begins,
            marks: VecDeque::new(),
            history_bytes,
            bytes: 0,
            unseen: Vec::new(),
            asked: asked.iter().map(|at| (*at, None)).collect(),
        }
    }

    /// The newest revision.
    pub(super) fn newest(&self) -> Revision {
        self.told
    }

    /// Its state.
    pub(super) fn end(&self) -> Point {
        Point {
            revision: self.told,
            sequence: self.last,
        }
    }

    /// What was known of gaps and timelines at the end.
    pub(super) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The oldest state from which on history has no hole.
    pub(super) fn begins(&self) -> Point {
        self.begins.point
    }

    /// The oldest state from which on history has no hole and is not longer than is wanted.
    pub(super) fn within_bytes(&self) -> Point {
        let mark = self.marks.front().unwrap_or(&self.begins);
        mark.point
    }

    /// What is missing before history begins, if it is known.
    pub(super) fn missing(&self) -> Option<&Gap> {
        self.unseen.last()
    }

    /// The state at a revision that was asked for.
    pub(super) fn state_at(&self, at: Revision) -> Result<Point, Error> {
        let gap_at = |at: Revision| {
            let mut gaps = self.unseen.iter();
            gaps.find(|gap| gap.first <= at && at <= gap.last)
        };
        let oldest = self.oldest.unwrap_or(self.told);
        if let Some(gap) = gap_at(at) {
            let told = |at: Revision| {
                let is_told = oldest <= at && at <= self.told && at > Revision::NONE;
                (is_told && gap_at(at).is_none()).then_some(at)
            };
            return Err(Error::NotSeen {
                revision: at,
                gap: *gap,
                before: told(gap.first.previous()),
                after: told(gap.last.next()),
            });
        }
        let found = self.asked.iter().find(|(asked, _)| *asked == at);
        match found.and_then(|(_, sequence)| *sequence) {
            Some(sequence) if at <= self.told => Ok(Point {
                revision: at,
                sequence,
            }),
            _ => Err(Error::NotInHistory {
                revision: at,
                oldest,
                newest: self.told,
            }),
        }
    }

    /// Takes in the next record.
    fn take(&mut self, record: &Record) {
        let step = self.replay.record(record);
        self.last = record.sequence;
        let here = |revision| Point {
            revision,
            sequence: record.sequence,
        };
        if let Some(switch) = step.switch {
            // Revisions mean something else from here on.
            self.unseen.clear();
            self.oldest = None;
            self.asked.iter_mut().for_each(|(_, found)| *found = None);
            self.begin(here(switch.first_told));
        }
        match step.unseen {
            Some(Unseen::Bridged(gap)) => {
                // The snapshot diff has the state at its last revision.
                self.unseen.push(Gap {
                    last: gap.last.previous(),
                    ..gap
                });
                self.begin(here(gap.last));
            }
            Some(Unseen::Lost(gap)) if gap.first <= gap.last => {
                self.unseen.push(gap);
                self.begin(here(gap.last.max(record.revision)));
            }
            _ => {}
        }
        if step.effect != Effect::Apply {
            if step.effect == Effect::Resync {
                self.find(record.revision);
            }
            return;
        }
        match &record.entry {
            Entry::Changes { changes, .. } => self.changes(here(record.revision), changes),
            Entry::Watermark { .. } | Entry::Lease { .. } | Entry::Timeline(_) => {
                self.empty(here(record.revision));
            }
            _ => {}
        }
        self.find(record.revision);
        self.mark(here(self.told));
    }

    fn changes(&mut self, here: Point, changes: &[Change]) {
        if here.revision <= EMPTY {
            // A cluster of etcd is empty there: nothing before can be history.
            return self.begin(here);
        }
        self.empty(Point {
            revision: here.revision.previous(),
            ..here
        });
        let bytes = |change: &Change| {
            let value = match &change.op {
                Op::Set(value) => value.len(),
                Op::Delete => 0,
            };
            (change.path.len() + value + change.attributes.len()) as u64 + OVERHEAD_BYTES
        };
        self.bytes += changes.iter().map(bytes).sum::<u64>();
        self.told = self.told.max(here.revision);
    }

    /// Nothing was journaled of the revisions up to this one.
    fn empty(&mut self, here: Point) {
        let count = here.revision.0 - self.told.0;
        if count > MOST_PADS {
            self.begin(here);
        } else if count > 0 {
            self.bytes += count.unsigned_abs() * PAD_BYTES;
            self.told = here.revision;
        }
    }

    /// History begins anew with the state there.
    fn begin(&mut self, point: Point) {
        self.begins = Mark {
            point,
            bytes: self.bytes,
        };
        self.oldest = Some(self.oldest.unwrap_or(point.revision));
        self.told = point.revision.max(EMPTY);
        self.marks.clear();
        self.marks.push_back(self.begins);
    }

    /// The states that are asked for, as far as they are not older.
    fn find(&mut self, revision: Revision) {
        if self.oldest.is_none() {
            return;
        }
        for (_, found) in self.asked.iter_mut().filter(|(at, _)| *at >= revision) {
            *found = Some(self.last);
        }
    }

    fn mark(&mut self, point: Point) {
        let newest = self.marks.back().map_or(0, |mark| mark.bytes);
        if self.bytes - newest >= MARK_BYTES {
            let bytes = self.bytes;
            self.marks.push_back(Mark { point, bytes });
        }
        while self.marks.len() > 1
            && self
                .marks
                .front()
                .is_some_and(|oldest| self.bytes - oldest.bytes > self.history_bytes)
        {
            self.marks.pop_front();
        }
    }
}

fn segment_bytes(reader: &Reader) -> u64 {
    let files = std::fs::read_dir(reader.dir()).into_iter().flatten();
    let segments = files
        .filter_map(Result::ok)
        .filter(|file| file.path().extension().is_some_and(|is| is == "seg"));
    let bytes = segments.filter_map(|file| file.metadata().ok());
    bytes.map(|file| file.len()).sum()
}
