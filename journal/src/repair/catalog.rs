//! What the files of a journal verifiably hold, whatever state they are in.
//!
//! Every record says by itself which revisions it speaks of, in which timeline, and whether as an
//! event or as a part of a gap's snapshot diff. So a record counts whatever is lost around it.
//! Records that lie one behind the other and tell all that happened in between are one item: memory
//! grows with damage, gaps and timelines, not with history.

use std::cell::RefCell;

use uuid::Uuid;

use crate::{
    checkpoint::file::Checkpoint,
    error::{Error, Result},
    format::{
        kind::Kind,
        layout::{RecordHeader, Seed},
        payload,
        position::TimelineTag,
    },
    model::{
        entry::{Entry, Gap, GapPhase, GapReason, Timeline},
        ids::{Revision, Sequence},
        span::Span,
    },
    repair::{
        found::Found,
        lineage::Turn,
        salvage::{self, BEGIN, Whole},
        watch::Watch,
    },
    segment::{scan, window::Source},
    storage::traits::Storage,
};

/// How far apart the places are from which on a stretch can be read.
const POINT_BYTES: u64 = 1 << 20;

/// Not said by what is left.
pub(crate) const UNKNOWN: Revision = Revision(i64::MIN);

/// What an item says.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Changes and watermarks: all that happened behind `after` up to `revision`. From each of
    /// these offsets on they can be read; all before it is told up to its revision.
    Told(Vec<(Revision, u64)>),
    /// Parts of a gap's snapshot diff. `revision` is the last one of the gap.
    Parts,
    Opened(Gap),
    Closed(Gap),
    Timeline(Timeline),
    /// An earlier repair named these revisions as lost; `None`: only markers.
    Lost(Option<Span>),
    /// A record of which only the header verifies. It was acknowledged, or the disk cannot read it.
    Header(Kind),
    /// Proves that all sequences before it were acknowledged, and says no more of itself.
    Proof,
    /// A segment's header: the timeline in force there, and the open gap.
    Entered(Option<Timeline>, Option<Gap>),
    /// Nothing in this file can be read.
    Unreadable,
    /// A sound checkpoint of everything before, by its index.
    Checkpoint(usize),
}

/// One thing that a journal's files hold, or prove to have held.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) what: What,
    /// The file, by its index, and the offsets where it begins and ends in it.
    pub(crate) file: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Of its records. What is no record has none: `last` is less than `first`.
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// The newest revision covered before it.
    pub(crate) after: Revision,
    /// The newest one covered with it, or, within a snapshot diff, the last one of its gap.
    pub(crate) revision: Revision,
    pub(crate) tag: TimelineTag,
    /// Whether it lies within a snapshot diff.
    pub(crate) within: bool,
}

impl Item {
    /// Where a record stands of which this is the header.
    fn of(header: &RecordHeader, what: What, file: usize, from: u64) -> Self {
        let position = header.position;
        // A record of changes tells its own revision, whatever was lost before it.
        let tells = matches!(header.kind, Kind::Changes) && !position.within;
        let after = if tells {
            position.prev_revision.min(header.revision.previous())
        } else {
            position.prev_revision
        };
        Self {
            what,
            file,
            from,
            to: from + header.length(),
            first: header.sequence,
            last: header.sequence,
            after,
            revision: header.revision,
            tag: position.timeline,
            within: position.within,
        }
    }

    /// The revisions that it tells singly.
    pub(crate) fn told(&self) -> Option<Span> {
        match &self.what {
            What::Told(_) => Span::new(self.after.next(), self.revision),
            _ => None,
        }
    }
}

/// What a journal holds.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) uuid: Uuid,
    /// Each with what its records verify by; `None`: nothing in it does.
    pub(crate) files: Vec<(Found, Option<Seed>)>,
    /// In the order in which they were written.
    pub(crate) items: Vec<Item>,
    /// The timelines that it knows of.
    pub(crate) turns: Vec<Turn>,
    /// The file that was read last, by its index: nearly always the next one, too.
    open: RefCell<Option<(usize, Source)>>,
}

impl Catalog {
    /// Looks at every record that verifies in `files`, the segments of one journal, oldest first.
    pub(crate) fn read(
        storage: &dyn Storage,
        files: Vec<Found>,
        uuid: Uuid,
        checkpoints: &[Checkpoint],
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut builder = Builder {
            catalog: Self {
                uuid,
                files: Vec::with_capacity(files.len()),
                items: Vec::new(),
                turns: Vec::new(),
                open: RefCell::default(),
            },
            cuts: checkpoints.iter().map(Checkpoint::sequence).collect(),
            proven: Sequence::NONE,
            unproven: Vec::new(),
        };
        for checkpoint in checkpoints {
            builder.proven = builder.proven.max(checkpoint.sequence());
            builder.learn(checkpoint.header.timeline.as_ref(), None);
        }
        for (i, found) in files.iter().enumerate() {
            let open = found.open(storage, &files[i + 1..], uuid)?;
            let seed = open.as_ref().map(|(_, seed)| seed.clone());
            builder.file(i, found, open, watch)?;
            builder.catalog.files.push((found.clone(), seed));
        }
        Ok(builder.finish(checkpoints))
    }

    /// How many records verify.
    pub(crate) fn records(&self) -> u64 {
        let records = self
            .items
            .iter()
            .map(|item| item.last.next().0 - item.first.0);
        records.sum()
    }

    /// The bytes of a file, and what its records verify by.
    pub(crate) fn open(
        &self,
        storage: &dyn Storage,
        file: usize,
    ) -> Result<Option<(Source, &Seed)>> {
        let (found, seed) = &self.files[file];
        Ok(found.source(storage)?.zip(seed.as_ref()))
    }

    /// Visits the records of an item from this offset on, each with what decodes it, until the
    /// visitor wants no more.
    pub(crate) fn visit(
        &self,
        storage: &dyn Storage,
        item: &Item,
        from: u64,
        mut visit: impl FnMut(RecordHeader, &dyn Fn() -> Result<Entry>) -> Result<bool>,
    ) -> Result<()> {
        let changed = || Error::DonorChanged {
            donor: self.files[item.file].0.path.display().to_string(),
            first: item.after,
            last: item.revision,
        };
        let (found, seed) = &self.files[item.file];
        let seed = seed.as_ref().ok_or_else(changed)?;
        let mut source = match self.open.take() {
            Some((file, source)) if file == item.file => source,
            _ => found.source(storage)?.ok_or_else(changed)?,
        };
        let mut at = from;
        while at < item.to {
            let raw = scan::look(&mut source, seed, at)?.map_err(|_| changed())?;
            let header = raw.header;
            at += header.length();
            let decode = || payload::decode(header.kind, raw.payload).map_err(|_| changed());
            if !visit(header, &decode)? {
                break;
            }
        }
        self.open.replace(Some((item.file, source)));
        Ok(())
    }
}

struct Builder {
    catalog: Catalog,
    /// Sequences behind which an item ends, because a checkpoint does.
    cuts: Vec<Sequence>,
    /// All sequences up to here were acknowledged.
    proven: Sequence,
    /// Items that count only if they turn out to be proven: where they are, and what was synced by
    /// their account.
    unproven: Vec<(usize, Sequence)>,
}

impl Builder {
    fn learn(&mut self, timeline: Option<&Timeline>, begun: Option<Revision>) {
        self.catalog.turns.extend(timeline.map(|to| Turn {
            to: to.clone(),
            begun,
        }));
    }

    fn file(
        &mut self,
        i: usize,
        found: &Found,
        open: Option<(Source, Seed)>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let item = |what, after, tag, within| Item {
            what,
            file: i,
            from: BEGIN,
            to: BEGIN,
            first: found.first,
            last: found.first.previous(),
            after,
            revision: after,
            tag,
            within,
        };
        match &found.header {
            Ok(header) => {
                let context = &header.context;
                self.proven = self.proven.max(header.synced).max(header.predecessor_last);
                self.learn(context.timeline.as_ref(), None);
                let tag = TimelineTag::of(context.timeline.as_ref().map(|t| t.id.as_str()));
                let gap = context
                    .open_gap
                    .filter(|gap| gap.reason != GapReason::Damage);
                let entered = What::Entered(context.timeline.clone(), gap);
                let entered = item(entered, header.covered, tag, gap.is_some());
                self.catalog.items.push(entered);
            }
            // A copy of a segment that has no record holds none either.
            Err(_) if open.is_none() && !found.is_copy() => {
                let unreadable = item(What::Unreadable, Revision::NONE, TimelineTag::NONE, false);
                self.catalog.items.push(unreadable);
            }
            Err(_) => {}
        }
        let Some((mut source, seed)) = open else {
            return Ok(());
        };
        let newest = self.catalog.items.last().map(|item| item.last);
        let mut expected = newest.unwrap_or_default().next();
        let begun = self.unproven.len();
        let mut at = BEGIN;
        loop {
            let whole = salvage::next_whole(&mut source, &seed, at, expected)?;
            let (to, last) = match &whole {
                Some(whole) => (whole.offset, whole.header.sequence.previous()),
                None => (u64::MAX, Sequence(u64::MAX)),
            };
            if to > at {
                let headers = salvage::headers(&mut source, &seed, at..to, expected, last)?;
                for (offset, header) in headers {
                    self.proven = self.proven.max(header.synced);
                    self.unproven
                        .push((self.catalog.items.len(), header.synced));
                    let what = What::Header(header.kind);
                    let item = Item::of(&header, what, i, offset);
                    self.catalog.items.push(item);
                }
            }
            let Some(whole) = whole else {
                break;
            };
            watch.read(whole.offset - at + whole.header.length())?;
            at = whole.offset + whole.header.length();
            expected = whole.header.sequence.next();
            self.note(i, whole);
        }
        if source.unreadable().is_some() {
            // No crash makes a sector unreadable: what has a header there was whole.
            self.unproven.truncate(begun);
        }
        Ok(())
    }

    fn note(&mut self, file: usize, whole: Whole) {
        let Whole {
            offset,
            header,
            marker,
        } = whole;
        self.proven = self.proven.max(header.synced);
        let what = match marker {
            Some(Entry::Timeline(timeline)) => {
                self.learn(Some(&timeline), Some(header.revision));
                What::Timeline(timeline)
            }
            Some(Entry::Gap {
                first,
                last,
                phase,
                reason,
                ..
            }) => {
                let gap = Gap {
                    first,
                    last,
                    reason,
                };
                match phase {
                    GapPhase::Opened => What::Opened(gap),
                    GapPhase::Closed => What::Closed(gap),
                }
            }
            Some(Entry::Lost { first, last, .. }) => What::Lost(Span::new(first, last)),
            _ if header.position.within => What::Parts,
            _ => What::Told(Vec::new()),
        };
        let mut item = Item::of(&header, what, file, offset);
        if matches!(item.what, What::Parts) && header.kind != Kind::Changes {
            // Bookkeeping does not say where the snapshot diff leads.
            item.revision = UNKNOWN;
        }
        if let Some(before) = self.catalog.items.last_mut()
            && before.file == file
            && before.to == offset
            && before.last.next() == item.first
            && before.tag == item.tag
            && !self.cuts.contains(&before.last)
            && before.takes_in(&item)
        {
            before.to = item.to;
            before.last = item.last;
            before.revision = before.revision.max(item.revision);
            return;
        }
        if let What::Told(points) = &mut item.what {
            points.push((item.after, offset));
        }
        self.catalog.items.push(item);
    }

    fn finish(mut self, checkpoints: &[Checkpoint]) -> Catalog {
        for (at, synced) in self.unproven {
            let item = &mut self.catalog.items[at];
            if item.first > self.proven {
                // A crash may leave the header of a record that was never whole.
                item.what = What::Proof;
                item.first = synced.next();
                item.last = synced;
            }
        }
        for (i, checkpoint) in checkpoints.iter().enumerate() {
            let header = &checkpoint.header;
            let items = &mut self.catalog.items;
            let at = items.iter().position(|item| item.first > header.sequence);
            let at = at.unwrap_or(items.len());
            let (file, to) = match at.checked_sub(1) {
                Some(before) => (items[before].file, items[before].to),
                None => (0, BEGIN),
            };
            let item = Item {
                what: What::Checkpoint(i),
                file,
                from: to,
                to,
                first: header.sequence.next(),
                last: header.sequence,
                after: header.revision,
                revision: header.revision,
                tag: TimelineTag::of(header.timeline.as_ref().map(|t| t.id.as_str())),
                within: false,
            };
            items.insert(at, item);
        }
        self.catalog
    }
}

impl Item {
    /// Whether what this says goes on with the next record.
    fn takes_in(&mut self, next: &Self) -> bool {
        match (&mut self.what, &next.what) {
            (What::Told(points), What::Told(_)) => {
                let goes_on = next.after <= self.revision;
                let newest = points.last().map_or(0, |(_, offset)| *offset);
                if goes_on && next.from - newest >= POINT_BYTES {
                    points.push((self.revision, next.from));
                }
                goes_on
            }
            (What::Parts, What::Parts) => {
                let same = self.revision == next.revision;
                self.after == next.after
                    && (same || self.revision == UNKNOWN || next.revision == UNKNOWN)
            }
            _ => false,
        }
    }
}
