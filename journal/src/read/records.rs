//! Iterating over records, across segments, beside a writer and beside retention.

use std::path::{Path, PathBuf};

use crate::{
    checkpoint::history::{History, ends_before, newest_witness, retired, unless_changing},
    directory::{
        handle::Directory,
        listing::{Listing, as_found},
    },
    error::{Error, Result},
    format::payload,
    model::{
        entry::{Entry, IndexPoint, Record},
        ids::{Revision, Sequence},
        view::RecordRef,
    },
    read::{
        begin::Begin,
        current::{Current, Found},
    },
    replay::{last_segment::read_last, machine::Replay, timeline_switch},
    segment::{
        chain::{self, check_extent},
        ending::{self, Tail},
        open::{Extent, Segment},
        scan::{self, Passed, Stop},
        window::unreadable_detail,
    },
};

/// How far a follower looks for proof of damage behind the end each time it has caught up. The
/// first time, and once the segment is complete, all of it is checked.
const FOLLOW_LOOK_BYTES: u64 = 1 << 20;

/// How iteration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndState {
    /// After the last record there is nothing yet.
    Clean,
    /// After the last record there are bytes that are no record: a torn tail, or a write under way.
    TornTail {
        /// The segment.
        file: PathBuf,
        /// Where they begin.
        offset: u64,
        /// How many there are.
        bytes: u64,
    },
}

/// Iterates over records, oldest first.
///
/// `None` means the end as it is now: calling `next` again later goes on with what was
/// written since. After an error there is nothing more.
#[derive(Debug)]
pub struct Records {
    directory: Directory,
    /// Where to begin, until that is found.
    begin: Option<Begin>,
    /// What to leave out, until the first record that is not.
    skip: Option<Begin>,
    /// Records before this one are of a line of history that was left: see [`timeline_switch`].
    switch: Sequence,
    current: Option<Current>,
    end: EndState,
    ended: bool,
    with_control: bool,
}

impl Records {
    pub(super) fn of(directory: &Directory, begin: Begin, with_control: bool) -> Self {
        Self {
            directory: directory.clone(),
            begin: Some(begin),
            skip: Some(begin),
            switch: Sequence::NONE,
            current: None,
            end: EndState::Clean,
            ended: false,
            with_control,
        }
    }

    /// What is behind the last record, as of the last time that `next` returned `None`.
    #[must_use]
    pub fn end_state(&self) -> EndState {
        self.end.clone()
    }

    /// The next record without a copy, for callers that keep nothing of most records. Otherwise as
    /// [`Iterator::next`].
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>>> {
        let with_control = self.with_control;
        self.next_with(|passed| passed.view(with_control))
    }

    #[inline]
    fn next_with<'a, T>(
        &'a mut self,
        show: impl FnOnce(&Passed<'a>) -> Result<T, String>,
    ) -> Option<Result<T>> {
        let found = match self.find()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let directory = &self.directory;
        let current = self.current.as_mut().expect("it was found there");
        let shown = current.show(found, show);
        self.ended = shown.is_err();
        Some(shown.map_err(|error| as_found(directory, error)))
    }

    /// The next record that is not left out.
    #[inline]
    fn find(&mut self) -> Option<Result<Found>> {
        if self.ended {
            return None;
        }
        loop {
            match self.advance() {
                Ok(Some(found)) => {
                    if self.skip.is_none() && found.header.sequence >= self.switch {
                        return Some(Ok(found));
                    }
                    match self.is_left_out(found) {
                        Ok(true) => {}
                        Ok(false) => {
                            self.skip = None;
                            return Some(Ok(found));
                        }
                        Err(error) => {
                            self.ended = true;
                            return Some(Err(as_found(&self.directory, error)));
                        }
                    }
                }
                Ok(None) => return None,
                Err(error) => {
                    self.ended = true;
                    let error = self.overtaken().unwrap_or(error);
                    return Some(Err(as_found(&self.directory, error)));
                }
            }
        }
    }

    #[cold]
    fn is_left_out(&mut self, found: Found) -> Result<bool> {
        let (switch, skip) = (self.switch, self.skip);
        let current = self.current.as_mut().expect("it was found there");
        let record = current.show(found, |passed| passed.view(true))?;
        Ok(record.sequence < switch || skip.is_some_and(|skip| skip.skips(&record)))
    }

    /// The next record.
    #[inline]
    fn advance(&mut self) -> Result<Option<Found>> {
        if let Some(begin) = self.begin {
            self.current = Some(self.begin_at(begin)?);
            self.begin = None;
        }
        loop {
            let current = self.current.as_mut().expect("found above");
            if let Some((extent, next)) = &current.successor
                && current.scan.last() >= extent.last
            {
                // What verifies although it could not be read is zeros, and the disk is failing.
                let unreadable = current.scan.source.unreadable();
                if let Some(at) = unreadable.filter(|at| *at < extent.end) {
                    return Err(current.corrupt(unreadable_detail(at)));
                }
                if current.whole {
                    check_extent(&current.scan, extent, current.covered)?;
                }
                let (path, first) = (next.clone(), extent.last.next());
                let covered = current.covered;
                self.current = Some(self.enter(&path, first, covered)?);
                continue;
            }
            let offset = current.scan.offset;
            let stop = match current.scan.step()? {
                Ok(raw) => {
                    let found = Found {
                        header: raw.header,
                        offset,
                        after: current.covered,
                    };
                    current.covered = found.header.revision;
                    return Ok(Some(found));
                }
                Err(stop) => stop,
            };
            if current.successor.is_some() {
                let unreadable = current.scan.source.unreadable();
                let detail = unreadable.map_or_else(|| stop.detail(), unreadable_detail);
                return Err(current.corrupt(detail));
            }
            // Who follows a writer has read ahead of it: what was the end is seldom still one.
            let scan = &mut current.scan;
            if scan.records > 0 {
                scan.source.refresh();
                if scan.is_next_there()? {
                    continue;
                }
            }
            if !self.at_end(&stop)? {
                return Ok(None);
            }
        }
    }

    /// A slow reader may find that retention has gone past it.
    fn overtaken(&self) -> Option<Error> {
        let current = self.current.as_ref()?;
        let (segment, sequence) = (current.segment.header.first, current.scan.expected);
        retired(
            self.directory.storage(),
            self.directory.path(),
            segment,
            sequence,
        )
    }

    /// The scan of the last segment has stopped. Returns whether to try again.
    fn at_end(&mut self, stop: &Stop) -> Result<bool> {
        let storage = self.directory.shared().clone();
        // Before anything is looked at again: what it covers is there to be seen then.
        let witness = match &self.current {
            Some(current) if !current.searched => newest_witness(&*storage, self.directory.path())?,
            _ => None,
        };
        let listing = Listing::read(&*storage, self.directory.path())?;
        let current = self.current.as_mut().expect("the caller has one");
        let first = current.segment.header.first;

        // A writer that opens a journal whose last segment is empty replaces the file; this is
        // looked at before anything is believed of the one that we have open.
        if current.scan.records == 0
            && current.whole
            && let Some(path) = listing.segments.get(&first)
        {
            let now =
                Segment::open(&*storage, path, first).map_err(|e| e.after(current.covered))?;
            if now.header.salt != current.segment.header.salt {
                let covered = current.covered;
                let path = path.clone();
                self.current = Some(self.enter(&path, first, covered)?);
                return Ok(true);
            }
        }
        if let Some((next_first, path)) = listing.after(first) {
            let next =
                Segment::open(&*storage, path, next_first).map_err(|e| e.after(current.covered))?;
            let extent = chain::link(&current.segment.header, &next.header, path)
                .map_err(|e| e.after(current.covered))?;
            // What looked like the end may have been a write under way: it is complete now.
            current.scan.source.refresh();
            current.successor = Some((extent, path.clone()));
            return Ok(true);
        }
        // What was read may have been half of a write under way.
        current.scan.source.refresh();
        if current.scan.is_next_there()? {
            return Ok(true);
        }
        // No crash makes a sector unreadable: it is damage, wherever it is.
        if let Some(at) = current.scan.source.unreadable() {
            return Err(current.corrupt(unreadable_detail(at)));
        }
        let look = if current.searched {
            FOLLOW_LOOK_BYTES
        } else {
            u64::MAX
        };
        let tail = ending::judge(&mut current.scan, stop, look)?;
        current.searched = true;
        if let Some(witness) = witness
            && witness.sequence() > current.scan.last()
        {
            return Err(current.corrupt(ends_before(&witness)));
        }
        self.end = match tail {
            Tail::Clean => EndState::Clean,
            Tail::Torn(bytes) => EndState::TornTail {
                file: current.segment.file.path.to_path_buf(),
                offset: current.scan.offset,
                bytes,
            },
            Tail::Corrupt { detail, .. } => {
                // The proof was written after what it proves. If that was being written when it was
                // looked at, it is there now.
                current.scan.source.refresh();
                if current.scan.is_next_there()? {
                    return Ok(true);
                }
                return Err(current.corrupt(detail));
            }
        };
        Ok(false)
    }

    fn enter(&self, path: &Path, first: Sequence, covered: Revision) -> Result<Current> {
        let segment =
            Segment::open(self.directory.storage(), path, first).map_err(|e| e.after(covered))?;
        let scan = segment.scan_patiently();
        let mut current = Current {
            covered: segment.header.covered,
            segment,
            scan,
            successor: None,
            whole: true,
            searched: false,
        };
        let listing = Listing::read(self.directory.storage(), self.directory.path())?;
        if let Some((next_first, path)) = listing.after(first) {
            match self.extent(&current.segment, path, next_first) {
                Ok(extent) => {
                    current.scan = current.segment.scan_whole(&extent)?;
                    current.successor = Some((extent, path.to_owned()));
                }
                // What is valid in this one is shown first: the damage is met again at its end.
                Err(error) if error.is_corruption() => {}
                Err(other) => return Err(other),
            }
        }
        Ok(current)
    }

    /// Where a segment ends, by what the header of its successor says.
    fn extent(&self, segment: &Segment, path: &Path, first: Sequence) -> Result<Extent> {
        let covered = segment.header.covered;
        let next = Segment::open(self.directory.storage(), path, first);
        let next = next.map_err(|error| error.after(covered))?;
        chain::link(&segment.header, &next.header, path)
    }

    /// The segment, and the place in it, at which to begin.
    fn begin_at(&mut self, begin: Begin) -> Result<Current> {
        let directory = &self.directory;
        let (current, switch) = unless_changing(directory.storage(), directory.path(), || {
            self.begin_at_once(begin)
        })?;
        self.switch = switch;
        Ok(current)
    }

    fn begin_at_once(&self, begin: Begin) -> Result<(Current, Sequence)> {
        let mut switch = Sequence::NONE;
        let listing = Listing::read(self.directory.storage(), self.directory.path())?;
        let (mut first, mut path) = listing
            .segments
            .first_key_value()
            .ok_or_else(|| listing.not_a_journal(self.directory.path()))?;
        let oldest = Segment::open(self.directory.storage(), path, *first)?;
        let is_complete = oldest.header.predecessor_last == Sequence::NONE;
        match begin {
            Begin::Sequence(from) => {
                if from > Sequence(1) && from < *first {
                    // Whether retention has removed it, or it is missing.
                    History::read(self.directory.storage(), self.directory.path())?;
                    return Err(Error::Retired {
                        sequence: from,
                        oldest: *first,
                    });
                }
                if let Some(found) = listing.segments.range(..=from).next_back() {
                    (first, path) = found;
                }
            }
            Begin::Revision(from) => {
                switch = timeline_switch::newest(self.directory.storage(), &listing, from)?;
                for (f, p) in listing.segments.iter().rev() {
                    (first, path) = (f, p);
                    let segment = Segment::open(self.directory.storage(), p, *f)?;
                    // Within a snapshot diff nothing more is covered than before its gap: reading
                    // begins with the opening, or the rest would be taken for events.
                    let inside = Replay::before_segment(&segment.header).in_snapshot_diff();
                    if *f <= switch || segment.header.covered < from && !inside {
                        break;
                    }
                }
                let oldest = oldest.header;
                if !is_complete
                    && from > Revision::NONE
                    && *first == oldest.first
                    && oldest.covered >= from
                {
                    return Err(Error::NotInHistory {
                        revision: from,
                        oldest: oldest.covered.next(),
                        newest: self.newest(&listing)?,
                    });
                }
            }
        }
        if !is_complete && Some(first) == listing.segments.keys().next() {
            History::read(self.directory.storage(), self.directory.path())?;
        }
        let mut current = self.enter(path, *first, Revision::NONE)?;
        self.skip_ahead(&mut current, begin, switch)?;
        Ok((current, switch))
    }

    /// The newest revision covered.
    fn newest(&self, listing: &Listing) -> Result<Revision> {
        let last = listing.segments.last_key_value();
        let (first, path) = last.ok_or_else(|| listing.not_a_journal(self.directory.path()))?;
        let segment = Segment::open(self.directory.storage(), path, *first)?;
        let read = read_last(&segment)?;
        Ok(read.tracker.covered)
    }

    /// Goes to the last point of a sealed segment's index that is not beyond where to begin. Any
    /// doubt about the index only means that reading begins at the segment's first record.
    fn skip_ahead(&self, current: &mut Current, begin: Begin, switch: Sequence) -> Result<()> {
        let Some((
            Extent {
                seal: Some(seal), ..
            },
            _,
        )) = current.successor
        else {
            return Ok(());
        };
        let Ok(raw) = scan::look(&mut current.scan.source, &current.scan.seed, seal)? else {
            return Ok(());
        };
        let Ok(Entry::Seal { index, .. }) = payload::decode(raw.header.kind, raw.payload) else {
            return Ok(());
        };
        let mut points = index.iter().rev();
        let point = match begin {
            Begin::Sequence(_) => points.find(|p| begin.is_after(p)),
            // As much was covered at points within a snapshot diff as at its opening: only a point
            // at which less was covered is sure to lie before it.
            Begin::Revision(_) => {
                let counted = |p: &&IndexPoint| p.sequence > switch && begin.is_after(p);
                let most = index.iter().filter(counted).map(|p| p.covered).max();
                let before =
                    |p: &&IndexPoint| counted(p) && most.is_some_and(|most| p.covered < most);
                let switch = index.iter().rev().find(|p| p.sequence <= switch);
                points.find(before).or(switch)
            }
        };
        if let Some(point) = point
            && point.sequence > current.scan.expected
        {
            current.scan.offset = point.offset;
            current.scan.expected = point.sequence;
            current.covered = point.covered;
            current.whole = false;
        }
        Ok(())
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let with_control = self.with_control;
        self.next_with(|passed| passed.record(with_control))
    }
}
