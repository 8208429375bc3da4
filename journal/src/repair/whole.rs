//! Whether a segment is whole, and its predecessor and successor fit.

use crate::{
    Entry, Error, Result, Revision, Sequence,
    directory::{self, Extent, Segment, Tail},
    donor::Donors,
    layout::{RecordHeader, SegmentHeader},
    payload,
    recovery::{self, LastSegment},
    salvage,
    storage::Storage,
    tracker::Tracker,
};

use super::found::Found;

/// A segment that is as it should be.
pub(crate) struct Before {
    pub(crate) header: SegmentHeader,
    pub(crate) extent: Extent,
    /// Set if it is the last one.
    pub(crate) end: Option<(Segment, LastSegment)>,
}

/// What is wrong with a segment, and at which offset.
pub(crate) type Complaint = (u64, String);

/// A whole segment, and what is known at its end.
pub(crate) struct Whole {
    pub(crate) before: Before,
    pub(crate) tracker: Tracker,
    pub(crate) records: u64,
}

/// Step 3: looks at a segment of which `tracker` is what is known before it.
pub(crate) fn check(
    storage: &dyn Storage,
    before: Option<&Before>,
    this: &Found,
    next: Option<&Found>,
    tracker: &Tracker,
    donors: &mut Donors<'_>,
) -> Result<Result<Whole, Complaint>> {
    let header = match &this.header {
        Ok(header) => header.clone(),
        Err(detail) => return Ok(Err((0, detail.clone()))),
    };
    let segment = match Segment::open(storage, &this.path, this.first) {
        Ok(segment) => segment,
        Err(e) => return complaint(e),
    };
    if let Some(before) = before
        && let Err(e) = directory::link(&before.header, &header, &this.path)
    {
        return complaint(e);
    }
    let mut tracker = tracker.clone();
    let mut losses = Losses::default();
    let direct = next
        .and_then(|n| n.header.as_ref().ok().map(|h| (h, &n.path)))
        .and_then(|(h, path)| directory::link(&header, h, path).ok());
    let whole = if let Some(extent) = direct {
        let verified = directory::verify(&segment, &extent, |raw| {
            let entry = payload::decode(raw.header.kind, raw.payload)?;
            losses.note(&tracker, raw.offset, &raw.header, &entry);
            tracker.apply(raw.header.revision, &entry);
            Ok(())
        });
        let scan = match verified {
            Ok(scan) => scan,
            Err(e) => return complaint(e),
        };
        Whole {
            before: Before {
                header,
                extent,
                end: None,
            },
            tracker,
            records: scan.records,
        }
    } else {
        // The last one, or one whose successor is damaged or missing.
        let read = recovery::read_last_after(&segment, tracker, |tracker, raw, entry| {
            losses.note(tracker, raw.offset, &raw.header, entry);
        });
        let end = match read {
            Ok(end) => end,
            Err(e) => return complaint(e),
        };
        let cut_short = next.is_some() && end.scan.seal.is_none();
        if cut_short && end.tail != Tail::Clean {
            return Ok(Err((
                end.scan.offset,
                "bytes that are no record follow, though the segment has a successor".to_owned(),
            )));
        }
        Whole {
            records: end.scan.records,
            tracker: end.tracker.clone(),
            before: Before {
                header,
                extent: Extent {
                    last: end.scan.last(),
                    digest: end.scan.digest.value(),
                    end: end.scan.offset,
                    seal: end.scan.seal,
                },
                end: next.is_none().then_some((segment, end)),
            },
        }
    };
    Ok(match losses.fillable(donors)? {
        Some(complaint) => Err(complaint),
        None => Ok(whole),
    })
}

/// What earlier repairs had to leave out of a segment. Each took the place of damage, so there are few.
#[derive(Default)]
struct Losses(Vec<Recorded>);

/// One of them: where it is, what was known before it, and what it names.
struct Recorded {
    offset: u64,
    tracker: Tracker,
    header: RecordHeader,
    from: Sequence,
    lost: (Revision, Revision),
}

impl Losses {
    fn note(&mut self, tracker: &Tracker, offset: u64, header: &RecordHeader, entry: &Entry) {
        if let Entry::Lost {
            first_sequence,
            first,
            last,
            ..
        } = entry
            && first <= last
        {
            self.0.push(Recorded {
                offset,
                tracker: tracker.clone(),
                header: *header,
                from: *first_sequence,
                lost: (*first, *last),
            });
        }
    }

    /// The first that donors can do something about.
    fn fillable(self, donors: &mut Donors<'_>) -> Result<Option<Complaint>> {
        for r in self.0 {
            let items =
                salvage::recorded_loss(&r.tracker, false, r.from, &r.header, r.lost, donors)?;
            if items.is_some() {
                let (first, last) = r.lost;
                let detail =
                    format!("an earlier repair had to leave out revisions {first} to {last}");
                return Ok(Some((r.offset, detail)));
            }
        }
        Ok(None)
    }
}

/// What is wrong with this segment is what repair is for; everything else ends it.
fn complaint<T>(error: Error) -> Result<Result<T, Complaint>> {
    match error {
        Error::Corrupt { offset, detail, .. } => Ok(Err((offset, detail))),
        Error::ForeignFile { detail, .. } => Ok(Err((0, detail))),
        other => Err(other),
    }
}
