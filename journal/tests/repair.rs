//! What repair does with damage of every kind that it met: stories, one a test.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use cairn_journal::{
    Change, Directory, Entry, Error, Gap, GapReason, Journal, NewRecord, Options, Record, Repair,
    RepairPhase, RepairProgress, Revision, Sequence, Stop, Timeline, Timestamp,
    storage::{
        Access, File, Lock, Storage,
        simulated::{Fault, Simulated, Survival},
    },
};
use common::repair_on;

const DIR: &str = "/journal";

fn options() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 40 << 10;
    options.max_payload_bytes = 8 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn open(disk: &Simulated) -> cairn_journal::Result<(Journal, cairn_journal::Recovery)> {
    Directory::on(Arc::new(disk.clone()), dir()).open(options())
}

fn change(n: i64) -> NewRecord {
    let value = vec![u8::try_from(n % 251).unwrap(); 700];
    NewRecord::changes(
        Revision(n),
        vec![Change::set(format!("/{n}"), value)],
        Timestamp(n),
    )
}

/// A journal of these revisions, each in a commit of its own.
fn filled(revisions: std::ops::RangeInclusive<i64>) -> Simulated {
    filled_by(5, revisions)
}

fn filled_by(seed: u64, revisions: std::ops::RangeInclusive<i64>) -> Simulated {
    let disk = Simulated::new(seed);
    let (journal, _) = open(&disk).unwrap();
    for n in revisions {
        journal.append_and_commit(change(n)).unwrap();
    }
    drop(journal);
    disk.after_exit()
}

fn records(disk: &Simulated) -> Vec<Record> {
    let reader = Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap();
    reader.records().map(Result::unwrap).collect()
}

fn segments(disk: &Simulated) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|p| p.parent() == Some(dir()) && p.extension().is_some_and(|e| e == "seg"));
    paths
}

fn at(record: &Record) -> usize {
    usize::try_from(record.location.offset).unwrap()
}

/// Damages the payload of a record, or all of it.
fn harm(disk: &Simulated, record: &Record, header_too: bool) {
    let path = &*record.location.file;
    let mut content = disk.content(path).unwrap();
    content[at(record) + 49] ^= 1;
    if header_too {
        content[at(record) + 10] ^= 1;
    }
    disk.overwrite(path, content);
}

/// The revisions that are there as changes.
fn revisions(records: &[Record]) -> Vec<i64> {
    let changes = records
        .iter()
        .filter(|r| matches!(r.entry, Entry::Changes { .. }));
    changes.map(|r| r.revision.0).collect()
}

/// What a reader shows before it meets damage, without a copy and with one, and the error that ends
/// it.
fn read_until_damage(disk: &Simulated) -> (Vec<(Sequence, u64)>, Error) {
    let open = || {
        Directory::on(Arc::new(disk.clone()), dir())
            .reader()
            .expect("it has segments")
    };
    let mut shown = Vec::new();
    let mut records = open().records();
    let error = loop {
        match records.next_ref().expect("there is damage") {
            Ok(record) => shown.push((record.sequence, record.offset)),
            Err(error) => break error,
        }
    };
    let copied = open().records().map_while(Result::ok);
    assert!(
        copied
            .map(|r| (r.sequence, r.location.offset))
            .eq(shown.iter().copied())
    );
    (shown, error)
}

/// A sector that the disk cannot read used to end the process that had mapped it, and a repair.
#[test]
fn a_sector_that_cannot_be_read_costs_the_records_in_it() {
    let whole = filled(1..=150);
    let before = records(&whole);
    let files = segments(&whole);
    assert!(files.len() >= 3);
    let mut cases = 0;
    for (i, file) in files.iter().enumerate() {
        let length = whole.content(file).unwrap().len();
        for sector in (0..length / 512).step_by(7) {
            let disk = whole.fork();
            disk.make_unreadable(file, sector * 512);
            let error = open(&disk).unwrap_err();
            assert!(error.is_corruption(), "{error}");
            assert!(
                error.to_string().contains("the disk cannot read"),
                "segment {i}, sector {sector}: {error}"
            );
            let (shown, error) = read_until_damage(&disk);
            assert!(
                error.to_string().contains("the disk cannot read"),
                "segment {i}, sector {sector}: {error}"
            );
            // All that is valid before it.
            let is_before = |r: &&Record| {
                let end = at(r) + usize::try_from(r.location.length).unwrap();
                *r.location.file < *file || *r.location.file == *file && end <= sector * 512
            };
            assert_eq!(shown.len(), before.iter().filter(is_before).count());
            let report = repair_on(&disk, dir()).unwrap();
            assert!(!report.damaged.is_empty());
            let hit = |r: &&Record| {
                let end = at(r) + usize::try_from(r.location.length).unwrap();
                *r.location.file == *file && at(r) < (sector + 1) * 512 && end > sector * 512
            };
            let lost: Vec<_> = before.iter().filter(hit).cloned().collect();
            let kept: Vec<_> = before.iter().filter(|r| !hit(r)).cloned().collect();
            assert_eq!(revisions(&records(&disk)), revisions(&kept));
            let named: Vec<_> = report.damaged.iter().filter_map(|d| d.revisions).collect();
            for record in &lost {
                let inside =
                    |(a, b): &(Revision, Revision)| *a <= record.revision && record.revision <= *b;
                let is_change = matches!(record.entry, Entry::Changes { .. });
                // Nothing in the journal says of its last record that it was there, but its header.
                let unproven = record.sequence == before.last().unwrap().sequence
                    && at(record) + 48 > sector * 512;
                assert!(
                    !is_change || unproven || named.iter().any(inside),
                    "{named:?}: {}",
                    record.revision
                );
            }
            open(&disk).unwrap();
            assert!(repair_on(&disk, dir()).unwrap().damaged.is_empty());
            cases += 1;
        }
    }
    println!(
        "{cases} sectors of {} segments made unreadable",
        files.len()
    );
}

/// One file too many, or under a wrong name, used to end the repair of all the others.
#[test]
fn files_that_do_not_belong_are_put_right_or_aside() {
    let whole = filled(1..=150);
    let before = revisions(&records(&whole));
    let files = segments(&whole);
    let other = filled_by(6, 1..=90);

    // A segment of another journal under one of our names: that segment is lost, and no other.
    let disk = whole.fork();
    disk.overwrite(&files[1], other.content(&segments(&other)[1]).unwrap());
    let report = repair_on(&disk, dir()).unwrap();
    println!("{report}");
    assert!(
        report.damaged[0].detail.contains("another")
            || report.damaged[0].detail.contains("belongs")
    );
    let kept = revisions(&records(&disk));
    let (first, last) = report.damaged[0].revisions.unwrap();
    let expected: Vec<_> = before
        .iter()
        .copied()
        .filter(|r| *r < first.0 || *r > last.0)
        .collect();
    assert_eq!(kept, expected);

    // A segment whose name somebody changed gets it back.
    for name in [
        "00000000000000000099.seg",
        "00000000000000000001 (copy).seg",
    ] {
        let disk = whole.fork();
        disk.rename(&files[1], &dir().join(name)).unwrap();
        assert!(open(&disk).is_err());
        let report = repair_on(&disk, dir()).unwrap();
        println!("{report}");
        assert_eq!(revisions(&records(&disk)), before, "{name}");
        open(&disk).unwrap();
    }

    // What is no segment at all is kept aside.
    let disk = whole.fork();
    let stray = dir().join("notes.seg");
    let file = disk.open(&stray, Access::CreateNew).unwrap();
    file.write_at(b"not a segment", 0).unwrap();
    assert!(matches!(
        open(&disk).unwrap_err(),
        Error::ForeignFile { .. }
    ));
    let report = repair_on(&disk, dir()).unwrap();
    assert_eq!(
        report.damaged[0].kept,
        Some(dir().join("damaged-1/notes.seg"))
    );
    assert_eq!(revisions(&records(&disk)), before);
    open(&disk).unwrap();
}

/// The range that was named ran from the last good record to the next one, though the damaged
/// record's own header still said what it was.
#[test]
fn the_lost_revision_is_named_exactly_where_a_header_still_names_it() {
    // Only every tenth revision is journaled.
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    for n in 1..=20 {
        journal.append_and_commit(change(n * 10)).unwrap();
    }
    drop(journal);
    let whole = disk.after_exit();
    let before = records(&whole);

    let disk = whole.fork();
    harm(&disk, &before[9], false);
    harm(&disk, &before[11], false);
    let report = repair_on(&disk, dir()).unwrap();
    let named: Vec<_> = report
        .damaged
        .iter()
        .map(|d| (d.lost, d.revisions, d.exact))
        .collect();
    let exactly = |s, r| {
        let (s, r) = (Sequence(s), Revision(r));
        (Some((s, s)), Some((r, r)), true)
    };
    assert_eq!(named, [exactly(10, 100), exactly(12, 120)]);
    let gap = open(&disk).unwrap().0.end().open_gap.unwrap();
    assert_eq!((gap.first, gap.last), (Revision(100), Revision(120)));

    // Two neighbours, of the second of which the header is gone as well.
    let disk = whole.fork();
    harm(&disk, &before[9], false);
    harm(&disk, &before[10], true);
    let report = repair_on(&disk, dir()).unwrap();
    assert_eq!(report.damaged.len(), 1);
    let damage = &report.damaged[0];
    assert_eq!(damage.lost, Some((Sequence(10), Sequence(11))));
    assert_eq!(
        (damage.revisions, damage.exact),
        (Some((Revision(100), Revision(110))), false),
        "the record behind them says what was covered before it"
    );
}

fn timeline(id: &str, kept: bool) -> Timeline {
    Timeline {
        id: id.to_owned(),
        parent: None,
        at: Revision(0),
        kept,
        observed_at: Timestamp(0),
    }
}

/// The cluster was restored and counted from less; the record that said so was lost. The journal
/// went on to claim that it covered what the new cluster had not reached.
#[test]
fn a_lost_timeline_that_took_revisions_back_is_noticed() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    journal
        .append_and_commit(NewRecord::timeline(Revision(0), timeline("a", true)))
        .unwrap();
    for n in 90..=100 {
        journal.append_and_commit(change(n)).unwrap();
    }
    journal
        .append_and_commit(NewRecord::timeline(Revision(20), timeline("b", false)))
        .unwrap();
    for n in 30..=40 {
        journal.append_and_commit(change(n)).unwrap();
    }
    drop(journal);
    let disk = disk.after_exit();
    let before = records(&disk);
    let victim = before
        .iter()
        .filter(|r| matches!(r.entry, Entry::Timeline(_)))
        .nth(1);
    harm(&disk, victim.unwrap(), true);
    let report = repair_on(&disk, dir()).unwrap();
    println!("{report}");
    assert_eq!(
        report.damaged[0].revisions,
        Some((Revision(1), Revision(20)))
    );
    let (journal, _) = open(&disk).unwrap();
    assert_eq!(
        journal.end().revision,
        Revision(40),
        "not 100: that was another count"
    );
    let gap = journal.end().open_gap.unwrap();
    assert_eq!(
        (gap.first, gap.last, gap.reason),
        (Revision(1), Revision(20), GapReason::Damage)
    );
    let reader = Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap();
    assert!(matches!(
        reader.state(Some(Revision(10))),
        Err(Error::NotSeen {
            before: None,
            after: Some(Revision(21)),
            ..
        })
    ));
    assert!(reader.state(Some(Revision(35))).is_ok());
}

/// A checkpoint made behind that loss did not say that counting had begun anew there, and an older
/// one that had a higher revision in the older count was passed over, although it was the way to
/// the state.
#[test]
fn a_checkpoint_behind_a_lost_timeline_says_where_counting_began() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    journal
        .append_and_commit(NewRecord::timeline(Revision(0), timeline("a", true)))
        .unwrap();
    journal.append_and_commit(change(90)).unwrap();
    drop(journal);
    // Each opening begins a segment; the checkpoint in the second covers it, and the first.
    let (journal, _) = open(&disk).unwrap();
    journal.append_and_commit(change(91)).unwrap();
    journal.checkpoint().unwrap();
    drop(journal);
    let (journal, _) = open(&disk).unwrap();
    journal.append_and_commit(change(92)).unwrap();
    let lost = NewRecord::timeline(Revision(20), timeline("b", false));
    let lost = journal.append_and_commit(lost).unwrap();
    for n in 30..=40 {
        journal.append_and_commit(change(n)).unwrap();
    }
    drop(journal);
    let disk = disk.after_exit();
    let victim = records(&disk).into_iter().find(|r| r.sequence == lost);
    harm(&disk, &victim.unwrap(), true);
    repair_on(&disk, dir()).unwrap();
    let (journal, _) = open(&disk).unwrap();
    let nothing = cairn_journal::Retention {
        age: None,
        bytes: Some(0),
    };
    let retired = journal.retire(&nothing).unwrap();
    assert_eq!(retired.segments.len(), 2, "{retired:?}");
    journal.append_and_commit(change(41)).unwrap();
    let told = || {
        let reader = Directory::on(Arc::new(disk.clone()), dir())
            .reader()
            .unwrap();
        let mut asked: Vec<_> = (1..=41).chain(88..=93).map(Revision).collect();
        asked.push(Revision(1000));
        let tell = |at: Revision| (at, reader.state(Some(at)).ok().map(|s| s.files));
        asked.into_iter().map(tell).collect::<Vec<_>>()
    };
    let before = told();
    assert!(
        before
            .iter()
            .any(|(at, files)| *at == Revision(35) && files.is_some())
    );
    journal.checkpoint().unwrap();
    assert_eq!(told(), before);
}

/// A gap that had been bridged before the damage came does not make it good: its difference was
/// taken when nothing was missing.
#[test]
fn an_older_difference_does_not_make_later_damage_good() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    for n in 1..=9 {
        journal.append_and_commit(change(n)).unwrap();
    }
    let (first, last, reason) = (Revision(10), Revision(19), GapReason::HistoryDiscarded);
    journal
        .append_and_commit(NewRecord::gap_opened(first, last, reason, Timestamp(0)))
        .unwrap();
    journal
        .append_and_commit(NewRecord::gap_closed(first, last, reason, Timestamp(0)))
        .unwrap();
    journal.append_and_commit(change(20)).unwrap();
    drop(journal);
    let disk = disk.after_exit();
    harm(&disk, &records(&disk)[4], false);
    repair_on(&disk, dir()).unwrap();
    let damage = Gap {
        first: Revision(5),
        last: Revision(5),
        reason: GapReason::Damage,
    };
    let reader = Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap();
    assert_eq!(reader.state(None).unwrap().open_gap, Some(damage));
    for _ in 0..3 {
        let (journal, _) = open(&disk).unwrap();
        assert_eq!(journal.end().open_gap, Some(damage));
    }
}

/// A difference that begins behind older damage does not make that good. Within it the journal was
/// opened again, or repaired again, and the damage was forgotten with the next segment.
#[test]
fn damage_before_a_difference_is_remembered_across_its_segments() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    for n in 1..=9 {
        journal.append_and_commit(change(n)).unwrap();
    }
    drop(journal);
    let disk = disk.after_exit();
    harm(&disk, &records(&disk)[4], false);
    repair_on(&disk, dir()).unwrap();
    let one = Gap {
        first: Revision(5),
        last: Revision(5),
        reason: GapReason::Damage,
    };
    let damage = Some(one);
    let (first, last, reason) = (Revision(10), Revision(19), GapReason::HistoryDiscarded);
    let (journal, _) = open(&disk).unwrap();
    assert_eq!(journal.end().open_gap, damage);
    journal
        .append_and_commit(NewRecord::gap_opened(first, last, reason, Timestamp(0)))
        .unwrap();
    drop(journal);
    // An opening of its own begins a segment within the difference, a part of the difference fills
    // several.
    let (journal, _) = open(&disk).unwrap();
    for n in 10..200 {
        let part = vec![Change::set(format!("/{n}"), vec![b'x'; 700]).at(Revision(19))];
        journal
            .append_and_commit(NewRecord::changes(last, part, Timestamp(0)))
            .unwrap();
    }
    drop(journal);
    let within = disk.fork();
    let (journal, _) = open(&disk).unwrap();
    journal
        .append_and_commit(NewRecord::gap_closed(first, last, reason, Timestamp(0)))
        .unwrap();
    let told = |disk: &Simulated| {
        let reader = Directory::on(Arc::new(disk.clone()), dir())
            .reader()
            .unwrap();
        reader.state(None).unwrap().open_gap
    };
    assert_eq!((journal.end().open_gap, told(&disk)), (damage, damage));
    journal.append_and_commit(change(20)).unwrap();
    drop(journal);
    let (journal, _) = open(&disk).unwrap();
    assert_eq!((journal.end().open_gap, told(&disk)), (damage, damage));
    drop(journal);

    // Other damage, which the repair finds behind the one that it knows already.
    let disk = disk.after_exit();
    let last_change = revisions(&records(&disk)).len();
    let victim = records(&disk).into_iter().rfind(|r| r.revision.0 == 20);
    harm(&disk, &victim.unwrap(), false);
    let report = repair_on(&disk, dir()).unwrap();
    assert_eq!(
        revisions(&records(&disk)).len(),
        last_change - 1,
        "{report}"
    );
    let both = Some(Gap {
        last: Revision(20),
        ..one
    });
    assert_eq!(told(&disk), both);
    assert_eq!(open(&disk).unwrap().0.end().open_gap, both);

    // Damage before the difference that is found while the difference is under way.
    let disk = within.after_exit();
    harm(&disk, &records(&disk)[2], false);
    repair_on(&disk, dir()).unwrap();
    let (journal, _) = open(&disk).unwrap();
    journal
        .append_and_commit(NewRecord::gap_closed(first, last, reason, Timestamp(0)))
        .unwrap();
    let both = Some(Gap {
        first: Revision(3),
        ..one
    });
    assert_eq!((journal.end().open_gap, told(&disk)), (both, both));
}

/// A gap was opened and all of it lost but its end: the end says that everything up to there is
/// covered.
#[test]
fn the_end_of_a_gap_does_not_hide_what_was_lost_in_it() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    for n in 1..=9 {
        journal.append_and_commit(change(n)).unwrap();
    }
    let (first, last, reason) = (Revision(10), Revision(19), GapReason::HistoryDiscarded);
    let part = vec![
        Change::set("/x", "y").at(Revision(15)),
        Change::delete("/1"),
    ];
    for record in [
        NewRecord::gap_opened(first, last, reason, Timestamp(0)),
        NewRecord::changes(last, part, Timestamp(0)),
        NewRecord::gap_closed(first, last, reason, Timestamp(0)),
        change(20),
    ] {
        journal.append_and_commit(record).unwrap();
    }
    drop(journal);
    let whole = disk.after_exit();
    let before = records(&whole);
    for (name, victims) in [("opening and difference", 9..=10), ("difference", 10..=10)] {
        let disk = whole.fork();
        for victim in victims {
            harm(&disk, &before[victim], true);
        }
        repair_on(&disk, dir()).unwrap();
        let gap = open(&disk).unwrap().0.end().open_gap;
        let gap = gap.unwrap_or_else(|| panic!("{name}: the loss is not named"));
        assert_eq!((gap.first, gap.last), (first, last), "{name}");
    }
    // What must have been the end, and nothing else, is no loss.
    let disk = whole.fork();
    harm(&disk, &before[11], true);
    let report = repair_on(&disk, dir()).unwrap();
    assert_eq!(report.damaged[0].lost, None, "{report}");
    assert_eq!(open(&disk).unwrap().0.end().open_gap, None);
    let reader = Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap();
    assert!(reader.state(None).unwrap().files.contains_key(&b"/x"[..]));
}

/// A restored cluster's state was being taken when the persister died: the journal has the state of
/// the old cluster, and said that it was the new one's.
#[test]
fn a_state_before_an_open_difference_belongs_to_the_timeline_before_it() {
    let disk = Simulated::new(5);
    let (journal, _) = open(&disk).unwrap();
    journal
        .append(NewRecord::timeline(Revision(0), timeline("a", true)))
        .unwrap();
    for n in 1..=9 {
        journal.append(change(n)).unwrap();
    }
    let (first, last, reason) = (Revision(5), Revision(30), GapReason::HistoryDiscarded);
    journal
        .append(NewRecord::gap_opened(first, last, reason, Timestamp(0)))
        .unwrap();
    let into = NewRecord::timeline(first.previous(), timeline("b", false));
    journal.append_and_commit(into).unwrap();
    let reader = Directory::on(Arc::new(disk.clone()), dir())
        .reader()
        .unwrap();
    let told = reader.state(None).unwrap();
    assert_eq!(told.timeline.unwrap().id, "a");
    assert_eq!((told.revision, told.files.len()), (Revision(9), 9));
    assert_eq!(
        told.open_gap,
        Some(Gap {
            first,
            last,
            reason
        })
    );
}

/// Power failed between the cut of a torn tail and the new segment: the next opening found a clean
/// end, and said nothing of the tail.
#[test]
fn a_torn_tail_that_an_interrupted_opening_cut_is_reported() {
    let whole = filled(1..=20);
    let last = records(&whole).pop().unwrap();
    let path = last.location.file.to_path_buf();
    let mut content = whole.content(&path).unwrap();
    content.truncate(at(&last) + usize::try_from(last.location.length).unwrap() - 9);
    whole.overwrite(&path, content);
    let (_, expected) = open(&whole.fork()).unwrap();
    assert!(expected.torn_bytes > 0);
    let counting = whole.fork();
    let calls = counting.calls();
    drop(open(&counting).unwrap());
    let mut cases = 0;
    for n in 1..=counting.calls() - calls {
        let disk = whole.fork();
        disk.fail_at(disk.calls() + n, Fault::Crash);
        if open(&disk).is_ok() {
            continue;
        }
        let disk = disk.after_crash(Survival::All, n);
        let before = segments(&disk).len();
        let (_, recovery) = open(&disk).unwrap();
        if before == 1 {
            assert_eq!(recovery.torn_file, expected.torn_file, "call {n}");
            assert_eq!(recovery.torn_bytes, expected.torn_bytes, "call {n}");
            cases += 1;
        }
    }
    println!("{cases} crashes while a torn tail is cut");
    assert!(cases > 3);
}

/// A disk that counts open files, and lists a directory as badly as it may.
#[derive(Debug)]
struct Odd {
    disk: Simulated,
    open: Arc<AtomicUsize>,
    most: AtomicUsize,
    listings: AtomicUsize,
}

#[derive(Debug)]
struct Counted(Box<dyn File>, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl File for Counted {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(from, offset)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Storage for Odd {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    /// Every other listing misses a segment, as one does that began before the segment came.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.disk.list(dir)?;
        if self
            .listings
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(3)
        {
            let second = names.iter().filter(|n| n.ends_with(".seg")).nth(1).cloned();
            names.retain(|n| Some(n) != second.as_ref());
        }
        Ok(names)
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = self.disk.open(path, access)?;
        let now = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Ok(Box::new(Counted(file, self.open.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }
    fn random(&self) -> u128 {
        self.disk.random()
    }
    fn now(&self) -> Timestamp {
        self.disk.now()
    }
}

/// A journal may have more segments than a process may have open files; and a reader that listed
/// the directory while segments came took one that it had not been shown for missing.
#[test]
fn few_files_are_open_at_once_and_half_a_listing_is_not_believed() {
    let disk = filled(1..=1500);
    let before = records(&disk);
    let count = segments(&disk).len();
    for n in [30, 700, 1400] {
        harm(&disk, &before[n], true);
    }
    let odd = Arc::new(Odd {
        disk,
        open: Arc::default(),
        most: AtomicUsize::new(0),
        listings: AtomicUsize::new(0),
    });
    let report = Repair::of(Directory::on(odd.clone(), dir())).run().unwrap();
    assert_eq!(report.damaged.len(), 3, "{report}");
    let most = odd.most.load(Ordering::Relaxed);
    println!("{count} segments, {most} files open at once");
    assert!(count > 20 && most < 12, "{most} of {count}");
    let reader = Directory::on(odd, dir()).reader().unwrap();
    assert_eq!(reader.records().filter(Result::is_err).count(), 0);
}

/// A journal with damage in three segments, made durable.
fn damaged() -> Simulated {
    let disk = filled(1..=150);
    let before = records(&disk);
    for n in [20, 70, 71, 120] {
        harm(&disk, &before[n], n == 70);
    }
    disk.after_crash(Survival::All, 1)
}

fn contents(disk: &Simulated) -> Vec<(PathBuf, Vec<u8>)> {
    let content = |path: PathBuf| disk.content(&path).map(|content| (path, content));
    disk.paths().into_iter().filter_map(content).collect()
}

fn said(disk: &Simulated) -> Vec<(Sequence, Revision, Vec<Change>)> {
    let said = |r: Record| (r.sequence, r.revision, r.entry.changes().to_vec());
    records(disk).into_iter().map(said).collect()
}

/// A disk without room in the middle of a repair changes nothing, and the error says how much it
/// takes.
#[test]
fn a_repair_without_room_leaves_everything_as_it_was() {
    let disk = damaged();
    let (before, whole) = (contents(&disk), disk.fork());
    let calls = whole.calls();
    repair_on(&whole, dir()).unwrap();
    let (calls, expected) = (whole.calls() - calls, said(&whole));
    let mut refused = 0;
    for n in 1..=calls {
        let disk = disk.fork();
        disk.fail_at(disk.calls() + n, Fault::Full);
        match repair_on(&disk, dir()) {
            Ok(_) => {}
            Err(Error::NoRoom { needed, .. }) => {
                assert!(needed > 100_000, "{needed}");
                assert_eq!(contents(&disk), before, "call {n}");
                refused += 1;
            }
            Err(Error::Io { .. }) => {}
            Err(other) => panic!("call {n}: {other}"),
        }
        repair_on(&disk, dir()).unwrap();
        assert_eq!(said(&disk), expected, "call {n}");
    }
    println!("{calls} calls, {refused} refusals");
    assert!(refused > 10);
}

/// While files are moved there is neither the old journal nor the new one, and everybody is told
/// so.
#[test]
fn a_journal_that_is_half_replaced_is_refused_by_name() {
    let disk = damaged();
    let before = revisions(&records_until_damage(&disk));
    let whole = disk.fork();
    let calls = whole.calls();
    repair_on(&whole, dir()).unwrap();
    let (calls, expected) = (whole.calls() - calls, said(&whole));
    let mut refused = 0;
    for n in 1..=calls {
        for survival in Survival::ALL {
            let disk = disk.fork();
            disk.fail_at(disk.calls() + n, Fault::Crash);
            let _ = repair_on(&disk, dir());
            let disk = disk.after_crash(survival, n);
            match Directory::on(Arc::new(disk.clone()), dir()).reader() {
                Ok(_) => {
                    let now = revisions(&records_until_damage(&disk));
                    assert!(now == before || said(&disk) == expected, "call {n}");
                }
                Err(Error::RepairInterrupted { .. }) => {
                    assert!(matches!(open(&disk), Err(Error::RepairInterrupted { .. })));
                    assert!(repair_on(&disk, dir()).unwrap().resumed);
                    refused += 1;
                }
                Err(other) => panic!("call {n}: {other}"),
            }
            repair_on(&disk, dir()).unwrap();
            assert_eq!(said(&disk), expected, "call {n}");
        }
    }
    println!("{calls} calls, refused {refused} times");
    assert!(refused > 10);
}

fn records_until_damage(disk: &Simulated) -> Vec<Record> {
    let directory = Directory::on(Arc::new(disk.clone()), dir());
    let records = directory.reader().unwrap().records();
    records.map_while(Result::ok).collect()
}

/// For a file system that has no room for two journals.
#[test]
fn a_journal_is_repaired_into_another_directory_and_stays_as_it_is() {
    let disk = damaged();
    let (before, whole) = (contents(&disk), disk.fork());
    repair_on(&whole, dir()).unwrap();
    let into = Path::new("/elsewhere");
    let repair = || Repair::of(Directory::on(Arc::new(disk.clone()), dir())).into_dir(into);
    let report = repair().run().unwrap();
    assert_eq!(report.damaged.len(), 3, "{report}");
    assert!(report.damaged.iter().all(|damage| damage.kept.is_none()));
    let mut now = contents(&disk);
    now.retain(|(path, _)| path.starts_with(DIR));
    assert_eq!(now, before);
    let directory = Directory::on(Arc::new(disk.clone()), into);
    let there = directory.reader().unwrap().records();
    assert_eq!(there.map(Result::unwrap).count(), said(&whole).len());
    directory.open(options()).unwrap();
    // Nothing is ever written over.
    let error = repair().run().unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
}

/// Whoever asks a repair to end finds everything as it was; and is told how far it came.
#[test]
fn a_repair_that_is_stopped_changes_nothing() {
    let disk = damaged();
    let before = contents(&disk);
    let stop = Stop::new();
    let mut phases = Vec::new();
    let mut tell = |progress: RepairProgress| {
        phases.push(progress.phase);
        if progress.phase == RepairPhase::Writing {
            stop.ask();
        }
    };
    let repair = Repair::of(Directory::on(Arc::new(disk.clone()), dir()));
    let stopped = repair.telling(&mut tell).unless(stop.clone()).run();
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert_eq!(phases, [RepairPhase::Reading, RepairPhase::Writing]);
    assert_eq!(contents(&disk), before);
}
