//! Reading while the journal is written, by another process: in order, nothing twice, nothing left
//! out, and never an error, through rotations and restarts of the writer.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cairn_journal::{
    Change, Entry, Journal, NewRecord, Options, Reader, Revision, Sequence, Timestamp,
};

const WRITER: &str = "CAIRN_FOLLOW_DIR";
const PER_LIFE: i64 = 3_000;
const LIVES: i64 = 4;

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 8 << 10;
    options.segment_bytes = 128 << 10;
    options.idle_watermark = Some(Duration::from_millis(5));
    options
}

/// Not a test: the process that is followed. Some lives end in order, some do not.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(WRITER) else {
        return;
    };
    for life in 0..LIVES {
        let (journal, _) = Journal::open(Path::new(&dir), options()).unwrap();
        for n in life * PER_LIFE + 1..=(life + 1) * PER_LIFE {
            let change = Change::set(format!("/{n}"), vec![0; usize::try_from(n % 900).unwrap()]);
            let sequence = journal
                .append(NewRecord::changes(Revision(n), vec![change], Timestamp(n)))
                .unwrap();
            if n % 3 == 0 {
                journal.commit(sequence).unwrap();
            }
        }
        let last = journal.end().next_sequence.previous();
        journal.commit(last).unwrap();
        if life % 2 == 0 {
            journal.close().unwrap();
        }
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["writer", "--exact", "--test-threads=1"])
        .env(WRITER, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_live_journal_is_followed_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = start(dir.path());
    let deadline = Instant::now() + Duration::from_secs(120);
    let reader = loop {
        assert!(Instant::now() < deadline, "the writer does not begin");
        if let Ok(reader) = Reader::open(dir.path()) {
            break reader;
        }
        std::thread::yield_now();
    };
    let mut records = reader.records();
    let (mut sequence, mut revision, mut waits) = (Sequence(0), 0, 0_u64);
    while revision < LIVES * PER_LIFE {
        assert!(Instant::now() < deadline, "stuck after revision {revision}");
        let Some(record) = records.next() else {
            waits += 1;
            std::thread::yield_now();
            continue;
        };
        let record = record.unwrap();
        assert_eq!(record.sequence, sequence.next());
        sequence = record.sequence;
        if matches!(record.entry, Entry::Changes { .. }) {
            revision += 1;
            assert_eq!(record.revision, Revision(revision));
        }
    }
    assert!(writer.wait().unwrap().success());
    println!("{sequence} records followed, {waits} times at the end");
    assert!(waits > 10);
}

#[test]
fn a_follower_survives_a_writer_that_opens_again_and_again_without_writing() {
    let dir = tempfile::tempdir().unwrap();
    // A watermark on a slow machine would be a record that is not expected here.
    let mut options = options();
    options.idle_watermark = None;
    drop(Journal::open(dir.path(), options.clone()).unwrap());
    let reader = Reader::open(dir.path()).unwrap();
    let mut records = reader.records();
    for n in 1..10 {
        // The empty last segment is replaced by a file of the same name.
        for _ in 0..3 {
            assert!(records.next().is_none());
            drop(Journal::open(dir.path(), options.clone()).unwrap());
        }
        let (journal, _) = Journal::open(dir.path(), options.clone()).unwrap();
        let record = NewRecord::changes(Revision(n), vec![], Timestamp(0));
        let sequence = journal.append_and_commit(record).unwrap();
        let found = records.next().unwrap().unwrap();
        assert_eq!((found.sequence, found.revision), (sequence, Revision(n)));
    }
}
