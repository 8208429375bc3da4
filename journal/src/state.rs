//! The state at a revision: what a follower of all changes up to it would hold.
//!
//! Built from a checkpoint and the records after it, in order, so memory grows with the state and not
//! with history.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Change, Checkpoint, Entry, Error, Gap, GapPhase, GapReason, Op, Reader, Record, Records,
    Result, Revision, Sequence, Timeline, checkpoint::History, tracker::Tracker, turn,
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
    /// What is missing from it: a gap whose difference is not complete, or what damage has cost and
    /// nothing has made good since.
    pub open_gap: Option<Gap>,
}

impl State {
    /// Takes in one change that happened at `revision`. Path and value are copied: those of a record that
    /// was read may be parts of a larger buffer, which a state must not keep.
    pub fn apply(&mut self, revision: Revision, change: &Change) {
        match &change.op {
            Op::Set(value) => {
                let at = change.revision.unwrap_or(revision);
                let file = (at, Bytes::copy_from_slice(value));
                match self.files.get_mut(&change.path) {
                    Some(known) => *known = file,
                    None => {
                        let path = Bytes::copy_from_slice(&change.path);
                        self.files.insert(path, file);
                    }
                }
            }
            Op::Delete => {
                self.files.remove(&change.path);
            }
        }
    }
}

/// The state at revision `at` of the newest timeline; `None`: at the newest covered revision.
///
/// Begins with the newest checkpoint that can be begun with, else with the first record.
/// A revision beyond the end cannot be told, nor one before the oldest checkpoint if retention has removed
/// what was before it: [`Error::NotInHistory`]; nor one inside a gap: [`Error::NotSeen`].
/// A gap whose difference is not complete is left out: the state is the one before it. What is missing is
/// in [`State::open_gap`].
///
/// If a checkpoint is damaged, an older one or the whole history takes its place where there is one;
/// that is logged as a warning. [`state_and_damage`] returns it.
pub fn state(reader: &Reader, at: Option<Revision>) -> Result<State> {
    let (state, damaged) = state_and_damage(reader, at)?;
    for error in damaged {
        tracing::warn!(%error, "a damaged checkpoint was passed over");
    }
    Ok(state)
}

/// The same, with what is wrong with each checkpoint that was passed over.
pub fn state_and_damage(reader: &Reader, at: Option<Revision>) -> Result<(State, Vec<Error>)> {
    // What retention removed while it was about to be read is not asked for a second time.
    for _ in 0..RETRIES {
        match attempt(reader, at) {
            Err(Error::Retired { .. }) => {}
            Err(error) if error.is_gone() => {}
            other => return other,
        }
    }
    attempt(reader, at)
}

/// Each time retention has gone past at least one more checkpoint.
pub(crate) const RETRIES: usize = 64;

fn attempt(reader: &Reader, at: Option<Revision>) -> Result<(State, Vec<Error>)> {
    let history = History::read(&**reader.storage(), reader.dir())?;
    let mut damaged = history.checkpoints.damaged.clone();
    let bases = history.checkpoints.usable.iter().map(Some);
    let mut bases: Vec<_> = bases.chain(history.is_complete().then_some(None)).collect();
    let mut reach = None;
    let newest = bases.first().copied().flatten();
    if let Some(at) = at {
        let mut known = Known::read(reader, newest)?;
        known.oldest = known.oldest_from(&bases);
        known.check(at)?;
        bases.retain(|base| base.is_none_or(|b| known.begins_early_enough(b, at)));
        reach = Some(known);
    }
    let mut found_damaged = None;
    for base in bases {
        let wanted = match (at, &reach) {
            // What is behind the newest one was looked at already.
            (Some(at), Some(reach)) if is_same(base, newest) => Some((at, reach.from)),
            (Some(at), Some(reach)) => {
                let mut known = Known::read(reader, base)?;
                known.oldest = reach.oldest;
                known.check(at)?;
                Some((at, known.from))
            }
            _ => None,
        };
        match build(reader, base, wanted) {
            Ok(state) => {
                damaged.extend(found_damaged);
                return Ok((state, damaged));
            }
            Err(error @ Error::CheckpointDamaged { .. }) => {
                damaged.extend(found_damaged.replace(error));
            }
            Err(other) => return Err(other),
        }
    }
    // The last one that could have been begun with, or there was none for this revision.
    Err(match (found_damaged, at, reach) {
        (None, Some(at), Some(reach)) => reach.not_in_history(at),
        (Some(error), ..) => error,
        (None, ..) => unreachable!("history is covered, so there is a way to begin"),
    })
}

fn is_same(a: Option<&Checkpoint>, b: Option<&Checkpoint>) -> bool {
    a.map(Checkpoint::sequence) == b.map(Checkpoint::sequence)
}

/// The state from `base` (or the first record) on.
fn build(
    reader: &Reader,
    base: Option<&Checkpoint>,
    wanted: Option<(Revision, Sequence)>,
) -> Result<State> {
    let mut state = State::default();
    if let Some(base) = base {
        for entry in base.entries()? {
            let entry = entry?;
            state
                .files
                .insert(entry.path, (entry.revision, entry.value));
        }
    }
    let mut tracker = tracker_at(base);
    // Within a gap: what was known before it, which is what this state is of until the gap is closed.
    let mut settled = tracker.clone();
    let mut difference: Vec<Record> = Vec::new();
    for record in records_after(reader, base) {
        let record = record?;
        if let Some((at, from)) = wanted
            && record.sequence > from
            && is_beyond(&tracker, &record, at)
        {
            apply_upto(&mut state, &tracker, &record, at);
            break;
        }
        tracker.apply(record.revision, &record.entry);
        if !tracker.in_difference() {
            settled = tracker.clone();
        }
        match record.entry {
            // If only markers were lost, the difference goes on.
            Entry::Lost { .. } if tracker.in_difference() => {}
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
    state.timeline = settled.timeline;
    state.open_gap = tracker.open_gap;
    state.revision = wanted.map_or(settled.covered, |(at, _)| at);
    Ok(state)
}

fn tracker_at(base: Option<&Checkpoint>) -> Tracker {
    base.map_or_else(Tracker::default, |b| Tracker {
        covered: b.header.revision,
        timeline: b.header.timeline.clone(),
        open_gap: b.header.open_gap,
        unhealed: None,
    })
}

fn records_after(reader: &Reader, base: Option<&Checkpoint>) -> Records {
    match base {
        Some(base) => reader.records_from(base.sequence().next()),
        None => reader.records(),
    }
}

/// Which revisions the state can be told at.
#[derive(Default)]
struct Known {
    /// The record from which on revisions mean what they mean in the newest timeline.
    from: Sequence,
    oldest: Revision,
    newest: Revision,
    /// Revisions in between whose state is not known, both ends included.
    unknown: Vec<Gap>,
}

impl Known {
    /// What can be known from `base` (or the first record) on.
    fn read(reader: &Reader, base: Option<&Checkpoint>) -> Result<Self> {
        let mut known = base.map_or_else(Self::default, |b| Self {
            from: b.header.counting_from,
            oldest: b.header.counting_at,
            newest: Revision::NONE,
            // Of what was lost before, only what is not made good can reach beyond the checkpoint.
            unknown: b.header.open_gap.into_iter().collect(),
        });
        let mut tracker = tracker_at(base);
        for record in records_after(reader, base) {
            let record = record?;
            let covered = tracker.covered;
            tracker.apply(record.revision, &record.entry);
            match &record.entry {
                Entry::Timeline(t) if turn::counts_anew(t, record.revision, covered) => {
                    known = Self {
                        from: record.sequence,
                        oldest: turn::first_told(record.revision, covered),
                        ..Self::default()
                    };
                }
                Entry::Gap {
                    first,
                    last,
                    reason,
                    phase: GapPhase::Closed,
                    ..
                } => known.unknown.push(Gap {
                    first: *first,
                    // The difference gives the state at the last one.
                    last: last.previous(),
                    reason: *reason,
                }),
                // A timeline that took revisions back is among what is lost.
                Entry::Lost { first, last, .. } if record.revision < covered => {
                    known = Self {
                        from: record.sequence,
                        oldest: record.revision.next(),
                        unknown: vec![damaged(*first, *last)],
                        ..Self::default()
                    };
                }
                Entry::Lost { first, last, .. } => known.unknown.push(damaged(*first, *last)),
                _ => {}
            }
        }
        known.newest = tracker.covered;
        Ok(known)
    }

    /// Whether the state at `at` can be reached from this checkpoint.
    fn begins_early_enough(&self, base: &Checkpoint, at: Revision) -> bool {
        base.sequence() < self.from || base.revision() <= at
    }

    /// The oldest revision that can be reached from any of these.
    fn oldest_from(&self, bases: &[Option<&Checkpoint>]) -> Revision {
        let reach = |base: &Option<&Checkpoint>| match base {
            Some(base) if base.sequence() >= self.from => base.revision().max(self.oldest),
            _ => self.oldest,
        };
        bases.iter().map(reach).min().unwrap_or(self.oldest)
    }

    fn not_in_history(&self, at: Revision) -> Error {
        Error::NotInHistory {
            revision: at,
            oldest: self.oldest,
            newest: self.newest,
        }
    }

    fn check(&self, at: Revision) -> Result<()> {
        let Some(gap) = self.gap_at(at) else {
            let is_told = self.is_within(at);
            return is_told.then_some(()).ok_or(self.not_in_history(at));
        };
        // One gap may lie in another, or next to it.
        let (mut before, mut after) = (gap.first.previous(), gap.last.next());
        while let Some(gap) = self.gap_at(before) {
            before = gap.first.previous();
        }
        while let Some(gap) = self.gap_at(after) {
            after = gap.last.next();
        }
        // At revision 0 there is nothing, which is no state to go back to.
        let told = |at: Revision| (self.is_within(at) && at > Revision::NONE).then_some(at);
        Err(Error::NotSeen {
            revision: at,
            gap: *gap,
            before: told(before),
            after: told(after),
        })
    }

    fn is_within(&self, at: Revision) -> bool {
        self.oldest <= at && at <= self.newest
    }

    fn gap_at(&self, at: Revision) -> Option<&Gap> {
        (self.unknown.iter()).find(|gap| gap.first <= at && at <= gap.last)
    }
}

fn damaged(first: Revision, last: Revision) -> Gap {
    Gap {
        first,
        last,
        reason: GapReason::Damage,
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

/// Of a record in which a repair put several revisions: those up to `at`.
fn apply_upto(state: &mut State, tracker: &Tracker, record: &Record, at: Revision) {
    if let Entry::Changes { changes, .. } = &record.entry
        && !tracker.in_difference()
    {
        let earlier = |c: &&Change| c.revision.is_some_and(|r| r <= at);
        for change in changes.iter().filter(earlier) {
            state.apply(record.revision, change);
        }
    }
}

fn apply(state: &mut State, record: &Record) {
    if let Entry::Changes { changes, .. } = &record.entry {
        for change in changes {
            state.apply(record.revision, change);
        }
    }
}
