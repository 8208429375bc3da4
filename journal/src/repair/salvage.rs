//! Takes out of one damaged segment every record that verifies and writes them into a new one. In the
//! place of each hole comes what is known of it, and a record of the loss for what nobody knows.
//!
//! Streams: memory does not grow with the segment.
//!
//! Invariant: whatever is written has the sequences that the segment had, each taken once, in order, by
//! a record that verified there, by what somebody vouches for, or by a record of a loss. And
//! every revision that may have been in a lost record is in one of the latter two.

use crate::{
    error::Result,
    format::{
        kind::Kind,
        layout::{RecordHeader, Seed},
        payload,
    },
    model::{
        entry::Entry,
        ids::{Revision, Sequence},
        span::Span,
    },
    repair::{
        evidence::{self, next_whole},
        hole::{self, Item, Room},
        knowledge::{Before, Knowledge, Own, Plan},
        output::{Output, Rewritten},
        place::{Behind, Place},
    },
    segment::{scan, window::Source},
};

/// How many headers of damaged records are remembered within one hole: beyond that, what is lost is
/// named less exactly.
const MAX_HEADERS: usize = 65_536;

/// What is to be salvaged.
pub(crate) struct Salvage<'a> {
    /// The damaged file, and by what its records verify. `None`: there is none.
    pub(crate) source: Option<(&'a mut Source, Option<&'a Seed>)>,
    /// The last sequence that is known to have been in it.
    pub(crate) known_last: Sequence,
    /// What is behind its end.
    pub(crate) end: Behind,
}

/// Sequences that are missing between two records that are whole.
struct Hole {
    last: Sequence,
    offset: u64,
    /// Headers that verify although their payloads do not.
    headers: Vec<RecordHeader>,
    behind: Behind,
}

/// Writes the new segment's records.
pub(crate) fn rewrite(
    job: Salvage<'_>,
    mut out: Output<'_>,
    knowledge: &mut Knowledge<'_, '_>,
) -> Result<Rewritten> {
    let end_place = match job.end {
        Behind::Place { place, .. } => Some(place),
        Behind::End { .. } => None,
    };
    let mut at = evidence::BEGIN;
    // Where the hole begins that `at` may be in.
    let mut hole_at = at;
    let mut source = job.source;
    if let Some((source, Some(seed))) = &mut source {
        let mut expected = out.next;
        while let Some(offset) = next_whole(source, seed, at, expected)? {
            let raw = scan::look(source, seed, offset)?.expect("it was whole a moment ago");
            let entry = payload::decode(raw.header.kind, raw.payload).expect("it decoded");
            let header = raw.header;
            at = offset + header.length();
            expected = header.sequence.next();
            if is_open(&entry) && !knowledge.donors.is_empty() {
                // What an earlier repair had to leave out is a hole like any other.
                knowledge.own.extend(Own::of(&entry));
                continue;
            }
            let first = match entry {
                Entry::Lost { first_sequence, .. } => first_sequence,
                _ => header.sequence,
            };
            if out.next < first {
                let place = Place::at(source, seed, offset, end_place)?;
                let place = place.expect("there is a record");
                let last = first.previous();
                let hole = Hole {
                    last,
                    offset: hole_at,
                    headers: headers(source, seed, hole_at..offset, out.next, last)?,
                    behind: Behind::Place {
                        place,
                        adjacent: true,
                    },
                };
                fill(&mut out, &hole, knowledge)?;
            }
            out.keep(header, entry)?;
            hole_at = at;
        }
    }
    if out.next <= job.known_last {
        let headers = match &mut source {
            Some((source, Some(seed))) => {
                headers(source, seed, hole_at..u64::MAX, out.next, job.known_last)?
            }
            _ => Vec::new(),
        };
        let hole = Hole {
            last: job.known_last,
            offset: hole_at,
            headers,
            behind: job.end,
        };
        fill(&mut out, &hole, knowledge)?;
    }
    out.finish()
}

/// Whether the entry is a loss that more than markers may be in.
pub(crate) fn is_open(entry: &Entry) -> bool {
    matches!(entry, Entry::Lost { first, last, .. } if first <= last)
}

/// The headers of damaged records in a part of the file, in order, up to a bound.
fn headers(
    source: &mut Source,
    seed: &Seed,
    part: std::ops::Range<u64>,
    first: Sequence,
    last: Sequence,
) -> Result<Vec<RecordHeader>> {
    let mut found: Vec<RecordHeader> = Vec::new();
    scan::search(
        source,
        seed,
        part.start,
        |_, header| {
            let newest = found.last().map_or(first.previous(), |h| h.sequence);
            if header.sequence > newest && header.sequence <= last {
                found.push(header);
            }
            found.len() < MAX_HEADERS
        },
        part.end,
    )?;
    Ok(found)
}

/// Fills a hole: cut where a header still tells what was there.
fn fill(out: &mut Output<'_>, hole: &Hole, knowledge: &mut Knowledge<'_, '_>) -> Result<()> {
    let mut before = Before::new(out.tracker, knowledge.lineage);
    let mut next = out.next;
    let mut items = Vec::new();
    for header in hole.headers.iter().filter(|h| is_telling(h)) {
        let place = Place::of_event(header);
        let behind = Behind::Place {
            place,
            adjacent: true,
        };
        match slots(next, header.sequence.previous()) {
            Some(slots) => items.extend(cell(&before, behind, slots, false, knowledge)?),
            // What is untold before it can only be told in its own place.
            None if place.covered > before.reached => continue,
            None => {}
        }
        before.pass(&place, knowledge.lineage);
        items.extend(named(header, &before, knowledge)?);
        before.covered = header.revision;
        before.reached = before.reached.max(header.revision);
        next = header.sequence.next();
    }
    if let Some(slots) = slots(next, hole.last) {
        let within = hole.headers.iter().any(|h| !is_telling(h));
        items.extend(cell(&before, hole.behind, slots, within, knowledge)?);
    }
    out.items(hole::join_losses(items), hole.offset, knowledge)?;
    knowledge.own.clear();
    Ok(())
}

fn slots(first: Sequence, last: Sequence) -> Option<u64> {
    (first <= last).then(|| last.0 - first.0 + 1)
}

/// Whether the header alone tells what was in the record, or that nothing was.
fn is_telling(header: &RecordHeader) -> bool {
    let kind = matches!(header.kind, Kind::Changes | Kind::Watermark | Kind::Seal);
    kind && !header.position.within
}

/// What comes in the place of lost records of which nothing is left.
fn cell(
    before: &Before,
    behind: Behind,
    slots: u64,
    part_of_gap: bool,
    knowledge: &mut Knowledge<'_, '_>,
) -> Result<Vec<Item>> {
    let at_place =
        |f: fn(&Place) -> bool| matches!(&behind, Behind::Place { place, .. } if f(place));
    let adjacent = matches!(behind, Behind::Place { adjacent: true, .. });
    let room = Room {
        slots,
        plain: adjacent
            && !part_of_gap
            && before.gap.is_none()
            && at_place(|place| place.original && place.gap.is_none()),
        exact: false,
    };
    Ok(match knowledge.plan(before, behind, slots)? {
        Plan::Steps(steps) => hole::lay_out(room, steps),
        Plan::TakenBack(to) => vec![Item::TakenBack { slots, to }],
        Plan::Behind => vec![Item::markers(slots)],
    })
}

/// A damaged record whose header still says what it was.
fn named(
    header: &RecordHeader,
    before: &Before,
    knowledge: &mut Knowledge<'_, '_>,
) -> Result<Vec<Item>> {
    if header.kind != Kind::Changes {
        return Ok(vec![Item::markers(1)]);
    }
    let after = if header.position.shared {
        header.position.prev_revision
    } else {
        header.revision.previous()
    };
    // What is told already, by a record before or somebody else, is not told twice.
    let span = Span::new(after.max(before.reached).next(), header.revision);
    let mut pieces = knowledge.survey(before.timeline.as_deref(), span)?;
    for piece in &mut pieces {
        if let crate::donor::Piece::Known { part, .. } = piece
            && part.events == 0
            && !header.position.shared
        {
            // The header knows better.
            *piece = crate::donor::Piece::Unknown(part.span);
        }
    }
    let room = Room {
        slots: 1,
        plain: true,
        exact: true,
    };
    Ok(hole::lay_out(room, vec![hole::Step::Tell(pieces)]))
}

/// What is behind the end of the segments that are left: so far they went.
pub(crate) fn end(evidence: &evidence::Evidence) -> Behind {
    Behind::End {
        timeline: evidence.timeline,
        reached: evidence.revision,
    }
}

/// The end of a journal of which nothing else is known.
pub(crate) fn nothing_behind() -> Behind {
    Behind::End {
        timeline: None,
        reached: Revision::NONE,
    }
}
