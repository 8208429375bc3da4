//! How what donors know of lost revisions is put in the place of lost records.
//!
//! Pure. A hole has as many slots as sequences were lost in it, and every slot must be taken: by a
//! revision that is known, or by a record of the loss, the only one that may stand for several. A
//! revision usually has a slot of its own, as it had before. Only where the journal had bridged a gap
//! and donors know the history can there be more revisions than slots: then several share a record.

use crate::{
    Gap, Revision, Timeline,
    donor::{Part, Piece, Span},
};

/// The most that several revisions in one record may take: a record is read into memory whole.
const SHARED_BYTES: u64 = 64 << 20;

/// How the pieces are laid out in the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Each revision in a slot of its own, each unknown span in one; what is over goes to the last
    /// record of a loss, or to one that says that only markers are lost.
    Single,
    /// Each revision in a slot of its own, and there is none for what is unknown: as many records were
    /// lost as are known now, so nothing else was in them.
    Proven,
    /// Neighbouring revisions that are known share records, whoever knows them.
    Shared,
    /// It does not fit: all of it stays lost.
    Lost,
}

/// Decides. `plain`: no part of a gap was lost here, so each lost record held one revision at most.
pub(crate) fn arrange(slots: u64, pieces: &[Piece], plain: bool) -> Arrangement {
    let (mut events, mut turns, mut bytes, mut unknown) = (0, 0, 0, 0);
    let parts = stretches(pieces);
    for piece in pieces {
        match piece {
            Piece::Known { part, .. } if part.events == 0 => {}
            Piece::Known { part, .. } => {
                events += part.events;
                bytes += part.bytes;
            }
            Piece::Turn(..) => turns += 1,
            Piece::Unknown(_) => unknown += 1,
        }
    }
    if events + turns + unknown <= slots {
        Arrangement::Single
    } else if plain && events == 1 && slots == 1 && turns == 0 {
        Arrangement::Proven
    } else if parts + turns + unknown <= slots && bytes <= SHARED_BYTES {
        Arrangement::Shared
    } else {
        Arrangement::Lost
    }
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
    /// What donors know of revisions that follow each other, in so many records. `within`: as a part of
    /// the difference of a gap that ends with this revision.
    Events {
        told: Vec<Told>,
        records: u64,
        within: Option<Revision>,
    },
    /// The beginning of a timeline.
    Turn(Timeline, Revision),
    /// The end of a gap's difference.
    Closed(Gap),
    /// What is lost, in one record that stands for so many. `None`: only markers.
    Lost {
        slots: u64,
        span: Option<Span>,
        exact: bool,
    },
}

/// How many slots it takes to give each revision its own.
pub(crate) fn slots_needed(pieces: &[Piece]) -> u64 {
    let needed = pieces.iter().map(|piece| match piece {
        Piece::Known { part, .. } => part.events,
        Piece::Unknown(_) | Piece::Turn(..) => 1,
    });
    needed.sum()
}

/// Lays the pieces of `span` out in the slots. `exact`: all of what is unknown was certainly there.
pub(crate) fn lay_out(
    slots: u64,
    span: Option<Span>,
    pieces: Vec<Piece>,
    plain: bool,
    exact: bool,
) -> Vec<Item> {
    let arrangement = arrange(slots, &pieces, plain);
    if arrangement == Arrangement::Lost {
        return vec![Item::Lost { slots, span, exact }];
    }
    let fixed = pieces.iter().filter(|p| !matches!(p, Piece::Known { .. }));
    let fixed = if arrangement == Arrangement::Proven {
        0
    } else {
        fixed.count() as u64
    };
    let proven = arrangement == Arrangement::Proven;
    let mut parts = stretches(&pieces);
    let mut free = slots - fixed;
    let mut items = Vec::new();
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Known {
                donor,
                timeline,
                part,
            } => {
                let mut told = vec![Told {
                    donor,
                    timeline,
                    part,
                }];
                while let Some(Piece::Known {
                    donor,
                    timeline,
                    part,
                }) = pieces.next_if(|p| matches!(p, Piece::Known { .. }))
                {
                    told.push(Told {
                        donor,
                        timeline,
                        part,
                    });
                }
                told.retain(|t| t.part.events > 0);
                if told.is_empty() {
                    continue;
                }
                let events = told.iter().map(|t| t.part.events).sum::<u64>();
                parts -= 1;
                let records = events.min(free - parts);
                free -= records;
                items.push(Item::Events {
                    told,
                    records,
                    within: None,
                });
            }
            Piece::Unknown(span) if !proven => items.push(Item::Lost {
                slots: 1,
                span: Some(span),
                exact,
            }),
            Piece::Turn(timeline, at) => items.push(Item::Turn(timeline, at)),
            Piece::Unknown(_) => {}
        }
    }
    if free > 0 {
        let last = items.iter_mut().rev().find_map(|item| match item {
            Item::Lost { slots, .. } => Some(slots),
            _ => None,
        });
        match last {
            Some(slots) => *slots += free,
            None => items.push(Item::Lost {
                slots: free,
                span: None,
                exact: true,
            }),
        }
    }
    items
}

/// Lays out what is to complete the difference of a gap, of which the whole history must be known.
/// `closes`: the record that ended it was in the hole as well.
pub(crate) fn lay_out_difference(
    slots: u64,
    gap: Gap,
    pieces: Vec<Piece>,
    closes: bool,
) -> Option<Vec<Item>> {
    let mut free = slots - u64::from(closes);
    let whole = |p: &Piece| matches!(p, Piece::Known { .. });
    if !pieces.iter().all(whole) || stretches(&pieces) > free {
        return None;
    }
    let events = pieces.iter().filter(|p| has_events(p)).map(|p| match p {
        Piece::Known { part, .. } => (part.events, part.bytes),
        _ => (0, 0),
    });
    let (events, bytes) = events.fold((0, 0), |(e, b), (events, bytes)| (e + events, b + bytes));
    if events > free && bytes > SHARED_BYTES {
        return None;
    }
    let mut items = Vec::new();
    // First, as nothing that jumps may stand between the difference and its end.
    if let Some(over) = free.checked_sub(events).filter(|over| *over > 0) {
        free -= over;
        items.push(Item::Lost {
            slots: over,
            span: None,
            exact: true,
        });
    }
    let told: Vec<Told> = pieces
        .into_iter()
        .filter(has_events)
        .filter_map(|piece| match piece {
            Piece::Known {
                donor,
                timeline,
                part,
            } => Some(Told {
                donor,
                timeline,
                part,
            }),
            _ => None,
        })
        .collect();
    if !told.is_empty() {
        items.push(Item::Events {
            told,
            records: events.min(free),
            within: Some(gap.last),
        });
    }
    if closes {
        items.push(Item::Closed(gap));
    }
    Some(items)
}

/// How many stretches of known revisions with changes there are that only what is unknown, or a timeline,
/// separates.
fn stretches(pieces: &[Piece]) -> u64 {
    let parts = pieces.split(|p| !matches!(p, Piece::Known { .. }));
    parts.filter(|part| part.iter().any(has_events)).count() as u64
}

fn has_events(piece: &Piece) -> bool {
    matches!(piece, Piece::Known { part, .. } if part.events > 0)
}

/// Joins neighbouring losses that are one: whose revisions follow each other, or that have none.
pub(crate) fn join_losses(items: Vec<Item>) -> Vec<Item> {
    let mut joined: Vec<Item> = Vec::new();
    for item in items {
        if let (
            Some(Item::Lost { slots, span, exact }),
            Item::Lost {
                slots: more,
                span: next,
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

    #[test]
    fn each_revision_has_a_slot_while_there_are_slots() {
        let whole = [known(1, 9, 3)];
        assert_eq!(arrange(3, &whole, true), Arrangement::Single);
        assert_eq!(arrange(7, &whole, true), Arrangement::Single);
        assert_eq!(arrange(2, &whole, true), Arrangement::Shared);
        let partly = [known(1, 9, 3), Piece::Unknown(span(10, 12))];
        assert_eq!(arrange(4, &partly, true), Arrangement::Single);
        assert_eq!(arrange(3, &partly, true), Arrangement::Shared);
        assert_eq!(arrange(1, &partly, true), Arrangement::Lost);
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
        assert_eq!(arrange(1, &partly, true), Arrangement::Proven);
        assert_eq!(arrange(1, &partly, false), Arrangement::Lost);
        assert_eq!(arrange(2, &partly, true), Arrangement::Lost);
        assert_eq!(arrange(3, &partly, true), Arrangement::Single);
    }

    #[test]
    fn every_slot_is_taken_once() {
        let pieces = [
            known(1, 9, 3),
            Piece::Unknown(span(10, 12)),
            known(13, 20, 4),
        ];
        for slots in 1..20 {
            for from in 0..3 {
                let pieces = pieces[from..].to_vec();
                for items in [
                    lay_out(slots, Some(span(1, 20)), pieces.clone(), true, false),
                    join_losses(lay_out(slots, Some(span(1, 20)), pieces, false, true)),
                ] {
                    let taken = items.iter().map(|item| match item {
                        Item::Events { records, told, .. } => {
                            let events = told.iter().map(|t| t.part.events).sum::<u64>();
                            assert!(*records > 0 && *records <= events);
                            *records
                        }
                        Item::Lost { slots, .. } => *slots,
                        Item::Turn(..) | Item::Closed(_) => 1,
                    });
                    assert_eq!(taken.sum::<u64>(), slots, "{items:?}");
                }
            }
        }
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
