//! `dumpjournal --check` beside opening: damage that one of them finds, the other finds too.
//!
//! The story: a check read records and no checkpoint. It said "whole" of a journal whose newest
//! segment was gone, although a checkpoint proved that there had been one, and of one whose
//! beginning was retired and whose checkpoints were all damaged.

use std::fs;
use std::path::{Path, PathBuf};

use cairn_journal::{Change, Error, Journal, NewRecord, Options, Retention, Revision, Timestamp};
use tempfile::TempDir;

use crate::run::{DUMP, code, open, segments, stderr, with};

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 4 << 10;
    options.segment_bytes = 32 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

/// Three runs, each with a checkpoint near its end.
fn journal(dir: &Path, is_retired: bool) {
    for run in 0..3 {
        let journal = open(dir, options());
        for n in 1..=40 {
            let revision = 100 * run + n;
            let change = Change::set(format!("/{}", n % 7), "x".repeat(300));
            let record = NewRecord::changes(Revision(revision), vec![change], Timestamp(revision));
            journal.append_and_commit(record).unwrap();
            if n == 35 {
                journal.checkpoint().unwrap();
            }
        }
        if is_retired {
            let retention = Retention {
                age: None,
                bytes: Some(40 << 10),
            };
            journal.retire(&retention).unwrap();
        }
        journal.close().unwrap();
    }
}

fn check(dir: &Path) -> (i32, String) {
    let output = with(DUMP, &["--check", dir.to_str().unwrap()], b"");
    (code(&output), stderr(&output))
}

fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let reader = cairn_journal::Reader::open(dir).unwrap();
    reader.directory().checkpoint_files().unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_newest_segment_that_is_gone_behind_a_checkpoint_is_missed() {
    let dir = TempDir::new().unwrap();
    journal(dir.path(), false);
    let gone = segments(dir.path());
    for file in &gone[gone.len() - 2..] {
        fs::remove_file(file).unwrap();
    }
    let newest = checkpoints(dir.path()).pop().unwrap();
    let (code, told) = check(dir.path());
    assert_eq!(code, 2, "{told}");
    assert!(told.contains(newest.to_str().unwrap()), "{told}");
    assert!(told.contains("proves"), "{told}");
    // Whoever takes its state for the newest is told the same.
    let state = with(DUMP, &["--state", dir.path().to_str().unwrap()], b"");
    assert_eq!(super::run::code(&state), 2);
}

#[test]
fn a_damaged_checkpoint_is_damage_and_says_whether_anything_needs_it() {
    let dir = TempDir::new().unwrap();
    journal(dir.path(), false);
    flip(&checkpoints(dir.path())[1], 4096 + 60);
    let (code, told) = check(dir.path());
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("can be told without"), "{told}");

    let dir = TempDir::new().unwrap();
    journal(dir.path(), true);
    assert!(!segments(dir.path())[0].ends_with("00000000000000000001.seg"));
    assert_eq!(check(dir.path()).0, 0);
    for file in checkpoints(dir.path()) {
        flip(&file, 4096 + 60);
    }
    let (code, told) = check(dir.path());
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("no checkpoint covers them"), "{told}");
}

#[test]
fn a_segment_that_was_begun_and_has_no_header_is_told() {
    let dir = TempDir::new().unwrap();
    journal(dir.path(), false);
    let mut bytes = vec![0; 8192];
    bytes[5000] = 1;
    fs::write(dir.path().join("NEXT"), bytes).unwrap();
    let (code, told) = check(dir.path());
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("NEXT"), "{told}");
}

/// Nobody can know whether the newest group had been acknowledged.
#[test]
fn a_torn_tail_promises_no_more_than_is_known() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path(), options());
    let record = NewRecord::changes(Revision(1), vec![Change::set("/a", "b")], Timestamp(1));
    journal.append_and_commit(record).unwrap();
    drop(journal);
    let newest = segments(dir.path()).pop().unwrap();
    let at = fs::read(&newest).unwrap().iter().rposition(|b| *b == b'b');
    flip(&newest, at.unwrap());
    let (code, told) = check(dir.path());
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("it would look the same"), "{told}");
    assert!(!told.contains("othing acknowledged"), "{told}");
}

/// Every file of a journal goes missing, is cut short, is altered, or has a copy: what opening
/// refuses, a check refuses, and what a check calls whole opens.
#[test]
fn a_check_and_opening_come_to_the_same_end() {
    let (mut refused, mut cases) = (0, 0);
    for is_retired in [false, true] {
        let whole = TempDir::new().unwrap();
        journal(whole.path(), is_retired);
        assert_eq!(check(whole.path()).0, 0);
        let mut files = segments(whole.path());
        files.extend(checkpoints(whole.path()));
        for file in &files {
            let content = fs::read(file).unwrap();
            for harm in 0..6 {
                let dir = TempDir::new().unwrap();
                for file in &files {
                    fs::copy(file, dir.path().join(file.file_name().unwrap())).unwrap();
                }
                let file = dir.path().join(file.file_name().unwrap());
                match harm {
                    0 => fs::remove_file(&file).unwrap(),
                    1 => fs::write(&file, b"").unwrap(),
                    2 => fs::write(&file, &content[..content.len() / 2]).unwrap(),
                    3 => flip(&file, 30),
                    4 => flip(&file, content.len() - 30),
                    _ => fs::write(file.with_file_name("00000000000000900000.seg"), &content)
                        .unwrap(),
                }
                let what = format!("{harm} {}", file.display());
                let (code, told) = check(dir.path());
                let opened = Journal::open(dir.path(), options());
                if let Err(error) = &opened {
                    refused += 1;
                    assert!(code == 2 || code == 4, "{what}: {code} {told} {error}");
                    assert_eq!(code == 2, error.is_corruption(), "{what}: {told} {error}");
                }
                assert!(
                    code > 1 || !matches!(opened, Err(Error::Corrupt { .. })),
                    "{what}: {told}"
                );
                cases += 1;
            }
        }
    }
    assert!(refused > 20 && refused < cases, "{refused} of {cases}");
}
