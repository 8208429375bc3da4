//! Failing system calls of the real kernel's interface, injected with `strace`.
//!
//! The process that fails is this test binary itself, started with a variable in its environment.

#![allow(clippy::unwrap_used)] // A test that unwraps says what it expected.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
};

use cairn_journal::{
    Change, Directory, Entry, Journal, NewRecord, Options, Reader, Revision, Sequence, Timestamp,
};
use cairn_tests::needed;

const WRITER: &str = "CAIRN_KERNEL_DIR";
const READER: &str = "CAIRN_KERNEL_READER";
/// Set: segments are made ready ahead, and larger groups go past the page cache.
const READY: &str = "CAIRN_KERNEL_READY";

fn options() -> Options {
    let mut options = Options::default();
    options.max_payload_bytes = 4 << 10;
    options.segment_bytes = 40 << 10;
    options.idle_watermark = None;
    options.preallocate = std::env::var_os(READY).is_some();
    if options.preallocate {
        options.uncached_bytes = 512;
    }
    options
}

/// Not a test: the process whose calls fail. Says what was acknowledged, goes on trying after a
/// failure, and says what it was.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(WRITER) else {
        return;
    };
    let (journal, _) = match Journal::open(Path::new(&dir), options()) {
        Ok(opened) => opened,
        Err(error) => return println!("\nfailed {error}"),
    };
    for n in 1..80 {
        let change = Change::set(
            format!("/{n}"),
            vec![1; usize::try_from(n * 53 % 1500).unwrap()],
        );
        match journal.append_and_commit(NewRecord::changes(Revision(n), vec![change], Timestamp(n)))
        {
            Ok(sequence) => println!("\nack {sequence} {n}"),
            Err(error) => println!("\nfailed {error}"),
        }
    }
}

/// Not a test: the process whose reads fail. Says how many records it was told, and why no more.
#[test]
fn reader() {
    let Ok(dir) = std::env::var(READER) else {
        return;
    };
    let mut told = 0;
    for record in Reader::open(Path::new(&dir)).unwrap().records() {
        match record {
            Ok(_) => told += 1,
            Err(error) => println!("\nfailed {error}"),
        }
    }
    println!("\nack {told}");
}

/// `strace`, which injects `fault`.
fn injecting(fault: &str) -> Command {
    let mut command = needed("strace").unwrap();
    command.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    command.arg(format!("inject={fault}"));
    command
}

/// What the writer says when `strace` injects `fault`.
fn run(dir: &Path, fault: &str, ready: bool) -> Vec<String> {
    let mut command = injecting(fault);
    if ready {
        command.env(READY, "1");
    }
    said(command.env(WRITER, dir), "writer")
}

/// What this test binary says as `part`, started by `command`. It ends by itself, by no signal.
fn said(command: &mut Command, part: &str) -> Vec<String> {
    let output = command
        .arg(std::env::current_exe().unwrap())
        .args([part, "--exact", "--nocapture", "--test-threads=1"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), None);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text
        .lines()
        .filter(|l| l.starts_with("ack ") || l.starts_with("failed "))
        .map(str::to_owned)
        .collect();
    assert!(
        !lines.is_empty(),
        "strace cannot trace here (a container needs the capability SYS_PTRACE): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    lines
}

#[test]
fn what_the_kernel_refuses_is_never_acknowledged() {
    let mut counts = (0, 0, 0);
    // The last one is no failure: the disk cannot be written to past the cache, so that is not
    // done.
    let mut faults = Vec::new();
    for error in ["EIO", "ENOSPC"] {
        for when in [1, 2, 3, 5, 8, 13, 21, 34, 55] {
            for call in ["fdatasync", "fsync", "pwrite64", "rename"] {
                faults.push((false, call, error, when));
            }
            for call in ["fsync", "pwritev2", "rename"] {
                faults.push((true, call, error, when));
            }
        }
    }
    faults.push((true, "pwritev2", "EINVAL", 1));
    for (ready, call, error, when) in faults {
        let dir = tempfile::tempdir().unwrap();
        let fault = format!("{call}:error={error}:when={when}");
        let lines = run(dir.path(), &fault, ready);
        counts.0 += 1;
        let failed = lines.iter().position(|l| l.starts_with("failed"));
        let acks = &lines[..failed.unwrap_or(lines.len())];
        if let Some(failed) = failed {
            counts.1 += 1;
            let after = &lines[failed..];
            assert!(
                after.iter().all(|l| l.starts_with("failed")),
                "{fault}: acknowledged after a failure"
            );
        }
        drop(Journal::open(dir.path(), options()).unwrap());
        let records: Vec<_> = Reader::open(dir.path())
            .unwrap()
            .records()
            .map(Result::unwrap)
            .collect();
        for ack in acks {
            let mut words = ack.split(' ').skip(1).map(|w| w.parse::<u64>().unwrap());
            let (sequence, n) = (words.next().unwrap(), words.next().unwrap());
            let record = &records[usize::try_from(sequence).unwrap() - 1];
            assert_eq!(record.sequence, Sequence(sequence));
            assert_eq!(
                record.revision,
                Revision(i64::try_from(n).unwrap()),
                "{fault}"
            );
            assert!(matches!(record.entry, Entry::Changes { .. }));
            counts.2 += 1;
        }
    }
    println!(
        "{} runs, {} stopped by a failing call, {} acknowledgements kept",
        counts.0, counts.1, counts.2
    );
    assert!(counts.1 > 30);
}

/// The story: a sector that the disk could not read ended every process that had mapped it.
#[test]
fn what_the_kernel_cannot_read_is_told_and_ends_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    for n in 1..200 {
        let change = Change::set(format!("/{n}"), vec![1; 1000]);
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
        journal.append(record).unwrap();
    }
    journal.close().unwrap();
    let whole = Reader::open(dir.path()).unwrap().records().count();
    let segments = Directory::at(dir.path()).segment_files().unwrap();
    assert!(segments.len() >= 3);
    for segment in &segments {
        for when in ["1+", "2+", "2"] {
            let mut command = injecting(&format!("pread64:error=EIO:when={when}"));
            command.arg("-P").arg(segment);
            let lines = said(command.env(READER, dir.path()), "reader");
            let told: usize = lines.last().unwrap()["ack ".len()..].parse().unwrap();
            let failed = lines.iter().filter(|line| line.starts_with("failed"));
            if when == "2" {
                // One failure: read again in smaller parts, which succeeds.
                assert_eq!((failed.count(), told), (0, whole), "{lines:?}");
            } else {
                let failed: Vec<_> = failed.collect();
                assert_eq!(failed.len(), 1, "{lines:?}");
                assert!(failed[0].contains("the disk cannot read"), "{lines:?}");
                assert!(told < whole);
            }
        }
    }
}
