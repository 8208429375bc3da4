//! Repair from other journals of the same cluster: whatever any of them still has comes back, in
//! order; nothing else does; and what nobody has is named.
//!
//! The model is exact: it knows which records of each journal are whole, so it knows what has to
//! come out of a repair of any of them with the help of none, one or both of the others.
//!
//! A failure prints the seed of its case: `CAIRN_CASE=that` runs it alone and tells of it.
//! `CAIRN_SEED` (1 unless set) gives other cases, `CAIRN_DONOR_CASES` more.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use cairn_journal::{
    Change, Directory, Donor, Entry, Gap, GapPhase, GapReason, Journal, JournalDonor, KeyValue,
    NewRecord, Op, Options, Record, Repair, RepairReport, Revision, Sequence, Span, Timeline,
    Timestamp, Turn,
    storage::simulated::{Fault, Simulated, Survival},
};
use fastrand::Rng;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

fn seed() -> u64 {
    let seed = variable("CAIRN_SEED", 1);
    println!("CAIRN_SEED={seed}");
    seed
}

/// Nothing is done in the background.
fn quiet() -> Options {
    let mut options = Options::default();
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

/// A change with what an engine adds to some, which follows from the revision.
fn engines(change: Change, revision: i64) -> Change {
    let change = match revision % 3 {
        0 => change.with_attributes(format!("of {revision}")),
        _ => change,
    };
    match revision % 11 {
        5 => change.control(),
        _ => change,
    }
}

/// What is learnt of a lease at this revision: its time to live says when that was.
fn lease(revision: i64) -> Option<NewRecord> {
    let granted_ttl = (revision % 4 != 0).then_some(revision);
    let learnt = NewRecord::lease(Revision(revision), revision % 5, granted_ttl, Timestamp(1));
    (revision % 7 == 3).then_some(learnt)
}

/// The history of one cluster: what each revision changed; many change nothing that is journaled.
struct History {
    events: BTreeMap<i64, Vec<Change>>,
    newest: i64,
    /// After which revision the cluster was lost and restored, revisions kept.
    restored_at: Option<i64>,
}

impl History {
    fn random(rng: &mut Rng) -> Self {
        let newest = rng.i64(40..260);
        let mut events = BTreeMap::new();
        for revision in 1..=newest {
            if rng.u8(..3) == 0 {
                continue;
            }
            let change = |rng: &mut Rng| {
                let path = format!("/{}", rng.u8(..25));
                if rng.u8(..5) == 0 {
                    Change::delete(path)
                } else {
                    let length = [5, 30, 100, 1200][rng.usize(..4)];
                    Change::set(
                        path,
                        format!("{revision} {}", "x".repeat(rng.usize(..length))),
                    )
                }
            };
            let count = [1, 1, 1, 3][rng.usize(..4)];
            let changes = (0..count).map(|_| engines(change(rng), revision)).collect();
            events.insert(revision, changes);
        }
        let restored_at = (rng.u8(..3) == 0).then(|| rng.i64(5..newest));
        Self {
            events,
            newest,
            restored_at,
        }
    }

    /// The state at a revision, without what some revisions did.
    fn state(&self, at: i64, without: &BTreeSet<i64>) -> BTreeMap<Bytes, KeyValue> {
        let mut files = BTreeMap::new();
        for (revision, changes) in self.events.range(..=at) {
            if without.contains(revision) {
                continue;
            }
            for change in changes {
                match &change.op {
                    Op::Set(value) => {
                        let path = change.path.clone();
                        let mut kv =
                            KeyValue::new(path.clone(), Revision(*revision), value.clone());
                        kv.attributes = change.attributes.clone();
                        kv.is_control = change.is_control;
                        files.insert(path, kv);
                    }
                    Op::Delete => {
                        files.remove(&change.path);
                    }
                }
            }
        }
        files
    }

    fn timeline(&self, second: bool) -> Timeline {
        Timeline {
            id: if second { "second" } else { "first" }.to_owned(),
            parent: second.then(|| "first".to_owned()),
            at: Revision(if second { self.restored_at.unwrap() } else { 0 }),
            kept: true,
            observed_at: Timestamp(7),
        }
    }

    /// Journals it as a persister would: in groups, with markers, restarts, and perhaps a time when
    /// it was away for too long.
    fn journal(&self, disk: &Simulated, dir: &Path, rng: &mut Rng, gaps: bool) {
        let mut options = quiet();
        options.max_payload_bytes = 4 << 10;
        options.segment_bytes = rng.u64(26..60) << 10;
        let open = || {
            let opened = Directory::on(Arc::new(disk.clone()), dir).open(options.clone());
            opened.unwrap().0
        };
        let mut journal = open();
        let t = |n: i64| Timestamp(n);
        journal
            .append(NewRecord::timeline(Revision(0), self.timeline(false)))
            .unwrap();
        let away = (gaps && rng.bool()).then(|| {
            let first = rng.i64(2..self.newest);
            (first, rng.i64(first..=self.newest.min(first + 30)))
        });
        // A cluster that is restored while nobody looks is another story.
        let away = away.filter(|(a, b)| self.restored_at.is_none_or(|at| at < *a || at > *b));
        let mut revision = 0;
        while revision < self.newest {
            revision += 1;
            if let Some((first, last)) = away
                && revision == first
            {
                self.gap(&journal, first, last, rng);
                revision = last;
            } else if let Some(changes) = self.events.get(&revision) {
                let record = NewRecord::changes(Revision(revision), changes.clone(), t(revision));
                if rng.u8(..3) == 0 {
                    journal.append(record).unwrap();
                } else {
                    journal.append_and_commit(record).unwrap();
                }
            }
            if let Some(record) = lease(revision) {
                journal.append(record).unwrap();
            }
            if self.restored_at == Some(revision) {
                let record = NewRecord::timeline(Revision(revision), self.timeline(true));
                journal.append_and_commit(record).unwrap();
            }
            match rng.u8(..40) {
                0 => {
                    journal.close().unwrap();
                    journal = open();
                }
                1..4 => {
                    let record = NewRecord::watermark(Revision(revision), t(revision));
                    journal.append_and_commit(record).unwrap();
                }
                _ => {}
            }
        }
        // What is last is witnessed, so that damage to it is damage.
        journal
            .append_and_commit(NewRecord::watermark(Revision(self.newest), t(self.newest)))
            .unwrap();
        journal.close().unwrap();
    }

    fn gap(&self, journal: &Journal, first: i64, last: i64, rng: &mut Rng) {
        let none = BTreeSet::new();
        let (mut before, after) = (self.state(first - 1, &none), self.state(last, &none));
        let (a, b, reason) = (Revision(first), Revision(last), GapReason::HistoryDiscarded);
        journal
            .append(NewRecord::gap_opened(a, b, reason, Timestamp(1)))
            .unwrap();
        let mut changes = Vec::new();
        for (path, kv) in after {
            if before.remove(&path).as_ref() != Some(&kv) {
                changes.push(kv.into());
            }
        }
        changes.extend(before.into_keys().map(Change::delete));
        for part in changes.chunks(rng.usize(1..8).min(3)) {
            let record = NewRecord::changes(b, part.to_vec(), Timestamp(1));
            journal.append_and_commit(record).unwrap();
        }
        journal
            .append_and_commit(NewRecord::gap_closed(a, b, reason, Timestamp(1)))
            .unwrap();
    }
}

/// One of the journals, and what it is like before and after damage.
struct Copy {
    dir: PathBuf,
    records: Vec<Record>,
    /// Revisions whose own record is whole in spite of the damage.
    has: BTreeSet<i64>,
    /// Revisions that it never told one by one.
    bridged: BTreeSet<i64>,
    /// The records that told their difference instead.
    pieces: BTreeMap<Sequence, Entry>,
    /// Whether one of those is lost.
    broken: bool,
    /// The records that are whole in spite of the damage.
    whole: BTreeSet<Sequence>,
    /// The timelines whose names are still in it.
    names: BTreeSet<&'static str>,
}

fn segments(disk: &Simulated, dir: &Path) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|p| p.parent() == Some(dir) && p.extension().is_some_and(|e| e == "seg"));
    paths
}

fn read(disk: &Simulated, dir: &Path) -> Vec<Record> {
    let reader = Directory::on(Arc::new(disk.clone()), dir).reader().unwrap();
    let records = reader.with_control().records();
    records.map(Result::unwrap).collect()
}

fn directory(disk: &Simulated, dir: &Path) -> Directory {
    Directory::on(Arc::new(disk.clone()), dir)
}

/// All that a journal says, without the times of repairs.
fn said(disk: &Simulated, dir: &Path) -> Vec<(Sequence, Revision, Entry)> {
    let records = read(disk, dir).into_iter().map(|mut record| {
        if let Entry::Lost { observed_at, .. } = &mut record.entry {
            *observed_at = Timestamp(0);
        }
        (record.sequence, record.revision, record.entry)
    });
    records.collect()
}

/// Hurts a journal in some places; returns what is not as it was in each file.
fn damage(disk: &Simulated, dir: &Path, rng: &mut Rng) -> BTreeMap<PathBuf, Vec<(usize, usize)>> {
    let before = segments(disk, dir);
    let before = before.into_iter().map(|p| (disk.content(&p).unwrap(), p));
    let before: Vec<_> = before.collect();
    let mut hurt: BTreeMap<PathBuf, Vec<(usize, usize)>> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for _ in 0..rng.usize(1..6) {
        let files = segments(disk, dir);
        let path = &files[rng.usize(..files.len())];
        let mut content = disk.content(path).unwrap();
        let end = content.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
        let at = rng.usize(..end);
        let range = match rng.u8(..12) {
            // A whole segment, where it leaves a trace.
            0 if files.len() > 2 && Some(path) != files.last() => {
                use cairn_journal::storage::Storage as _;
                disk.remove(path).unwrap();
                hurt.entry(path.clone()).or_default().push((0, usize::MAX));
                continue;
            }
            1 => {
                unreadable.push((path.clone(), at));
                continue;
            }
            // A header, with or without the copy of what its records verify by.
            2 => (0, [2048, 4096][rng.usize(..2)].min(content.len())),
            3 => (at, (at + rng.usize(500..3000)).min(content.len())),
            4..7 => (at / 512 * 512, (at / 512 * 512 + 512).min(content.len())),
            _ => (at, at + 1),
        };
        for byte in &mut content[range.0..range.1] {
            *byte ^= 0x5A;
        }
        disk.overwrite(path, content);
    }
    // Hurt twice may be healed.
    for (was, path) in before {
        let Some(is) = disk.content(&path) else {
            continue;
        };
        let differ = (0..was.len()).filter(|i| was[*i] != is[*i]);
        hurt.entry(path)
            .or_default()
            .extend(differ.map(|i| (i, i + 1)));
    }
    for (path, at) in unreadable {
        disk.make_unreadable(&path, at);
        let sector = at / 512 * 512;
        hurt.entry(path).or_default().push((sector, sector + 512));
    }
    hurt
}

/// A donor that is asked in many repairs and, as no repair changes it, read once.
struct Known(Rc<RefCell<JournalDonor>>);

impl Donor for Known {
    fn name(&self) -> String {
        self.0.borrow().name()
    }

    fn knows(&mut self, timeline: &str, span: Span) -> cairn_journal::Result<Vec<Span>> {
        self.0.borrow_mut().knows(timeline, span)
    }

    fn recall(
        &mut self,
        timeline: &str,
        span: Span,
        visit: &mut dyn FnMut(NewRecord) -> cairn_journal::Result<()>,
    ) -> cairn_journal::Result<()> {
        self.0.borrow_mut().recall(timeline, span, visit)
    }

    fn turns(&mut self) -> cairn_journal::Result<Vec<Turn>> {
        self.0.borrow_mut().turns()
    }
}

struct Case {
    disk: Simulated,
    history: History,
    copies: Vec<Copy>,
    /// Each of the damaged journals as a donor.
    donors: Vec<Rc<RefCell<JournalDonor>>>,
}

impl Case {
    fn random(rng: &mut Rng) -> Self {
        let history = History::random(rng);
        let disk = Simulated::new(rng.u64(..));
        let dirs: Vec<_> = ["/1", "/2", "/3"].iter().map(PathBuf::from).collect();
        for dir in &dirs {
            history.journal(&disk, dir, rng, true);
        }
        let disk = disk.after_exit();
        let mut copies = Vec::new();
        for dir in dirs {
            let records = read(&disk, &dir);
            let (has, bridged, pieces) = told(&records);
            copies.push(Copy {
                dir,
                records,
                has,
                bridged,
                pieces,
                broken: false,
                whole: BTreeSet::new(),
                names: BTreeSet::new(),
            });
        }
        let mut case = Self {
            disk,
            history,
            copies,
            donors: Vec::new(),
        };
        case.hurt(rng);
        let donor = |copy: &Copy| JournalDonor::of(directory(&case.disk, &copy.dir));
        let donors = case.copies.iter().map(donor);
        case.donors = donors.map(|donor| Rc::new(RefCell::new(donor))).collect();
        case
    }

    fn hurt(&mut self, rng: &mut Rng) {
        for copy in &mut self.copies {
            let hurt = damage(&self.disk, &copy.dir, rng);
            let all: Vec<PathBuf> = copy
                .records
                .iter()
                .map(|r| r.location.file.to_path_buf())
                .collect();
            let mut files = all;
            files.dedup();
            let touched = |path: &Path, from: usize, to: usize| {
                hurt.get(path)
                    .is_some_and(|all| all.iter().any(|(a, b)| *a < to && from < *b))
            };
            // A segment is readable as long as one place says by what its records verify: the salt,
            // and unless another segment's header says it, the journal's UUID.
            let is_there = |r: &Record| {
                let from = usize::try_from(r.location.offset).unwrap();
                let to = from + usize::try_from(r.location.length).unwrap();
                !touched(&r.location.file, from, to)
            };
            // And one place has to say that the file is of this version.
            let says_version =
                |file: &Path| !touched(file, 8, 12) || !touched(file, 2048 + 8, 2048 + 12);
            let says_all = |file: &PathBuf| {
                let mut records = copy.records.iter();
                let begins = |at: usize| !touched(file, at + 16, at + 40);
                (begins(0) || begins(2048))
                    && says_version(file)
                    && records.any(|r| *r.location.file == *file && is_there(r))
            };
            let sound = files.iter().any(|f| !touched(f, 0, 4096) || says_all(f));
            let readable = |i: usize| {
                let path = &files[i];
                let next = files.get(i + 1).is_some_and(|next| !touched(next, 0, 4096));
                let from = if sound { 32 } else { 16 };
                let begins = |at: usize| !touched(path, at + from, at + 40);
                next || says_version(path) && (begins(0) || begins(2048))
            };
            let is_whole = |r: &Record| {
                let file = files.iter().position(|f| *f == *r.location.file).unwrap();
                is_there(r) && readable(file)
            };
            let sequences = copy
                .records
                .iter()
                .filter(|r| is_whole(r))
                .map(|r| r.sequence);
            copy.whole = sequences.collect();
            let whole = copy.records.iter().filter(|r| is_whole(r));
            let whole: BTreeSet<i64> = whole
                .filter(|r| matches!(r.entry, Entry::Changes { .. }))
                .map(|r| r.revision.0)
                .collect();
            copy.has = copy.has.intersection(&whole).copied().collect();
            // Who names a timeline: its own record, that of a child, or the header of a later
            // segment.
            let mut names = BTreeSet::new();
            let mut name = |second: bool| {
                names.extend(second.then_some("second"));
                names.insert("first");
            };
            for r in copy.records.iter().filter(|r| is_whole(r)) {
                if let Entry::Timeline(t) = &r.entry {
                    name(t.id == "second");
                }
            }
            for file in files.iter().skip(1).filter(|f| !touched(f, 0, 4096)) {
                let first = copy.records.iter().find(|r| *r.location.file == *file);
                let begun = copy.records.iter().filter(|r| {
                    first.is_none_or(|first| r.sequence < first.sequence)
                        && matches!(&r.entry, Entry::Timeline(t) if t.id == "second")
                });
                name(begun.count() > 0);
            }
            // A difference that has lost a part stands for its gap no more.
            // Bookkeeping within it is no part.
            let is_lost = |(s, entry): (&Sequence, &Entry)| {
                matches!(entry, Entry::Changes { .. }) && !copy.whole.contains(s)
            };
            copy.broken = copy.pieces.iter().any(is_lost);
            copy.names = names;
        }
    }

    /// What the donors still have that can be asked for. A timeline whose name nobody has any more
    /// cannot; nor is it known then where the one before it ended.
    fn had(&self, own: usize, donors: &[usize]) -> BTreeSet<i64> {
        let all = donors.iter().chain([&own]);
        let names: BTreeSet<_> = all.flat_map(|i| &self.copies[*i].names).collect();
        if !names.contains(&"first")
            || self.history.restored_at.is_some() && !names.contains(&"second")
        {
            return BTreeSet::new();
        }
        let has = donors.iter().flat_map(|i| &self.copies[*i].has);
        has.copied().collect()
    }

    /// Repairs one of the journals with the help of others, and looks at what comes of it.
    fn run(&self, own: usize, donors: &[usize], counts: &mut Counts) {
        let disk = self.disk.fork();
        if std::env::var("CAIRN_CASE").is_ok() {
            self.tell(own);
        }
        let report = self.repair_from_known(&disk, own, donors);
        if self.copies[own].whole.is_empty() && report.is_err() {
            // Not one record of it can be read: there is nothing to put right. What the others have
            // is copied by a restore.
            counts.nothing_left += 1;
            return;
        }
        let report = report.unwrap();
        let done = format!("--- journal {own} from {donors:?}\n{report}");
        self.tell_of(own, &disk, &done);
        self.check(&disk, own, donors, report.is_changed(), counts);
        let again = self.repair_from_known(&disk, own, donors).unwrap();
        assert!(
            !again.is_changed(),
            "a second repair found something: {again}"
        );
        // Without a background: its threads would cost a case more than the repairs do.
        let own = directory(&disk, &self.copies[own].dir);
        own.open(quiet()).unwrap();
    }

    /// Repairs one of the journals alone, then with the help of the others.
    fn run_twice(&self, own: usize, counts: &mut Counts) {
        let (disk, dir) = (self.disk.fork(), &self.copies[own].dir);
        let alone = Repair::of(directory(&disk, dir)).run();
        if self.copies[own].whole.is_empty() && alone.is_err() {
            counts.nothing_left += 1;
            return;
        }
        let alone = alone.unwrap();
        let donors = &[(own + 1) % 3, (own + 2) % 3];
        self.tell_of(own, &disk, &format!("--- journal {own} alone\n{alone}"));
        let report = self.repair_from_known(&disk, own, donors).unwrap();
        self.tell_of(own, &disk, &format!("--- with donors\n{report}"));
        let changed = alone.is_changed() || report.is_changed();
        self.check(&disk, own, donors, changed, counts);
        let again = self.repair_from_known(&disk, own, donors).unwrap();
        assert!(
            !again.is_changed(),
            "a second repair found something: {again}"
        );
    }

    /// What was done, and what the journal says now, where a single case is looked into.
    fn tell_of(&self, own: usize, disk: &Simulated, done: &str) {
        if std::env::var("CAIRN_CASE").is_err() {
            return;
        }
        println!("{done}");
        for record in read(disk, &self.copies[own].dir) {
            let what = format!("{:?}", record.entry);
            let what: String = what.chars().take(90).collect();
            println!("{}: revision {}, {what}", record.sequence, record.revision);
        }
    }

    /// For whoever looks into a failure.
    fn tell(&self, own: usize) {
        for (i, copy) in self.copies.iter().enumerate() {
            println!(
                "=== journal {i}{}",
                if i == own { ", to be repaired" } else { "" }
            );
            println!("has {:?}\nbridged {:?}", copy.has, copy.bridged);
            for r in &copy.records {
                let what = match &r.entry {
                    Entry::Changes { changes, .. } => format!("{} changes", changes.len()),
                    other => format!("{other:?}").chars().take(60).collect(),
                };
                let whole = copy.whole.contains(&r.sequence);
                println!(
                    "{} {} at {} of {}: revision {}, {what}",
                    if whole { ' ' } else { '!' },
                    r.sequence,
                    r.location.offset,
                    r.location.file.display(),
                    r.revision
                );
            }
        }
    }

    /// Repairs with donors that are read anew.
    fn repair(
        &self,
        disk: &Simulated,
        own: usize,
        from: &[usize],
    ) -> cairn_journal::Result<RepairReport> {
        let donor = |i: &usize| -> Box<dyn Donor> {
            let dir = directory(disk, &self.copies[*i].dir);
            Box::new(JournalDonor::of(dir))
        };
        self.repair_with(disk, own, from.iter().map(donor).collect())
    }

    /// Repairs with donors that this case has read already.
    fn repair_from_known(
        &self,
        disk: &Simulated,
        own: usize,
        from: &[usize],
    ) -> cairn_journal::Result<RepairReport> {
        let donor = |i: &usize| -> Box<dyn Donor> { Box::new(Known(self.donors[*i].clone())) };
        self.repair_with(disk, own, from.iter().map(donor).collect())
    }

    fn repair_with(
        &self,
        disk: &Simulated,
        own: usize,
        mut donors: Vec<Box<dyn Donor>>,
    ) -> cairn_journal::Result<RepairReport> {
        let own = directory(disk, &self.copies[own].dir);
        Repair::of(own).with(&mut donors).run()
    }

    /// Everything that must hold of a journal that was repaired from others. `changed`: by this
    /// repair, or one before.
    fn check(
        &self,
        disk: &Simulated,
        own: usize,
        donors: &[usize],
        changed: bool,
        counts: &mut Counts,
    ) {
        let copy = &self.copies[own];
        let records = read(disk, &copy.dir);
        let (_, _, pieces) = told(&records);
        let found = events(&records, &pieces);
        let others = self.had(own, donors);
        let happened: BTreeSet<i64> = self.history.events.keys().copied().collect();
        let named: Vec<(i64, i64)> = records
            .iter()
            .filter_map(|r| match r.entry {
                Entry::Lost { first, last, .. } if first <= last => Some((first.0, last.0)),
                _ => None,
            })
            .collect();
        let is_named = |r: &i64| named.iter().any(|(a, b)| a <= r && r <= b);
        let mut newest = i64::MIN;
        for (revision, changes) in &found {
            assert_eq!(
                Some(changes),
                self.history.events.get(revision),
                "revision {revision} was invented or altered"
            );
            assert!(
                *revision >= newest,
                "revision {revision} comes after {newest}"
            );
            newest = *revision;
        }
        let found: BTreeSet<i64> = found.into_iter().map(|(revision, _)| revision).collect();
        for revision in found.iter().chain(&others) {
            assert!(
                !is_named(revision),
                "revision {revision} is there, and named as lost"
            );
        }
        let mut torn = BTreeSet::new();
        for revision in &happened {
            let there = found.contains(revision);
            let is_bridged = copy.bridged.contains(revision);
            // What is torn off the end without a trace, and nobody else has, is a tail that was
            // never acknowledged, as far as anybody can know. It is no damage; whatever is whole in
            // it is kept where there is something to repair.
            let is_tail = records.iter().all(|r| r.revision.0 < *revision);
            let is_kept = copy.has.contains(revision) && (changed || !is_tail);
            let is_had = others.contains(revision) || is_kept;
            if is_had && (!is_bridged || copy.broken) {
                assert!(
                    there,
                    "revision {revision} was still had by somebody: {named:?}"
                );
            }
            if !there && is_tail {
                torn.insert(*revision);
                counts.torn += 1;
            } else if !there && !copy.bridged.contains(revision) {
                assert!(
                    is_named(revision),
                    "revision {revision} is lost and not named: {named:?}"
                );
                counts.lost += 1;
            }
            counts.revisions += 1;
        }
        let reader = Directory::on(Arc::new(disk.clone()), &copy.dir)
            .reader()
            .unwrap();
        let state = reader.with_control().state(None).unwrap();
        for (id, ttl) in &state.leases {
            let granted = lease(*ttl).map(|record| record.entry().clone());
            assert!(
                matches!(granted, Some(Entry::Lease { id: granted, .. }) if granted == *id),
                "nobody has granted lease {id} {ttl} seconds"
            );
        }
        if named.is_empty() {
            if let Some(gap) = state.open_gap {
                // A difference that breaks off with what was torn off.
                assert_ne!(gap.reason, GapReason::Damage);
                assert!(gap.last.0 > newest, "{gap:?} is not closed");
                torn.extend(gap.first.0..=gap.last.0);
            }
            assert_eq!(state.files, self.history.state(i64::MAX, &torn));
            counts.whole += 1;
        } else {
            let gap: Gap = state.open_gap.expect("a loss is an open gap");
            if gap.reason == GapReason::Damage {
                for (first, last) in &named {
                    assert!(gap.first.0 <= *first && *last <= gap.last.0);
                }
            } else {
                // A difference that breaks off behind it does not make it good, once it is begun
                // anew.
                assert!(gap.last.0 > newest, "{gap:?} is not closed");
                assert!(named.iter().all(|(_, last)| *last < gap.first.0));
            }
        }
        // Sequences go on without a hole.
        let mut expected = Sequence(1);
        for record in &records {
            assert_eq!(record.sequence, expected);
            expected = record.sequence.next();
        }
        counts.cases += 1;
        counts.filled += found.difference(&copy.has).count() as u64;
    }
}

/// The revisions that a journal tells one by one, those that it bridged, and how.
fn told(records: &[Record]) -> (BTreeSet<i64>, BTreeSet<i64>, BTreeMap<Sequence, Entry>) {
    let (mut bridged, mut pieces) = (BTreeSet::new(), BTreeMap::new());
    let mut within = false;
    for record in records {
        match &record.entry {
            Entry::Gap {
                first, last, phase, ..
            } => {
                bridged.extend(first.0..=last.0);
                within = *phase == GapPhase::Opened;
            }
            // What is left of a difference is followed by the loss.
            Entry::Lost { first, last, .. } if first <= last => within = false,
            entry if within => {
                pieces.insert(record.sequence, entry.clone());
            }
            _ => {}
        }
    }
    let events = events(records, &pieces);
    let has = events.into_iter().map(|(revision, _)| revision);
    (has.collect(), bridged, pieces)
}

/// All changes that are events, by revision, in order: not those of a difference.
fn events(records: &[Record], pieces: &BTreeMap<Sequence, Entry>) -> Vec<(i64, Vec<Change>)> {
    let mut all: Vec<(i64, Vec<Change>)> = Vec::new();
    for record in records {
        if pieces.get(&record.sequence) != Some(&record.entry) {
            for change in record.entry.changes() {
                let revision = change.revision.map_or(record.revision.0, |r| r.0);
                let change = Change {
                    revision: None,
                    ..change.clone()
                };
                match all.last_mut() {
                    Some((last, changes)) if *last == revision => changes.push(change),
                    _ => all.push((revision, vec![change])),
                }
            }
        }
    }
    all
}

#[derive(Default, Debug)]
struct Counts {
    cases: u64,
    whole: u64,
    revisions: u64,
    filled: u64,
    lost: u64,
    /// Revisions torn off the end.
    torn: u64,
    /// Journals of which not one record could be read.
    nothing_left: u64,
}

/// Runs a case by its own seed, which a failure prints.
fn with_seeds(cases: u64, run: impl Fn(&mut Rng, &mut Counts)) -> Counts {
    let mut counts = Counts::default();
    if let Ok(one) = std::env::var("CAIRN_CASE") {
        run(&mut Rng::with_seed(one.parse().unwrap()), &mut counts);
        return counts;
    }
    let mut seeds = Rng::with_seed(seed());
    let mut failed = Vec::new();
    for _ in 0..cases {
        let seed = seeds.u64(..);
        let one = || run(&mut Rng::with_seed(seed), &mut counts);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)).is_err() {
            eprintln!("failed: CAIRN_CASE={seed}");
            failed.push(seed);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {cases} cases failed: CAIRN_CASE={failed:?}",
        failed.len()
    );
    counts
}

#[test]
fn nothing_is_lost_that_any_of_three_journals_still_had() {
    let cases = variable("CAIRN_DONOR_CASES", 60);
    let counts = with_seeds(cases, |rng, counts| {
        let case = Case::random(rng);
        for own in 0..3 {
            let (one, other) = ((own + 1) % 3, (own + 2) % 3);
            case.run(own, &[one, other], counts);
            let fewer = rng.usize(..3);
            case.run(own, &[one, other][fewer.min(1)..fewer.max(1)], counts);
        }
    });
    println!("{cases} cases of three journals: {counts:?}");
}

/// A crash in the middle is just another crash, also when what was lost is being fetched.
#[test]
fn a_repair_from_donors_survives_crashes_in_itself() {
    let cases = variable("CAIRN_DONOR_CRASH_CASES", 6);
    let counts = with_seeds(cases, |rng, counts| {
        let case = Case::random(rng);
        let own = rng.usize(..3);
        let donors = &[(own + 1) % 3, (own + 2) % 3];
        // A crash changes nothing but what the repair writes.
        let before = case.disk.after_crash(Survival::All, 1);
        let whole = before.fork();
        let calls = whole.calls();
        let report = case.repair(&whole, own, donors);
        if report.is_err() && case.copies[own].whole.is_empty() {
            counts.nothing_left += 1;
            return;
        }
        let changed = report.unwrap().is_changed();
        let expected = said(&whole, &case.copies[own].dir);
        let calls = whole.calls() - calls;
        for n in 1..=calls {
            let mut disk = before.fork();
            let mut at = n;
            for _ in 0..2 {
                disk.fail_at(disk.calls() + at, Fault::Crash);
                let _ = case.repair(&disk, own, donors);
                let survival = Survival::ALL[rng.usize(..Survival::ALL.len())];
                disk = disk.after_crash(survival, rng.u64(..));
                at = rng.u64(1..=calls);
            }
            case.repair(&disk, own, donors).unwrap();
            let now = said(&disk, &case.copies[own].dir);
            let differ = now.iter().zip(&expected).position(|(a, b)| a != b);
            assert!(
                now == expected,
                "call {n}: not the same from record {differ:?} on"
            );
            case.check(&disk, own, donors, changed, counts);
        }
    });
    println!("{cases} cases, crashed at every call: {counts:?}");
}

/// Cases that failed before repair became a merge, or while it did.
#[test]
fn what_failed_before_does_not_fail_again() {
    let seeds = [
        // Whole records lay in a torn tail that nobody else had.
        17_345_402_298_846_915_053,
        5_878_175_029_430_390_798,
        // A snapshot diff was lost together with the record of the next timeline.
        16_634_482_718_628_330_882,
        // Nothing was left of the end of a diff but the header of a record that proved it.
        11_806_673_195_363_631_343,
        1_329_096_894_136_180_205,
        // Nobody but a donor knew the name of a timeline.
        5_998_130_977_894_393_919,
        2_230_871_856_734_981_829,
        5_340_071_987_344_703_736,
        15_380_033_053_250_002_130,
        // A segment of which nothing is left lay within a snapshot diff that donors know singly.
        17_467_726_026_841_805_660,
        // Of a header one place had lost the version, the other the salt.
        9_590_689_712_531_756_225,
        8_341_438_674_923_338_019,
        5_548_277_373_294_342_423,
        // Behind the tear of a tail lay what a donor has as well.
        14_718_642_748_480_626_966,
    ];
    for seed in seeds {
        println!("CAIRN_CASE={seed}");
        let case = Case::random(&mut Rng::with_seed(seed));
        let mut counts = Counts::default();
        for own in 0..3 {
            let (one, other) = ((own + 1) % 3, (own + 2) % 3);
            for donors in [&[one, other][..], &[one], &[other], &[]] {
                case.run(own, donors, &mut counts);
            }
            case.run_twice(own, &mut counts);
        }
    }
}

/// A repaired journal is a journal like any other: damaged again, it comes back from a copy of
/// itself.
#[test]
fn a_repaired_journal_that_is_damaged_again_is_repaired_like_any_other() {
    let cases = variable("CAIRN_DONOR_CASES", 60) / 2;
    let counts = with_seeds(cases, |rng, counts| {
        let case = Case::random(rng);
        let own = rng.usize(..3);
        let dir = &case.copies[own].dir;
        let (disk, donors) = (case.disk.fork(), &[(own + 1) % 3, (own + 2) % 3]);
        if case.repair(&disk, own, donors).is_err() {
            counts.nothing_left += 1;
            return;
        }
        let events_of = |dir: &Path| {
            let records = read(&disk, dir);
            let (_, bridged, pieces) = told(&records);
            (bridged.is_empty(), events(&records, &pieces))
        };
        let (is_single, before) = events_of(dir);
        let twin = Path::new("/twin");
        copy(&disk, dir, twin);
        damage(&disk, dir, rng);
        let mut donors: Vec<Box<dyn Donor>> =
            vec![Box::new(JournalDonor::of(directory(&disk, twin)))];
        let repair =
            |donors: &mut [Box<dyn Donor>]| Repair::of(directory(&disk, dir)).with(donors).run();
        if repair(&mut donors).is_err() {
            counts.nothing_left += 1;
            return;
        }
        if is_single {
            let (_, now) = events_of(dir);
            assert!(
                now == before,
                "{} events, {} before",
                now.len(),
                before.len()
            );
            counts.cases += 1;
        }
        let again = repair(&mut donors).unwrap();
        assert!(
            !again.is_changed(),
            "a second repair found something: {again}"
        );
    });
    println!("{cases} cases: {counts:?}");
}

/// Copies the files of a journal that is whole.
fn copy(disk: &Simulated, from: &Path, to: &Path) {
    use cairn_journal::storage::{Access, Storage as _};
    disk.create_dir(to).unwrap();
    for path in segments(disk, from) {
        let name = to.join(path.file_name().unwrap());
        let file = disk.open(&name, Access::CreateNew).unwrap();
        let content = disk.content(&path).unwrap();
        assert_eq!(file.write_at(&content, 0).unwrap(), content.len());
    }
}

/// The usual order of things: first a repair without donors, then somebody remembers the other
/// disks.
#[test]
fn what_a_first_repair_had_to_leave_out_is_filled_later() {
    let cases = variable("CAIRN_DONOR_CASES", 60) / 4;
    let counts = with_seeds(cases, |rng, counts| {
        let case = Case::random(rng);
        case.run_twice(rng.usize(..3), counts);
    });
    println!("{cases} cases: {counts:?}");
}
