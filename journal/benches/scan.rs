//! How fast a journal is read and opened, beside the speed of reading the same files and of the
//! checksum: `just bench cairn-journal scan`.
//!
//! `CAIRN_SCAN_MIB` says how much (2048), `CAIRN_BENCH_DIR` on which disk. *Of plain* is the speed
//! beside the slower of plain reads (cold or cached, as the line itself) and the checksum.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cairn_journal::{Change, Journal, NewRecord, Options, Reader, Revision, Timestamp};

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect()
}

/// Takes the files out of the page cache, so that they are read from the disk.
fn chill(dir: &Path) {
    for path in segments(dir) {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

fn anonymous_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

fn speed(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

/// A line of the table; `plain` is what the speed is compared with, in MB/s.
fn report(what: &str, bytes: u64, took: Duration, plain: Option<f64>, memory_mib: Option<u64>) {
    let speed = speed(bytes, took);
    let of_plain = plain.map_or("-".to_owned(), |plain| format!("{:.2}", speed / plain));
    let memory = memory_mib.map_or("-".to_owned(), |mib| format!("{mib} MiB"));
    println!(
        "| {what} | {:.2} s | {speed:.0} MB/s | {of_plain} | {memory} |",
        took.as_secs_f64()
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn read_all(dir: &Path) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    for path in segments(dir) {
        let file = File::open(path).unwrap();
        let mut at = 0;
        loop {
            let n = file.read_at(&mut buffer, at).unwrap() as u64;
            if n == 0 {
                break;
            }
            at += n;
        }
        total += at;
    }
    total
}

fn first_from(dir: &Path, revision: Revision) {
    let reader = Reader::open(dir).unwrap();
    let first = reader.records_from_revision(revision).next().unwrap();
    assert_eq!(first.unwrap().revision, revision);
}

fn scanning(dir: &Path, mib: u64) {
    let value: bytes::Bytes = vec![7; 4096].into();
    let (journal, _) = Journal::open(dir, Options::default()).unwrap();
    let mut revision = 0;
    let mut sequence = cairn_journal::Sequence(0);
    for _ in 0..(mib << 20) / 4096 {
        revision += 1;
        let change = Change::set("/key", value.clone());
        sequence = journal
            .append(NewRecord::changes(
                Revision(revision),
                vec![change],
                Timestamp(0),
            ))
            .unwrap();
    }
    journal.commit(sequence).unwrap();
    journal.close().unwrap();
    chill(dir);

    println!("| {mib} MiB of 4 KiB values | time | speed | of plain | more memory |");
    println!("|---|---|---|---|---|");
    let mut bytes = 0;
    let took = timed(|| bytes = read_all(dir));
    report("plain read, cold", bytes, took, None, None);
    let disk = speed(bytes, took);
    let took = timed(|| bytes = read_all(dir));
    report("plain read, cached", bytes, took, None, None);
    let cache = speed(bytes, took);
    let records = (mib << 20) / 4096;
    let block = vec![1; usize::try_from(bytes / records).unwrap()];
    let took = timed(|| {
        for _ in 0..records {
            std::hint::black_box(crc32fast::hash(std::hint::black_box(&block)));
        }
    });
    report("crc32fast of as many records", bytes, took, None, None);
    let crc = speed(bytes, took);
    for cold in [true, false] {
        if cold {
            chill(dir);
        }
        let before = anonymous_mib();
        let took = timed(|| {
            let mut options = Options::default();
            options.verify_bytes = u64::MAX;
            drop(Journal::open(dir, options).unwrap());
        });
        let name = if cold { "cold" } else { "cached" };
        let plain = (if cold { disk } else { cache }).min(crc);
        let memory = anonymous_mib().saturating_sub(before);
        let what = format!("opening, all verified, {name}");
        report(&what, bytes, took, Some(plain), Some(memory));
    }
    let before = anonymous_mib();
    let took = timed(|| assert!(Reader::open(dir).unwrap().records().count() > 100));
    let memory = anonymous_mib().saturating_sub(before);
    let what = "every record decoded, cached";
    report(what, bytes, took, Some(cache.min(crc)), Some(memory));
    let milliseconds = |what: &str, took: Duration| {
        println!(
            "| {what} | {:.1} ms | - | - | - |",
            took.as_secs_f64() * 1e3
        );
    };
    let took = timed(|| drop(Journal::open(dir, Options::default()).unwrap()));
    milliseconds("opening as usual", took);
    let took = timed(|| first_from(dir, Revision(revision - 10)));
    milliseconds("first record from a late revision", took);
    let took = timed(|| first_from(dir, Revision(revision / 2)));
    milliseconds("first record from a middle revision", took);
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let mib = std::env::var("CAIRN_SCAN_MIB").map_or(2048, |v| v.parse().unwrap());
    let dir = tempfile::tempdir_in(base).expect("CAIRN_BENCH_DIR is a directory that exists");
    scanning(dir.path(), mib);
}
