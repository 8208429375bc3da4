//! Repair of a damaged journal: keeps every record that verifies, fetches from donors what they still
//! know of the rest, says in the journal itself what is lost, and keeps each damaged file.
//!
//! Kept records keep their sequence and revision, so nothing that refers to them has to change; what
//! was fetched and what is lost take the place of the lost ones. Every damaged segment is replaced
//! at once by a complete new one, and a marker file keeps writers out until all is done, so an
//! interrupted repair is simply run again. The steps are numbered as in `docs/format.md`.
//!
//! Invariant: every revision of the timeline that the journal or any donor verifiably holds is there
//! afterwards, exactly once, in order; each other one that may have been in a lost record is named by a
//! record of the loss. Nothing else is there. (A revision that a gap bridged may be told by its difference.)

use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use self::report::{Damage, Filled, RepairReport};
use crate::{
    checkpoint::{file::Checkpoint, verified::VerifiedCheckpoints},
    directory::{aside, listing::Listing, lock::take_lock},
    donor::{Donor, Donors},
    error::{Error, Result},
    format::{
        layout::SegmentHeader,
        names::{NEXT, REPAIR, segment_name},
        payload::{Context, Repaired},
        position::TimelineTag,
    },
    model::{
        entry::{Gap, GapReason},
        ids::{Revision, Sequence},
    },
    recovery::{end::end_segment, leftovers::remove_temporary},
    repair::{
        evidence::Evidence,
        found::Found,
        knowledge::{Before, Knowledge, Need},
        lineage::Lineage,
        output::{Loss, Output, Rewritten},
        place::{Behind, Place},
        salvage::Salvage,
        whole::Kept,
    },
    replay::{
        last_segment::{read_last, tracker_before},
        tracker::{Tracker, joined},
    },
    segment::{create, open::Segment},
    storage::{
        disk::Disk,
        file_handle::FileHandle,
        salt::new_salt,
        traits::{Access, Storage},
    },
};

pub(crate) mod evidence;
pub(crate) mod found;
mod hole;
mod knowledge;
pub(crate) mod lineage;
mod output;
mod place;
mod report;
mod salvage;
mod stray;
mod whole;

/// Repairs the journal in `dir`, which nobody may have open for writing. Does nothing to a journal
/// that is whole. A torn tail is no damage: it is left to the next opening.
pub fn repair(dir: &Path) -> Result<RepairReport> {
    repair_from(dir, &mut [])
}

/// The same on any storage.
pub fn repair_with(storage: &dyn Storage, dir: &Path) -> Result<RepairReport> {
    repair_from_with(storage, dir, &mut [])
}

/// Repairs the journal in `dir`, and puts what donors still know into the place of what is lost, among it
/// what an earlier repair had to leave out, and what they know beyond the journal's end. The first donor
/// is asked first.
pub fn repair_from(dir: &Path, donors: &mut [Box<dyn Donor>]) -> Result<RepairReport> {
    repair_from_with(&Disk, dir, donors)
}

/// The same on any storage.
pub fn repair_from_with(
    storage: &dyn Storage,
    dir: &Path,
    donors: &mut [Box<dyn Donor>],
) -> Result<RepairReport> {
    let found = Listing::read_damaged(storage, dir)?;
    if found.segments.is_empty() && found.misnamed.is_empty() {
        return Err(found.not_a_journal(dir));
    }
    // 1. Nobody else. Donors that cannot be read are found out before anything is changed.
    let _lock = take_lock(storage, dir)?;
    for donor in donors.iter_mut() {
        donor.turns()?;
    }
    let listing = Listing::read_damaged(storage, dir)?;
    let resumed = listing.kept.iter().any(|n| n == REPAIR);
    let kept_next = remove_temporary(storage, dir, &listing)?;
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
        found: None,
        kept: None,
        checkpoints: VerifiedCheckpoints::default(),
        donors: Donors::new(donors),
        lineage: Lineage::default(),
        learnt: false,
    };
    if let Some((bad, _)) = kept_next {
        repair.report.damaged.push(Damage {
            file: dir.join(NEXT),
            bad_file: Some(bad),
            offset: 0,
            lost: None,
            revisions: None,
            exact: true,
            detail: "it has no sound header, and is not empty".to_owned(),
        });
    }
    let (mut files, listing) = repair.strays(listing)?;
    if files.is_empty() {
        return Err(listing.not_a_journal(dir));
    }
    let Some(uuid) = found::identity(storage, &mut files)? else {
        return Err(Error::Corrupt {
            path: files[0].path.clone(),
            offset: 0,
            sequence: files[0].first,
            revision: Revision::NONE,
            detail: "no segment header is readable and no record verifies: nothing can be salvaged"
                .to_owned(),
        });
    };
    repair.vet_checkpoints(&listing, uuid)?;
    if !repair.donors.is_empty() {
        repair.learn(&files, uuid)?;
    }
    repair.oldest(&files, uuid)?;
    for i in 0..files.len() {
        repair.segment(&files, i, uuid)?;
    }
    repair.end_at_witness(&files, uuid)?;
    repair.go_on()?;
    repair.finish()?;
    Ok(repair.report)
}

struct Repair<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    /// Whether the marker is there.
    begun: bool,
    report: RepairReport,
    tracker: Tracker,
    /// What this repair found to be lost: no difference that is in the journal can make it good.
    found: Option<Gap>,
    /// The segment before, as it is now.
    kept: Option<Kept>,
    checkpoints: VerifiedCheckpoints,
    donors: Donors<'a>,
    lineage: Lineage,
    /// Whether it is complete.
    learnt: bool,
}

impl Repair<'_> {
    /// A checkpoint that cannot be believed is kept under another name.
    fn vet_checkpoints(&mut self, listing: &Listing, uuid: Uuid) -> Result<()> {
        self.checkpoints = VerifiedCheckpoints::read(self.storage, listing, uuid)?;
        for error in std::mem::take(&mut self.checkpoints.damaged) {
            let (path, offset, detail) = match error {
                Error::CheckpointDamaged {
                    path,
                    offset,
                    detail,
                    ..
                } => (path, offset, detail),
                Error::ForeignFile { path, detail } => (path, 0, detail),
                _ => unreachable!("only these are collected"),
            };
            self.set_aside(path, offset, detail)?;
        }
        Ok(())
    }

    /// Keeps a checkpoint under another name only.
    fn set_aside(&mut self, path: PathBuf, offset: u64, detail: String) -> Result<()> {
        self.begin()?;
        let bad = aside::keep_bad(self.storage, self.dir, &path)?;
        create::remove_if_there(self.storage, &path)?;
        create::sync_dir(self.storage, self.dir)?;
        self.report.damaged.push(Damage {
            file: path,
            bad_file: Some(bad),
            offset,
            lost: None,
            revisions: None,
            exact: true,
            detail,
        });
        Ok(())
    }

    /// A checkpoint that was made when something had been lost lacks what is filled in before it now. If
    /// there is no other to begin with, nothing is.
    fn may_fill(&self, oldest: Sequence, first: Sequence) -> bool {
        let clear = |c: &&Checkpoint| !lacks_something(c);
        let another = oldest == Sequence(1)
            || self
                .checkpoints
                .sound
                .iter()
                .filter(clear)
                .any(|c| c.sequence().next() >= oldest);
        let lacking = self.checkpoints.sound.iter().filter(|c| lacks_something(c));
        another || lacking.map(Checkpoint::sequence).all(|s| s < first)
    }

    /// Step 2: the marker, before the first change.
    fn begin(&mut self) -> Result<()> {
        if !self.begun {
            let path = self.dir.join(REPAIR);
            let marker = FileHandle::open(self.storage, &path, Access::CreateNew)?;
            marker.sync_all()?;
            create::sync_dir(self.storage, self.dir)?;
            self.begun = true;
        }
        Ok(())
    }

    /// A gap that a difference closed after the damage is no better for it, nor will one be that is under way.
    fn remember(&mut self) {
        let Some(under_way) = self
            .tracker
            .open_gap
            .filter(|_| self.tracker.in_snapshot_diff())
        else {
            self.tracker.open_gap = joined(self.tracker.open_gap, self.found);
            return;
        };
        let older = self.found.filter(|found| found.first < under_way.first);
        self.tracker.unhealed = joined(self.tracker.unhealed, older);
    }

    fn last(&self) -> Sequence {
        self.kept.as_ref().map_or(Sequence::NONE, |k| k.extent.last)
    }

    /// What was before the oldest segment is lost, unless a checkpoint covers it.
    fn oldest(&mut self, files: &[Found], uuid: Uuid) -> Result<()> {
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
                reached: base.header.revision,
                ..Tracker::default()
            };
        }
        self.fill(files, 0, uuid)
    }

    /// One segment: keep it or replace it.
    fn segment(&mut self, files: &[Found], i: usize, uuid: Uuid) -> Result<()> {
        let this = &files[i];
        let next = files.get(i + 1);
        if self.kept.is_some() && self.last().next() < this.first {
            self.fill(files, i, uuid)?;
        }
        if let Ok(header) = &this.header {
            self.enter(header);
        }
        self.remember();
        let may_fill = self.may_fill(files[0].first, this.first) && !self.donors.is_empty();
        let end = match next {
            // May have to search through what follows, and only donors make it matter.
            Some(_) if may_fill => self.behind(files, i + 1, uuid)?,
            _ => salvage::nothing_behind(),
        };
        let (storage, kept, tracker) = (self.storage, self.kept.as_ref(), self.tracker.clone());
        let mut knowledge = Knowledge {
            donors: &mut self.donors,
            lineage: &self.lineage,
            own: Vec::new(),
        };
        let knowledge = may_fill.then_some(&mut knowledge);
        match whole::check(storage, kept, this, next, &tracker, end, knowledge)? {
            Ok(whole) => {
                self.tracker = whole.tracker;
                self.report.kept_records += whole.records;
                self.kept = Some(whole.kept);
                Ok(())
            }
            Err(complaint) => self.replace(files, i, uuid, complaint),
        }
    }

    /// What a header says was known when it was written. Damage found before it was not; what is made good by
    /// now was not known to be; and what was told in the place of a difference stays told.
    fn enter(&mut self, header: &SegmentHeader) {
        let said = tracker_before(header);
        if self.kept.is_none() {
            self.tracker = said;
            return;
        }
        let walked = std::mem::replace(&mut self.tracker, said);
        if !is_sure(header) && !self.is_later(&walked) {
            // It knows no more than an earlier repair did, and what was lost then may have been found since.
            self.tracker = walked;
            return;
        }
        let tag = |t: &Tracker| TimelineTag::of(t.timeline.as_ref().map(|t| t.id.as_str()));
        if self.tracker.timeline.is_none() {
            self.tracker.tag = walked.tag;
        }
        if tag(&walked) == tag(&self.tracker) {
            self.tracker.reached = walked.reached.max(self.tracker.reached);
            // Within a timeline nothing is taken back: what was lost then is there again.
            self.tracker.covered = walked.covered.max(self.tracker.covered);
        }
        let damage = |g: &Gap| g.reason == GapReason::Damage;
        let said = self.tracker.open_gap.filter(|g| !damage(g));
        let told = said.filter(|g| walked.covered < g.last || tag(&walked) != tag(&self.tracker));
        self.tracker.open_gap = walked.open_gap.filter(damage).or(told);
        self.tracker.unhealed = if self.tracker.in_snapshot_diff() {
            joined(self.tracker.unhealed, walked.unhealed)
        } else {
            None
        };
        if self.tracker.open_gap != said && said.is_some() {
            self.tracker.covered = walked.covered.max(self.tracker.covered);
        }
    }

    /// Whether the timeline in force is one that began behind this.
    fn is_later(&self, than: &Tracker) -> bool {
        let id = |t: &Tracker| t.timeline.as_ref().map(|t| t.id.clone());
        let Some(now) = id(&self.tracker) else {
            return false;
        };
        let path = self.lineage.path(id(than).as_deref(), &now);
        id(than).is_none() || path.is_some_and(|path| !path.is_empty())
    }

    /// Step 4: replaces a damaged segment by one that holds what verifies.
    fn replace(
        &mut self,
        files: &[Found],
        i: usize,
        uuid: Uuid,
        (offset, detail): whole::Complaint,
    ) -> Result<()> {
        self.begin()?;
        self.learn(files, uuid)?;
        let (this, next) = (&files[i], files.get(i + 1));
        let seed = this.seed(self.storage, next, uuid)?;
        let mut source = this.source(self.storage)?;
        let evidence = match (&mut source, &seed) {
            (Some(source), Some(seed)) => Evidence::gather(source, seed)?,
            _ => Evidence::default(),
        };
        // Of a file in which nothing is known to have been, the successor's loss is all there is to record.
        let nothing = next.is_some() && known_last(this, &evidence, Sequence::NONE) < this.first;
        let direct = next.filter(|n| {
            nothing
                || n.header
                    .as_ref()
                    .map_or(true, |h| h.context.predecessor_first <= this.first)
        });
        // What a sealed segment is too short for was in one that is missing.
        let sealed = evidence.seal.filter(|seal| *seal >= this.first);
        let direct = direct.filter(|n| sealed.is_none_or(|seal| seal.next() == n.first));
        let bad = aside::keep_bad(self.storage, self.dir, &this.path)?;
        let job = Salvage {
            source: source.as_mut().map(|source| (source, seed.as_ref())),
            known_last: match direct {
                Some(next) => next.first.previous(),
                None => known_last(this, &evidence, this.first),
            },
            end: match (direct, next) {
                (Some(_), _) => self.behind(files, i + 1, uuid)?,
                // Its end is not where the next one begins.
                (None, Some(_)) => self.behind(files, i + 1, uuid)?.far(),
                (None, None) => salvage::end(&evidence),
            },
        };
        let place = Where {
            file: this.path.clone(),
            bad_file: Some(bad),
            offset,
            detail,
        };
        let header = self.header_for(this.first, uuid);
        self.write(
            Job::Salvage(job),
            &this.path,
            header,
            next,
            files[0].first,
            Some(place),
        )
    }

    /// Step 5: puts a segment that records the loss in the place of those missing before `next`.
    fn fill(&mut self, files: &[Found], i: usize, uuid: Uuid) -> Result<()> {
        self.begin()?;
        self.learn(files, uuid)?;
        let next = &files[i];
        let first = match (&self.kept, self.checkpoints.before(next.first)) {
            (None, Some(base)) => base.sequence().next(),
            _ => self.last().next(),
        };
        let path = self.dir.join(segment_name(first));
        let job = Salvage {
            source: None,
            known_last: next.first.previous(),
            end: self.behind(files, i, uuid)?,
        };
        let place = Where {
            file: path.clone(),
            bad_file: None,
            offset: 0,
            detail: "the segment is missing".to_owned(),
        };
        let header = self.header_for(first, uuid);
        let oldest = files[0].first.min(first);
        self.write(
            Job::Salvage(job),
            &path,
            header,
            Some(next),
            oldest,
            Some(place),
        )
    }

    /// A checkpoint is a witness that what it covers had been there: if the journal ends before, the rest
    /// is recorded as lost in a segment behind it.
    fn end_at_witness(&mut self, files: &[Found], uuid: Uuid) -> Result<()> {
        let Some(witness) = self.checkpoints.newest().cloned() else {
            return Ok(());
        };
        if self.last() >= witness.sequence() {
            return Ok(());
        }
        self.learn(files, uuid)?;
        let header = self.one_more()?;
        let path = self.dir.join(segment_name(header.first));
        let job = Salvage {
            source: None,
            known_last: witness.sequence(),
            end: Behind::Place {
                place: Place {
                    timeline: Some(TimelineTag::of(
                        witness.header.timeline.as_ref().map(|t| t.id.as_str()),
                    )),
                    covered: witness.revision(),
                    gap: None,
                    original: true,
                },
                adjacent: true,
            },
        };
        let detail = format!(
            "the journal ends before it; {} proves that sequence {} had been acknowledged, and has the \
             state there",
            witness.path().display(),
            witness.sequence()
        );
        let place = Where {
            file: path.clone(),
            bad_file: None,
            offset: 0,
            detail,
        };
        self.write(
            Job::Salvage(job),
            &path,
            header,
            None,
            Sequence(1),
            Some(place),
        )
    }

    /// What donors know beyond the end of the journal comes behind it: perhaps it had been here, and was
    /// lost without a trace. If a difference breaks off there, it has to be told to its end.
    fn go_on(&mut self) -> Result<()> {
        let before = Before::new(&self.tracker, &self.lineage);
        let mut knowledge = Knowledge {
            donors: &mut self.donors,
            lineage: &self.lineage,
            own: Vec::new(),
        };
        let steps = knowledge.beyond(&before, None)?;
        let need = Need::of(&steps);
        if need.told == 0 {
            return Ok(());
        }
        let header = self.one_more()?;
        let path = self.dir.join(segment_name(header.first));
        let job = Job::Steps(steps, need.slots);
        self.write(job, &path, header, None, Sequence(1), None)
    }

    /// Ends the last segment; returns the header of one behind it.
    fn one_more(&mut self) -> Result<SegmentHeader> {
        self.begin()?;
        let kept = self.kept.take().expect("there is at least one segment");
        let (segment, mut end) = kept.end.expect("the last segment was read");
        self.remember();
        end.tracker = self.tracker.clone();
        let ended = end_segment(self.storage, self.dir, &segment, &end, 0)?;
        let mut header = ended.header;
        header.salt = new_salt(self.storage);
        Ok(header)
    }

    fn write(
        &mut self,
        job: Job<'_>,
        path: &Path,
        mut header: SegmentHeader,
        next: Option<&Found>,
        oldest: Sequence,
        place: Option<Where>,
    ) -> Result<()> {
        let may_fill = self.may_fill(oldest, header.first);
        let mut none = Donors::new(&mut []);
        let mut knowledge = Knowledge {
            donors: if may_fill {
                &mut self.donors
            } else {
                &mut none
            },
            lineage: &self.lineage,
            own: Vec::new(),
        };
        let mut temporary = create::create_temporary(self.storage, path)?;
        let now = self.storage.now();
        let mut out = Output::new(&temporary, &header, &mut self.tracker, now);
        let Rewritten {
            extent,
            records,
            losses,
            filled,
            filled_from,
        } = match job {
            Job::Salvage(job) => salvage::rewrite(job, out, &mut knowledge)?,
            Job::Steps(steps, slots) => {
                let room = hole::Room {
                    slots,
                    plain: false,
                    exact: false,
                };
                out.items(hole::lay_out(room, steps), 0, &mut knowledge)?;
                out.finish()?
            }
        };
        header.context.repaired = Some(Repaired {
            stands_for: next
                .and_then(|n| n.header.as_ref().ok())
                .filter(|h| h.predecessor_last == extent.last)
                .map(|h| h.predecessor_digest),
            digest: extent.digest,
            last: extent.last,
            end: extent.end,
        });
        if let Some(from) = filled_from {
            // Before the segment is there: an interrupted repair would not know any more.
            self.set_lacking_aside(from)?;
        }
        temporary.write_at(header.encode().as_slice(), 0)?;
        temporary.sync_all()?;
        create::publish(self.storage, self.dir, &mut temporary, path.to_owned())?;

        for span in losses.iter().filter_map(|loss| loss.span) {
            let lost = Gap {
                first: span.first,
                last: span.last,
                reason: GapReason::Damage,
            };
            self.found = joined(self.found, Some(lost));
        }
        self.report.kept_records += records;
        self.report.filled.extend(filled);
        if let Some(place) = place {
            place.report(&losses, &mut self.report);
        }
        let end = match next {
            Some(_) => None,
            None => {
                let segment = Segment::open(self.storage, path, header.first)?;
                let mut end = read_last(&segment)?;
                end.tracker = self.tracker.clone();
                Some((segment, end))
            }
        };
        self.kept = Some(Kept {
            header,
            extent,
            end,
        });
        Ok(())
    }

    /// Checkpoints that were made after a loss which is being filled are set aside: they lack what it had.
    fn set_lacking_aside(&mut self, from: Sequence) -> Result<()> {
        let sound = std::mem::take(&mut self.checkpoints.sound);
        for checkpoint in sound {
            if lacks_something(&checkpoint) && checkpoint.sequence() >= from {
                let path = checkpoint.path().to_owned();
                let detail =
                    "it was made when something had been lost that is there again".to_owned();
                self.set_aside(path, 0, detail)?;
            } else {
                self.checkpoints.sound.push(checkpoint);
            }
        }
        Ok(())
    }

    /// Step 6: a new last segment, whose header knows of the loss; then the marker goes.
    fn finish(&mut self) -> Result<()> {
        if !self.begun {
            return Ok(());
        }
        let kept = self.kept.take().expect("there is at least one segment");
        let (segment, mut end) = kept.end.expect("the last segment was read");
        self.remember();
        end.tracker = self.tracker.clone();
        end_segment(self.storage, self.dir, &segment, &end, 0)?;
        create::remove_if_there(self.storage, &self.dir.join(REPAIR))?;
        create::sync_dir(self.storage, self.dir)
    }

    /// What is known before a segment: by its header, else by its first record, else by the next one that says
    /// anything.
    fn behind(&self, files: &[Found], i: usize, uuid: Uuid) -> Result<Behind> {
        let mut nearest: Option<(Place, bool)> = None;
        for (j, file) in files.iter().enumerate().skip(i) {
            let adjacent = j == i;
            let header = file.header.as_ref().ok();
            if let Some(header) = header.filter(|h| is_sure(h)) {
                return Ok(nearer(nearest, Place::of_segment(header), adjacent));
            }
            let seed = file.seed(self.storage, files.get(j + 1), uuid)?;
            let (Some(mut source), Some(seed)) = (file.source(self.storage)?, seed) else {
                continue;
            };
            if let Some((place, first)) = place::first(&mut source, &seed)? {
                // Others of its records may be missing before.
                let adjacent = adjacent && first == file.first;
                if place.timeline.is_some() {
                    return Ok(nearer(nearest, place, adjacent));
                }
                nearest.get_or_insert((place, adjacent));
            }
        }
        Ok(match nearest {
            Some((place, adjacent)) => Behind::Place { place, adjacent },
            None => salvage::nothing_behind(),
        })
    }

    /// Learns of all timelines that anybody knows of. That reads the whole journal, so only where it is needed.
    fn learn(&mut self, files: &[Found], uuid: Uuid) -> Result<()> {
        if self.learnt {
            return Ok(());
        }
        for (i, file) in files.iter().enumerate() {
            if let Ok(header) = &file.header
                && let Some(timeline) = &header.context.timeline
            {
                self.lineage.learn(lineage::named(timeline));
            }
            let seed = file.seed(self.storage, files.get(i + 1), uuid)?;
            if let (Some(mut source), Some(seed)) = (file.source(self.storage)?, seed) {
                for turn in evidence::turns(&mut source, &seed)? {
                    self.lineage.learn(turn);
                }
            }
        }
        for turn in self.donors.turns()? {
            self.lineage.learn(turn);
        }
        self.learnt = true;
        Ok(())
    }

    fn header_for(&self, first: Sequence, uuid: Uuid) -> SegmentHeader {
        let mut header = blank(uuid, first);
        header.salt = new_salt(self.storage);
        header.created_at = self.storage.now();
        header.covered = self.tracker.covered;
        header.synced = first.previous();
        header.context.timeline.clone_from(&self.tracker.timeline);
        header.context.open_gap = self.tracker.open_gap;
        header.context.unhealed = self.tracker.unhealed;
        if let Some(before) = &self.kept {
            header.predecessor_last = before.extent.last;
            header.predecessor_digest = before.extent.digest;
            header.context.predecessor_first = before.header.first;
            header.context.predecessor_end = before.extent.end;
            header.context.predecessor_seal = before.extent.seal;
            header.context.predecessor_salt = before.header.salt;
        } else {
            // What was before is covered by a checkpoint, or there was nothing.
            header.predecessor_last = first.previous();
        }
        header
    }
}

/// Whether a header knows all that was before it. What was written behind a loss knows only what was covered, and
/// a loss covers nothing.
fn is_sure(header: &SegmentHeader) -> bool {
    let gap = header.context.open_gap;
    let before = |g: Gap| g.reason != GapReason::Damage || g.last <= header.covered;
    header.context.repaired.is_none() && gap.is_none_or(before)
}

/// What the nearest thing says, with the timeline from the first that names one.
fn nearer(nearest: Option<(Place, bool)>, place: Place, adjacent: bool) -> Behind {
    let (nearest, adjacent) = nearest.unwrap_or((place, adjacent));
    let place = Place {
        timeline: place.timeline,
        ..nearest
    };
    Behind::Place { place, adjacent }
}

/// The last sequence that is known to have been in a segment that has no successor.
fn known_last(this: &Found, evidence: &Evidence, at_least: Sequence) -> Sequence {
    let by_repair = this.header.as_ref().ok().and_then(|h| h.context.repaired);
    let by_repair = by_repair.map_or(Sequence::NONE, |r| r.last);
    let known = evidence.last.max(by_repair);
    let known = evidence.seal.unwrap_or(known);
    match &this.header {
        // Not one record is known: the loss still needs a sequence to stand in.
        Err(_) if known < this.first => at_least,
        _ => known,
    }
}

fn lacks_something(checkpoint: &Checkpoint) -> bool {
    let gap = checkpoint.header.open_gap;
    gap.is_some_and(|g| g.reason == GapReason::Damage)
}

/// What a new segment is made of.
enum Job<'a> {
    /// What verifies of a damaged one, if there is one.
    Salvage(Salvage<'a>),
    /// What is known, in so many records.
    Steps(Vec<hole::Step>, u64),
}

/// Where something is wrong, and what.
struct Where {
    file: PathBuf,
    bad_file: Option<PathBuf>,
    offset: u64,
    detail: String,
}

impl Where {
    fn report(self, losses: &[Loss], report: &mut RepairReport) {
        let damage = |loss: Option<&Loss>| Damage {
            file: self.file.clone(),
            bad_file: self.bad_file.clone(),
            offset: loss.map_or(self.offset, |l| l.offset),
            lost: loss.map(|l| (l.first, l.last)),
            revisions: loss.and_then(|l| l.span).map(|s| (s.first, s.last)),
            exact: loss.is_none_or(|l| l.exact),
            detail: self.detail.clone(),
        };
        if losses.is_empty() {
            report.damaged.push(damage(None));
        }
        report
            .damaged
            .extend(losses.iter().map(|l| damage(Some(l))));
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
