//! What follows a hole, and what that says of the records that were in it.

use crate::{
    Change, Entry, GapPhase, Result, Revision, Sequence,
    layout::{Kind, RecordHeader, SEGMENT_HEADER_BYTES, Seed},
    payload,
    salvage::next_whole,
    scan::{self, Stop},
    source::Source,
};

/// A revision and what it changed.
pub(crate) type Witness = (Revision, Vec<Change>);

/// The first whole record behind a hole, or the end.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    kind: What,
    /// Some events behind the hole, by which its timeline can be told.
    pub(crate) witnesses: Vec<Witness>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// All changes of this revision.
    Event(Revision),
    /// A part of the difference of a gap that ends with this revision.
    Difference(Revision),
    /// The end of one.
    Closed(Revision),
    /// The opening of a gap of these revisions.
    Opened(Revision, Revision),
    /// A marker: so much is covered.
    Marker(Revision),
    /// A timeline that restored so much, and where it went on.
    Timeline(Revision, Revision),
    /// The end of what there is: so much may have been covered, if that is known.
    End(Option<Revision>),
}

impl Next {
    pub(crate) fn end(after: Option<Revision>) -> Self {
        Self {
            kind: What::End(after),
            witnesses: Vec::new(),
        }
    }

    /// The difference of a gap that ends with this revision goes on.
    pub(crate) fn difference(last: Revision) -> Self {
        Self {
            kind: What::Difference(last),
            witnesses: Vec::new(),
        }
    }

    /// Whether there is nothing.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.kind, What::End(_))
    }

    /// The newest revision that may have been covered in the hole; `covered`: by what is before it.
    pub(crate) fn bound(&self, covered: Revision) -> Revision {
        match self.kind {
            What::Event(at) => at.previous(),
            What::Difference(last) | What::Closed(last) => last,
            // A gap that begins earlier makes older damage good; what is between may be lost.
            What::Opened(first, last) if first <= covered => last,
            What::Opened(first, _) => first.previous(),
            What::Timeline(restored, at) if at < covered => restored.max(covered.next()),
            // Where nothing says more, at least one revision has to be taken for lost.
            What::End(at) => at.unwrap_or(covered.next()),
            What::Marker(at) | What::Timeline(_, at) => at,
        }
    }

    /// If less is covered behind the hole than before it, and no record behind says why: how much.
    pub(crate) fn taken_back(&self, covered: Revision) -> Option<Revision> {
        let to = match self.kind {
            What::Event(at) => at.previous(),
            What::Difference(at) | What::Marker(at) => at,
            What::End(at) => at?,
            What::Closed(_) | What::Opened(..) | What::Timeline(..) => return None,
        };
        (to < covered).then_some(to)
    }

    /// Whether a gap that ends with `last` has been closed by now.
    pub(crate) fn is_beyond(&self, last: Revision) -> bool {
        match self.kind {
            What::Event(at) => at > last,
            What::Marker(at) | What::Timeline(_, at) => at >= last,
            What::End(at) => at.is_some_and(|at| at >= last),
            What::Opened(first, _) => first > last,
            What::Difference(_) | What::Closed(_) => false,
        }
    }

    /// Whether what follows goes on with what was before the hole: no part of a gap is missing.
    pub(crate) fn is_ordinary(&self) -> bool {
        matches!(
            self.kind,
            What::Event(_) | What::Marker(_) | What::Opened(..) | What::End(_)
        )
    }
}

/// What the whole record at `offset` is.
pub(crate) fn classify(
    source: &mut Source,
    seed: &Seed,
    offset: u64,
    header: &RecordHeader,
    entry: &Entry,
) -> Result<Next> {
    let kind = match entry {
        Entry::Changes { changes, .. } => {
            if is_difference(source, seed, offset, header, changes)? {
                What::Difference(header.revision)
            } else {
                What::Event(header.revision)
            }
        }
        Entry::Gap {
            first,
            last,
            phase: GapPhase::Opened,
            ..
        } => What::Opened(*first, *last),
        Entry::Gap { last, .. } => What::Closed(*last),
        Entry::Timeline(timeline) => What::Timeline(timeline.at, header.revision),
        Entry::Lost { first, last, .. } if first <= last => {
            What::Marker(header.revision.max(first.previous()))
        }
        Entry::Watermark { .. } | Entry::Seal { .. } | Entry::Lost { .. } => {
            What::Marker(header.revision)
        }
    };
    Ok(Next {
        kind,
        witnesses: Vec::new(),
    })
}

/// What the record at `offset` is, which is whole.
pub(crate) fn at(source: &mut Source, seed: &Seed, offset: u64) -> Result<Next> {
    let raw = scan::look(source, seed, offset)?.expect("it was whole a moment ago");
    let (header, entry) = (raw.header, payload::decode(raw.header.kind, raw.payload));
    let entry = entry.expect("it decoded");
    classify(source, seed, offset, &header, &entry)
}

/// What the first whole record of a segment is.
pub(crate) fn first(source: &mut Source, seed: &Seed) -> Result<Option<Next>> {
    let begin = SEGMENT_HEADER_BYTES as u64;
    let Some(offset) = next_whole(source, seed, begin, Sequence(1))? else {
        return Ok(None);
    };
    let mut next = at(source, seed, offset)?;
    next.witnesses = witnesses(source, seed, offset)?;
    Ok(Some(next))
}

/// Whether changes that follow a hole are a part of a difference whose opening was lost. Sets say so
/// themselves. Deletes do not, but then another part or the end, of the same revision, comes next.
pub(crate) fn is_difference(
    source: &mut Source,
    seed: &Seed,
    offset: u64,
    header: &RecordHeader,
    changes: &[Change],
) -> Result<bool> {
    if changes.iter().any(|c| c.revision.is_some()) {
        return Ok(true);
    }
    if changes.iter().any(|c| c.op != crate::Op::Delete) {
        return Ok(false);
    }
    let after: std::result::Result<_, Stop> = scan::look(source, seed, offset + header.length())?;
    Ok(after.is_ok_and(|raw| {
        let of_it = raw.header.revision == header.revision;
        let closes = || match payload::decode(raw.header.kind, raw.payload) {
            Ok(Entry::Gap { phase, .. }) => phase == GapPhase::Closed,
            _ => false,
        };
        of_it && (raw.header.kind == Kind::Changes || raw.header.kind == Kind::Gap && closes())
    }))
}

/// Events from `offset` on, within a bounded number of records.
pub(crate) fn witnesses(source: &mut Source, seed: &Seed, offset: u64) -> Result<Vec<Witness>> {
    /// Enough to get past markers, and past what donors have lost as well; little memory.
    const RECORDS: usize = 256;
    const BYTES: u64 = 1 << 20;
    let mut found = Vec::new();
    let mut at = offset;
    for _ in 0..RECORDS {
        if at > offset + BYTES {
            break;
        }
        let Some(whole) = next_whole(source, seed, at, Sequence(1))? else {
            break;
        };
        let raw = scan::look(source, seed, whole)?.expect("it was whole a moment ago");
        let header = raw.header;
        if header.kind == Kind::Timeline {
            // What is behind it says nothing of what was before.
            break;
        }
        if let Ok(Entry::Changes { changes, .. }) = payload::decode(header.kind, raw.payload)
            && !is_difference(source, seed, whole, &header, &changes)?
        {
            found.push((header.revision, changes));
        }
        at = whole + header.length();
    }
    Ok(found)
}
