//! Whether a segment is whole, and its predecessor and successor fit.

use crate::{
    donor::Piece,
    error::{Error, Result},
    format::{layout::SegmentHeader, payload},
    model::{entry::Entry, ids::Sequence, span::Span},
    repair::{
        found::Found,
        hole::Step,
        knowledge::{Before, Knowledge, Plan},
        output,
        place::{Behind, Place},
        salvage,
    },
    replay::{
        last_segment::{LastSegment, read_last_after},
        tracker::Tracker,
    },
    segment::{
        chain,
        ending::Tail,
        open::{Extent, Segment},
        scan::RawRecord,
    },
    storage::traits::Storage,
};

/// A segment that is as it should be.
pub(crate) struct Kept {
    pub(crate) header: SegmentHeader,
    pub(crate) extent: Extent,
    /// Set if it is the last one.
    pub(crate) end: Option<(Segment, LastSegment)>,
}

/// What is wrong with a segment, and at which offset.
pub(crate) type Complaint = (u64, String);

/// A whole segment, and what is known at its end.
pub(crate) struct Whole {
    pub(crate) kept: Kept,
    pub(crate) tracker: Tracker,
    pub(crate) records: u64,
}

/// Step 3: looks at a segment of which `tracker` is what is known before it.
pub(crate) fn check(
    storage: &dyn Storage,
    before: Option<&Kept>,
    this: &Found,
    next: Option<&Found>,
    tracker: &Tracker,
    end: Behind,
    knowledge: Option<&mut Knowledge<'_, '_>>,
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
        && let Err(e) = chain::link(&before.header, &header, &this.path)
    {
        return complaint(e);
    }
    let mut tracker = tracker.clone();
    let mut losses = Losses::default();
    let direct = next
        .and_then(|n| n.header.as_ref().ok().map(|h| (h, &n.path)))
        .and_then(|(h, path)| chain::link(&header, h, path).ok());
    let whole = if let Some(extent) = direct {
        let verified = chain::verify(&segment, &extent, |raw| {
            let entry = payload::decode(raw.header.kind, raw.payload)?;
            losses.note(&tracker, raw, &entry);
            tracker.pass(&raw.header, &entry);
            Ok(())
        });
        let scan = match verified {
            Ok(scan) => scan,
            Err(e) => return complaint(e),
        };
        Whole {
            kept: Kept {
                header,
                extent,
                end: None,
            },
            tracker,
            records: scan.records,
        }
    } else {
        // The last one, or one whose successor is damaged or missing.
        let read = read_last_after(&segment, tracker, |tracker, raw, entry| {
            losses.note(tracker, raw, entry);
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
            kept: Kept {
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
    if let Some(offset) = losses.outdated {
        let detail = "what was lost before the loss recorded here is there again";
        return Ok(Err((offset, detail.to_owned())));
    }
    let fillable = match knowledge {
        Some(knowledge) => losses.fillable(end, knowledge)?,
        None => None,
    };
    Ok(match fillable {
        Some(complaint) => Err(complaint),
        None => Ok(whole),
    })
}

/// What earlier repairs had to leave out of a segment. Each took the place of damage, so there are few.
#[derive(Default)]
struct Losses {
    all: Vec<Recorded>,
    /// Where the first one is that says less than is covered before it by now.
    outdated: Option<u64>,
}

/// One of them: where it is, what was known before it, what it says, and what is behind it.
struct Recorded {
    offset: u64,
    tracker: Tracker,
    from: Sequence,
    upto: Sequence,
    entry: Entry,
    behind: Option<Place>,
}

impl Losses {
    fn note(&mut self, tracker: &Tracker, raw: &RawRecord<'_>, entry: &Entry) {
        let header = &raw.header;
        if output::is_outdated(header, tracker) {
            self.outdated.get_or_insert(raw.offset);
        }
        if let Some(last) = self.all.last_mut()
            && last.behind.is_none()
            && !matches!(entry, Entry::Lost { .. })
        {
            last.behind = Some(Place::seen(header, entry, &last.tracker));
        }
        if let Entry::Lost { first_sequence, .. } = entry
            && salvage::is_open(entry)
        {
            let from = *first_sequence;
            let upto = header.sequence;
            match self.all.last_mut() {
                // Two that touch are one hole.
                Some(last) if last.behind.is_none() => last.upto = upto,
                _ => self.all.push(Recorded {
                    offset: raw.offset,
                    tracker: tracker.clone(),
                    from,
                    upto,
                    entry: entry.clone(),
                    behind: None,
                }),
            }
        }
    }

    /// The first that somebody can do something about.
    fn fillable(self, end: Behind, knowledge: &mut Knowledge<'_, '_>) -> Result<Option<Complaint>> {
        for recorded in self.all {
            let Entry::Lost {
                first, last, known, ..
            } = &recorded.entry
            else {
                continue;
            };
            let behind = recorded.behind.map_or(end, |place| Behind::Place {
                place,
                adjacent: true,
            });
            let slots = recorded.upto.0 - recorded.from.0 + 1;
            let before = Before::new(&recorded.tracker, knowledge.lineage);
            let steps = match knowledge.plan(&before, behind, slots)? {
                Plan::Steps(steps) => steps,
                Plan::Behind => knowledge.beyond(&before, None)?,
                Plan::TakenBack(_) => continue,
            };
            let lost = Span::new(*first, *last);
            let is_news = |piece: &Piece| {
                let span = lost.and_then(|lost| lost.overlap(piece.span()));
                let is_old = |span: Span| known.iter().any(|k| k.overlap(span) == Some(span));
                piece.is_known() && span.is_some_and(|span| !is_old(span))
            };
            let any = steps.iter().any(|step| match step {
                Step::Tell(pieces) | Step::Broken(pieces) => pieces.iter().any(is_news),
                _ => false,
            });
            if any {
                let detail =
                    format!("an earlier repair had to leave out revisions {first} to {last}");
                return Ok(Some((recorded.offset, detail)));
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
