//! Calls that fail while checkpoints are made and history is retired, at every call: the attempt
//! says so, leaves nothing behind, harms neither what is there nor the writer, and the next attempt
//! comes to the end. After every `CAIRN_FAULT_STRIDE`-th (8) call also what the next process finds,
//! and what is left after a power failure.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{path::PathBuf, sync::Arc};

use cairn_journal::{
    Directory, Error, Journal, Result, Retention, Revision,
    maintain::CheckpointOutcome,
    storage::simulated::{Fault, Simulated, Survival},
};
use common::{append, dir, expected, files, reader, small_options, variable};

/// So little that 16 runs and more are merged before the end.
const BUFFER_BYTES: usize = 1 << 10;
const FIRST: i64 = 60;
const NEWEST: i64 = 150;
const RETENTION: Retention = Retention {
    age: None,
    bytes: Some(20_000),
};

fn open(disk: &Simulated) -> Journal {
    common::open_with(disk, small_options(22 << 10)).unwrap().0
}

/// A journal that was closed, with one checkpoint and much behind it.
fn sample(seed: u64) -> Simulated {
    let disk = Simulated::new(seed);
    let journal = open(&disk);
    (1..=FIRST).for_each(|r| append(&journal, r).unwrap());
    journal.checkpoint().unwrap();
    (FIRST + 1..=NEWEST).for_each(|r| append(&journal, r).unwrap());
    journal.close().unwrap();
    disk.after_exit()
}

/// A checkpoint of many runs, by a process of its own.
fn offline(disk: &Simulated) -> Result<u64> {
    let report = Directory::on(Arc::new(disk.clone()), dir()).checkpoint_within(BUFFER_BYTES)?;
    assert_eq!(report.outcome, CheckpointOutcome::Written);
    Ok(report.runs)
}

/// The state is told right at the end, and at every revision from here on.
fn check(disk: &Simulated, oldest: i64, newest: i64) {
    let reader = reader(disk);
    assert_eq!(reader.state(None).unwrap().files, expected(newest).files);
    for at in [oldest, i64::midpoint(oldest, newest), newest] {
        let told = reader.state(Some(Revision(at))).unwrap();
        assert_eq!(told.files, expected(at).files, "at {at}");
    }
}

/// However it ended: reading is right, in this process, in the next, and after a power failure; and
/// all can be done again.
fn check_everywhere(disk: &Simulated, oldest: i64, newest: i64, call: u64) {
    check(disk, oldest, newest);
    let mut worlds = vec![disk.after_exit()];
    worlds.extend(Survival::ALL.map(|survival| disk.after_crash(survival, call)));
    for world in worlds {
        check(&world, oldest, newest);
        let journal = open(&world);
        assert_eq!(files(&world, "tmp"), Vec::<PathBuf>::new());
        append(&journal, newest + 1).unwrap();
        journal.checkpoint().unwrap();
        journal.retire(&RETENTION).unwrap();
        check(&world, newest + 1, newest + 1);
    }
}

fn check_now_and_then(disk: &Simulated, oldest: i64, newest: i64, call: u64) {
    if call.is_multiple_of(variable("CAIRN_FAULT_STRIDE", 8)) {
        check_everywhere(disk, oldest, newest, call);
    } else {
        check(disk, oldest, newest);
    }
}

#[test]
fn a_checkpoint_that_fails_at_any_call_changes_nothing() {
    let clean = sample(1);
    let before = clean.calls();
    let runs = offline(&clean).unwrap();
    let calls = clean.calls() - before;
    assert!(runs > 17, "runs are merged before the end: {runs}");
    let mut failed = [0_u64; 3];
    for call in 1..=calls {
        for (i, fault) in [Fault::Io, Fault::Full, Fault::Short]
            .into_iter()
            .enumerate()
        {
            let disk = sample(call);
            disk.fail_at(disk.calls() + call, fault);
            match offline(&disk) {
                // A short write is carried on with, and a run that cannot be removed is left for
                // later.
                Ok(_) => {}
                Err(Error::Io { .. }) => failed[i] += 1,
                Err(other) => panic!("call {call}, {fault:?}: {other}"),
            }
            check(&disk, 1, NEWEST);
            check_now_and_then(&disk, 1, NEWEST, call);
        }
    }
    println!(
        "{calls} calls, {runs} runs; failed {} times by EIO, {} by ENOSPC, {} by a short write",
        failed[0], failed[1], failed[2]
    );
    assert!(failed[0] > calls / 2 && failed[1] > calls / 2 && failed[2] == 0);
}

#[test]
fn a_writer_goes_on_when_its_checkpoint_fails() {
    let clean = sample(1);
    let journal = open(&clean);
    let before = clean.calls();
    journal.checkpoint().unwrap();
    let calls = clean.calls() - before;
    drop(journal);
    let mut failed = 0;
    for call in 1..=calls {
        for fault in [Fault::Io, Fault::Full] {
            let disk = sample(call);
            let journal = open(&disk);
            disk.fail_at(disk.calls() + call, fault);
            if journal.checkpoint().is_err() {
                failed += 1;
                let left = files(&disk, "tmp");
                assert_eq!(left, Vec::<PathBuf>::new(), "call {call}, {fault:?}");
            }
            append(&journal, NEWEST + 1).unwrap();
            let report = journal.checkpoint().unwrap();
            assert_eq!(report.newest.unwrap().revision(), Revision(NEWEST + 1));
            assert_eq!(report.damaged.len(), 0);
            drop(journal);
            check_everywhere(&disk, 1, NEWEST + 1, call);
        }
    }
    println!("{calls} calls, {failed} failures: nothing left behind, the writer went on");
    assert!(failed >= calls);
}

/// No room at all for as long as it lasts: the same, and what is there is read.
#[test]
fn no_room_for_a_checkpoint() {
    let disk = sample(5);
    let journal = open(&disk);
    let now = disk.calls();
    for call in 1..=1_000 {
        disk.fail_at(now + call, Fault::Full);
    }
    let error = journal.checkpoint().unwrap_err();
    assert!(error.to_string().contains("os error 28"), "{error}");
    check(&disk, 1, NEWEST);
    while disk.calls() < now + 1_000 {
        assert!(journal.checkpoint().is_err());
    }
    // There is room again.
    append(&journal, NEWEST + 1).unwrap();
    journal.checkpoint().unwrap();
    drop(journal);
    check_everywhere(&disk, 1, NEWEST + 1, 1);
}

#[test]
fn retention_that_fails_at_any_call_leaves_a_journal_without_a_hole() {
    let ready = |seed| {
        let disk = sample(seed);
        let journal = open(&disk);
        journal.checkpoint().unwrap();
        (NEWEST + 1..=NEWEST + 80).for_each(|r| append(&journal, r).unwrap());
        journal.checkpoint().unwrap();
        (NEWEST + 81..=NEWEST + 160).for_each(|r| append(&journal, r).unwrap());
        (disk, journal)
    };
    let newest = NEWEST + 160;
    let (disk, journal) = ready(1);
    let before = disk.calls();
    let clean = journal.retire(&RETENTION).unwrap();
    let calls = disk.calls() - before;
    let base = clean.base.unwrap().0;
    assert!(clean.segments.len() > 3 && !clean.checkpoints.is_empty());
    drop(journal);
    let mut failed = 0;
    for call in 1..=calls {
        for fault in [Fault::Io, Fault::Full] {
            let (disk, journal) = ready(call);
            disk.fail_at(disk.calls() + call, fault);
            match journal.retire(&RETENTION) {
                Ok(_) => {}
                Err(Error::Io { .. }) => failed += 1,
                Err(other) => panic!("call {call}, {fault:?}: {other}"),
            }
            check_now_and_then(&disk, base, newest, call);
            journal.retire(&RETENTION).unwrap();
            append(&journal, newest + 1).unwrap();
            drop(journal);
            check_now_and_then(&disk, base, newest + 1, call);
        }
    }
    println!("{calls} calls, {failed} failures: every retained revision is told after each");
    assert!(failed >= calls);
}
