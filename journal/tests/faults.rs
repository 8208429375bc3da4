//! Writes and syncs that fail, at every call: nothing is acknowledged after the failure, every
//! waiter is released with it, and opening anew finds all that was acknowledged.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_journal::{
    Change, Directory, Entry, Error, Journal, NewRecord, Options, Result, Revision, Sequence,
    Timestamp,
    storage::simulated::{Fault, Simulated, Survival},
};

const DIR: &str = "/journal";

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 1 << 10;
    options.segment_bytes = 24 << 10;
    options.max_queued_bytes = 8 << 10;
    options.idle_watermark = None;
    options.preallocate = false;
    options
}

/// Segments are made ready ahead, and some groups go past the cache.
fn open_ready(disk: &Simulated) -> Result<Journal> {
    let mut options = options();
    options.preallocate = true;
    options.uncached_bytes = 300;
    Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .open_by_hand(options)
        .map(|(j, _)| j)
}

fn open(disk: &Simulated) -> Result<Journal> {
    Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .open(options())
        .map(|(j, _)| j)
}

fn change(n: u64) -> NewRecord {
    let n = i64::try_from(n).unwrap();
    let change = Change::set(
        format!("/{n}"),
        vec![b'v'; usize::try_from(n * 31 % 500).unwrap()],
    );
    NewRecord::changes(Revision(n), vec![change], Timestamp(n))
}

/// The revisions that a disk holds, in order of their sequence.
fn revisions(disk: &Simulated) -> Vec<u64> {
    let reader = Directory::on(Arc::new(disk.clone()), Path::new(DIR))
        .reader()
        .unwrap();
    let records = reader.records().map(Result::unwrap);
    records
        .filter(|r| matches!(r.entry, Entry::Changes { .. }))
        .map(|r| u64::try_from(r.revision.0).unwrap())
        .collect()
}

const RECORDS: u64 = 120;

/// Opens, writes in groups of up to three, closes. Returns what was acknowledged, and the error.
fn run(disk: &Simulated, open: impl Fn(&Simulated) -> Result<Journal>) -> (u64, Option<Error>) {
    let mut acknowledged = 0;
    let mut all = || -> Result<()> {
        let journal = open(disk)?;
        let mut n = 1;
        while n <= RECORDS {
            let mut sequence = journal.append(change(n))?;
            for _ in 0..n % 3 {
                n += 1;
                sequence = journal.append(change(n))?;
            }
            if n % 2 == 0 {
                journal.prepare();
            }
            match journal.commit(sequence) {
                Ok(_) => acknowledged = n,
                Err(error) => {
                    // From now on nothing is accepted, and what was durable still is.
                    let Error::Poisoned { durable, .. } = &error else {
                        panic!("{error}");
                    };
                    assert!(journal.append(change(n + 1)).is_err());
                    assert!(journal.commit(sequence).is_err());
                    assert_eq!(journal.commit(*durable).unwrap(), *durable);
                    assert_eq!(journal.end().durable, *durable);
                    return Err(error);
                }
            }
            n += 1;
        }
        journal.close()
    };
    let error = all().err();
    (acknowledged, error)
}

#[test]
fn a_failure_at_any_call_stops_the_journal_and_loses_nothing() {
    let counts = fail_everywhere(open);
    assert!(counts[0] >= counts[3] * 9 / 10 && counts[1] > 10 && counts[2] == 0);
}

/// The failures of what is done ahead may pass: nothing rests on it. Those of the directory's sync,
/// which is done behind the writer, may not.
#[test]
fn a_failure_at_any_call_loses_nothing_where_segments_are_made_ready() {
    let counts = fail_everywhere(open_ready);
    assert!(counts[0] >= counts[3] / 2 && counts[1] > 10 && counts[2] == 0);
}

/// Returns how often the journal stopped by EIO, ENOSPC and a short write, and how many calls there
/// are.
fn fail_everywhere(open: fn(&Simulated) -> Result<Journal>) -> [u64; 4] {
    let clean = Simulated::new(1);
    assert!(run(&clean, open).1.is_none());
    let calls = clean.calls();
    let mut counts = [0_u64; 3];
    for call in 1..=calls {
        for (kind, fault) in [Fault::Io, Fault::Full, Fault::Short]
            .into_iter()
            .enumerate()
        {
            let disk = Simulated::new(call);
            disk.fail_at(call, fault);
            let (acknowledged, error) = run(&disk, open);
            if fault == Fault::Short {
                assert!(error.is_none(), "a short write is carried on with");
            }
            if let Some(error) = &error {
                counts[kind] += 1;
                assert!(
                    matches!(error, Error::Poisoned { .. } | Error::Io { .. }),
                    "{error}"
                );
            }
            // The next process sees the page cache; it may not build on it.
            let next = disk.after_exit();
            let journal = open(&next).unwrap();
            let kept = u64::try_from(journal.end().revision.0).unwrap();
            assert!(kept >= acknowledged, "call {call}, {fault:?}");
            drop(journal);
            for survival in Survival::ALL {
                let seed = call * 31 + survival as u64;
                let crashed = next.after_crash(survival, seed);
                drop(open(&crashed).unwrap());
                assert_eq!(
                    revisions(&crashed),
                    (1..=kept).collect::<Vec<_>>(),
                    "call {call}, {fault:?}"
                );
                // And without another process in between.
                let crashed = disk.after_crash(survival, seed);
                drop(open(&crashed).unwrap());
                let found = revisions(&crashed);
                assert!(found.len() as u64 >= acknowledged, "call {call}, {fault:?}");
                assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
            }
        }
    }
    println!(
        "{calls} calls; the journal stopped {} times by EIO, {} by ENOSPC, {} by a short write",
        counts[0], counts[1], counts[2]
    );
    [counts[0], counts[1], counts[2], calls]
}

#[test]
fn every_waiter_is_released_and_told() {
    let mut stopped = 0;
    for call in 1..80 {
        let disk = Simulated::new(call);
        let journal = open(&disk).unwrap();
        let fault = [Fault::Io, Fault::Full][usize::from(call % 2 == 0)];
        disk.fail_at(disk.calls() + call, fault);
        let revision = Mutex::new(0);
        let newest = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let appended = {
                            let mut revision = revision.lock().unwrap();
                            *revision += 1;
                            journal.append(change(*revision))
                        };
                        match appended.and_then(|sequence| journal.commit(sequence)) {
                            Ok(sequence) => newest.fetch_max(sequence.0, Ordering::Relaxed),
                            Err(error) => {
                                assert!(matches!(error, Error::Poisoned { .. }), "{error}");
                                return;
                            }
                        };
                    }
                });
            }
        });
        let acknowledged = newest.into_inner();
        if journal.append(change(1)).is_err() {
            stopped += 1;
        }
        drop(journal);
        for survival in Survival::ALL {
            let crashed = disk.after_crash(survival, call);
            let journal = open(&crashed).unwrap();
            assert!(journal.end().durable >= Sequence(acknowledged));
        }
    }
    println!("6 writers were stopped {stopped} times");
    assert!(stopped > 40);
}

#[test]
fn a_full_disk_can_be_read() {
    let disk = Simulated::new(3);
    let journal = open(&disk).unwrap();
    let mut n = 0;
    // Every write from the 20th call on fails.
    for call in 20..200 {
        disk.fail_at(call, Fault::Full);
    }
    let error = loop {
        match journal.append_and_commit(change(n + 1)) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("os error 28"), "{error}");
    assert!(
        revisions(&disk).len() as u64 >= n,
        "what was written is readable while nothing can be written"
    );
    drop(journal);
    assert!(
        matches!(open(&disk), Err(Error::Io { .. })),
        "opening for writing needs a few kilobytes"
    );
    assert!(
        revisions(&disk).len() as u64 >= n,
        "a failed opening harms nothing"
    );
    let journal = open(&disk.after_exit()).unwrap();
    assert!(u64::try_from(journal.end().revision.0).unwrap() >= n);
}
