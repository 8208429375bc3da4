//! The story: somebody keeps a copy of a segment in the journal's own directory, under a number of
//! its own. A repair then found the copy again at each run, or named revisions as lost that were
//! all there.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{path::Path, sync::Arc};

use cairn_journal::{
    Directory, Entry, Options, Record, Retention, Revision,
    storage::{Access, Storage, simulated::Simulated},
};
use common::{append, dir, files, open_with, reader, repair_on, small_options};

const NEWEST: i64 = 60;

fn options() -> Options {
    small_options(22 << 10)
}

/// Keeps a copy of a file beside it. `None`: there is a file of that name.
fn keep_copy(disk: &Simulated, of: &Path, name: &str) -> Option<Simulated> {
    let copy = dir().join(name);
    let disk = disk.after_exit();
    let file = disk.open(&copy, Access::CreateNew).ok()?;
    file.write_at(&disk.content(of).unwrap(), 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(dir()).unwrap();
    Some(disk)
}

/// The number in a file's name.
fn number_of(path: &Path) -> u64 {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name.parse().unwrap()
}

/// Several segments, of several processes, and checkpoints.
fn journal() -> Simulated {
    let mut disk = Simulated::new(11);
    for first in (1..=NEWEST).step_by(15) {
        let (journal, _) = open_with(&disk, options()).unwrap();
        for revision in first..first + 15 {
            append(&journal, revision).unwrap();
        }
        journal.checkpoint().unwrap();
        drop(journal);
        disk = disk.after_exit();
    }
    disk
}

fn changes(disk: &Simulated) -> Vec<(Revision, Entry)> {
    let records: Vec<Record> = reader(disk).records().map(Result::unwrap).collect();
    let lost = |r: &Record| matches!(r.entry, Entry::Lost { first, last, .. } if first <= last);
    let lost: Vec<_> = records.iter().filter(|record| lost(record)).collect();
    assert!(lost.is_empty(), "nothing is lost: {lost:?}");
    let told = records.into_iter();
    let told = told.filter(|r| matches!(r.entry, Entry::Changes { .. }));
    told.map(|r| (r.revision, r.entry)).collect()
}

fn is_repaired_once(disk: &Simulated, whole: &[(Revision, Entry)], what: &str) {
    let report = repair_on(disk, dir()).unwrap_or_else(|error| panic!("{what}: {error}"));
    println!("{what}: {report}");
    assert!(report.is_changed(), "{what}");
    assert_eq!(changes(disk), whole, "{what}");
    let names = disk.paths();
    let again = repair_on(disk, dir()).unwrap();
    assert!(!again.is_changed(), "{what}: {again}");
    assert_eq!(disk.paths(), names, "{what}");
    let (journal, _) = open_with(disk, options()).unwrap();
    append(&journal, NEWEST + 1).unwrap();
}

#[test]
fn a_copy_of_a_segment_under_any_number_costs_nothing() {
    let disk = journal();
    let whole = changes(&disk);
    let segments = files(&disk, "seg");
    assert!(segments.len() >= 4, "{segments:?}");
    let mut cases = 0;
    for segment in &segments {
        let first = number_of(segment);
        for number in [
            first.saturating_sub(1).max(1),
            first + 1,
            first + 2,
            1_000_000_000,
        ] {
            let Some(disk) = keep_copy(&disk, segment, &format!("{number:020}.seg")) else {
                continue;
            };
            let directory = Directory::on(Arc::new(disk.fork()), dir());
            let refused = directory.open(options()).is_err();
            let read = reader(&disk).records().all(|record| record.is_ok());
            assert!(!read || !refused, "a reader meets what opening refuses");
            is_repaired_once(&disk, &whole, &format!("{first} as {number}"));
            cases += 1;
        }
    }
    assert!(cases > 12, "{cases}");
}

#[test]
fn a_copy_of_a_checkpoint_under_another_revision_costs_nothing() {
    let disk = journal();
    let whole = changes(&disk);
    for checkpoint in files(&disk, "ckpt") {
        for number in [7, 1_000_000] {
            let copied = keep_copy(&disk, &checkpoint, &format!("{number:020}.ckpt"));
            let what = format!("{} as {number}", checkpoint.display());
            is_repaired_once(&copied.unwrap(), &whole, &what);
        }
    }
}

/// Retention has removed what the checkpoints cover; what is left has a copy.
#[test]
fn a_copy_in_a_journal_whose_beginning_was_retired_costs_nothing() {
    let disk = journal();
    let (journal, _) = open_with(&disk, options()).unwrap();
    let retention = Retention {
        age: None,
        bytes: Some(20 << 10),
    };
    assert!(!journal.retire(&retention).unwrap().segments.is_empty());
    drop(journal);
    let disk = disk.after_exit();
    let whole = changes(&disk);
    for segment in files(&disk, "seg") {
        let first = number_of(&segment);
        for number in [1, first - 1, first + 1] {
            if let Some(disk) = keep_copy(&disk, &segment, &format!("{number:020}.seg")) {
                is_repaired_once(&disk, &whole, &format!("{first} as {number}"));
            }
        }
    }
}
