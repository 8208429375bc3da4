//! The state at a revision: what a follower of all changes up to it would hold.
//!
//! Built from a checkpoint and the records after it, in order, so memory grows with the state and
//! not with history.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    checkpoint::{file::Checkpoint, history::History, item::Live},
    error::{Error, Result},
    model::{
        entry::{Change, Entry, Gap, KeyValue, Op, Record, Timeline},
        ids::{Revision, Sequence},
    },
    read::{reader::Reader, records::Records},
    replay::machine::{Effect, Replay, Step, Unseen},
};

/// Every path that exists at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// By path: the revision of its last set, the value and the attributes.
    pub files: BTreeMap<Bytes, KeyValue>,
    /// The leases that are alive: the id of each, and the time to live that it was granted, in
    /// seconds.
    pub leases: BTreeMap<i64, i64>,
    /// The revision of this state: the newest one covered, or the one that was asked for.
    pub revision: Revision,
    /// The timeline it belongs to.
    pub timeline: Option<Timeline>,
    /// What is missing from it: a gap whose snapshot diff is not complete, or what damage has cost
    /// and nothing has made good since.
    pub open_gap: Option<Gap>,
}

impl State {
    /// Takes in one change that happened at `revision`. What is kept of it is copied: a record that
    /// was read may be a part of a larger buffer, which a state must not keep.
    pub fn apply(&mut self, revision: Revision, change: &Change) {
        let Op::Set(value) = &change.op else {
            self.files.remove(&change.path);
            return;
        };
        let known = self.files.get(&change.path);
        let path = known.map_or_else(
            || Bytes::copy_from_slice(&change.path),
            |known| known.path.clone(),
        );
        let kv = KeyValue {
            path: path.clone(),
            revision: change.revision.unwrap_or(revision),
            value: Bytes::copy_from_slice(value),
            attributes: Bytes::copy_from_slice(&change.attributes),
            is_control: change.is_control,
        };
        self.files.insert(path, kv);
    }

    /// Takes in what a record at `revision` says of paths and leases. Whether it counts now, a
    /// [`Replay`] says.
    pub fn apply_entry(&mut self, revision: Revision, entry: &Entry) {
        if let Entry::Lease {
            id, granted_ttl, ..
        } = entry
        {
            match granted_ttl {
                Some(granted_ttl) => self.leases.insert(*id, *granted_ttl),
                None => self.leases.remove(id),
            };
        }
        for change in entry.changes() {
            self.apply(revision, change);
        }
    }

    /// Leaves out what control writes have set.
    #[must_use]
    pub fn without_control(mut self) -> Self {
        self.files.retain(|_, kv| !kv.is_control);
        self
    }
}

impl Reader {
    /// The state at revision `at` of the newest timeline; `None`: at the newest covered revision.
    ///
    /// Begins with the newest checkpoint that can be begun with, else with the first record. A
    /// revision beyond the end cannot be told, nor one before the oldest checkpoint if retention
    /// has removed what was before it: [`Error::NotInHistory`]; nor one inside a gap:
    /// [`Error::NotSeen`]. A gap whose snapshot diff is not complete is left out: the state is the
    /// one before it. What is missing is in [`State::open_gap`]. What control writes have set is in
    /// it only [with control](Self::with_control).
    ///
    /// If a checkpoint is damaged, an older one or the whole history takes its place where there is
    /// one; that is logged as a warning. [`Reader::state_and_damage`] returns it.
    pub fn state(&self, at: Option<Revision>) -> Result<State> {
        let (state, damaged) = self.state_and_damage(at)?;
        for error in damaged {
            tracing::warn!(%error, "a damaged checkpoint was passed over");
        }
        Ok(state)
    }

    /// [`Reader::state`], with what is wrong with each checkpoint that was passed over.
    pub fn state_and_damage(&self, at: Option<Revision>) -> Result<(State, Vec<Error>)> {
        // What retention removed while it was about to be read is not asked for a second time.
        for _ in 0..RETRIES {
            match attempt(self, at) {
                Err(Error::Retired { .. }) => {}
                Err(error) if error.is_gone() => {}
                other => return other,
            }
        }
        attempt(self, at)
    }
}

/// Each time retention has gone past at least one more checkpoint.
pub(crate) const RETRIES: usize = 64;

/// Reads what is behind a checkpoint once. Only if revisions turn out to have begun anew behind
/// what was wanted, so that it meant something else, is all of it read again.
fn attempt(reader: &Reader, at: Option<Revision>) -> Result<(State, Vec<Error>)> {
    let shows_control = reader.shows_control();
    // A control write may have taken the place of another one.
    let reader = &reader.clone().with_control();
    let history = History::read(reader.directory().storage(), reader.dir())?;
    let mut damaged = history.checkpoints.damaged.clone();
    let bases = history.checkpoints.usable.iter().map(Some);
    let mut bases: Vec<_> = bases.chain(history.is_complete().then_some(None)).collect();
    let newest = bases.first().copied().flatten();
    let mut known = Known::at(newest);
    let mut passed_over: Option<Error> = None;
    loop {
        let is_early = |base: &Option<&Checkpoint>| match (base, at) {
            (Some(base), Some(at)) => known.begins_early_enough(base, at),
            _ => true,
        };
        let Some(begin) = bases.iter().position(is_early) else {
            if let Some(error) = passed_over {
                return Err(error);
            }
            let read = Known::read(reader, newest)?;
            if read.from() > known.from() {
                known = read;
                continue;
            }
            let at = at.expect("without it every checkpoint is early enough");
            read.check(at, &bases)?;
            return Err(read.not_in_history(at, &bases));
        };
        match build(reader, bases[begin], at.map(|at| (at, known.from()))) {
            Ok((state, now)) => {
                known = now;
                if let Some(state) = state {
                    if let Some(at) = at {
                        known.check(at, &bases)?;
                    }
                    damaged.extend(passed_over);
                    let state = match shows_control {
                        true => state,
                        false => state.without_control(),
                    };
                    return Ok((state, damaged));
                }
            }
            Err(error @ Error::CheckpointDamaged { .. }) => {
                bases.remove(begin);
                damaged.extend(passed_over.replace(error));
            }
            Err(other) => return Err(other),
        }
    }
}

/// The state from `base` (or the first record) on, and what is known at the end. `wanted`: as it
/// was at this revision, counted behind this record; then there is none if revisions began anew
/// since.
fn build(
    reader: &Reader,
    base: Option<&Checkpoint>,
    wanted: Option<(Revision, Sequence)>,
) -> Result<(Option<State>, Known)> {
    let mut growing = Growing::at(base)?;
    let mut known = Known::at(base);
    let mut told = None;
    for record in records_after(reader, base) {
        let record = record?;
        if told.is_none()
            && let Some((at, from)) = wanted
            && record.sequence > from
            && is_beyond(&known.replay, &record, at)
        {
            told = Some(std::mem::take(&mut growing).finish(&known.replay, at));
        }
        let step = known.see(&record);
        if step.switch.is_some() && told.is_some() {
            return Ok((None, known));
        }
        if told.is_none() {
            growing.take(record, step.effect);
        }
    }
    let state = told.unwrap_or_else(|| {
        let revision = wanted.map_or(known.replay.consistent().covered, |(at, _)| at);
        growing.finish(&known.replay, revision)
    });
    Ok((Some(state), known))
}

/// Whether this record, which comes next, says something of a time after `at`.
fn is_beyond(replay: &Replay, record: &Record, at: Revision) -> bool {
    match record.entry {
        Entry::Changes { .. } | Entry::Lease { .. } => {
            !replay.in_snapshot_diff() && record.revision > at
        }
        Entry::Gap { last, .. } => last > at,
        Entry::Lost { first, last, .. } => first <= last && first > at,
        _ => false,
    }
}

/// A state that grows with the records.
#[derive(Clone, Debug, Default)]
struct Growing {
    state: State,
    /// Of a snapshot diff that is not complete.
    held: Vec<Record>,
}

impl Growing {
    fn at(base: Option<&Checkpoint>) -> Result<Self> {
        let mut growing = Self::default();
        if let Some(base) = base {
            let mut blocks = base.blocks(&Arc::default())?;
            while let Some(live) = blocks.next_live()? {
                match live {
                    Live::Path(kv) => growing.state.files.insert(kv.path.clone(), kv).map(drop),
                    Live::Lease(id, ttl) => growing.state.leases.insert(id, ttl).map(drop),
                };
            }
        }
        Ok(growing)
    }

    fn take(&mut self, record: Record, effect: Effect) {
        match effect {
            Effect::Apply => self.state.apply_entry(record.revision, &record.entry),
            Effect::Hold => self.held.push(record),
            Effect::Discard => self.held.clear(),
            Effect::Resync => {
                for record in std::iter::once(record).chain(std::mem::take(&mut self.held)) {
                    self.state.apply_entry(record.revision, &record.entry);
                }
            }
        }
    }

    /// It is the state of this revision.
    fn finish(mut self, replay: &Replay, revision: Revision) -> State {
        self.state.timeline = replay.consistent().timeline.clone();
        self.state.open_gap = replay.open_gap();
        self.state.revision = revision;
        self.state
    }
}

/// A state that follows the records of a journal, one after another. The changes of a snapshot diff
/// come into it together, once the diff is complete.
#[derive(Clone, Debug, Default)]
pub struct StateFollower {
    growing: Growing,
    replay: Replay,
    next: Sequence,
}

impl Reader {
    /// A follower that has taken nothing yet. It begins with nothing, or, where retention has
    /// removed the first records, with the oldest checkpoint that can be begun with.
    ///
    /// # Errors
    /// A checkpoint that is damaged, the disk's.
    pub fn state_follower(&self) -> Result<StateFollower> {
        let history = History::read(self.directory().storage(), self.dir())?;
        if history.is_complete() {
            return Ok(StateFollower {
                next: Sequence(1),
                ..StateFollower::default()
            });
        }
        let base = history.checkpoints.usable.last();
        let base = base.ok_or_else(|| history.not_covered(self.dir()))?;
        let mut growing = Growing::at(Some(base))?;
        if !self.shows_control() {
            growing.state = growing.state.without_control();
        }
        growing.state.revision = base.revision();
        Ok(StateFollower {
            growing,
            replay: Replay::at_checkpoint(&base.header),
            next: base.sequence().next(),
        })
    }
}

impl StateFollower {
    /// Takes in the record that comes next: that of [`StateFollower::next`], or a later one.
    pub fn take(&mut self, record: Record) -> Step {
        let step = self.replay.record(&record);
        self.next = record.sequence.next();
        self.growing.state.revision = record.revision;
        self.growing.take(record, step.effect);
        step
    }

    /// The state that the records have led to. Its timeline and its open gap are not kept.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.growing.state
    }

    /// The sequence from which on records are still to be taken.
    #[must_use]
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// What the records taken so far mean for those that come.
    #[must_use]
    pub fn replay(&self) -> &Replay {
        &self.replay
    }
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
    replay: Replay,
    /// Revisions whose state is not known, both ends included.
    unknown: Vec<Gap>,
}

impl Known {
    /// What is known at `base`, or before the first record.
    fn at(base: Option<&Checkpoint>) -> Self {
        let Some(base) = base else {
            return Self::default();
        };
        Self {
            replay: Replay::at_checkpoint(&base.header),
            // Of what was lost before, only what is not made good can reach beyond the checkpoint.
            unknown: base.header.open_gap.into_iter().collect(),
        }
    }

    /// What is known at the end, read from `base` (or the first record) on.
    fn read(reader: &Reader, base: Option<&Checkpoint>) -> Result<Self> {
        let mut known = Self::at(base);
        for record in records_after(reader, base) {
            known.see(&record?);
        }
        Ok(known)
    }

    /// Takes in the next record.
    fn see(&mut self, record: &Record) -> Step {
        let step = self.replay.record(record);
        if step.switch.is_some() {
            self.unknown.clear();
        }
        match step.unseen {
            // The diff gives the state at the last one.
            Some(Unseen::Bridged(gap)) => self.unknown.push(Gap {
                last: gap.last.previous(),
                ..gap
            }),
            Some(Unseen::Lost(gap)) => self.unknown.push(gap),
            Some(Unseen::Opened(_)) | None => {}
        }
        step
    }

    /// The record from which on revisions mean what they mean in the newest timeline.
    fn from(&self) -> Sequence {
        self.replay.counted_from()
    }

    /// Whether the state at `at` can be reached from this checkpoint.
    fn begins_early_enough(&self, base: &Checkpoint, at: Revision) -> bool {
        base.sequence() < self.from() || base.revision() <= at
    }

    /// The oldest revision that can be reached from any of these.
    fn oldest_from(&self, bases: &[Option<&Checkpoint>]) -> Revision {
        let reach = |base: &Option<&Checkpoint>| match base {
            Some(base) if base.sequence() >= self.from() => {
                base.revision().max(self.replay.first_told())
            }
            _ => self.replay.first_told(),
        };
        bases
            .iter()
            .map(reach)
            .min()
            .unwrap_or(self.replay.first_told())
    }

    fn not_in_history(&self, at: Revision, bases: &[Option<&Checkpoint>]) -> Error {
        Error::NotInHistory {
            revision: at,
            oldest: self.oldest_from(bases),
            newest: self.replay.covered(),
        }
    }

    fn check(&self, at: Revision, bases: &[Option<&Checkpoint>]) -> Result<()> {
        let oldest = self.oldest_from(bases);
        let is_within = |at: Revision| oldest <= at && at <= self.replay.covered();
        let Some(gap) = self.gap_at(at) else {
            let is_told = is_within(at);
            return is_told.then_some(()).ok_or(self.not_in_history(at, bases));
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
        let told = |at: Revision| (is_within(at) && at > Revision::NONE).then_some(at);
        Err(Error::NotSeen {
            revision: at,
            gap: *gap,
            before: told(before),
            after: told(after),
        })
    }

    fn gap_at(&self, at: Revision) -> Option<&Gap> {
        (self.unknown.iter()).find(|gap| gap.first <= at && at <= gap.last)
    }
}
