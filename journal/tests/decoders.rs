//! Bytes from anywhere: no panic, no allocation beyond the limits, and nothing that is not a record
//! is taken for one.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_journal::{
    Change, Directory, Entry, Error, Journal, NewRecord, Options, Record, Retention, Revision,
    Timestamp, storage::simulated::Simulated,
};
use common::repair_on;
use proptest::prelude::*;

const DIR: &str = "/journal";

fn options() -> Options {
    let mut options = common::small_options(26 << 10);
    options.max_payload_bytes = 2 << 10;
    options
}

/// Segments and a checkpoint; without the segments that it covers, or with all.
fn sample(is_retired: bool) -> Simulated {
    let disk = Simulated::new(1);
    let (journal, _) = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .open(options())
        .unwrap();
    for n in 1..60 {
        if n == 40 {
            journal.checkpoint().unwrap();
        }
        let change = Change::set(format!("/{n}"), vec![1; 200]);
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
        journal.append_and_commit(record).unwrap();
    }
    if is_retired {
        let retention = Retention {
            age: None,
            bytes: Some(0),
        };
        assert!(!journal.retire(&retention).unwrap().segments.is_empty());
    }
    drop(journal);
    disk
}

/// One of the segments and checkpoints.
fn file(disk: &Simulated, which: prop::sample::Index) -> PathBuf {
    let mut paths = disk.paths();
    paths.retain(|p| p.extension().is_some());
    which.get(&paths).clone()
}

/// Reads, opens and repairs; each may refuse, none may panic.
fn everything(disk: &Simulated) {
    let dir = Path::new(DIR);
    if let Ok(reader) = Directory::on(Arc::new(disk.clone()), dir).reader() {
        for record in reader.records() {
            if record.is_err() {
                break;
            }
        }
        let _ = reader.state(None);
        let _ = reader.state(Some(Revision(45)));
    }
    drop(Directory::on(Arc::new(disk.clone()), dir).open(options()));
    if repair_on(disk, dir).is_ok() {
        Directory::on(Arc::new(disk.clone()), dir)
            .open(options())
            .unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_in_the_place_of_a_file(
        is_retired in any::<bool>(),
        which in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..9000),
    ) {
        let disk = sample(is_retired);
        let path = file(&disk, which);
        disk.overwrite(&path, bytes);
        everything(&disk);
    }

    #[test]
    fn any_damage(
        is_retired in any::<bool>(),
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let disk = sample(is_retired);
        let path = file(&disk, which);
        let mut content = disk.content(&path).unwrap();
        for (at, byte) in edits {
            let at = at.index(content.len());
            content[at] = byte;
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        disk.overwrite(&path, content);
        everything(&disk);
    }

    #[test]
    fn what_goes_in_comes_out(
        records in prop::collection::vec(
            prop::collection::vec(
                (
                    any::<Vec<u8>>(),
                    prop::option::of(any::<Vec<u8>>()),
                    prop::option::of(any::<i64>()),
                ),
                0..5,
            ),
            1..20,
        ),
        observed_at in any::<i64>(),
    ) {
        let disk = Simulated::new(1);
        let directory = Directory::on(Arc::new(disk.clone()), Path::new(DIR));
        let (journal, _) = directory.open(options()).unwrap();
        let mut written = Vec::new();
        for (n, changes) in records.into_iter().enumerate() {
            let changes = changes.into_iter().map(|(path, value, revision)| {
                let change = match value {
                    Some(value) => Change::set(path, value),
                    None => Change::delete(path),
                };
                match revision {
                    Some(r) => change.at(Revision(r)),
                    None => change,
                }
            });
            let revision = Revision(i64::try_from(n).unwrap() + 1);
            let record = NewRecord::changes(revision, changes.collect(), Timestamp(observed_at));
            journal.append(record.clone()).unwrap();
            written.push(record);
        }
        journal.close().unwrap();
        let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR)).reader().unwrap();
        // Seals and the closing watermark are the journal's own.
        let is_ours = |r: &Record| matches!(r.entry, Entry::Changes { .. });
        let read: Vec<_> = reader.records().map(Result::unwrap).filter(is_ours).collect();
        prop_assert_eq!(written.len(), read.len());
        for (old, new) in written.iter().zip(&read) {
            prop_assert_eq!(old.entry(), &new.entry);
            prop_assert_eq!(old.revision(), new.revision);
        }
    }
}

#[test]
fn another_version_is_refused_by_name() {
    for version in [1, 2, 9] {
        let disk = sample(false);
        let path = disk
            .paths()
            .into_iter()
            .find(|p| p.extension().is_some())
            .unwrap();
        let mut content = disk.content(&path).unwrap();
        content[8] = version;
        let crc = crc32fast::hash(&content[..4092]);
        content[4092..4096].copy_from_slice(&crc.to_le_bytes());
        disk.overwrite(&path, content);
        let dir = Path::new(DIR);
        let is_other = |e: Error| {
            let Error::OtherFormat {
                found, supported, ..
            } = e
            else {
                panic!("{e}");
            };
            (found, supported) == (version.into(), 3)
        };
        assert!(is_other(
            Directory::on(Arc::new(disk.clone()), dir)
                .open(options())
                .unwrap_err()
        ));
        assert!(is_other(repair_on(&disk, dir).unwrap_err()));
        let reader = Directory::on(Arc::new(disk), dir).reader().unwrap();
        assert!(is_other(reader.records().next().unwrap().unwrap_err()));
    }
}

#[test]
fn files_of_others_are_refused_by_name() {
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    for dir in [&ours, &theirs] {
        drop(Journal::open(dir.path(), options()).unwrap());
    }
    let name = "00000000000000000001.seg";
    let misnamed = ours.path().join("copy of it.seg");
    fs::copy(ours.path().join(name), &misnamed).unwrap();
    assert!(matches!(
        Journal::open(ours.path(), options()),
        Err(Error::ForeignFile { .. })
    ));
    fs::remove_file(&misnamed).unwrap();
    fs::copy(
        theirs.path().join(name),
        ours.path().join("00000000000000000002.seg"),
    )
    .unwrap();
    assert!(matches!(
        Journal::open(ours.path(), options()),
        Err(Error::ForeignFile { .. })
    ));
}
