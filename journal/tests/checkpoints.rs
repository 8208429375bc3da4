//! Checkpoints and retention against a model: whatever history was, the state at every revision
//! that can be told is the same before and after, and what cannot be told any more is refused.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

mod common;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use cairn_journal::{
    Change, Directory, Error, GapReason, Journal, NewRecord, Options, Retention, Revision,
    Sequence, State, Stop, Timeline, Timestamp,
    maintain::CheckpointOutcome,
    storage::{Disk, simulated::Simulated},
};
use common::{append, dir, expected, reader, seed, small_options, variable};
use fastrand::Rng;

fn options() -> Options {
    small_options(22 << 10)
}

fn open(disk: &Simulated) -> Journal {
    common::open_with(disk, options()).unwrap().0
}

type Files = BTreeMap<String, (i64, Vec<u8>)>;

fn files(state: &State) -> Files {
    let files = state.files.values().map(|kv| {
        let path = String::from_utf8(kv.path.to_vec()).unwrap();
        (path, (kv.revision.0, kv.value.to_vec()))
    });
    files.collect()
}

/// What a follower knows: the state, and the states of the newest timeline by revision.
#[derive(Default)]
struct Model {
    now: Files,
    covered: i64,
    /// At each revision of the newest timeline: its state, or that it cannot be told.
    told: BTreeMap<i64, Option<Files>>,
    timelines: u32,
}

/// Appends something to the journal and to the model.
fn step(journal: &Journal, model: &mut Model, rng: &mut Rng) {
    let t = Timestamp(1_000 + model.covered);
    let path = |rng: &mut Rng| format!("/{}", rng.u8(..40));
    let value = |rng: &mut Rng| vec![rng.u8(..); rng.usize(..120)];
    let difference = |model: &mut Model, rng: &mut Rng, last: i64| {
        let mut changes = Vec::new();
        for _ in 0..rng.usize(..6) {
            let (path, value) = (path(rng), value(rng));
            if rng.u8(..3) == 0 {
                model.now.remove(&path);
                changes.push(Change::delete(path));
            } else {
                let at = rng.i64(1..=last);
                model.now.insert(path.clone(), (at, value.clone()));
                changes.push(Change::set(path, value).at(Revision(at)));
            }
        }
        changes
    };
    match rng.u8(..60) {
        0..2 => {
            // A gap whose difference may be begun more than once.
            let (first, last) = (model.covered + 1, model.covered + rng.i64(1..6));
            let reason = GapReason::HistoryDiscarded;
            let opened = || NewRecord::gap_opened(Revision(first), Revision(last), reason, t);
            let before = model.now.clone();
            for _ in 0..rng.usize(..3) {
                journal.append(opened()).unwrap();
                let changes = difference(model, rng, last);
                journal
                    .append(NewRecord::changes(Revision(last), changes, t))
                    .unwrap();
                model.now.clone_from(&before);
            }
            journal.append(opened()).unwrap();
            for _ in 0..rng.usize(..3) {
                let changes = difference(model, rng, last);
                journal
                    .append(NewRecord::changes(Revision(last), changes, t))
                    .unwrap();
            }
            let (a, b) = (Revision(first), Revision(last));
            journal
                .append_and_commit(NewRecord::gap_closed(a, b, reason, t))
                .unwrap();
            for unseen in first..last {
                model.told.insert(unseen, None);
            }
            model.covered = last;
        }
        2 => {
            // Another cluster: it counts anew, from less or from more.
            let kept = rng.bool();
            if !kept {
                model.covered = rng.i64(0..=model.covered + 3);
                model.told.clear();
            }
            model.timelines += 1;
            let timeline = Timeline {
                id: format!("timeline {}", model.timelines),
                parent: None,
                at: Revision(model.covered),
                kept,
                observed_at: t,
            };
            journal
                .append_and_commit(NewRecord::timeline(Revision(model.covered), timeline))
                .unwrap();
        }
        3..6 => {
            model.told.insert(model.covered, Some(model.now.clone()));
            let from = model.covered;
            model.covered += rng.i64(0..3);
            for same in from..model.covered {
                model.told.insert(same, Some(model.now.clone()));
            }
            journal
                .append_and_commit(NewRecord::watermark(Revision(model.covered), t))
                .unwrap();
        }
        _ => {
            model.covered += 1;
            let mut changes = Vec::new();
            for _ in 0..rng.usize(1..3) {
                let (path, value) = (path(rng), value(rng));
                if rng.u8(..4) == 0 {
                    model.now.remove(&path);
                    changes.push(Change::delete(path));
                } else {
                    model
                        .now
                        .insert(path.clone(), (model.covered, value.clone()));
                    changes.push(Change::set(path, value));
                }
            }
            journal
                .append_and_commit(NewRecord::changes(Revision(model.covered), changes, t))
                .unwrap();
        }
    }
    model.told.insert(model.covered, Some(model.now.clone()));
}

/// The same state as [`state`] tells, from the sorted stream.
fn settled(journal: &Journal) -> Files {
    let entries = journal.consistent_state(&Stop::new()).unwrap().entries;
    let mut before = None;
    let files = entries.map(|entry| {
        let entry = entry.unwrap();
        let path = String::from_utf8(entry.path.to_vec()).unwrap();
        assert!(before.replace(path.clone()) < Some(path.clone()), "sorted");
        (path, (entry.revision.0, entry.value.to_vec()))
    });
    files.collect()
}

/// Every revision that can be told is told right; returns how many.
fn compare(disk: &Simulated, model: &Model) -> usize {
    let reader = reader(disk);
    assert_eq!(files(&reader.state(None).unwrap()), model.now);
    let mut told = 0;
    let mut oldest_told = None;
    for (revision, expected) in &model.told {
        match (reader.state(Some(Revision(*revision))), expected) {
            (Ok(found), Some(expected)) => {
                assert_eq!(files(&found), *expected, "at {revision}");
                told += 1;
                oldest_told.get_or_insert(*revision);
            }
            (Err(Error::NotInHistory { .. }), None) => {}
            (Err(Error::NotSeen { before, after, .. }), None) => {
                // What is older than the oldest that was told has been removed.
                let known = |(at, state): (&i64, &Option<Files>)| {
                    (state.is_some() && *at > 0 && oldest_told.is_none_or(|oldest| oldest <= *at))
                        .then_some(Revision(*at))
                };
                let mut below = model.told.range(..revision).rev();
                assert_eq!(
                    before,
                    below.find_map(known).filter(|_| oldest_told.is_some())
                );
                let mut above = model.told.range(revision + 1..);
                assert_eq!(after, above.find_map(known), "after {revision}");
            }
            (Err(Error::NotInHistory { oldest, .. }), Some(_)) => {
                assert!(oldest_told.is_none(), "{revision} is missing in between");
                assert!(*revision < oldest.0, "{revision} should be there");
            }
            (found, expected) => panic!("at {revision}: {found:?}, expected {expected:?}"),
        }
    }
    told
}

#[test]
fn the_state_at_every_retained_revision_is_the_model() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let (mut written, mut gone, mut told) = (0, 0, 0);
    for round in 0..30 {
        let disk = Simulated::new(rng.u64(..));
        let mut model = Model::default();
        model.told.insert(0, Some(Files::new()));
        let mut journal = open(&disk);
        for _ in 0..rng.usize(2..7) {
            for _ in 0..rng.usize(1..150) {
                step(&journal, &mut model, &mut rng);
            }
            if rng.u8(..4) == 0 {
                // An incomplete difference at the end changes nothing.
                let (a, b) = (Revision(model.covered + 1), Revision(model.covered + 5));
                let reason = GapReason::HistoryDiscarded;
                let t = Timestamp(0);
                journal
                    .append(NewRecord::gap_opened(a, b, reason, t))
                    .unwrap();
                let change = Change::set("/incomplete", "x").at(b);
                journal
                    .append_and_commit(NewRecord::changes(b, vec![change], t))
                    .unwrap();
            }
            let report = if rng.bool() {
                journal.checkpoint().unwrap()
            } else {
                journal.close().unwrap();
                // A buffer that holds a handful of changes: many runs, merged more than once.
                let report = Directory::on(Arc::new(disk.clone()), dir())
                    .checkpoint_within(1 << 10)
                    .unwrap();
                journal = open(&disk);
                report
            };
            written += usize::from(report.outcome == CheckpointOutcome::Written);
            assert!(report.damaged.is_empty());
            told += compare(&disk, &model);
            assert_eq!(settled(&journal), model.now, "the same, as a sorted stream");
            if rng.bool() {
                let retention = Retention {
                    age: None,
                    bytes: Some(rng.u64(0..80_000)),
                };
                let report = journal.retire(&retention).unwrap();
                gone += report.segments.len();
                told += compare(&disk, &model);
            }
            // The difference that was left open is abandoned by a complete one.
            if journal.end().open_gap.is_some() {
                let (a, b) = (Revision(model.covered + 1), Revision(model.covered + 5));
                let reason = GapReason::HistoryDiscarded;
                let t = Timestamp(0);
                journal
                    .append(NewRecord::gap_opened(a, b, reason, t))
                    .unwrap();
                journal
                    .append_and_commit(NewRecord::gap_closed(a, b, reason, t))
                    .unwrap();
                for unseen in a.0..b.0 {
                    model.told.insert(unseen, None);
                }
                model.covered = b.0;
                model.told.insert(b.0, Some(model.now.clone()));
            }
        }
        drop(journal);
        drop(open(&disk));
        told += compare(&disk, &model);
        println!(
            "round {round}: {written} checkpoints, {gone} segments gone, {told} states compared"
        );
    }
    assert!(written > 30 && gone > 50, "{written} {gone}");
}

/// Checkpoints and retention run beside whoever needs the state; they may take away what it was
/// about to read.
#[test]
fn a_state_is_told_while_history_is_removed_underneath() {
    let disk = Simulated::new(seed());
    let journal = open(&disk);
    let nothing = Retention {
        age: None,
        bytes: Some(0),
    };
    let (mut gone, mut told) = (0, 0);
    std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| {
            let mut gone = 0;
            for revision in 1..=variable("CAIRN_RECORDS", 3_000) {
                append(&journal, i64::try_from(revision).unwrap()).unwrap();
                if revision % 20 == 0 {
                    journal.checkpoint().unwrap();
                    gone += journal.retire(&nothing).unwrap().segments.len();
                }
            }
            gone
        });
        while !upkeep.is_finished() {
            let state = journal.consistent_state(&Stop::new()).unwrap();
            let revision = state.revision.0;
            let found: Files = state
                .entries
                .map(|entry| {
                    let entry = entry.unwrap();
                    let path = String::from_utf8(entry.path.to_vec()).unwrap();
                    (path, (entry.revision.0, entry.value.to_vec()))
                })
                .collect();
            assert_eq!(found, files(&expected(revision)), "at {revision}");
            told += 1;
        }
        gone = upkeep.join().unwrap();
    });
    println!("{told} states were told while {gone} segments went");
    assert!(told > 0 && gone > 10, "{told} {gone}");
}

/// A state that is much larger than the buffers: they stay what they are.
#[test]
fn what_is_asked_to_stop_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), Options::default()).unwrap();
    let change = vec![Change::set("/a", "x")];
    let record = NewRecord::changes(Revision(1), change, Timestamp(0));
    journal.append_and_commit(record).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".ckpt") || name.contains(".run"))
    };
    let stop = Stop::new();
    stop.ask();
    let stopped = journal.checkpoint_unless(&stop).unwrap_err();
    assert!(matches!(stopped, Error::Stopped), "{stopped}");
    let stopped = journal.consistent_state(&stop).unwrap_err();
    assert!(matches!(stopped, Error::Stopped), "{stopped}");
    assert_eq!(names().count(), 0);
    journal.checkpoint().unwrap();
    assert_eq!(names().count(), 1);
    // Reading a checkpoint may be most of the work.
    let stopped = journal.consistent_state(&stop).map(drop).unwrap_err();
    assert!(matches!(stopped, Error::Stopped), "{stopped}");
}

#[test]
fn memory_is_bounded_by_the_buffers() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.idle_watermark = None;
    options.segment_bytes = 18 << 20;
    let (journal, _) = Journal::open(dir.path(), options).unwrap();
    let mut revision = 0;
    let mut content = 0;
    for round in 0..2 {
        for n in 0..20_000_u32 {
            revision += 1;
            let path = format!("/key/{:08x}", n.wrapping_mul(0x9E37_79B1));
            let value = vec![u8::try_from(n % 251).unwrap(); 900 + 100 * round];
            content += path.len() + value.len();
            let change = Change::set(path, value);
            let record = NewRecord::changes(Revision(revision), vec![change], Timestamp(1));
            journal.append(record).unwrap();
        }
    }
    // So that the closing record proves that all of it was durable.
    journal
        .commit(journal.end().next_sequence.previous())
        .unwrap();
    journal.close().unwrap();
    const BUFFER: usize = 256 << 10;
    let report = Directory::on(Arc::new(Disk), dir.path())
        .checkpoint_within(BUFFER)
        .unwrap();
    let newest = report.newest.unwrap();
    assert_eq!(newest.len(), 20_000);
    println!(
        "{content} bytes of changes, {} of state, {} runs, at most {} bytes in buffers",
        newest.content_bytes(),
        report.runs,
        report.peak_buffer_bytes
    );
    assert!(newest.content_bytes() > 50 * BUFFER as u64);
    assert!(report.runs > 16, "merged in more than one level");
    // The buffer, one block for each input of a merge, and one that is being written.
    assert!(report.peak_buffer_bytes < BUFFER + 48 * (80 << 10));

    let mut before = None;
    for entry in newest.entries().unwrap() {
        let entry = entry.unwrap();
        assert!(before.is_none_or(|b| b < entry.path));
        assert_eq!(entry.value.len(), 1000);
        before = Some(entry.path);
    }
}

/// Checkpoints and retention in one thread, appends in others, a follower in yet another.
#[test]
fn appends_go_on_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.preallocate = true;
    let (journal, _) = Journal::open(dir.path(), options).unwrap();
    let next = std::sync::Mutex::new(0_i64);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut written, mut gone) = (0, 0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..1_500 {
                        let sequence = {
                            let mut next = next.lock().unwrap();
                            *next += 1;
                            let change = Change::set(format!("/{}", *next % 50), vec![7; 200]);
                            let record =
                                NewRecord::changes(Revision(*next), vec![change], Timestamp(1));
                            journal.append(record).unwrap()
                        };
                        journal.commit(sequence).unwrap();
                    }
                })
            })
            .collect();
        let follower = scope.spawn(|| {
            let reader = journal.reader().unwrap();
            let mut states = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let state = reader.state(None).unwrap();
                assert!(state.files.len() <= 50);
                states += 1;
            }
            states
        });
        while writers.iter().any(|w| !w.is_finished()) {
            let report = journal.checkpoint().unwrap();
            written += usize::from(report.outcome == CheckpointOutcome::Written);
            let retention = Retention {
                age: None,
                bytes: Some(0),
            };
            gone += journal.retire(&retention).unwrap().segments.len();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        println!("{} states read meanwhile", follower.join().unwrap());
    });
    println!("{written} checkpoints, {gone} segments gone");
    assert!(gone > 0);
    let found = journal.reader().unwrap().state(None).unwrap();
    assert_eq!(found.revision, Revision(3_000));
    journal.close().unwrap();
    Journal::open(dir.path(), self::options()).unwrap();
}

/// What was asked for and is not there any more is refused by name, not answered with something
/// else.
#[test]
fn what_was_retired_is_refused() {
    let disk = Simulated::new(7);
    let journal = open(&disk);
    for n in 1..=400 {
        let change = Change::set(format!("/{}", n % 10), vec![1; 300]);
        journal
            .append_and_commit(NewRecord::changes(Revision(n), vec![change], Timestamp(n)))
            .unwrap();
    }
    journal.checkpoint().unwrap();
    for n in 401..=500 {
        let change = Change::set("/late", vec![1; 300]);
        journal
            .append_and_commit(NewRecord::changes(Revision(n), vec![change], Timestamp(n)))
            .unwrap();
    }
    let keep_all = Retention {
        age: Some(Duration::from_secs(3600)),
        bytes: None,
    };
    assert!(journal.retire(&keep_all).unwrap().segments.is_empty());
    let retention = Retention {
        age: None,
        bytes: Some(0),
    };
    let report = journal.retire(&retention).unwrap();
    assert_eq!(report.base, Some(Revision(400)));
    let reader = journal.reader().unwrap();
    let first = reader.records().next().unwrap().unwrap();
    assert!(first.sequence > Sequence(1));
    assert!(matches!(
        reader.records_from(Sequence(2)).next(),
        Some(Err(Error::Retired { sequence: Sequence(2), oldest })) if oldest == first.sequence
    ));
    let early = reader.records_from_revision(Revision(2)).next();
    assert!(
        matches!(early, Some(Err(Error::NotInHistory { .. }))),
        "{early:?}"
    );
    let late = reader.records_from_revision(Revision(450)).next();
    assert_eq!(late.unwrap().unwrap().revision, Revision(450));
    let error = reader.state(Some(Revision(399))).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NotInHistory {
                oldest: Revision(400),
                newest: Revision(500),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(reader.state(Some(Revision(400))).unwrap().files.len(), 10);
}

/// The story: a clock that was ahead, by 30 days or 10 years, let retention remove history that was
/// minutes old, and nobody was told.
#[test]
fn a_clock_that_is_ahead_makes_no_history_old() {
    const WEEK: Retention = Retention {
        age: Some(Duration::from_secs(7 * 24 * 3600)),
        bytes: None,
    };
    for days in [30, 3650] {
        let jump = days * 24 * 3600 * 1000;
        let disk = Simulated::new(11);
        let directory = Directory::on(Arc::new(disk.clone()), Path::new("/journal"));
        let now = 1_700_000_000_000;
        disk.set_clock(now);
        let mut revision = 0;
        let mut run = |journal: &Journal| {
            for _ in 0..300 {
                revision += 1;
                let set = vec![Change::set("/a", vec![1; 300])];
                let record = NewRecord::changes(Revision(revision), set, Timestamp(0));
                journal.append_and_commit(record).unwrap();
            }
            journal.checkpoint().unwrap();
        };
        let (journal, _) = directory.open(options()).unwrap();
        run(&journal);
        // Ahead within a run, and after a restart, and put right again.
        disk.set_clock(now + jump);
        run(&journal);
        assert!(journal.retire(&WEEK).unwrap().segments.is_empty());
        journal.close().unwrap();
        for clock in [now + jump, now + 2 * jump, now + 3_600_000] {
            disk.set_clock(clock);
            let (journal, _) = directory.open(options()).unwrap();
            run(&journal);
            assert!(journal.retire(&WEEK).unwrap().segments.is_empty());
            journal.close().unwrap();
        }
        assert!(directory.retire(&WEEK).unwrap().segments.is_empty());
        // It is there to go when it may, and what goes is told.
        let nothing = Retention {
            age: Some(Duration::ZERO),
            bytes: None,
        };
        let gone = directory.retire(&nothing).unwrap();
        let history = gone.history.expect("there was some");
        let revisions = history.revisions.expect("they had revisions");
        assert_eq!(revisions.first, Revision(1));
        assert!(revisions.last > Revision(1_000) && revisions.last <= gone.base.unwrap());
        assert!(history.from.0 - now < 1000 && history.until.0 > now);
    }
}
