//! Where two journals of the same cluster differ, in one merged pass over both.
//!
//! Compares the revisions that both journals saw, one by one. Revisions that one of them could not
//! see are left out and reported: there a journal holds a snapshot diff instead of events.
//! [`states`] compares the result of both.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;
use cairn_journal::{
    Change, Entry, Revision, Sequence, Timeline,
    replay::{Effect, Replay},
};
use itertools::{EitherOrBoth, Itertools as _};

use crate::read::filter::{Filter, Point};
use crate::read::source::{Source, SourceError, SourceRecords};
use crate::read::tree::{TreeError, tree};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

/// The history by which a journal is compared: the newest stretch in which a revision has one
/// meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Events with higher revisions than this are there.
    pub after: Revision,
    /// The newest revision covered.
    pub newest: Revision,
    /// Revisions in between that were not seen one by one, both ends included.
    pub unseen: Vec<(Revision, Revision)>,
    /// The cluster that is followed.
    pub timeline: Option<Timeline>,
    /// The record with which it begins.
    begin: Sequence,
}

impl History {
    /// Reads a journal for it.
    pub fn of(source: &Source) -> Result<Self, SourceError> {
        let mut history = Self::default();
        match source {
            Source::Checkpoint(checkpoint) => {
                let newest = checkpoint.revision();
                return Ok(Self {
                    after: newest.previous(),
                    newest,
                    timeline: checkpoint.timeline().cloned(),
                    ..history
                });
            }
            // Retention may have removed what was before.
            Source::Journal(reader) => {
                let beginning = reader.beginning()?;
                history.after = beginning.covered;
                history.newest = beginning.covered;
                history.timeline = beginning.timeline;
            }
            Source::Segment(_) | Source::Snapshot(_) | Source::Foreign(_) => {}
        }
        let mut replay = Replay::default();
        for record in source.records(None)? {
            let record = record?;
            let step = replay.record(&record);
            if step.switch.is_some_and(|switch| !switch.kept) {
                history = Self {
                    after: record.revision,
                    newest: record.revision,
                    begin: record.sequence,
                    ..Self::default()
                };
            }
            match (&record.entry, step.unseen) {
                (Entry::Timeline(timeline), _) => history.timeline = Some(timeline.clone()),
                (_, Some(unseen)) => {
                    let gap = unseen.gap();
                    history.miss(gap.first, gap.last);
                    history.newest = history.newest.max(record.revision);
                }
                (Entry::Changes { .. } | Entry::Watermark { .. }, None) => {
                    if record.revision < history.newest {
                        history.miss(record.revision, history.newest);
                    }
                    history.newest = history.newest.max(record.revision);
                }
                _ => {}
            }
        }
        Ok(history)
    }

    /// Notes revisions that were not seen; joins them with the range before if the two meet.
    fn miss(&mut self, first: Revision, last: Revision) {
        match self.unseen.last_mut() {
            _ if first > last => {}
            Some(known) if first <= known.1.next() && known.0 <= last.next() => {
                *known = (known.0.min(first), known.1.max(last));
            }
            _ => self.unseen.push((first, last)),
        }
    }

    fn has_seen(&self, revision: Revision) -> bool {
        let unseen = |(first, last): &(Revision, Revision)| *first <= revision && revision <= *last;
        self.after < revision && revision <= self.newest && !self.unseen.iter().any(unseen)
    }

    /// Whether both follow the same cluster, as far as they say.
    #[must_use]
    pub fn is_related_to(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (&self.timeline, &other.timeline) else {
            return true;
        };
        let descends =
            |child: &Timeline, of: &Timeline| child.kept && child.parent.as_ref() == Some(&of.id);
        a.id == b.id || descends(a, b) || descends(b, a)
    }
}

/// The result of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Changes that both have.
    pub same: u64,
    /// Changes that only the first has.
    pub only_a: u64,
    /// Changes that only the second has.
    pub only_b: u64,
}

/// Compares the changes that both histories saw. `tell` is called with each difference; its error
/// ends the comparison.
pub fn changes<E: From<SourceError>>(
    (a, in_a): (&Source, &History),
    (b, in_b): (&Source, &History),
    filter: &Filter,
    mut tell: impl FnMut(Side, Revision, &Change) -> Result<(), E>,
) -> Result<Compared, E> {
    let seen = |revision| in_a.has_seen(revision) && in_b.has_seen(revision);
    let a = Events::new(a, in_a.begin, &seen, filter)?;
    let b = Events::new(b, in_b.begin, &seen, filter)?;
    let mut compared = Compared::default();
    for pair in a.merge_join_by(b, errors_first) {
        let (a, b) = pair.left_and_right();
        let (a, b) = (a.transpose()?, b.transpose()?);
        let (in_a, in_b) = (changes_of(a.as_ref()), changes_of(b.as_ref()));
        let revision = a.as_ref().or(b.as_ref()).map(|event| event.revision);
        let Some(revision) = revision else { continue };
        for change in in_a.iter().filter(|change| !in_b.contains(change)) {
            compared.only_a += 1;
            tell(Side::A, revision, change)?;
        }
        for change in in_b {
            if in_a.contains(change) {
                compared.same += 1;
            } else {
                compared.only_b += 1;
                tell(Side::B, revision, change)?;
            }
        }
    }
    Ok(compared)
}

/// The order of two events: by revision, and an error before any event.
fn errors_first(a: &Result<Event, SourceError>, b: &Result<Event, SourceError>) -> Ordering {
    match (a, b) {
        (Ok(a), Ok(b)) => a.revision.cmp(&b.revision),
        (Err(_), _) => Ordering::Less,
        (_, Err(_)) => Ordering::Greater,
    }
}

fn changes_of(event: Option<&Event>) -> &[Change] {
    event.map_or(&[], |event| &event.changes)
}

/// Compares the states at a revision; `tell` as for [`changes`], first all of A, then all of B.
pub fn states<E: From<TreeError>>(
    a: &Source,
    b: &Source,
    at: Revision,
    filter: &Filter,
    mut tell: impl FnMut(Side, Revision, &Change) -> Result<(), E>,
) -> Result<Compared, E> {
    let at = Some(Point::Revision(at));
    let (a, b) = (tree(a, at, drop)?, tree(b, at, drop)?);
    let wanted = |(path, _): &(&Bytes, _)| filter.is_path_wanted(path);
    let in_a = a.files.iter().filter(wanted);
    let in_b = b.files.iter().filter(wanted);
    let mut compared = Compared::default();
    let (mut only_a, mut only_b) = (Vec::new(), Vec::new());
    for pair in in_a.merge_join_by(in_b, |(a, _), (b, _)| a.cmp(b)) {
        match pair {
            EitherOrBoth::Both(a, b) if a == b => compared.same += 1,
            differing => {
                let (of_a, of_b) = differing.left_and_right();
                only_a.extend(of_a);
                only_b.extend(of_b);
            }
        }
    }
    compared.only_a = only_a.len() as u64;
    compared.only_b = only_b.len() as u64;
    for (side, files) in [(Side::A, only_a), (Side::B, only_b)] {
        for (_, kv) in files {
            tell(side, kv.revision, &kv.clone().into())?;
        }
    }
    Ok(compared)
}

/// All changes of one revision.
struct Event {
    revision: Revision,
    changes: Vec<Change>,
}

/// The events of a history that were seen one by one and pass the filter, by revision.
struct Events<'a, S> {
    records: SourceRecords,
    begin: Sequence,
    seen: &'a S,
    filter: &'a Filter,
    replay: Replay,
    newest: Revision,
    ahead: VecDeque<Event>,
    /// The rest of the record that was read last.
    shared: VecDeque<Event>,
}

impl<'a, S: Fn(Revision) -> bool> Events<'a, S> {
    fn new(
        source: &Source,
        begin: Sequence,
        seen: &'a S,
        filter: &'a Filter,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            records: source.records(None)?,
            begin,
            seen,
            filter,
            replay: Replay::default(),
            newest: Revision::NONE,
            ahead: VecDeque::new(),
            shared: VecDeque::new(),
        })
    }

    /// Reads until a whole event is there. Its changes may be in one record or, being large, in
    /// several: the event is whole once the next one has begun.
    fn advance(&mut self) -> Result<Option<Event>, SourceError> {
        while self.ahead.len() < 2 {
            let Some(event) = self.read()? else { break };
            if !(self.seen)(event.revision) {
                continue;
            }
            let Event {
                revision,
                mut changes,
            } = event;
            changes.retain(|change| self.filter.is_path_wanted(&change.path));
            match self.ahead.back_mut() {
                _ if changes.is_empty() => {}
                Some(last) if last.revision == revision => last.changes.append(&mut changes),
                _ => self.ahead.push_back(Event { revision, changes }),
            }
        }
        Ok(self.ahead.pop_front())
    }

    fn read(&mut self) -> Result<Option<Event>, SourceError> {
        if let Some(event) = self.shared.pop_front() {
            return Ok(Some(event));
        }
        for record in self.records.by_ref() {
            let record = record?;
            let before = self.replay.covered();
            let step = self.replay.record(&record);
            // Behind a loss within a snapshot diff there is the rest of its state: changes that
            // happened before, and are no events here.
            let is_event = |change: &Change| change.revision.is_none_or(|at| at >= before);
            match record.entry {
                Entry::Changes { changes, .. }
                    if record.sequence > self.begin
                        && step.effect == Effect::Apply
                        && record.revision >= self.newest =>
                {
                    self.newest = record.revision;
                    // A repair may have put several revisions into one record.
                    for mut change in changes.into_iter().filter(is_event) {
                        let revision = change.revision.take().unwrap_or(record.revision);
                        match self.shared.back_mut() {
                            Some(last) if last.revision == revision => last.changes.push(change),
                            _ => self.shared.push_back(Event {
                                revision,
                                changes: vec![change],
                            }),
                        }
                    }
                    if let Some(event) = self.shared.pop_front() {
                        return Ok(Some(event));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl<S: Fn(Revision) -> bool> Iterator for Events<'_, S> {
    type Item = Result<Event, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
