//! All that is known of what a journal has lost: by donors, by timelines, and by what an earlier repair
//! could only tell together with a loss.
//!
//! Decides what belongs into a hole. What comes out of a hole depends only on what is whole around it and on
//! what is known, never on what an earlier repair made of it: so a repair that is run again changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    donor::{self, Donors, Part, Piece, Recalled},
    error::Result,
    format::position::TimelineTag,
    model::{
        entry::{Change, Entry, Gap, GapReason},
        ids::Revision,
        span::Span,
        time::Timestamp,
    },
    repair::{
        hole::{self, Step},
        lineage::Lineage,
        place::{Behind, Place},
    },
    replay::tracker::Tracker,
};

/// Stands for the journal itself among the donors.
pub(crate) const OWN: usize = usize::MAX;

/// What an earlier repair told within the record of a loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    known: Vec<Span>,
    changes: Vec<Change>,
    observed_at: Timestamp,
}

impl Own {
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Lost {
                known,
                changes,
                observed_at,
                ..
            } => Some(Self {
                known: known.clone(),
                changes: changes.clone(),
                observed_at: *observed_at,
            }),
            _ => None,
        }
    }

    fn knows(&self, span: Span) -> Vec<Part> {
        let common = self.known.iter().filter_map(|known| known.overlap(span));
        let part = |span: Span| {
            let revisions = self.revisions(span);
            Part {
                span,
                events: revisions.len() as u64,
                bytes: self
                    .changes
                    .iter()
                    .filter(|c| c.revision.is_some_and(|r| revisions.contains(&r)))
                    .map(donor::bytes_of)
                    .sum(),
            }
        };
        common.map(part).collect()
    }

    fn revisions(&self, span: Span) -> BTreeSet<Revision> {
        let revisions = self.changes.iter().filter_map(|c| c.revision);
        revisions
            .filter(|r| span.first <= *r && *r <= span.last)
            .collect()
    }

    fn recall(&self, span: Span, visit: &mut dyn FnMut(Recalled) -> Result<()>) -> Result<()> {
        let mut by_revision: BTreeMap<Revision, Vec<Change>> = BTreeMap::new();
        for change in &self.changes {
            let at = change.revision;
            if let Some(at) = at.filter(|r| span.first <= *r && *r <= span.last) {
                let plain = Change {
                    revision: None,
                    ..change.clone()
                };
                by_revision.entry(at).or_default().push(plain);
            }
        }
        for (revision, changes) in by_revision {
            visit(Recalled {
                revision,
                changes,
                observed_at: self.observed_at,
            })?;
        }
        Ok(())
    }
}

/// What is known before a hole.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) timeline: Option<String>,
    pub(crate) tag: TimelineTag,
    /// Covered by records that are there.
    pub(crate) covered: Revision,
    /// Up to where all was told, or named as lost.
    pub(crate) reached: Revision,
    /// The gap whose difference is under way.
    pub(crate) gap: Option<Gap>,
}

impl Before {
    /// What the records so far say.
    pub(crate) fn new(tracker: &Tracker, lineage: &Lineage) -> Self {
        let timeline = tracker.timeline.as_ref().map(|t| t.id.clone());
        let own = TimelineTag::of(timeline.as_deref());
        let tag = tracker.tag.unwrap_or(own);
        Self {
            timeline: if tag == own {
                timeline
            } else {
                lineage.name(tag).map(str::to_owned)
            },
            tag,
            covered: tracker.covered,
            reached: tracker.reached.max(tracker.covered),
            gap: tracker.open_gap.filter(|_| tracker.in_snapshot_diff()),
        }
    }

    /// Behind a hole that was dealt with.
    pub(crate) fn pass(&mut self, place: &Place, lineage: &Lineage) {
        if let Some(tag) = place.timeline.filter(|tag| *tag != self.tag) {
            self.tag = tag;
            self.timeline = lineage.name(tag).map(str::to_owned);
            self.reached = place.covered;
        }
        self.covered = place.covered;
        self.reached = self.reached.max(place.gap.unwrap_or(place.covered));
        // An earlier repair may have told events within a difference: it is over only behind its gap.
        self.gap = self.gap.filter(|gap| place.covered < gap.last);
    }
}

/// What belongs into a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// These steps.
    Steps(Vec<Step>),
    /// A record of a timeline is among what is lost that took revisions back: what the new one counted up to
    /// here is not known.
    TakenBack(Revision),
    /// All of it comes later: in the next hole, or behind the end of the journal.
    Behind,
}

/// Everybody who may know something.
pub(crate) struct Knowledge<'k, 'd> {
    pub(crate) donors: &'k mut Donors<'d>,
    pub(crate) lineage: &'k Lineage,
    pub(crate) own: Vec<Own>,
}

impl Knowledge<'_, '_> {
    /// What is known of a span.
    pub(crate) fn survey(
        &mut self,
        timeline: Option<&str>,
        span: Option<Span>,
    ) -> Result<Vec<Piece>> {
        let Some(span) = span else {
            return Ok(Vec::new());
        };
        let mut pieces = match timeline {
            Some(timeline) => self.donors.survey(timeline, span)?,
            None => vec![Piece::Unknown(span)],
        };
        let timeline = timeline.unwrap_or_default();
        for own in &self.own {
            pieces = donor::asked(pieces, OWN, timeline, |unknown| Ok(own.knows(unknown)))?;
        }
        Ok(pieces)
    }

    pub(crate) fn recall(
        &mut self,
        donor: usize,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(Recalled) -> Result<()>,
    ) -> Result<()> {
        if donor != OWN {
            return self.donors.recall(donor, timeline, span, visit);
        }
        for own in &self.own {
            own.recall(span, visit)?;
        }
        Ok(())
    }

    /// What belongs into a hole of so many records.
    pub(crate) fn plan(&mut self, x: &Before, behind: Behind, slots: u64) -> Result<Plan> {
        match behind {
            Behind::Place { place, adjacent } => {
                let plan = self.between(x, place, slots, adjacent)?;
                Ok(match plan {
                    // More is lost before that place: all of it is told there.
                    Plan::Steps(steps) if !adjacent && hole::least(&steps) > slots => Plan::Behind,
                    other => other,
                })
            }
            Behind::End { timeline, reached } => self.at_end(x, timeline, reached, slots),
        }
    }

    fn between(&mut self, x: &Before, place: Place, slots: u64, adjacent: bool) -> Result<Plan> {
        let end = place.gap.unwrap_or(place.covered);
        let turns = match place.timeline {
            Some(tag) if tag != x.tag => {
                let to = self.lineage.name(tag);
                to.and_then(|to| self.lineage.path(x.timeline.as_deref(), to))
            }
            _ => Some(Vec::new()),
        };
        let known_turns = turns.is_some();
        let turns = turns.unwrap_or_default();
        if turns.is_empty() {
            if slots == 1 && adjacent && place.original && known_turns {
                match (x.gap, place.gap) {
                    // All of the difference is there: only its end, or its opening, can have been here.
                    (Some(gap), None) if place.covered == gap.last => {
                        return Ok(Plan::Steps(vec![Step::Closed(gap)]));
                    }
                    (None, Some(last)) if place.covered == x.covered => {
                        return Ok(Plan::Steps(vec![Step::Opened(reopened(x.covered, last))]));
                    }
                    _ => {}
                }
            }
            if place.covered < x.covered && place.gap.is_none() {
                return Ok(Plan::TakenBack(place.covered));
            }
        }
        let mut steps = Vec::new();
        let (mut timeline, mut from) = (x.timeline.clone(), x.reached);
        if let Some(gap) = x.gap {
            let same = turns.is_empty() && place.gap == Some(gap.last) && place.covered < gap.last;
            if !same && turns.is_empty() && place.gap.is_none() && place.covered < gap.last {
                // The difference was begun anew behind the hole: nothing of this one counts.
                return Ok(Plan::Steps(Vec::new()));
            }
            steps.extend(self.of_difference(timeline.as_deref(), from, gap, !same)?);
            from = from.max(gap.last);
        }
        if timeline.is_none() {
            // Of the first one of all perhaps only the name is left.
            timeline = turns.first().and_then(|t| t.to.parent.clone());
        }
        for turn in turns {
            let to = turn.to;
            let at = if to.parent.is_none() {
                // Whoever followed it first may have begun later than the journal.
                Revision::NONE
            } else if to.kept {
                to.at.min(end)
            } else {
                turn.begun.unwrap_or(Revision::NONE).min(end)
            };
            let upto = if to.kept { at } else { to.at };
            let before = Span::new(from.next(), upto);
            steps.push(Step::Tell(self.survey(timeline.as_deref(), before)?));
            timeline = Some(to.id.clone());
            steps.push(Step::Turn(to, at));
            from = at;
        }
        let rest = Span::new(from.next(), end);
        let timeline = match (known_turns, &x.timeline) {
            (true, _) => timeline,
            // Only the name is left of the first one of all.
            (false, None) => place
                .timeline
                .and_then(|tag| self.lineage.name(tag))
                .map(str::to_owned),
            // In which timeline that was is not known, if the way there is not.
            (false, Some(_)) => None,
        };
        steps.push(Step::Tell(self.survey(timeline.as_deref(), rest)?));
        Ok(Plan::Steps(steps))
    }

    /// The rest of a gap whose difference has lost a part. `ends`: behind the hole it is over.
    fn of_difference(
        &mut self,
        timeline: Option<&str>,
        from: Revision,
        gap: Gap,
        ends: bool,
    ) -> Result<Vec<Step>> {
        let pieces = self.survey(timeline, Span::new(from.next(), gap.last))?;
        if !pieces.iter().all(Piece::is_known) {
            return Ok(vec![Step::Broken(pieces)]);
        }
        let mut steps = vec![Step::Tell(pieces)];
        if ends {
            steps.push(Step::Closed(gap));
        }
        Ok(steps)
    }

    /// What is lost at the end of the journal: nothing says how far it went, only how many records it had.
    fn at_end(
        &mut self,
        x: &Before,
        tag: Option<TimelineTag>,
        reached: Revision,
        slots: u64,
    ) -> Result<Plan> {
        let mut steps = self.beyond(x, tag)?;
        let need = Need::of(&steps);
        if need.unbroken >= slots {
            return Ok(Plan::Behind);
        }
        if let (Some(gap), true) = (x.gap, steps.is_empty()) {
            let last = gap.last.max(reached);
            let pieces = self.survey(x.timeline.as_deref(), Span::new(x.reached.next(), last))?;
            return Ok(Plan::Steps(vec![Step::Broken(pieces)]));
        }
        if need.slots > slots {
            return Ok(Plan::Behind);
        }
        if need.slots < slots {
            // At least one more was there.
            let told = steps
                .iter()
                .filter_map(last_told)
                .max()
                .unwrap_or(x.reached);
            let span = Span::new(told.next(), told.next().max(reached));
            steps.push(Step::Tell(span.map(Piece::Unknown).into_iter().collect()));
        }
        Ok(Plan::Steps(steps))
    }

    /// What donors know beyond the end of the journal; empty if that is nothing. `tag`: the timeline that it had
    /// reached, if that is known.
    pub(crate) fn beyond(&mut self, x: &Before, tag: Option<TimelineTag>) -> Result<Vec<Step>> {
        if self.donors.is_empty() || x.timeline.is_none() && x.tag != TimelineTag::NONE {
            return Ok(Vec::new());
        }
        let mut steps = Vec::new();
        let mut from = x.reached;
        let mut timeline = match (&x.timeline, self.lineage.only_child(None)) {
            (Some(timeline), _) => timeline.clone(),
            // Not even the beginning is left.
            (None, Some(root)) if from <= Revision::NONE => {
                steps.push(Step::Turn(root.to.clone(), from));
                root.to.id.clone()
            }
            _ => return Ok(Vec::new()),
        };
        if let Some(gap) = x.gap {
            steps.extend(self.of_difference(Some(&timeline), from, gap, true)?);
            from = from.max(gap.last);
        }
        let to = tag
            .filter(|tag| *tag != x.tag)
            .and_then(|tag| self.lineage.name(tag));
        let path = to.and_then(|to| self.lineage.path(Some(&timeline), to));
        let mut path = path.unwrap_or_default().into_iter();
        loop {
            let turn = match path.next() {
                Some(turn) => Some(turn),
                None => self.only_way_on(&timeline, from)?,
            };
            let turn = turn.filter(|t| t.to.kept && t.to.at >= from);
            let last = turn.as_ref().map_or(Revision(i64::MAX - 1), |t| t.to.at);
            let span = Span::new(from.next(), last);
            steps.push(Step::Tell(self.survey(Some(&timeline), span)?));
            let Some(turn) = turn else {
                break;
            };
            (timeline, from) = (turn.to.id.clone(), turn.to.at);
            steps.push(Step::Turn(turn.to, from));
        }
        // What is between what they know was lost by all; what is behind it, nobody knows to have been.
        while let Some(step) = steps.last_mut() {
            match step {
                Step::Tell(pieces) => {
                    while pieces.pop_if(|p| !p.is_known()).is_some() {}
                    if !pieces.is_empty() {
                        break;
                    }
                    steps.pop();
                }
                // Where nothing more is known, the difference is left as it is.
                Step::Broken(pieces) if !pieces.iter().any(Piece::is_known) => {
                    steps.pop();
                }
                _ => break,
            }
        }
        Ok(steps)
    }

    /// The timeline behind this one, if all who went on from there agree on it: nobody knows of another, or of
    /// anything that this one counted behind its end.
    fn only_way_on(&mut self, timeline: &str, from: Revision) -> Result<Option<donor::Turn>> {
        let Some(turn) = self.lineage.only_child(Some(timeline)).cloned() else {
            return Ok(None);
        };
        let behind = Span::new(turn.to.at.max(from).next(), Revision(i64::MAX - 1));
        let pieces = self.survey(Some(timeline), behind)?;
        Ok((!pieces.iter().any(Piece::is_known)).then_some(turn))
    }
}

/// What it takes to write down all steps, one revision a record.
pub(crate) struct Need {
    pub(crate) slots: u64,
    /// Up to the first that is not known.
    unbroken: u64,
    /// Revisions and timelines that are known.
    pub(crate) told: u64,
}

impl Need {
    pub(crate) fn of(steps: &[Step]) -> Self {
        let mut need = Self {
            slots: 0,
            unbroken: 0,
            told: 0,
        };
        let mut unbroken = true;
        for step in steps {
            match step {
                Step::Broken(pieces) => {
                    unbroken = false;
                    need.slots += 1;
                    need.told += pieces.iter().map(known_events).sum::<u64>();
                }
                Step::Tell(pieces) => {
                    for piece in pieces {
                        match piece {
                            Piece::Known { part, .. } => {
                                need.slots += part.events;
                                need.told += part.events;
                            }
                            Piece::Unknown(_) => {
                                unbroken = false;
                                need.slots += 1;
                            }
                        }
                        if unbroken {
                            need.unbroken = need.slots;
                        }
                    }
                }
                _ => {
                    need.slots += 1;
                    need.told += 1;
                    if unbroken {
                        need.unbroken = need.slots;
                    }
                }
            }
        }
        need
    }
}

fn known_events(piece: &Piece) -> u64 {
    match piece {
        Piece::Known { part, .. } => part.events,
        Piece::Unknown(_) => 0,
    }
}

fn last_told(step: &Step) -> Option<Revision> {
    match step {
        Step::Tell(pieces) | Step::Broken(pieces) => pieces.last().map(|p| p.span().last),
        Step::Turn(_, at) => Some(*at),
        Step::Opened(gap) | Step::Closed(gap) => Some(gap.last),
    }
}

/// A gap of which the opening was lost, and nothing else.
fn reopened(covered: Revision, last: Revision) -> Gap {
    Gap {
        first: covered.next(),
        last,
        reason: if covered <= Revision::NONE {
            GapReason::Baseline
        } else {
            GapReason::HistoryDiscarded
        },
    }
}
