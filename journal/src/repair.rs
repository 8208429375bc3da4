//! Salvage of a damaged journal: keeps every record that verifies, says in the journal itself what is
//! lost, and keeps each damaged file.
//!
//! Kept records keep their sequence and revision, so nothing that refers to them has to change; the
//! loss takes the place of the lost ones as a record of its own. Every damaged segment is replaced
//! at once by a complete new one, and a marker file keeps writers out until all is done, so an
//! interrupted repair is simply run again. The steps are numbered as in `docs/format.md`.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    Error, Result, Revision, Sequence,
    checkpoint::Vetted,
    directory::{self, Extent, Listing, REPAIR, Segment, Tail, segment_name},
    layout::{FORMAT_VERSION, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader},
    payload::{Context, Repaired},
    recovery::{self, LastSegment, remove_temporary, tracker_before},
    salvage::{self, Rewritten, Salvage},
    scan::Source,
    segment,
    storage::{Access, Disk, Named, Storage},
    tracker::Tracker,
};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The segment or checkpoint.
    pub file: PathBuf,
    /// Where its damaged original is kept; `None`: there was no file.
    pub bad_file: Option<PathBuf>,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The first and last sequence lost; `None`: none.
    pub lost: Option<(Sequence, Sequence)>,
    /// The first and last revision that may be lost with them; `None`: only markers.
    pub revisions: Option<(Revision, Revision)>,
    /// What was wrong.
    pub detail: String,
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Every damaged place, oldest first. Empty: there was nothing to repair.
    pub damaged: Vec<Damage>,
    /// How many records the journal holds now.
    pub kept_records: u64,
    /// Whether this completed an earlier repair that was interrupted: that one's losses are recorded in
    /// the journal, and not in `damaged`.
    pub resumed: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: damaged at offset {}: {}; ",
            self.file.display(),
            self.offset,
            self.detail
        )?;
        match self.lost {
            None => f.write_str("no record is lost")?,
            Some((a, b)) if a == b => write!(f, "lost: sequence {a}")?,
            Some((a, b)) => write!(f, "lost: sequences {a} to {b}")?,
        }
        match (self.lost, self.revisions) {
            (None, _) => {}
            (_, None) => f.write_str(" (no revision)")?,
            (_, Some((a, b))) if a == b => write!(f, ", with it perhaps revision {a}")?,
            (_, Some((a, b))) => write!(f, ", with it perhaps revisions {a} to {b}")?,
        }
        if let Some(bad) = &self.bad_file {
            write!(f, "; the damaged file is kept as {}", bad.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.resumed {
            f.write_str("an interrupted repair was completed; ")?;
        }
        if self.damaged.is_empty() {
            return write!(f, "nothing is damaged; {} records", self.kept_records);
        }
        writeln!(f, "{} records kept", self.kept_records)?;
        for (i, damage) in self.damaged.iter().enumerate() {
            write!(f, "{}{damage}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// Repairs the journal in `dir`, which nobody may have open for writing. Does nothing to a journal
/// that is whole. A torn tail is no damage: it is left to the next opening.
pub fn repair(dir: &Path) -> Result<RepairReport> {
    repair_with(&Disk, dir)
}

/// The same on any storage.
pub fn repair_with(storage: &dyn Storage, dir: &Path) -> Result<RepairReport> {
    let found = Listing::read(storage, dir)?;
    if found.segments.is_empty() {
        return Err(found.not_a_journal(dir));
    }
    // 1. Nobody else.
    let _lock = recovery::take_lock(storage, dir)?;
    let listing = Listing::read(storage, dir)?;
    let resumed = listing.kept.iter().any(|n| n == REPAIR);
    remove_temporary(storage, &listing)?;
    listing.give_name(storage, dir)?;

    let mut repair = Repair {
        storage,
        dir,
        begun: resumed,
        report: RepairReport {
            resumed,
            ..RepairReport::default()
        },
        tracker: Tracker::default(),
        before: None,
        checkpoints: Vetted::default(),
    };
    let files = open_all(storage, &listing)?;
    let uuid = identity(&files)?;
    repair.vet_checkpoints(&listing, uuid)?;
    repair.oldest(&files, uuid)?;
    for i in 0..files.len() {
        repair.segment(&files, i, uuid)?;
    }
    repair.end_at_witness()?;
    repair.finish()?;
    Ok(repair.report)
}

/// A segment file, whatever state it is in.
struct Candidate {
    first: Sequence,
    file: Arc<Named>,
    header: Result<SegmentHeader, String>,
    /// Headers that the records may verify by, if the header itself does not.
    guesses: Vec<SegmentHeader>,
}

fn open_all(storage: &dyn Storage, listing: &Listing) -> Result<Vec<Candidate>> {
    let mut all = Vec::new();
    for (first, path) in &listing.segments {
        let file = Arc::new(Named::open(storage, path, Access::Read)?);
        let mut block = vec![0; SEGMENT_HEADER_BYTES];
        let n = file.read_at(&mut block, 0)?;
        let header = match SegmentHeader::decode(&block[..n]) {
            Ok(h) if h.first != *first => {
                return Err(Error::ForeignFile {
                    path: path.clone(),
                    detail: format!("its header says that it begins with sequence {}", h.first),
                });
            }
            Ok(h) => Ok(h),
            Err(HeaderFault::Future(found)) => {
                return Err(Error::FutureFormat {
                    path: path.clone(),
                    found,
                    supported: FORMAT_VERSION,
                });
            }
            Err(HeaderFault::Damaged(detail)) => Err(detail),
        };
        all.push(Candidate {
            first: *first,
            file,
            header,
            guesses: SegmentHeader::salvage(&block[..n]),
        });
    }
    Ok(all)
}

/// The journal's UUID, by any header that is sound, else by a copy that records verify by.
fn identity(files: &[Candidate]) -> Result<Uuid> {
    let mut sound = files
        .iter()
        .filter_map(|f| f.header.as_ref().ok().map(|h| (f, h)));
    if let Some((_, first)) = sound.next() {
        for (file, header) in sound {
            directory::same_journal(first, header, &file.file.path)?;
        }
        return Ok(first.uuid);
    }
    for file in files {
        for guess in &file.guesses {
            let mut source = Source::window(file.file.clone());
            if salvage::any_record(&mut source, &guess.seed())? {
                return Ok(guess.uuid);
            }
        }
    }
    let first = &files[0];
    Err(Error::Corrupt {
        path: first.file.path.to_path_buf(),
        offset: 0,
        sequence: first.first,
        revision: Revision::NONE,
        detail: "no segment header is readable and no record verifies: nothing can be salvaged"
            .to_owned(),
    })
}

/// The segment before the one that is looked at, as it is now.
struct Before {
    header: SegmentHeader,
    extent: Extent,
    /// Set if it is the last one and whole.
    end: Option<(Segment, LastSegment)>,
}

struct Repair<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    /// Whether the marker is there.
    begun: bool,
    report: RepairReport,
    tracker: Tracker,
    before: Option<Before>,
    checkpoints: Vetted,
}

impl Repair<'_> {
    /// A checkpoint that cannot be believed is kept under another name.
    fn vet_checkpoints(&mut self, listing: &Listing, uuid: Uuid) -> Result<()> {
        self.checkpoints = Vetted::read(self.storage, listing, uuid)?;
        for error in std::mem::take(&mut self.checkpoints.damaged) {
            let Error::CheckpointDamaged {
                path,
                offset,
                detail,
                ..
            } = error
            else {
                unreachable!("only these are collected");
            };
            self.begin()?;
            let bad = self.keep_bad(&path)?;
            segment::remove_if_there(self.storage, &path)?;
            segment::sync_dir(self.storage, self.dir)?;
            self.report.damaged.push(Damage {
                file: path,
                bad_file: Some(bad),
                offset,
                lost: None,
                revisions: None,
                detail,
            });
        }
        Ok(())
    }

    /// Step 2: the marker, before the first change.
    fn begin(&mut self) -> Result<()> {
        if !self.begun {
            let path = self.dir.join(REPAIR);
            let marker = Named::open(self.storage, &path, Access::CreateNew)?;
            marker.sync_all()?;
            segment::sync_dir(self.storage, self.dir)?;
            self.begun = true;
        }
        Ok(())
    }

    fn last(&self) -> Sequence {
        self.before
            .as_ref()
            .map_or(Sequence::NONE, |b| b.extent.last)
    }

    /// What was before the oldest segment is lost, unless a checkpoint covers it.
    fn oldest(&mut self, files: &[Candidate], uuid: Uuid) -> Result<()> {
        let first = files[0].first;
        if first == Sequence(1) || self.checkpoints.covers(first) {
            return Ok(());
        }
        if let Some(base) = self.checkpoints.before(first) {
            // Only what is between the checkpoint and the segment.
            self.tracker = Tracker {
                covered: base.header.revision,
                timeline: base.header.timeline.clone(),
                open_gap: base.header.open_gap,
            };
        }
        self.fill(&files[0], uuid)
    }

    /// One segment: keep it or replace it.
    fn segment(&mut self, files: &[Candidate], i: usize, uuid: Uuid) -> Result<()> {
        let this = &files[i];
        let next = files.get(i + 1);
        if self.before.is_some() && self.last().next() < this.first {
            self.fill(this, uuid)?;
        }
        if let Ok(header) = &this.header {
            // What the header says was known when it was written; damage found before it was not.
            let damage = self
                .tracker
                .open_gap
                .filter(|_| !self.tracker.in_difference());
            self.tracker = tracker_before(header);
            self.tracker.open_gap = damage.or(self.tracker.open_gap);
        }
        let complaint = match self.check(this, next)? {
            Ok(before) => {
                self.before = Some(before);
                return Ok(());
            }
            Err(complaint) => complaint,
        };
        self.replace(this, next, uuid, &complaint)
    }

    /// Step 3: whether a segment is whole, and its successor and predecessor fit: then what it is.
    fn check(
        &mut self,
        this: &Candidate,
        next: Option<&Candidate>,
    ) -> Result<Result<Before, (u64, String)>> {
        let header = match &this.header {
            Ok(header) => header.clone(),
            Err(detail) => return Ok(Err((0, detail.clone()))),
        };
        let segment = Segment {
            file: this.file.clone(),
            header: header.clone(),
        };
        if let Some(before) = &self.before
            && let Err(e) = directory::link(&before.header, &header, &this.file.path)
        {
            return complaint(e);
        }
        let mut tracker = self.tracker.clone();
        let direct = next
            .and_then(|n| n.header.as_ref().ok().map(|h| (h, &n.file.path)))
            .and_then(|(h, path)| directory::link(&header, h, path).ok());
        if let Some(extent) = direct {
            let verified = directory::verify(&segment, &extent, |raw| {
                let entry = crate::payload::decode(raw.header.kind, raw.payload)?;
                tracker.apply(raw.header.revision, &entry);
                Ok(())
            });
            let scan = match verified {
                Ok(scan) => scan,
                Err(e) => return complaint(e),
            };
            self.tracker = tracker;
            self.report.kept_records += scan.records;
            return Ok(Ok(Before {
                header,
                extent,
                end: None,
            }));
        }
        // The last one, or one whose successor is damaged or missing.
        let mut end = match recovery::read_last(&segment) {
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
        end.tracker.open_gap = self
            .tracker
            .open_gap
            .filter(|_| !self.tracker.in_difference())
            .or(end.tracker.open_gap);
        self.tracker = end.tracker.clone();
        self.report.kept_records += end.scan.records;
        let extent = Extent {
            last: end.scan.last(),
            digest: end.scan.digest.value(),
            end: end.scan.offset,
            seal: end.scan.seal,
        };
        Ok(Ok(Before {
            header,
            extent,
            end: next.is_none().then_some((segment, end)),
        }))
    }

    /// Step 4: replaces a damaged segment by one that holds what verifies.
    fn replace(
        &mut self,
        this: &Candidate,
        next: Option<&Candidate>,
        uuid: Uuid,
        (offset, detail): &(u64, String),
    ) -> Result<()> {
        self.begin()?;
        let seed = self.seed_of(this, next, uuid)?;
        let mut source = Source::window(this.file.clone());
        let evidence = match &seed {
            Some(seed) => salvage::evidence(&mut source, seed)?,
            None => salvage::Evidence::default(),
        };
        let known_last = self.known_last(this, next, &evidence)?;
        let path = this.file.path.to_path_buf();
        let bad = self.keep_bad(&path)?;
        let after = match next {
            Some(next) => self.covered_before(next, uuid),
            None => evidence.revision,
        };
        let job = Salvage {
            source: Some((&mut source, seed.as_ref())),
            first: this.first,
            known_last,
            after,
        };
        let at = (path.clone(), Some(bad), *offset, detail.clone());
        let header = self.header_for(this, uuid);
        self.write(job, &path, header, next, at)
    }

    /// Step 5: puts a segment that records the loss in the place of those missing before `next`.
    fn fill(&mut self, next: &Candidate, uuid: Uuid) -> Result<()> {
        self.begin()?;
        let first = match (&self.before, self.checkpoints.before(next.first)) {
            (None, Some(base)) => base.sequence().next(),
            _ => self.last().next(),
        };
        let path = self.dir.join(segment_name(first));
        let after = self.covered_before(next, uuid);
        let job = Salvage {
            source: None,
            first,
            known_last: next.first.previous(),
            after,
        };
        let detail = "the segment is missing".to_owned();
        let at = (path.clone(), None, 0, detail);
        let this = Candidate {
            first,
            file: next.file.clone(),
            header: Err(String::new()),
            guesses: Vec::new(),
        };
        let header = self.header_for(&this, uuid);
        self.write(job, &path, header, Some(next), at)
    }

    /// A checkpoint is a witness that what it covers had been there: if the journal ends before, the rest
    /// is recorded as lost in a segment behind it.
    fn end_at_witness(&mut self) -> Result<()> {
        let Some(witness) = self.checkpoints.newest().cloned() else {
            return Ok(());
        };
        if self.last() >= witness.sequence() {
            return Ok(());
        }
        self.begin()?;
        let before = self.before.take().expect("there is at least one segment");
        let (segment, mut end) = before.end.expect("the last segment was read");
        end.tracker = self.tracker.clone();
        let ended = recovery::end_segment(self.storage, self.dir, &segment, &end, 0)?;
        let mut header = ended.header;
        header.salt = recovery::salt(self.storage);
        let path = self.dir.join(segment_name(header.first));
        let job = Salvage {
            source: None,
            first: header.first,
            known_last: witness.sequence(),
            after: witness.revision(),
        };
        let detail = format!(
            "the journal ends before it; {} proves that sequence {} had been acknowledged, and has the \
             state there",
            witness.path().display(),
            witness.sequence()
        );
        self.write(job, &path.clone(), header, None, (path, None, 0, detail))
    }

    fn write(
        &mut self,
        job: Salvage<'_>,
        path: &Path,
        mut header: SegmentHeader,
        next: Option<&Candidate>,
        (file, bad_file, offset, detail): (PathBuf, Option<PathBuf>, u64, String),
    ) -> Result<()> {
        let mut temporary = segment::create_temporary(self.storage, path)?;
        let Rewritten {
            extent,
            records,
            holes,
        } = salvage::rewrite(
            job,
            &temporary,
            &header,
            &mut self.tracker,
            self.storage.now(),
        )?;
        header.context.repaired = Some(Repaired {
            stands_for: next
                .and_then(|n| n.header.as_ref().ok())
                .filter(|h| h.predecessor_last == extent.last)
                .map(|h| h.predecessor_digest),
            digest: extent.digest,
            last: extent.last,
            end: extent.end,
        });
        temporary.write_at(header.encode().as_slice(), 0)?;
        temporary.sync_all()?;
        segment::publish(self.storage, self.dir, &mut temporary, path.to_owned())?;

        self.report.kept_records += records;
        if holes.is_empty() {
            self.report.damaged.push(Damage {
                file: file.clone(),
                bad_file: bad_file.clone(),
                offset,
                lost: None,
                revisions: None,
                detail: detail.clone(),
            });
        }
        for hole in holes {
            self.report.damaged.push(Damage {
                file: file.clone(),
                bad_file: bad_file.clone(),
                offset: hole.offset,
                lost: Some((hole.first, hole.last)),
                revisions: (hole.first_revision <= hole.last_revision)
                    .then_some((hole.first_revision, hole.last_revision)),
                detail: detail.clone(),
            });
        }
        let end = match next {
            Some(_) => None,
            None => {
                let segment = Segment::open(self.storage, path, header.first)?;
                let mut end = recovery::read_last(&segment)?;
                end.tracker = self.tracker.clone();
                Some((segment, end))
            }
        };
        self.before = Some(Before {
            header,
            extent,
            end,
        });
        Ok(())
    }

    /// Step 6: a new last segment, whose header knows of the loss; then the marker goes.
    fn finish(&mut self) -> Result<()> {
        if !self.begun {
            return Ok(());
        }
        let before = self.before.take().expect("there is at least one segment");
        let (segment, mut end) = before.end.expect("the last segment was read");
        end.tracker = self.tracker.clone();
        recovery::end_segment(self.storage, self.dir, &segment, &end, 0)?;
        segment::remove_if_there(self.storage, &self.dir.join(REPAIR))?;
        segment::sync_dir(self.storage, self.dir)
    }

    /// The newest revision covered before a segment, as far as its header can still be read; if it
    /// cannot, at least one revision has to be taken for lost.
    fn covered_before(&self, next: &Candidate, uuid: Uuid) -> Revision {
        if let Ok(header) = &next.header {
            return header.covered;
        }
        let copy = next
            .guesses
            .iter()
            .find(|g| g.uuid == uuid && g.first == next.first);
        copy.map_or(self.tracker.covered.next(), |g| g.covered)
    }

    /// By what the records of this segment verify, if by anything.
    fn seed_of(
        &self,
        this: &Candidate,
        next: Option<&Candidate>,
        uuid: Uuid,
    ) -> Result<Option<crate::layout::Seed>> {
        let mut guesses = Vec::new();
        if let Ok(h) = &this.header {
            guesses.push(h.seed());
        }
        if let Some(Ok(h)) = next.map(|n| &n.header)
            && h.context.predecessor_first == this.first
        {
            guesses.push(crate::layout::Seed::new(uuid, h.context.predecessor_salt));
        }
        guesses.extend(
            this.guesses
                .iter()
                .map(|g| crate::layout::Seed::new(uuid, g.salt)),
        );
        for seed in guesses {
            if salvage::any_record(&mut Source::window(this.file.clone()), &seed)? {
                return Ok(Some(seed));
            }
        }
        Ok(None)
    }

    /// The last sequence that is known to have been in this segment.
    fn known_last(
        &self,
        this: &Candidate,
        next: Option<&Candidate>,
        evidence: &salvage::Evidence,
    ) -> Result<Sequence> {
        let direct = next.filter(|n| {
            n.header
                .as_ref()
                .map_or(true, |h| h.context.predecessor_first <= this.first)
        });
        if let Some(next) = direct {
            return Ok(next.first.previous());
        }
        let by_repair = this.header.as_ref().ok().and_then(|h| h.context.repaired);
        let by_repair = by_repair.map_or(Sequence::NONE, |r| r.last);
        let known = evidence.last.max(by_repair);
        Ok(match &this.header {
            // Not one record is known: the loss still needs a sequence to stand in.
            Err(_) if known < this.first => this.first,
            _ => known,
        })
    }

    fn header_for(&self, this: &Candidate, uuid: Uuid) -> SegmentHeader {
        let mut header = blank(uuid, this.first);
        header.salt = recovery::salt(self.storage);
        header.created_at = self.storage.now();
        header.covered = self.tracker.covered;
        header.synced = this.first.previous();
        header.context.timeline.clone_from(&self.tracker.timeline);
        header.context.open_gap = self.tracker.open_gap;
        if let Some(before) = &self.before {
            header.predecessor_last = before.extent.last;
            header.predecessor_digest = before.extent.digest;
            header.context.predecessor_first = before.header.first;
            header.context.predecessor_end = before.extent.end;
            header.context.predecessor_seal = before.extent.seal;
            header.context.predecessor_salt = before.header.salt;
        } else {
            // What was before is covered by a checkpoint, or there was nothing.
            header.predecessor_last = this.first.previous();
        }
        header
    }

    /// Gives the damaged file a second name, so that replacing the first one keeps it.
    fn keep_bad(&self, path: &Path) -> Result<PathBuf> {
        for n in 1.. {
            let mut name = path.as_os_str().to_owned();
            name.push(if n == 1 {
                ".bad".to_owned()
            } else {
                format!(".{n}.bad")
            });
            let bad = PathBuf::from(name);
            match self.storage.link(path, &bad) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    // By an interrupted repair, or by one of an earlier damage.
                    if !same_content(self.storage, path, &bad)? {
                        continue;
                    }
                }
                // Not every file system has second names.
                Err(_) => copy(self.storage, self.dir, path, &bad)?,
            }
            segment::sync_dir(self.storage, self.dir)?;
            return Ok(bad);
        }
        unreachable!("there are more names than files")
    }
}

fn blank(uuid: Uuid, first: Sequence) -> SegmentHeader {
    SegmentHeader {
        uuid,
        salt: 0,
        first,
        predecessor_last: Sequence::NONE,
        predecessor_digest: 0,
        covered: Revision::NONE,
        created_at: crate::Timestamp(0),
        synced: Sequence::NONE,
        context: Context::default(),
    }
}

/// Corruption is what repair is for; everything else ends it.
fn complaint(error: Error) -> Result<Result<Before, (u64, String)>> {
    match error {
        Error::Corrupt { offset, detail, .. } => Ok(Err((offset, detail))),
        other => Err(other),
    }
}

fn same_content(storage: &dyn Storage, a: &Path, b: &Path) -> Result<bool> {
    let mut a = Source::window(Arc::new(Named::open(storage, a, Access::Read)?));
    let mut b = Source::window(Arc::new(Named::open(storage, b, Access::Read)?));
    let mut at = 0;
    loop {
        let chunk = a.get(at, 1 << 16)?;
        if chunk != b.get(at, 1 << 16)? {
            return Ok(false);
        }
        if chunk.is_empty() {
            return Ok(true);
        }
        at += chunk.len() as u64;
    }
}

fn copy(storage: &dyn Storage, dir: &Path, from: &Path, to: &Path) -> Result<()> {
    let mut source = Source::window(Arc::new(Named::open(storage, from, Access::Read)?));
    let mut target = segment::create_temporary(storage, to)?;
    let mut at = 0;
    loop {
        let chunk = source.get(at, 1 << 20)?;
        if chunk.is_empty() {
            break;
        }
        target.write_at(chunk, at)?;
        at += chunk.len() as u64;
    }
    target.sync_all()?;
    segment::publish(storage, dir, &mut target, to.to_owned())
}
