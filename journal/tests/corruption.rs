//! Every kind of damage to every place of a small journal: what had provably been acknowledged is
//! reported when it is damaged; nothing is silently dropped or altered; repair loses only what was
//! damaged, and names it.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Directory, Entry, Journal, NewRecord, Options, Record, Revision, Sequence, Timestamp,
    storage::simulated::{SECTOR_BYTES, Simulated},
};
use common::repair_on;

const DIR: &str = "/journal";

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 2 << 10;
    options.segment_bytes = 26 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

fn open(disk: &Simulated) -> cairn_journal::Result<(Journal, cairn_journal::Recovery)> {
    Directory::on(Arc::new(disk.clone()), Path::new(DIR)).open(options())
}

fn change(n: i64) -> NewRecord {
    let length = usize::try_from((n * 37) % 300).unwrap();
    let value: Vec<u8> = (0..length)
        .map(|i| u8::try_from((i * 7 + 13) % 256).unwrap())
        .collect();
    NewRecord::changes(
        Revision(n),
        vec![Change::set(format!("/{n}"), value)],
        Timestamp(n),
    )
}

/// A journal of a few segments: sealed ones, one cut by a crash, and a live last one that ends in a
/// watermark. And every content that each segment file ever had.
struct Small {
    disk: Simulated,
    records: Vec<Record>,
    files: Vec<PathBuf>,
    versions: BTreeMap<PathBuf, Vec<Vec<u8>>>,
}

fn small() -> Small {
    let disk = Simulated::new(7);
    let mut versions: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    let mut n = 1;
    for life in 0..2 {
        let (journal, _) = open(&disk).unwrap();
        for i in 0..if life == 0 { 60 } else { 22 } {
            // Groups of one to three.
            for _ in 0..i % 3 {
                journal.append(change(n)).unwrap();
                n += 1;
            }
            journal.append_and_commit(change(n)).unwrap();
            n += 1;
            for path in segments(&disk) {
                let content = disk.content(&path).unwrap();
                versions.entry(path).or_default().push(content);
            }
        }
        if life == 1 {
            journal
                .append_and_commit(NewRecord::watermark(Revision(n), Timestamp(n)))
                .unwrap();
        }
    }
    let disk = disk.after_exit();
    let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .reader()
        .unwrap();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let files = segments(&disk);
    assert!(files.len() >= 4, "{}", files.len());
    Small {
        disk,
        records,
        files,
        versions,
    }
}

fn segments(disk: &Simulated) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    paths
}

#[derive(Default, Debug)]
struct Counts {
    cases: u64,
    unchanged: u64,
    reported: u64,
    torn: u64,
    repaired: u64,
    lost_by_repair: u64,
}

impl Small {
    /// What a file's content, damaged in the given range, leads to.
    fn examine(&self, path: &Path, content: Vec<u8>, mended: bool, counts: &mut Counts) {
        counts.cases += 1;
        let original = self.disk.content(path).unwrap();
        let changed = changed(&original, &content);
        let Some(changed) = changed else {
            counts.unchanged += 1;
            return;
        };
        let disk = self.disk.fork();
        disk.overwrite(path, content);

        let hit = |r: &Record| {
            let from = usize::try_from(r.location.offset).unwrap();
            let to = from + usize::try_from(r.location.length).unwrap();
            r.location.file.as_path() == path
                && changed.iter().any(|c| c.start < to && from < c.end)
        };
        let header_hit = changed.iter().any(|c| c.start < 4096);
        let is_last = Some(path) == self.files.last().map(PathBuf::as_path);
        // What an undamaged witness says was synced. A successor is a witness for all before it.
        let proven = if is_last && !header_hit {
            let intact = self.records.iter().filter(|r| !hit(r));
            intact.map(|r| r.synced).max().unwrap()
        } else {
            self.records.last().unwrap().synced
        };
        let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
            .reader()
            .unwrap();
        let mut seen = 0;
        let mut reported = false;
        for found in reader.records() {
            match found {
                Ok(record) => {
                    assert_eq!(record, self.records[seen], "altered");
                    seen += 1;
                }
                Err(error) => {
                    assert!(error.is_corruption(), "{error}");
                    reported = true;
                }
            }
        }
        let must_report = header_hit || self.records.iter().any(|r| hit(r) && r.sequence <= proven);
        assert!(
            reported || !must_report,
            "not reported: {} {changed:?}, proven {proven}, seen {seen}",
            path.display()
        );
        assert!(
            reported || Sequence(seen as u64) >= proven,
            "silently dropped"
        );

        // Opening for writing comes to the same conclusion (all of this is within verify_bytes).
        match open(&disk) {
            Ok((_, recovery)) => {
                assert!(!reported, "opened in spite of {changed:?}");
                counts.torn += 1;
                assert!(recovery.valid_to >= proven);
                assert_eq!(recovery.maybe_lost_from, Some(recovery.valid_to.next()));
            }
            Err(error) => {
                assert!(reported && error.is_corruption(), "{error}");
                counts.reported += 1;
                if mended {
                    self.mend(&disk, &hit, counts);
                }
            }
        }
    }

    fn mend(&self, disk: &Simulated, hit: &dyn Fn(&Record) -> bool, counts: &mut Counts) {
        counts.repaired += 1;
        let report = repair_on(disk, Path::new(DIR)).unwrap();
        let (_, recovery) = open(disk).unwrap();
        let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
            .reader()
            .unwrap();
        let kept = reader.records().map(|r| r.unwrap());
        let told = |r: &Record| !matches!(r.entry, Entry::Lost { .. } | Entry::Seal { .. });
        let mut kept = kept.filter(told).peekable();
        for old in &self.records {
            let named = report
                .damaged
                .iter()
                .filter_map(|d| d.lost)
                .any(|(a, b)| a <= old.sequence && old.sequence <= b);
            let is_it = |new: &Record| (new.revision, &new.entry) == (old.revision, &old.entry);
            // A seal is its segment's own, and all segments are new.
            let is_seal = matches!(old.entry, Entry::Seal { .. });
            if kept.next_if(is_it).is_some() || is_seal && !hit(old) {
                assert!(!named, "kept and named as lost");
                continue;
            }
            assert!(
                named || kept.peek().is_none(),
                "lost and not named: {}",
                old.sequence
            );
            counts.lost_by_repair += 1;
            assert!(
                hit(old),
                "sequence {} was not damaged and is lost",
                old.sequence
            );
        }
        assert_eq!(kept.next(), None, "invented");
        assert_eq!(recovery.torn_bytes, 0);
        assert!(repair_on(disk, Path::new(DIR)).unwrap().damaged.is_empty());
    }
}

/// The ranges in which two contents differ, a sector wide at most.
fn changed(a: &[u8], b: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for i in 0..a.len().max(b.len()) {
        if a.get(i) != b.get(i) {
            match ranges.last_mut() {
                Some(r) if r.end == i => r.end = i + 1,
                _ => ranges.push(i..i + 1),
            }
        }
    }
    (!ranges.is_empty()).then_some(ranges)
}

#[test]
fn every_byte() {
    let small = small();
    let mut counts = Counts::default();
    for path in &small.files {
        let original = small.disk.content(path).unwrap();
        for at in 0..original.len() {
            for (i, byte) in [original[at] ^ (1 << (at % 8)), 0, 0xFF]
                .into_iter()
                .enumerate()
            {
                let mut content = original.clone();
                content[at] = byte;
                // Repairing everything everywhere would take long; every 13th byte it is.
                small.examine(path, content, i == 0 && at % 13 == 0, &mut counts);
            }
        }
    }
    println!(
        "{} segments, bytes flipped, zeroed, set: {counts:?}",
        small.files.len()
    );
    assert!(counts.reported > 10_000 && counts.torn > 0 && counts.repaired > 1000);
}

#[test]
fn every_sector() {
    let small = small();
    let mut counts = Counts::default();
    for path in &small.files {
        let original = small.disk.content(path).unwrap();
        let sectors = original.len().div_ceil(SECTOR_BYTES);
        let range = |s: usize| s * SECTOR_BYTES..((s + 1) * SECTOR_BYTES).min(original.len());
        for s in 0..sectors {
            for fill in [0, 0xFF] {
                let mut content = original.clone();
                content[range(s)].fill(fill);
                small.examine(path, content, true, &mut counts);
            }
            // Every older version of this sector, and of the same sector of other segments.
            for (other, versions) in &small.versions {
                let mut last: &[u8] = &[];
                for version in versions {
                    let end = range(s).end.min(version.len());
                    let Some(old) = version.get(range(s).start..end) else {
                        continue;
                    };
                    if old == last {
                        continue;
                    }
                    last = old;
                    let mut content = original.clone();
                    content[range(s)].fill(0);
                    content[range(s).start..end].copy_from_slice(old);
                    small.examine(path, content, other == path, &mut counts);
                }
            }
            // Swapped with the next, and moved over each other one.
            for t in 0..sectors {
                if range(t).len() != range(s).len() || s == t {
                    continue;
                }
                let mut content = original.clone();
                content.copy_within(range(s), range(t).start);
                small.examine(path, content.clone(), t == s + 1, &mut counts);
                if t == s + 1 {
                    content[range(s)].copy_from_slice(&original[range(t)]);
                    small.examine(path, content, true, &mut counts);
                }
            }
        }
        // Cut anywhere.
        for length in (0..original.len()).step_by(8) {
            small.examine(
                path,
                original[..length].to_vec(),
                length % 64 == 0,
                &mut counts,
            );
        }
    }
    println!(
        "{} segments, sectors zeroed, set, aged, swapped, moved, files cut: {counts:?}",
        small.files.len()
    );
    assert!(counts.reported > 1000 && counts.repaired > 500);
}
