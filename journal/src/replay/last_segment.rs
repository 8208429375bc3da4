//! Step 4: the last segment, record by record, and what its end is.

use crate::{
    error::{Error, Result},
    format::{layout::SegmentHeader, payload},
    model::entry::{Entry, GapReason},
    replay::tracker::Tracker,
    segment::{
        ending::{self, Tail},
        open::Segment,
        scan::Scan,
        window::unreadable_detail,
    },
};

/// What the last segment was found to be.
pub(crate) struct LastSegment {
    pub(crate) scan: Scan,
    pub(crate) tracker: Tracker,
    pub(crate) tail: Tail,
    /// Whether it ends with the record of an orderly close.
    pub(crate) closed: bool,
    /// Offset of the first record that is not known to be synced.
    pub(crate) unsynced_from: u64,
}

/// The tracker as it was before the segment's first record.
pub(crate) fn tracker_before(header: &SegmentHeader) -> Tracker {
    let damage = header.context.open_gap;
    let damage = damage.filter(|gap| gap.reason == GapReason::Damage);
    Tracker {
        covered: header.covered,
        timeline: header.context.timeline.clone(),
        open_gap: header.context.open_gap,
        unhealed: header.context.unhealed,
        unnamed: None,
        reached: damage.map_or(header.covered, |gap| gap.last.max(header.covered)),
    }
}

pub(crate) fn read_last(last: &Segment) -> Result<LastSegment> {
    let mut tracker = tracker_before(&last.header);
    let mut scan = last.scan_patiently();
    let mut closed = false;
    let mut unsynced_from = scan.offset;
    let mut synced = scan.synced;
    let stop = loop {
        let (offset, expected) = (scan.offset, scan.expected);
        match scan.step()? {
            Ok(raw) => {
                let entry = payload::decode(raw.header.kind, raw.payload).map_err(|detail| {
                    Error::Corrupt {
                        path: last.file.path.to_path_buf(),
                        offset,
                        sequence: expected,
                        revision: tracker.covered,
                        detail,
                    }
                })?;
                if raw.header.synced > synced {
                    // Exactly the records of the newest group name the newest synced sequence.
                    synced = raw.header.synced;
                    unsynced_from = raw.offset;
                }
                closed = match entry {
                    Entry::Watermark { closed, .. } => closed,
                    // The closing record may have filled the segment.
                    Entry::Seal { .. } => closed,
                    _ => false,
                };
                tracker.apply(raw.header.revision, &entry);
            }
            Err(stop) => break stop,
        }
    };
    let tail = ending::judge(&mut scan, &stop, u64::MAX)?;
    // No crash makes a sector unreadable, so this is no torn tail, wherever it is.
    let unreadable = scan.source.unreadable().map(unreadable_detail);
    let corrupt = match &tail {
        Tail::Corrupt { detail, .. } => Some(unreadable.unwrap_or_else(|| detail.clone())),
        _ => unreadable,
    };
    if let Some(detail) = corrupt {
        return Err(Error::Corrupt {
            path: last.file.path.to_path_buf(),
            offset: scan.offset,
            sequence: scan.expected,
            revision: tracker.covered,
            detail,
        });
    }
    Ok(LastSegment {
        scan,
        tracker,
        tail,
        closed,
        unsynced_from,
    })
}
