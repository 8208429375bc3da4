//! Power failures while checkpoints are made and history is retired, and damage to checkpoints.
//!
//! In every state: the journal opens, the newest state is the model's, every revision that was
//! retained can still be told, and checkpoint and retention can be run again to the end. A failure
//! prints the seed; `CAIRN_SEED` runs it again, `CAIRN_CHECKPOINT_STATES` runs more states.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_journal::{
    Directory, Error, Journal, Retention, Revision,
    storage::simulated::{Fault, Simulated},
};
use common::{
    append, dir, expected, files, reader, repair_on, seed, small_options, survival, variable,
};
use fastrand::Rng;

const NOTHING: Retention = Retention {
    age: None,
    bytes: Some(0),
};

fn open(disk: &Simulated) -> Result<Journal, Error> {
    Ok(common::open_with(disk, small_options(22 << 10))?.0)
}

/// What was acknowledged, and from where on everything has to be there.
#[derive(Clone, Copy, Default)]
struct Promise {
    acknowledged: i64,
    retained_from: i64,
}

fn check(disk: &Simulated, promise: Promise, rng: &mut Rng) {
    let journal = open(disk).unwrap();
    let newest = journal.end().revision.0;
    assert!(newest >= promise.acknowledged);
    let reader = reader(disk);
    let told = reader.state(None).unwrap();
    assert_eq!(told.files, expected(newest).files, "the newest state");
    let at = rng.i64(promise.retained_from..=newest);
    let told = reader.state(Some(Revision(at))).unwrap();
    assert_eq!(told.files, expected(at).files, "at {at}");
    // And once more to the end.
    append(&journal, newest + 1).unwrap();
    let made = journal.checkpoint().unwrap();
    assert!(made.damaged.is_empty());
    assert_eq!(made.newest.unwrap().revision(), Revision(newest + 1));
    journal.retire(&NOTHING).unwrap();
    drop(journal);
    let told = reader.state(None).unwrap();
    assert_eq!(told.files, expected(newest + 1).files);
    assert_eq!(files(disk, "tmp"), Vec::<PathBuf>::new());
}

/// One state, perhaps crashed twice more while it is opened, checkpointed and retired.
fn crash(disk: &Simulated, promise: Promise, seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let mut disk = disk.after_crash(survival(&mut rng), rng.u64(..));
    let mut states = 1;
    if rng.u8(..3) == 0 {
        for _ in 0..2 {
            disk.fail_at(rng.u64(1..=40), Fault::Crash);
            let life = || -> Result<(), Error> {
                let journal = open(&disk)?;
                append(&journal, journal.end().revision.0 + 1)?;
                journal.checkpoint()?;
                journal.retire(&Retention {
                    age: None,
                    bytes: Some(100_000),
                })?;
                Ok(())
            };
            match life() {
                Ok(()) | Err(Error::Io { .. } | Error::Poisoned { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            disk = disk.after_crash(survival(&mut rng), rng.u64(..));
            states += 1;
        }
    }
    let retained_from = if states == 1 {
        promise.retained_from
    } else {
        // Retired by the lives above: the newest is what matters.
        i64::MAX
    };
    let newest = promise.acknowledged;
    let promise = Promise {
        retained_from: retained_from.min(newest),
        ..promise
    };
    check(&disk, promise, &mut rng);
    states
}

#[test]
fn no_crash_in_checkpoint_or_retention_loses_anything() {
    let seed = seed();
    let wanted = variable("CAIRN_CHECKPOINT_STATES", 8_000);
    let mut rng = Rng::with_seed(seed);
    let disk = Simulated::new(rng.u64(..));
    let promise = Arc::new(Mutex::new(Promise::default()));
    let (states, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let per_call = Arc::new(AtomicU64::new(0));
    {
        let (promise, states, calls) = (promise.clone(), states.clone(), calls.clone());
        let per_call = per_call.clone();
        disk.observe(move |disk| {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            let promise = *promise.lock().unwrap();
            for i in 0..per_call.load(Ordering::Relaxed) {
                let seed = seed ^ (n * 1_000 + i).wrapping_mul(0xD134_2543_DE82_EF95);
                let one = || crash(&disk.fork(), promise, seed);
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)) {
                    Ok(n) => states.fetch_add(n, Ordering::Relaxed),
                    Err(e) => {
                        eprintln!("failed: crash state with seed {seed}, call {n}");
                        std::panic::resume_unwind(e);
                    }
                };
            }
        });
    }
    let mut journal = open(&disk).unwrap();
    let mut revision = 0;
    let (mut rounds, mut runs, mut thinned) = (0, 0, 0);
    while states.load(Ordering::Relaxed) < wanted {
        // History grows unobserved.
        per_call.store(0, Ordering::Relaxed);
        let is_thinning = rounds % 8 == 1;
        let more = if is_thinning { 60 } else { rng.i64(1..120) };
        for _ in 0..more {
            revision += 1;
            append(&journal, revision).unwrap();
            if is_thinning && revision % 5 == 0 {
                journal.checkpoint().unwrap();
            }
        }
        let before = {
            let mut promise = promise.lock().unwrap();
            promise.acknowledged = revision;
            promise.retained_from
        };
        per_call.store(10, Ordering::Relaxed);
        if rounds % 3 == 2 {
            // By another process, with a buffer that makes many runs.
            drop(journal);
            let buffer_bytes = 2 << 10;
            let report =
                Directory::on(Arc::new(disk.clone()), dir()).checkpoint_within(buffer_bytes);
            runs += report.unwrap().runs;
            per_call.store(0, Ordering::Relaxed);
            journal = open(&disk).unwrap();
            per_call.store(10, Ordering::Relaxed);
        } else {
            journal.checkpoint().unwrap();
        }
        let retention = Retention {
            age: None,
            // Now and then everything stays but checkpoints that are too many.
            bytes: Some(if is_thinning {
                u64::MAX
            } else {
                rng.u64(0..120_000)
            }),
        };
        // While it is under way the older promise is not kept any more; the new one is.
        let preview = disk.fork();
        let base = {
            let dry = preview.after_exit();
            let base = Directory::on(Arc::new(dry), dir())
                .retire(&retention)
                .unwrap()
                .base;
            base.map_or(before, |b| b.0)
        };
        promise.lock().unwrap().retained_from = before.max(base);
        let report = journal.retire(&retention).unwrap();
        thinned += usize::from(report.segments.is_empty()) * report.checkpoints.len();
        rounds += 1;
    }
    println!(
        "{rounds} rounds, {runs} runs, {thinned} checkpoints thinned, {} calls, {} crash states: \
         all open, nothing lost",
        calls.load(Ordering::Relaxed),
        states.load(Ordering::Relaxed)
    );
}

/// A small journal with two checkpoints; without its first segments, or with all.
fn small(is_retired: bool) -> (Simulated, i64) {
    let disk = Simulated::new(11);
    let journal = open(&disk).unwrap();
    for r in 1..=60 {
        append(&journal, r).unwrap();
    }
    journal.checkpoint().unwrap();
    for r in 61..=130 {
        append(&journal, r).unwrap();
    }
    journal.checkpoint().unwrap();
    for r in 131..=140 {
        append(&journal, r).unwrap();
    }
    if is_retired {
        let report = journal.retire(&NOTHING).unwrap();
        assert_eq!(report.base, Some(Revision(130)));
        assert!(!report.segments.is_empty());
    }
    journal.close().unwrap();
    (disk.after_exit(), 140)
}

fn newest_checkpoint(disk: &Simulated) -> PathBuf {
    let path = dir().join("00000000000000000130.ckpt");
    assert!(disk.content(&path).is_some());
    path
}

/// All ways of damaging a file: bytes flipped, zeroed, set; cut; longer; sectors zeroed and
/// swapped.
fn damages(content: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    // The zeros behind the context of the header are all alike.
    let bytes = (0..160)
        .chain((160..4088).step_by(97))
        .chain(4088..content.len());
    for at in bytes {
        for (i, new) in [content[at] ^ 1 << (at % 8), 0, 0xFF]
            .into_iter()
            .enumerate()
        {
            // Every byte is flipped; every fourth of the long middle is zeroed and set as well.
            let is_dense = !(4600..content.len() - 600).contains(&at) || at.is_multiple_of(4);
            if new != content[at] && (i == 0 || is_dense) {
                let mut c = content.to_vec();
                c[at] = new;
                all.push(c);
            }
        }
    }
    for at in (0..content.len()).step_by(509) {
        all.push(content[..at].to_vec());
    }
    for more in [1, 8, 64, 512] {
        let mut c = content.to_vec();
        c.resize(c.len() + more, 0);
        all.push(c);
    }
    let sectors = content.len() / 512;
    for s in 0..sectors {
        let mut c = content.to_vec();
        c[s * 512..(s + 1) * 512].fill(0);
        all.push(c);
        if s > 0 {
            let mut c = content.to_vec();
            let (a, b) = c.split_at_mut(s * 512);
            a[(s - 1) * 512..].swap_with_slice(&mut b[..512]);
            all.push(c);
        }
    }
    all.retain(|c| c != content);
    all
}

#[test]
fn a_damaged_checkpoint_is_reported_and_passed_over() {
    let (disk, newest) = small(false);
    let path = newest_checkpoint(&disk);
    let content = disk.content(&path).unwrap();
    let damages = damages(&content);
    println!("{} bytes, {} damages", content.len(), damages.len());
    let right = expected(newest);
    for (i, damage) in damages.into_iter().enumerate() {
        disk.overwrite(&path, damage);
        let (told, damaged) = reader(&disk).state_and_damage(None).unwrap();
        assert_eq!(told.files, right.files);
        assert!(
            matches!(&damaged[..], [Error::CheckpointDamaged { path: p, .. }] if *p == path),
            "{damaged:?}"
        );
        if i % 16 == 0 {
            let damaged = disk.fork();
            let report = repair_on(&damaged, dir()).unwrap();
            assert!(matches!(&report.damaged[..], [d] if d.lost.is_none() && d.file == path));
            assert!(report.damaged[0].kept.is_some());
            assert!(damaged.content(&path).is_none());
            let (told, damage) = reader(&damaged).state_and_damage(None).unwrap();
            assert_eq!((told.files, damage.len()), (right.files.clone(), 0));
            drop(open(&damaged).unwrap());
        }
    }
}

#[test]
fn a_damaged_checkpoint_that_nothing_can_replace_is_an_error() {
    let (disk, newest) = small(true);
    let path = newest_checkpoint(&disk);
    let content = disk.content(&path).unwrap();
    let mut lost = 0;
    for (i, damage) in damages(&content).into_iter().enumerate() {
        disk.overwrite(&path, damage);
        let error = reader(&disk).state(None).unwrap_err();
        assert!(error.is_corruption(), "{error}");
        assert!(error.to_string().contains(".ckpt"), "{error}");
        let error = Directory::on(Arc::new(disk.fork()), dir())
            .retire(&NOTHING)
            .err();
        assert!(error.is_none_or(|e| e.is_corruption()));
        if i % 16 == 0 {
            let damaged = disk.fork();
            let report = repair_on(&damaged, dir()).unwrap();
            assert_eq!(report.damaged[0].file, path, "{report}");
            assert!(report.damaged[1].lost.is_some(), "{report}");
            let journal = open(&damaged).unwrap();
            assert!(journal.end().open_gap.is_some());
            assert_eq!(journal.end().revision, Revision(newest));
            lost += 1;
        }
    }
    println!("{lost} repaired, each saying what is lost");
}

/// A checkpoint is a witness: of what it covers nothing can disappear unnoticed.
#[test]
fn a_last_segment_that_disappeared_is_noticed() {
    let (disk, _) = small(false);
    let segments = files(&disk, "seg");
    let storage: &dyn cairn_journal::storage::Storage = &disk;
    for path in segments.iter().rev().take(4) {
        storage.remove(path).unwrap();
    }
    storage.sync_dir(dir()).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert!(error.to_string().contains("130.ckpt"), "{error}");
    let report = repair_on(&disk, dir()).unwrap();
    println!("{report}");
    let journal = open(&disk).unwrap();
    assert!(journal.end().open_gap.is_some());
    let told = reader(&disk).state(None).unwrap();
    assert_eq!(told.files, expected(130).files, "the checkpoint has it");
    drop(journal);
    Directory::on(Arc::new(disk.clone()), dir())
        .checkpoint_within(1 << 20)
        .unwrap();
}

/// What is missing before the oldest segment is damage unless a checkpoint covers it.
#[test]
fn missing_segments_are_damage_unless_covered() {
    let (disk, newest) = small(false);
    let segments = files(&disk, "seg");
    let storage: &dyn cairn_journal::storage::Storage = &disk;
    storage.remove(&segments[0]).unwrap();
    storage.sync_dir(dir()).unwrap();
    let told = reader(&disk).state(None).unwrap();
    assert_eq!(told.files, expected(newest).files);
    drop(open(&disk).unwrap());
    for path in files(&disk, "ckpt") {
        storage.remove(&path).unwrap();
    }
    let error = open(&disk).unwrap_err();
    assert!(error.to_string().contains("are missing"), "{error}");
    let error = reader(&disk).records().next().unwrap().unwrap_err();
    assert!(error.is_corruption(), "{error}");
}
