//! What is known at a place in a journal by what lies behind it alone.
//!
//! Every record says where it stands, and so does every segment's header. So what was in a hole before one of
//! them need not be guessed: it is what happened between the last thing before the hole and this place.

use crate::{
    error::Result,
    format::{
        kind::Kind,
        layout::{RecordHeader, Seed, SegmentHeader},
        payload,
        position::TimelineTag,
    },
    model::{
        entry::{Entry, Gap, GapReason},
        ids::{Revision, Sequence},
    },
    repair::evidence,
    replay::tracker::Tracker,
    segment::{scan, window::Source},
};

/// What is known before the first thing behind a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The timeline in force. `None`: what is there does not say for certain.
    pub(crate) timeline: Option<TimelineTag>,
    /// The newest revision covered.
    pub(crate) covered: Revision,
    /// If a difference is under way: the last revision of its gap.
    pub(crate) gap: Option<Revision>,
    /// Whether that was known when what is lost was written, and not only to an earlier repair.
    pub(crate) original: bool,
}

/// What is behind a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Something that says what was before it. `adjacent`: it was directly behind.
    Place { place: Place, adjacent: bool },
    /// Nothing. So far it went at least, and in that timeline, as far as that is known.
    End {
        timeline: Option<TimelineTag>,
        reached: Revision,
    },
}

impl Behind {
    /// The same, but not directly behind.
    pub(crate) fn far(self) -> Self {
        match self {
            Self::Place { place, .. } => Self::Place {
                place,
                adjacent: false,
            },
            end @ Self::End { .. } => end,
        }
    }
}

impl Place {
    /// What a segment's header says.
    pub(crate) fn of_segment(header: &SegmentHeader) -> Self {
        let context = &header.context;
        let difference = |g: &Gap| g.reason != GapReason::Damage;
        Self {
            timeline: Some(TimelineTag::of(
                context.timeline.as_ref().map(|t| t.id.as_str()),
            )),
            covered: header.covered,
            gap: context.open_gap.filter(difference).map(|g| g.last),
            original: true,
        }
    }

    /// What the header of a record says that is neither a timeline's nor within a difference.
    pub(crate) fn of_event(header: &RecordHeader) -> Self {
        Self {
            timeline: Some(header.position.timeline),
            covered: header.position.prev_revision,
            gap: None,
            original: header.kind != Kind::Lost,
        }
    }

    /// What a whole record says, seen by whoever knows the records before the hole.
    pub(crate) fn seen(header: &RecordHeader, entry: &Entry, before: &Tracker) -> Self {
        let mut place = Self::of_event(header);
        if let Entry::Timeline(timeline) = entry {
            let parent = timeline.parent.as_deref();
            place.timeline = parent.map(|p| TimelineTag::of(Some(p)));
        } else if header.position.within && !is_reopened(header) {
            let gap = before.open_gap.filter(|_| before.in_snapshot_diff());
            let told = gap_of(header).or(gap.map(|g| g.last));
            place.gap = told.or(Some(place.covered));
        }
        place
    }

    /// What the record at `offset` says, whose header verifies. A marker within a difference does not say
    /// how far that gap reaches: what follows does, in this segment or, by `end`, behind it.
    pub(crate) fn at(
        source: &mut Source,
        seed: &Seed,
        offset: u64,
        end: Option<Self>,
    ) -> Result<Option<Self>> {
        let mut headers = Vec::new();
        let mut place = None;
        scan::search(
            source,
            seed,
            offset,
            |at, header| {
                headers.push((at, header));
                // The record of a loss may have been written when the timeline was lost as well.
                let ends = !header.position.within || gap_of(&header).is_some();
                !ends || header.kind == Kind::Lost
            },
            u64::MAX,
        )?;
        if let Some(((at, first), (_, last))) = headers.first().zip(headers.last()) {
            let mut seen = if first.kind == Kind::Timeline {
                before_timeline(source, seed, *at, first)?
            } else if first.position.within && !is_reopened(first) {
                let told = if last.position.within {
                    gap_of(last)
                } else {
                    Some(last.position.prev_revision)
                };
                let behind = end.map(|end| end.gap.unwrap_or(end.covered));
                Self {
                    gap: told.or(behind).or(Some(first.position.prev_revision)),
                    ..Self::of_event(first)
                }
            } else {
                Self::of_event(first)
            };
            if first.kind == Kind::Lost {
                let told = (last.kind != Kind::Lost).then_some(last.position.timeline);
                seen.timeline = told.or(end.and_then(|end| end.timeline));
            }
            place = Some(seen);
        }
        Ok(place)
    }
}

/// The last revision of the gap of whose difference a record is a part, where it says so.
fn gap_of(header: &RecordHeader) -> Option<Revision> {
    let says = match header.kind {
        Kind::Changes => true,
        Kind::Gap => !is_reopened(header),
        _ => false,
    };
    says.then_some(header.revision)
}

/// Whether the record begins a difference anew: nothing of the one before counts.
fn is_reopened(header: &RecordHeader) -> bool {
    header.kind == Kind::Gap && header.revision <= header.position.prev_revision
}

/// Before the record of a timeline its parent was in force, unless the journal has missed that one.
fn before_timeline(
    source: &mut Source,
    seed: &Seed,
    offset: u64,
    header: &RecordHeader,
) -> Result<Place> {
    let mut place = Place {
        timeline: None,
        ..Place::of_event(header)
    };
    if let Ok(raw) = scan::look(source, seed, offset)?
        && let Ok(Entry::Timeline(timeline)) = payload::decode(raw.header.kind, raw.payload)
    {
        place.timeline = timeline.parent.as_deref().map(|p| TimelineTag::of(Some(p)));
    }
    Ok(place)
}

/// What is known before the first record of a segment whose header is damaged, and which one that is. Its
/// header is enough.
pub(crate) fn first(source: &mut Source, seed: &Seed) -> Result<Option<(Place, Sequence)>> {
    let mut found = None;
    scan::search(
        source,
        seed,
        evidence::BEGIN,
        |offset, header| {
            found = Some((offset, header));
            false
        },
        u64::MAX,
    )?;
    let Some((offset, header)) = found else {
        return Ok(None);
    };
    let first = match scan::look(source, seed, offset)? {
        Ok(raw) => match payload::decode(raw.header.kind, raw.payload) {
            Ok(Entry::Lost { first_sequence, .. }) => first_sequence,
            _ => header.sequence,
        },
        Err(_) => header.sequence,
    };
    Ok(Place::at(source, seed, offset, None)?.map(|place| (place, first)))
}
