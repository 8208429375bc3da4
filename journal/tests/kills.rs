//! SIGKILL of a real process that writes, at random moments, under load: every acknowledgement that
//! it printed before it died is kept.
//!
//! The writer is this test binary itself, started with a variable in its environment.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use cairn_journal::{
    Change, Entry, Journal, NewRecord, Op, Options, Reader, Revision, Sequence, Timestamp,
};
use fastrand::Rng;

const WRITER: &str = "CAIRN_KILLS_DIR";

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 32 << 10;
    options.segment_bytes = 512 << 10;
    options.idle_watermark = Some(Duration::from_millis(20));
    options
}

/// The value that goes with a name.
fn value(name: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(name);
    let length = if rng.u8(..16) == 0 { 20_000 } else { 300 };
    (0..rng.usize(..length)).map(|_| rng.u8(..)).collect()
}

/// Not a test: the process that is killed. Four threads commit and print what was acknowledged.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(WRITER) else {
        return;
    };
    let (journal, recovery) = Journal::open(Path::new(&dir), options()).unwrap();
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let start = recovery.valid_to.0 << 20;
    std::thread::scope(|scope| {
        for t in 0..4 {
            let (journal, out) = (&journal, out.clone());
            scope.spawn(move || {
                for n in 0.. {
                    // Past the cache and through it, by turns.
                    journal.set_uncached_bytes(if n % 32 < 16 { 0 } else { 64 << 10 });
                    let name = start + n * 4 + t;
                    let change = Change::set(name.to_string(), value(name));
                    let record = NewRecord::changes(Revision(1), vec![change], Timestamp(0));
                    let sequence = journal.append_and_commit(record).unwrap();
                    writeln!(out.lock().unwrap(), "ack {sequence} {name}").unwrap();
                }
            });
        }
    });
}

#[test]
fn no_kill_loses_an_acknowledgement() {
    let kills: u64 = std::env::var("CAIRN_KILLS").map_or(200, |v| v.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let parent = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut torn, mut segments) = (0_u64, 0_u64, 0);
    let mut dir = parent.path().join("0");
    for kill in 0..kills {
        if kill % 25 == 0 {
            // So that what is read after each kill stays short.
            dir = parent.path().join(kill.to_string());
        }
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITER, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut acks = Vec::new();
        let wanted = rng.usize(1..150);
        let parse = |line: &str| {
            let mut words = line.split(' ').skip_while(|w| !w.ends_with("ack")).skip(1);
            let sequence: u64 = words.next()?.parse().ok()?;
            Some((Sequence(sequence), words.next()?.parse::<u64>().ok()?))
        };
        for line in &mut lines {
            acks.extend(parse(&line.unwrap()));
            if acks.len() >= wanted {
                break;
            }
        }
        // Somewhere inside the next few commits.
        std::thread::sleep(Duration::from_micros(rng.u64(..1500)));
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What was in the pipe had been acknowledged too; a last line may be cut.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        acks.extend(rest[..whole].iter().filter_map(|l| parse(l)));
        assert!(acks.len() >= wanted, "the writer failed by itself");

        let before = Reader::open(&dir)
            .unwrap()
            .records()
            .map(Result::unwrap)
            .count();
        let (journal, recovery) = Journal::open(&dir, options()).unwrap();
        assert_eq!(recovery.valid_to, Sequence(before as u64));
        torn += u64::from(recovery.torn_bytes > 0);
        drop(journal);
        let records: Vec<_> = Reader::open(&dir)
            .unwrap()
            .records()
            .map(Result::unwrap)
            .collect();
        for (i, r) in records.iter().enumerate() {
            assert_eq!(r.sequence, Sequence(i as u64 + 1));
        }
        for (sequence, name) in &acks {
            let record = &records[usize::try_from(sequence.0).unwrap() - 1];
            let Entry::Changes { changes, .. } = &record.entry else {
                panic!(
                    "sequence {sequence} was acknowledged, and is {:?}",
                    record.entry
                );
            };
            assert_eq!(changes[0].path, name.to_string());
            assert!(changes[0].op == Op::Set(value(*name).into()));
        }
        acknowledged += acks.len() as u64;
        segments = std::fs::read_dir(&dir).unwrap().count();
    }
    println!(
        "{kills} kills, {acknowledged} acknowledgements, {torn} torn tails, {segments} files in \
         the last journal: 0 lost"
    );
}
