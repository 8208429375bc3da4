//! Power failures on a simulated disk that keeps any subset of what was not synced.
//!
//! What is checked in every state, after up to three crashes in a row: the journal opens (so there
//! is no false corruption), every acknowledged record is there, nothing is there that was not
//! appended in this history, and writing goes on. A failure prints the seed that reproduces it; set
//! `CAIRN_SEED` to run it again and `CAIRN_CRASH_STATES` for more states.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use cairn_journal::{
    Change, Directory, Entry, Error, Journal, NewRecord, Options, Record, Recovery, Revision,
    Sequence, Timestamp,
    storage::simulated::{Fault, Simulated},
};
use common::{DIR, repair_on, seed, small_options, survival, variable};
use fastrand::Rng;

fn options() -> Options {
    let mut options = small_options(32 << 10);
    options.preallocate = true;
    // Some groups past the cache, some not.
    options.uncached_bytes = 400;
    options.verify_bytes = 40 << 10;
    options
}

/// The record with this number: no two are alike.
fn record(id: u64) -> NewRecord {
    let mut rng = Rng::with_seed(id);
    let longest = [60, 60, 60, 60, 60, 60, 60, 900][rng.usize(..8)];
    let value: Vec<u8> = (0..rng.usize(0..longest)).map(|_| rng.u8(..)).collect();
    let change = if rng.u8(..9) == 0 {
        Change::delete(format!("/{id}"))
    } else {
        Change::set(format!("/{id}"), value)
    };
    let id = i64::try_from(id).unwrap();
    NewRecord::changes(Revision(id), vec![change], Timestamp(id))
}

/// What was appended, by sequence (index 0 is sequence 1; `None` is the journal's own), and how
/// much of it was acknowledged.
#[derive(Clone, Default)]
struct Model {
    ids: Arc<Vec<Option<u64>>>,
    acknowledged: usize,
}

impl Model {
    fn push(&mut self, sequence: Sequence, id: u64) {
        let ids = Arc::make_mut(&mut self.ids);
        let at = usize::try_from(sequence.0).unwrap() - 1;
        assert!(at >= ids.len(), "sequence {sequence} was given twice");
        ids.resize(at, None);
        ids.push(Some(id));
    }

    fn cut(&mut self, valid_to: Sequence) {
        let length = usize::try_from(valid_to.0).unwrap();
        let ids = Arc::make_mut(&mut self.ids);
        // The journal's own records need not have been seen here.
        ids.resize(length, None);
        self.acknowledged = length;
    }

    fn check(&self, record: &Record) {
        let id = self
            .ids
            .get(usize::try_from(record.sequence.0).unwrap() - 1);
        match (&record.entry, id) {
            (Entry::Changes { changes, .. }, Some(Some(id))) => {
                let Entry::Changes {
                    changes: expected, ..
                } = self::record(*id).entry().clone()
                else {
                    unreachable!();
                };
                assert!(
                    changes[..] == expected[..],
                    "sequence {}: not what was appended",
                    record.sequence
                );
                assert_eq!(record.revision.0, i64::try_from(*id).unwrap());
            }
            (Entry::Seal { .. } | Entry::Watermark { .. }, Some(None) | None) => {}
            (entry, id) => panic!(
                "sequence {}: {entry:?} in the place of {id:?}",
                record.sequence
            ),
        }
    }
}

fn open_fully(disk: &Simulated) -> Result<(Journal, Recovery), Error> {
    common::open_with(disk, options())
}

fn open(disk: &Simulated) -> Result<Journal, Error> {
    open_fully(disk).map(|(journal, _)| journal)
}

/// Opens, checks everything near the end (now and then everything), goes on writing, reads again.
fn check(disk: &Simulated, model: &Model, thorough: bool) {
    let (journal, recovery) = open_fully(disk).unwrap();
    let valid_to = usize::try_from(recovery.valid_to.0).unwrap();
    assert!(
        valid_to >= model.acknowledged,
        "{} was acknowledged, only {valid_to} is there",
        model.acknowledged
    );
    if valid_to > model.acknowledged {
        assert!(!recovery.created);
    }
    let id = 1 << 40;
    let mut after = model.clone();
    after.cut(recovery.valid_to);
    let given = journal.append(record(id)).unwrap();
    after.push(given, id);
    journal.commit(given).unwrap();
    // `cut` forgets nothing of what it keeps.
    let from = if thorough {
        1
    } else {
        recovery.valid_to.0.saturating_sub(40).max(1)
    };
    let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .reader()
        .unwrap();
    let mut expected = from;
    for found in reader.records_from(Sequence(from)) {
        let found = found.unwrap();
        assert_eq!(found.sequence, Sequence(expected));
        after.check(&found);
        expected += 1;
    }
    assert_eq!(
        Sequence(expected),
        given.next(),
        "all is there and nothing else"
    );
}

/// What a reader finds before anybody has opened the journal for writing: all that was
/// acknowledged.
fn check_reading(disk: &Simulated, model: &Model) {
    let reader = match Directory::on(Arc::new(disk.clone()), Path::new(DIR)).reader() {
        Ok(reader) => reader,
        Err(error) => return assert_eq!(model.acknowledged, 0, "{error}"),
    };
    let acknowledged = model.acknowledged as u64;
    let mut last = acknowledged.saturating_sub(40);
    for found in reader.records_from(Sequence(last + 1)) {
        let found = found.unwrap();
        last += 1;
        assert_eq!(found.sequence, Sequence(last));
        model.check(&found);
    }
    assert!(
        last >= acknowledged,
        "{acknowledged} was acknowledged, {last} can be read"
    );
}

/// Whether the last segment has not got its name yet.
fn is_unnamed(disk: &Simulated) -> bool {
    disk.content(&Path::new(DIR).join("NEXT"))
        .is_some_and(|content| content.starts_with(b"CAIRNSEG"))
}

/// One crash state, perhaps crashed twice more while it is recovered. Returns how many states.
fn crash(disk: &Simulated, model: &Model, seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let mut disk = disk.after_crash(survival(&mut rng), rng.u64(..));
    let mut states = 1;
    if is_unnamed(&disk) {
        UNNAMED.fetch_add(1, Ordering::Relaxed);
    }
    if rng.u8(..4) == 0 {
        check_reading(&disk, model);
    }
    if rng.bool() {
        for _ in 0..2 {
            disk.fail_at(rng.u64(1..=14), Fault::Crash);
            match open(&disk) {
                Ok(journal) => drop(journal),
                Err(Error::Io { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            disk = disk.after_crash(survival(&mut rng), rng.u64(..));
            states += 1;
        }
    }
    check(&disk, model, rng.u8(..64) == 0);
    states
}

/// In how many states the last segment was still to get its name.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

struct Job {
    disk: Simulated,
    model: Model,
    seed: u64,
}

/// Runs jobs on two threads; a job that panics is reported with its seed.
fn workers(per_job: u64, run: impl FnOnce(mpsc::SyncSender<Job>) + Send) -> u64 {
    let states = AtomicU64::new(0);
    // Bounded: each job is a whole disk.
    let (send, receive) = mpsc::sync_channel::<Job>(32);
    // Gone with the last worker: whoever sends must not wait for one that has failed.
    let receive = Arc::new(Mutex::new(receive));
    let states_of = &states;
    std::thread::scope(|scope| {
        for receive in [receive.clone(), receive] {
            scope.spawn(move || {
                let states = states_of;
                loop {
                    let Ok(job) = receive.lock().unwrap().recv() else {
                        return;
                    };
                    for i in 0..per_job {
                        let seed = job.seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                        let one = || crash(&job.disk, &job.model, seed);
                        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)) {
                            Ok(n) => states.fetch_add(n, Ordering::Relaxed),
                            Err(e) => {
                                eprintln!(
                                    "failed: crash state with seed {seed}, call {}",
                                    job.disk.calls()
                                );
                                std::panic::resume_unwind(e);
                            }
                        };
                    }
                }
            });
        }
        run(send);
    });
    states.into_inner()
}

#[test]
fn no_crash_at_any_call_loses_or_invents_anything() {
    const OPERATIONS: usize = 2_000;
    let seed = seed();
    let wanted = variable("CAIRN_CRASH_STATES", 60_000);
    // A little more than two calls per operation; two states per crash on average.
    let per_job = wanted.div_ceil(OPERATIONS as u64 * 4);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let states = workers(per_job, move |send| {
        trace(seed, OPERATIONS, &send, &counted);
    });
    println!(
        "{OPERATIONS} operations, {} calls, {states} crash states: 0 lost, 0 invented, 0 that do \
         not open; \
         in {} of them the last segment had no name of its own yet",
        calls.load(Ordering::Relaxed),
        UNNAMED.load(Ordering::Relaxed)
    );
    assert!(states >= wanted, "only {states}");
    assert!(UNNAMED.load(Ordering::Relaxed) * 100 > states);
}

/// A long life: commits of one or more records, rotations, orderly and disorderly ends. Every call
/// that changes something is preceded by a job.
fn trace(seed: u64, operations: usize, send: &mpsc::SyncSender<Job>, calls: &Arc<AtomicU64>) {
    let mut rng = Rng::with_seed(seed);
    let shared = Arc::new(Mutex::new(Model::default()));
    let observe = |disk: &Simulated| {
        let (send, shared, calls) = (send.clone(), shared.clone(), calls.clone());
        disk.observe(move |disk| {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            let job = Job {
                disk: disk.fork(),
                model: shared.lock().unwrap().clone(),
                seed: seed ^ n.wrapping_mul(0xD134_2543_DE82_EF95),
            };
            // The workers are gone if one has failed; that one is reported.
            let _ = send.send(job);
        });
    };
    let mut disk = Simulated::new(rng.u64(..));
    observe(&disk);
    let mut journal = open(&disk).unwrap();
    let mut id = 0;
    for _ in 0..operations {
        // Now and then nobody reads along, and every group goes past the cache.
        journal.set_uncached_bytes(if id % 192 < 64 { 0 } else { 400 });
        match rng.u32(..300) {
            0 => {
                // Closes in order: a watermark of its own.
                journal.close().unwrap();
                disk = disk.after_exit();
                observe(&disk);
                let (j, recovery) = open_fully(&disk).unwrap();
                assert_eq!(recovery.maybe_lost_from, None);
                journal = j;
                shared.lock().unwrap().cut(recovery.valid_to);
            }
            1 => {
                // Power fails with something in flight.
                let sequence = journal.append(record(id)).unwrap();
                shared.lock().unwrap().push(sequence, id);
                id += 1;
                disk.fail_at(disk.calls() + rng.u64(1..=2), Fault::Crash);
                let done = journal.commit(sequence).is_ok();
                if done {
                    shared.lock().unwrap().acknowledged = usize::try_from(sequence.0).unwrap();
                }
                drop(journal);
                disk = disk.after_crash(survival(&mut rng), rng.u64(..));
                observe(&disk);
                let (j, recovery) = open_fully(&disk).unwrap();
                journal = j;
                shared.lock().unwrap().cut(recovery.valid_to);
            }
            2..30 => journal.prepare(),
            _ => {
                let mut last = Sequence(0);
                for _ in 0..[1, 1, 1, 2, 3, 6][rng.usize(..6)] {
                    last = journal.append(record(id)).unwrap();
                    shared.lock().unwrap().push(last, id);
                    id += 1;
                }
                journal.commit(last).unwrap();
                shared.lock().unwrap().acknowledged = usize::try_from(last.0).unwrap();
            }
        }
    }
    journal.close().unwrap();
    disk.observe(|_| ());
}

/// The checks above find a disk that does not keep its promise: without that they prove nothing.
#[test]
fn a_lying_disk_is_found_out() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let disk = Simulated::new(seed);
    let journal = open(&disk).unwrap();
    let mut model = Model::default();
    disk.lie();
    for id in 0..20 {
        let sequence = journal.append_and_commit(record(id)).unwrap();
        model.push(sequence, id);
        model.acknowledged = usize::try_from(sequence.0).unwrap();
    }
    let found = (0..100).filter(|_| {
        let disk = disk.after_crash(survival(&mut rng), rng.u64(..));
        let quiet = std::panic::AssertUnwindSafe(|| check(&disk, &model, true));
        std::panic::catch_unwind(quiet).is_err()
    });
    let found = found.count();
    println!("{found} of 100 states of a lying disk were found out");
    assert!(found > 30);
}

/// What repair makes of a damaged journal does not depend on how often it is interrupted.
#[test]
fn repair_survives_crashes_in_itself() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let dir = Path::new(DIR);
    let mut states = 0_u64;
    let rounds = variable("CAIRN_REPAIR_ROUNDS", 12);
    for round in 0..rounds {
        let disk = Simulated::new(rng.u64(..));
        let mut id = 0;
        for _ in 0..3 {
            let journal = open(&disk).unwrap();
            for _ in 0..150 {
                journal.append_and_commit(record(id)).unwrap();
                id += 1;
            }
        }
        let disk = disk.after_exit();
        let mut segments = disk.paths();
        segments.retain(|p| p.extension().is_some_and(|e| e == "seg"));
        // Not the last one: what is last there was never proven to be synced.
        for _ in 0..rng.usize(1..=2) {
            let victim = &segments[rng.usize(..segments.len() - 1)];
            let mut content = disk.content(victim).unwrap();
            // The second time it may have been cut already.
            let length = content.len();
            match rng.u8(..4) {
                0 => content.truncate(rng.usize(..=length.saturating_sub(1))),
                1 => content[..length.min(4096)].fill(0xEE),
                _ => {
                    let at = rng.usize(..=length.saturating_sub(65));
                    let to = length.min(at + 64);
                    content[at..to].iter_mut().for_each(|b| *b ^= 0x55);
                }
            }
            disk.overwrite(victim, content);
        }
        let whole = disk.fork();
        let calls = whole.calls();
        repair_on(&whole, dir).unwrap();
        let calls = whole.calls() - calls;
        let expected = salvaged(&whole);
        for n in 1..=calls {
            for _ in 0..6 {
                let mut crashed = disk.fork();
                let mut at = n;
                for _ in 0..3 {
                    crashed.fail_at(crashed.calls() + at, Fault::Crash);
                    let _ = repair_on(&crashed, dir);
                    crashed = crashed.after_crash(survival(&mut rng), rng.u64(..));
                    states += 1;
                    at = rng.u64(1..=calls);
                }
                let error = open(&crashed).err();
                assert!(error.is_none_or(|e| matches!(
                    e,
                    Error::Corrupt { .. } | Error::RepairInterrupted { .. }
                )));
                repair_on(&crashed, dir).unwrap();
                assert_eq!(salvaged(&crashed), expected, "round {round}, call {n}");
            }
        }
    }
    println!("{rounds} damaged journals, {states} crashes in repair: the same records each time");
}

/// All records of a repaired journal that opens, without the time of the repair.
fn salvaged(disk: &Simulated) -> Vec<(Sequence, Revision, Entry)> {
    let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .reader()
        .unwrap();
    let records = reader.records().map(|r| {
        let r = r.unwrap();
        let entry = match r.entry {
            Entry::Lost { first, last, .. } => Entry::Lost {
                first,
                last,
                observed_at: Timestamp(0),
            },
            Entry::Seal { .. } => Entry::Seal {
                records: 0,
                digest: 0,
                index: Vec::new(),
            },
            other => other,
        };
        (r.sequence, r.revision, entry)
    });
    let records = records.collect();
    drop(open(disk).unwrap());
    records
}
