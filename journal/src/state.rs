//! The state at a revision: what a follower of all changes up to it would hold.
//!
//! Built by reading records in order, so memory grows with the state and not with history.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Change, Entry, Error, GapPhase, Op, Reader, Record, Result, Revision, Sequence, Timeline,
    tracker::Tracker,
};

/// Every path that exists at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Path to the revision of its last set, and the value.
    pub files: BTreeMap<Bytes, (Revision, Bytes)>,
    /// The revision of this state: the newest one covered, or the one that was asked for.
    pub revision: Revision,
    /// The timeline it belongs to.
    pub timeline: Option<Timeline>,
}

impl State {
    /// Takes in one change that happened at `revision`.
    pub fn apply(&mut self, revision: Revision, change: &Change) {
        match &change.op {
            Op::Set(value) => {
                let at = change.revision.unwrap_or(revision);
                self.files.insert(change.path.clone(), (at, value.clone()));
            }
            Op::Delete => {
                self.files.remove(&change.path);
            }
        }
    }
}

/// The state at revision `at` of the newest timeline; `None`: at the newest covered revision.
///
/// A revision inside a gap cannot be told, nor one beyond the end: [`Error::NotInHistory`].
/// A gap whose difference is not complete is left out: the state is the one before it.
pub fn state(reader: &Reader, at: Option<Revision>) -> Result<State> {
    let wanted = match at {
        None => None,
        Some(at) => Some((at, Known::read(reader)?.counted_from(at)?)),
    };
    let mut state = State::default();
    let mut tracker = Tracker::default();
    let mut difference: Vec<Record> = Vec::new();
    for record in reader.records() {
        let record = record?;
        if let Some((at, from)) = wanted
            && record.sequence > from
            && is_beyond(&tracker, &record, at)
        {
            break;
        }
        tracker.apply(record.revision, &record.entry);
        match record.entry {
            // If a part of the difference was lost, what there is of it is better than nothing.
            Entry::Lost { .. }
            | Entry::Gap {
                phase: GapPhase::Closed,
                ..
            } => difference.drain(..).for_each(|r| apply(&mut state, &r)),
            // A difference that was not completed is begun anew.
            Entry::Gap { .. } => difference.clear(),
            Entry::Changes { .. } if tracker.in_difference() => difference.push(record),
            _ => apply(&mut state, &record),
        }
    }
    state.timeline = tracker.timeline;
    state.revision = at.unwrap_or(tracker.covered);
    Ok(state)
}

/// Which revisions the state can be told at.
#[derive(Default)]
struct Known {
    /// The record from which on revisions mean what they mean in the newest timeline.
    from: Sequence,
    oldest: Revision,
    newest: Revision,
    /// Revisions in between whose state is not known, both ends included.
    unknown: Vec<(Revision, Revision)>,
}

impl Known {
    fn read(reader: &Reader) -> Result<Self> {
        let mut known = Self::default();
        let mut tracker = Tracker::default();
        for record in reader.records() {
            let record = record?;
            tracker.apply(record.revision, &record.entry);
            match &record.entry {
                Entry::Timeline(t) if !t.kept => {
                    known = Self {
                        from: record.sequence,
                        oldest: tracker.covered,
                        ..Self::default()
                    };
                }
                Entry::Gap {
                    first,
                    last,
                    phase: GapPhase::Closed,
                    ..
                } => known.unknown.push((*first, last.previous())),
                Entry::Lost { first, last, .. } => known.unknown.push((*first, *last)),
                _ => {}
            }
        }
        known.newest = tracker.covered;
        Ok(known)
    }

    fn counted_from(&self, at: Revision) -> Result<Sequence> {
        let inside = |(first, last): &(Revision, Revision)| *first <= at && at <= *last;
        if at < self.oldest || at > self.newest || self.unknown.iter().any(inside) {
            return Err(Error::NotInHistory {
                revision: at,
                oldest: self.oldest,
                newest: self.newest,
            });
        }
        Ok(self.from)
    }
}

/// Whether this record says something of a time after `at`.
fn is_beyond(tracker: &Tracker, record: &Record, at: Revision) -> bool {
    match record.entry {
        Entry::Changes { .. } => !tracker.in_difference() && record.revision > at,
        Entry::Gap { last, .. } => last > at,
        _ => false,
    }
}

fn apply(state: &mut State, record: &Record) {
    if let Entry::Changes { changes, .. } = &record.entry {
        for change in changes {
            state.apply(record.revision, change);
        }
    }
}
