//! How what is known of lost revisions is put in the place of lost records.
//!
//! Pure. A hole has as many slots as sequences were lost in it, and every slot must be taken. A revision
//! that is known usually takes one, as it had before, and each span that nobody knows takes one for the record
//! of its loss, which may stand for several. Where that is more than there are slots, because the journal had
//! bridged a gap there or because little is known of much, records are shared: several revisions in one
//! record, or in the record of the loss around them. So whatever is known always fits.

use crate::{
    donor::{Part, Piece},
    model::{
        entry::{Gap, Timeline},
        ids::Revision,
        span::Span,
    },
};

/// The most that several revisions in one record may take: a record is read into memory whole.
const SHARED_BYTES: u64 = 64 << 20;

/// What is to be put into a hole, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// What is known of revisions that follow each other, and what is not.
    Tell(Vec<Piece>),
    /// The same, of a gap whose difference has lost a part. It all goes into one record, since what the
    /// difference tells is newer than any event in it.
    Broken(Vec<Piece>),
    /// The beginning of a timeline, with the revision that it counts from.
    Turn(Timeline, Revision),
    /// The opening of a gap's difference.
    Opened(Gap),
    /// Its end.
    Closed(Gap),
}

/// What one donor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) donor: usize,
    pub(crate) timeline: String,
    pub(crate) part: Part,
}

/// What is written into a hole, in order. The slots of all items are those of the hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// Revisions that follow each other and of which all is known, in so many records.
    Events { told: Vec<Told>, records: u64 },
    /// The beginning of a timeline.
    Turn(Timeline, Revision),
    /// The opening of a gap's difference.
    Opened(Gap),
    /// Its end.
    Closed(Gap),
    /// What is lost with the record of a timeline that took revisions back: all that the new one counts up
    /// to here.
    TakenBack { slots: u64, to: Revision },
    /// What is lost, in one record that stands for so many.
    Lost {
        slots: u64,
        /// `None`: only markers.
        span: Option<Span>,
        /// What is known in that span nevertheless.
        told: Vec<Told>,
        /// Whether all of what is not known was certainly there.
        exact: bool,
    },
}

impl Item {
    /// The loss of nothing but markers.
    pub(crate) fn markers(slots: u64) -> Self {
        Self::Lost {
            slots,
            span: None,
            told: Vec::new(),
            exact: true,
        }
    }
}

/// A hole to be laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) slots: u64,
    /// Whether every lost record held one revision at most: no part of a gap was lost here, and both ends
    /// of the hole are known.
    pub(crate) plain: bool,
    /// Whether all that is not known was certainly there.
    pub(crate) exact: bool,
}

/// Lays the steps out.
pub(crate) fn lay_out(room: Room, steps: Vec<Step>) -> Vec<Item> {
    let mut steps = steps;
    if least(&steps) > room.slots {
        steps = squeeze(together(steps), room.slots);
    }
    let mut free = room.slots - least(&steps);
    let mut items = Vec::new();
    for step in steps {
        match step {
            Step::Turn(timeline, at) => items.push(Item::Turn(timeline, at)),
            Step::Opened(gap) => items.push(Item::Opened(gap)),
            Step::Closed(gap) => items.push(Item::Closed(gap)),
            Step::Broken(pieces) => items.push(mixed(1, &pieces, room.exact)),
            Step::Tell(pieces) => {
                let need = Need::of(&pieces);
                let more = free.min(need.most().saturating_sub(need.least()));
                free -= more;
                let room = Room {
                    slots: need.least() + more,
                    ..room
                };
                items.extend(tell(room, need, pieces));
            }
        }
    }
    pad(items, free)
}

/// What it takes to tell pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    events: u64,
    bytes: u64,
    unknown: u64,
    /// Stretches of known revisions with changes.
    stretches: u64,
}

impl Need {
    fn of(pieces: &[Piece]) -> Self {
        let mut need = Self::default();
        let mut goes_on = false;
        for piece in pieces {
            match piece {
                Piece::Known { part, .. } => {
                    need.events += part.events;
                    need.bytes += part.bytes;
                    if part.events > 0 && !std::mem::replace(&mut goes_on, true) {
                        need.stretches += 1;
                    }
                }
                Piece::Unknown(_) => {
                    need.unknown += 1;
                    goes_on = false;
                }
            }
        }
        need
    }

    fn least(self) -> u64 {
        u64::from(self.events + self.unknown > 0)
    }

    fn most(self) -> u64 {
        self.events + self.unknown
    }
}

/// How many slots it takes at least, whatever is shared.
pub(crate) fn least(steps: &[Step]) -> u64 {
    let least = |step: &Step| match step {
        Step::Tell(pieces) => Need::of(pieces).least(),
        _ => 1,
    };
    steps.iter().map(least).sum()
}

/// All that is known and not known first, in one, then the timelines. What follows all that takes up no less
/// than it told: a difference ends with it, and a timeline goes on from there.
fn together(steps: Vec<Step>) -> Vec<Step> {
    let (mut all, mut rest) = (Vec::new(), Vec::new());
    let mut broken = false;
    for step in steps {
        match step {
            Step::Tell(pieces) => all.extend(pieces),
            Step::Broken(pieces) => {
                broken = true;
                all.extend(pieces);
            }
            other => rest.push(other),
        }
    }
    if let Some(told) = bounds(&all, |_| true) {
        for step in &mut rest {
            match step {
                Step::Closed(gap) => gap.last = gap.last.max(told.last),
                Step::Turn(timeline, at) if timeline.kept => *at = told.last.max(*at),
                _ => {}
            }
        }
    }
    let step = if broken {
        Step::Broken(all)
    } else {
        Step::Tell(all)
    };
    rest.insert(0, step);
    rest
}

/// Leaves out what there is no slot for: what is not known where every slot is taken by a timeline, or
/// timelines that the journal did not follow.
fn squeeze(mut steps: Vec<Step>, slots: u64) -> Vec<Step> {
    let is_told = |s: &Step| matches!(s, Step::Tell(p) if Need::of(p).events > 0);
    let is_broken = |s: &Step| matches!(s, Step::Broken(_));
    if least(&steps) > slots && !steps.iter().any(|s| is_told(s) || is_broken(s)) {
        steps.retain(|s| !matches!(s, Step::Tell(_)));
    }
    while least(&steps) > slots {
        let fixed = steps
            .iter()
            .position(|s| !matches!(s, Step::Tell(_) | Step::Broken(_)))
            .expect("all else takes one slot together");
        if matches!(steps.remove(fixed), Step::Closed(_)) {
            // A difference that nothing closes has to be left in another way.
            for step in &mut steps {
                if let Step::Tell(pieces) = step {
                    *step = Step::Broken(std::mem::take(pieces));
                }
            }
        }
    }
    steps
}

fn tell(room: Room, need: Need, pieces: Vec<Piece>) -> Vec<Item> {
    let Room {
        slots,
        plain,
        exact,
    } = room;
    if need.most() == 0 {
        return Vec::new();
    }
    if need.most() > slots && plain && slots == 1 && need.events == 1 {
        // One record was lost, and one revision is known: there was no room for another.
        let known = pieces.into_iter().filter(Piece::is_known).collect();
        return one_by_one(known, 1, exact);
    }
    if need.most() <= slots {
        return one_by_one(pieces, slots, exact);
    }
    if need.bytes > SHARED_BYTES {
        let span = bounds(&pieces, |_| true);
        return vec![Item::Lost {
            slots,
            span,
            told: Vec::new(),
            exact: false,
        }];
    }
    if need.stretches + need.unknown <= slots {
        return one_by_one(pieces, slots, exact);
    }
    vec![mixed(slots, &pieces, exact)]
}

/// Each span that is not known in a record, what is known in between in as many as there are left.
fn one_by_one(pieces: Vec<Piece>, slots: u64, exact: bool) -> Vec<Item> {
    let need = Need::of(&pieces);
    let mut stretches = need.stretches;
    let mut free = slots - need.unknown;
    let mut items = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let mut told = Vec::new();
        match piece {
            Piece::Unknown(span) => {
                items.push(Item::Lost {
                    slots: 1,
                    span: Some(span),
                    told,
                    exact,
                });
                continue;
            }
            Piece::Known {
                donor,
                timeline,
                part,
            } => told.push(Told {
                donor,
                timeline,
                part,
            }),
        }
        while let Some(Piece::Known {
            donor,
            timeline,
            part,
        }) = pieces.next_if(Piece::is_known)
        {
            told.push(Told {
                donor,
                timeline,
                part,
            });
        }
        let events = told.iter().map(|t| t.part.events).sum::<u64>();
        if events > 0 {
            stretches -= 1;
            let records = events.min(free - stretches);
            free -= records;
            items.push(Item::Events { told, records });
        }
    }
    items
}

/// All pieces in the record of a loss.
fn mixed(slots: u64, pieces: &[Piece], exact: bool) -> Item {
    let span = bounds(pieces, |p| !p.is_known());
    let told = pieces.iter().filter_map(|piece| match piece {
        Piece::Known {
            donor,
            timeline,
            part,
        } => Some(Told {
            donor: *donor,
            timeline: timeline.clone(),
            part: *part,
        }),
        Piece::Unknown(_) => None,
    });
    let events = |part: &Part| part.events > 0;
    let all = bounds(pieces, |p| match p {
        Piece::Known { part, .. } => events(part),
        Piece::Unknown(_) => true,
    });
    let span = match (span, all) {
        (Some(a), Some(b)) => Span::new(a.first.min(b.first), a.last.max(b.last)),
        (one, other) => one.or(other),
    };
    let within = |t: &Told| span.is_some_and(|s| t.part.span.overlap(s).is_some());
    let told: Vec<Told> = told.filter(within).collect();
    let known = told.iter().map(|t| t.part.bytes).sum::<u64>() <= SHARED_BYTES;
    Item::Lost {
        slots,
        span,
        told: if known { told } else { Vec::new() },
        exact,
    }
}

fn bounds(pieces: &[Piece], of: impl Fn(&Piece) -> bool) -> Option<Span> {
    let spans = pieces.iter().filter(|p| of(p)).map(Piece::span);
    spans.reduce(|a, b| Span {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
    })
}

/// Slots that are over go to the last loss, or to one of nothing but markers.
fn pad(mut items: Vec<Item>, free: u64) -> Vec<Item> {
    if free > 0 {
        let last = items.iter_mut().rev().find_map(|item| match item {
            Item::Lost { slots, .. } => Some(slots),
            _ => None,
        });
        match last {
            Some(slots) => *slots += free,
            None => items.push(Item::markers(free)),
        }
    }
    items
}

/// Joins neighbouring losses that are one: whose revisions follow each other, or that have none.
pub(crate) fn join_losses(items: Vec<Item>) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        if let (
            Some(Item::Lost {
                slots,
                span,
                told,
                exact,
            }),
            Item::Lost {
                slots: more,
                span: next,
                told: next_told,
                exact: next_exact,
            },
        ) = (joined.last_mut(), &item)
        {
            let together = match (*span, *next) {
                (None, other) | (other, None) => Some(other),
                (Some(a), Some(b)) if a.last.next() == b.first => Some(Span::new(a.first, b.last)),
                _ => None,
            };
            if let Some(together) = together {
                *exact = match (span.is_some(), next.is_some()) {
                    (true, true) => *exact && *next_exact,
                    (true, false) => *exact,
                    (false, _) => *next_exact,
                };
                *slots += more;
                *span = together;
                told.extend(next_told.iter().cloned());
                continue;
            }
        }
        joined.push(item);
    }
    joined
}

/// Into which of `records` shared records the event with this number (of `events`, from 0) goes: as
/// evenly as can be, and none stays empty.
pub(crate) fn shared_record(event: u64, events: u64, records: u64) -> u64 {
    let n = u128::from(event) * u128::from(records) / u128::from(events);
    u64::try_from(n).expect("less than records")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ids::Revision, time::Timestamp};

    fn span(first: i64, last: i64) -> Span {
        Span::new(Revision(first), Revision(last)).expect("not empty")
    }

    fn known(first: i64, last: i64, events: u64) -> Piece {
        let part = Part {
            span: span(first, last),
            events,
            bytes: 100 * events,
        };
        Piece::Known {
            donor: 0,
            timeline: "t".to_owned(),
            part,
        }
    }

    fn room(slots: u64, plain: bool) -> Room {
        Room {
            slots,
            plain,
            exact: false,
        }
    }

    fn shape(slots: u64, plain: bool, pieces: &[Piece]) -> String {
        let items = lay_out(room(slots, plain), vec![Step::Tell(pieces.to_vec())]);
        let shape = items.iter().map(|item| match item {
            Item::Events { told, records } => {
                let events = told.iter().map(|t| t.part.events).sum::<u64>();
                format!("{events} in {records}")
            }
            Item::Lost {
                slots, span, told, ..
            } => match span {
                None => format!("{slots} markers"),
                Some(s) => format!(
                    "lost {}..{} in {slots}, {} told",
                    s.first,
                    s.last,
                    told.len()
                ),
            },
            other => format!("{other:?}"),
        });
        shape.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn each_revision_has_a_slot_while_there_are_slots() {
        let whole = [known(1, 9, 3)];
        assert_eq!(shape(3, true, &whole), "3 in 3");
        assert_eq!(shape(7, true, &whole), "3 in 3; 4 markers");
        assert_eq!(shape(2, true, &whole), "3 in 2");
        let partly = [known(1, 9, 3), Piece::Unknown(span(10, 12))];
        assert_eq!(shape(4, true, &partly), "3 in 3; lost 10..12 in 1, 0 told");
        assert_eq!(shape(3, true, &partly), "3 in 2; lost 10..12 in 1, 0 told");
        assert_eq!(shape(1, true, &partly), "lost 1..12 in 1, 1 told");
    }

    /// One record was lost and one revision is known: there was no room for another. But a gap's
    /// opening or end may be the one that was lost, and then there was.
    #[test]
    fn one_revision_for_one_record_is_all() {
        let partly = [
            Piece::Unknown(span(1, 3)),
            known(4, 6, 1),
            Piece::Unknown(span(7, 7)),
        ];
        assert_eq!(shape(1, true, &partly), "1 in 1");
        assert_eq!(shape(1, false, &partly), "lost 1..7 in 1, 1 told");
        assert_eq!(shape(2, true, &partly), "lost 1..7 in 2, 1 told");
        assert_eq!(
            shape(3, true, &partly),
            "lost 1..3 in 1, 0 told; 1 in 1; lost 7..7 in 1, 0 told"
        );
    }

    #[test]
    fn every_slot_is_taken_once_and_all_that_is_known_is_told() {
        let timeline = Timeline {
            id: "u".to_owned(),
            parent: None,
            at: Revision(20),
            kept: true,
            observed_at: Timestamp(0),
        };
        let gap = Gap {
            first: Revision(1),
            last: Revision(9),
            reason: crate::GapReason::HistoryDiscarded,
        };
        let first = vec![
            known(1, 9, 3),
            Piece::Unknown(span(10, 12)),
            known(13, 20, 4),
        ];
        let second = vec![Piece::Unknown(span(21, 22)), known(23, 30, 2)];
        let turn = Step::Turn(timeline, Revision(20));
        let plans = [
            vec![Step::Tell(first.clone())],
            vec![Step::Broken(first.clone()), Step::Tell(second.clone())],
            vec![
                Step::Tell(first.clone()),
                turn.clone(),
                Step::Tell(second.clone()),
            ],
            vec![
                Step::Tell(vec![known(1, 9, 3)]),
                Step::Closed(gap),
                Step::Tell(second),
            ],
        ];
        for steps in plans {
            let fixed = steps
                .iter()
                .filter(|s| !matches!(s, Step::Tell(_) | Step::Broken(_)));
            let fixed = fixed.count() as u64;
            let events = |pieces: &[Piece]| Need::of(pieces).events;
            let all: u64 = steps
                .iter()
                .map(|s| match s {
                    Step::Tell(p) | Step::Broken(p) => events(p),
                    _ => 0,
                })
                .sum();
            for slots in 1..20 {
                let items = join_losses(lay_out(room(slots, false), steps.clone()));
                let (mut taken, mut told) = (0, 0);
                for item in &items {
                    let these = match item {
                        Item::Events { records, told, .. } => {
                            let events = told.iter().map(|t| t.part.events).sum::<u64>();
                            assert!(*records > 0 && *records <= events);
                            taken += records;
                            told
                        }
                        Item::Lost { slots, told, .. } => {
                            taken += slots;
                            told
                        }
                        _ => {
                            taken += 1;
                            continue;
                        }
                    };
                    told_in(these, &mut told);
                }
                assert_eq!(taken, slots, "{items:?}");
                if slots > fixed {
                    assert_eq!(told, all, "{slots}: {items:?}");
                }
            }
        }
    }

    fn told_in(told: &[Told], sum: &mut u64) {
        *sum += told.iter().map(|t| t.part.events).sum::<u64>();
    }

    #[test]
    fn shared_records_are_filled_evenly() {
        for (events, records) in [(7, 3), (3, 3), (100, 1), (5, 4)] {
            let mut held = vec![0; usize::try_from(records).expect("small")];
            for event in 0..events {
                held[usize::try_from(shared_record(event, events, records)).expect("small")] += 1;
            }
            assert!(
                held.iter().all(|n| *n > 0),
                "{events} in {records}: {held:?}"
            );
            assert!(held.iter().max().unwrap_or(&0) - held.iter().min().unwrap_or(&0) <= 1);
        }
    }
}
