//! Where revisions begin to be counted anew.
//!
//! A journal that followed a cluster through a restore may hold the same revision twice: once in
//! the line of history that was left, and once in the one that was gone on with. A record of a
//! timeline is where they part. A revision is counted from the newest such record behind which it
//! can lie: one that keeps no revisions, or that took the journal to a lower one.

use crate::{
    directory::listing::Listing,
    error::Result,
    format::{kind::Kind, payload},
    model::{
        entry::{Entry, GapPhase, Timeline},
        ids::{Revision, Sequence},
    },
    segment::open::Segment,
    storage::traits::Storage,
};

/// The record behind which `from` is counted in the newest line of history: that of a timeline, or
/// the opening of the gap that it lies in. [`Sequence::NONE`]: there is none.
///
/// Scans the segments in which the timeline changes, and the last one.
pub(crate) fn newest(storage: &dyn Storage, listing: &Listing, from: Revision) -> Result<Sequence> {
    // The timeline in force at the end of the segment, where a later one says so.
    let mut after: Option<Option<Timeline>> = None;
    for (first, path) in listing.segments.iter().rev() {
        let segment = Segment::open(storage, path, *first)?;
        let before = segment.header.context.timeline.clone();
        if after.as_ref() != Some(&before)
            && let Some(switch) = newest_in(&segment, from)?
        {
            return Ok(switch);
        }
        after = Some(before);
    }
    Ok(Sequence::NONE)
}

/// [`newest`] within one segment. Damage ends the search: reading the records meets it again.
fn newest_in(segment: &Segment, from: Revision) -> Result<Option<Sequence>> {
    let (mut found, mut opened) = (None, None);
    let mut scan = segment.scan_patiently();
    while let Ok(raw) = scan.step()? {
        if !matches!(raw.header.kind, Kind::Timeline | Kind::Gap) {
            continue;
        }
        let sequence = raw.header.sequence;
        match payload::decode(raw.header.kind, raw.payload) {
            Ok(Entry::Timeline(timeline)) if !timeline.kept || raw.header.revision < from => {
                found = Some(opened.unwrap_or(sequence));
            }
            Ok(Entry::Gap {
                phase: GapPhase::Opened,
                ..
            }) => opened = Some(sequence),
            Ok(Entry::Gap { .. }) => opened = None,
            _ => {}
        }
    }
    Ok(found)
}
