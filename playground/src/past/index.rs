//! Where each change lies: every 256th's record, and what happened besides changes.

use std::collections::VecDeque;

use cairn_journal::replay::{Replay, Unseen};
use cairn_journal::{
    Entry, GapReason, Reader, Records, Result, Sequence, State, StateFollower, Timestamp,
};

use crate::past::answers::Marker;
use crate::told::state::History;

/// A place is kept every so many changes.
pub(super) const EVERY: u64 = 256;

/// How many markers are kept.
const MARKERS: usize = 250;

/// A record, and how many changes there are before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) before: u64,
    pub(super) sequence: Sequence,
}

/// Follows a journal, and keeps places and markers.
#[derive(Debug)]
pub(super) struct Index {
    reader: Reader,
    records: Records,
    replay: Replay,
    places: Vec<Place>,
    markers: VecDeque<Marker>,
    count: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Index {
    /// `begin`: what there is before the first change.
    pub(super) fn new(reader: &Reader, begin: &StateFollower) -> Self {
        let is_retired = begin.next() > Sequence(1);
        Self {
            reader: reader.clone(),
            records: reader.records_from(begin.next()),
            replay: begin.replay().clone(),
            places: Vec::new(),
            markers: is_retired
                .then(|| retired(begin.state()))
                .into_iter()
                .collect(),
            count: 0,
            first: None,
            last: None,
        }
    }

    /// Reads what was written since.
    pub(super) fn advance(&mut self) -> Result<()> {
        loop {
            let Some(record) = self.records.next_ref() else {
                return Ok(());
            };
            let record = record?;
            let step = self.replay.view(&record);
            let at = record.entry.observed_at();
            let marker = match record.entry.marker() {
                Some(entry) => marker(entry, step.unseen, self.count),
                None => None,
            };
            let changes = record.entry.changes().count() as u64;
            if changes > 0 {
                let is_due = self
                    .places
                    .last()
                    .is_none_or(|last| self.count - last.before >= EVERY);
                if is_due {
                    self.places.push(Place {
                        before: self.count,
                        sequence: record.sequence,
                    });
                }
                self.count += changes;
                self.first = self.first.or(at);
                self.last = at.or(self.last);
            }
            if let Some(marker) = marker {
                if self.markers.len() == MARKERS {
                    self.markers.pop_front();
                }
                self.markers.push_back(marker);
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn markers(&self) -> Vec<Marker> {
        self.markers.iter().cloned().collect()
    }

    pub(super) fn history(&self) -> History {
        History {
            count: self.count,
            first_time: self.first.and_then(millis),
            last_time: self.last.and_then(millis),
        }
    }

    /// The newest place from which this change is reached by reading on.
    pub(super) fn place(&self, change: u64) -> Option<Place> {
        let after = self.places.partition_point(|place| place.before < change);
        self.places.get(after.checked_sub(1)?).copied()
    }
}

/// Unix milliseconds.
pub(super) fn millis(at: Timestamp) -> Option<u64> {
    u64::try_from(at.0).ok().filter(|at| *at > 0)
}

/// What was before the first change is there as a state alone.
fn retired(before: &State) -> Marker {
    Marker {
        index: 0,
        kind: "retired",
        says: format!(
            "the history up to revision {} is retired: change 1 is the first after the {} keys of \
             then",
            before.revision.0,
            before.files.len()
        ),
        time: None,
    }
}

/// What happened besides changes, after so many of them.
fn marker(entry: &Entry, unseen: Option<Unseen>, index: u64) -> Option<Marker> {
    let time = entry.observed_at().and_then(millis);
    let told = |kind, says| {
        Some(Marker {
            index,
            kind,
            says,
            time,
        })
    };
    if let Entry::Timeline(timeline) = entry {
        return match &timeline.parent {
            Some(_) if timeline.kept => told(
                "restored",
                format!("restored at revision {}; revisions kept", timeline.at.0),
            ),
            Some(_) => told(
                "restored",
                format!("restored at revision {}", timeline.at.0),
            ),
            None => told(
                "timeline",
                "a cluster was followed for the first time".to_owned(),
            ),
        };
    }
    let gap = unseen?.gap();
    let is_news = gap.first <= gap.last && gap.reason != GapReason::Baseline;
    let is_opening = !matches!(unseen, Some(Unseen::Bridged(_)));
    (is_news && is_opening).then_some(())?;
    told(
        "gap",
        format!(
            "revisions {} to {} were not seen one by one",
            gap.first.0, gap.last.0
        ),
    )
}
