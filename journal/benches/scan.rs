//! How fast a journal is read and opened, beside the speed of reading the same files and of the
//! checksum; and what a rotation costs the commit that meets it.
//!
//! `cargo bench -p cairn-journal --bench scan`; `CAIRN_SCAN_MIB` says how much (2048),
//! `CAIRN_BENCH_DIR` on which disk.

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

fn report(what: &str, bytes: u64, took: Duration) -> f64 {
    let speed = bytes as f64 / took.as_secs_f64() / 1e6;
    println!("| {what} | {:.2} s | {speed:.0} MB/s |", took.as_secs_f64());
    speed
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

    println!("| what, {mib} MiB of 4 KiB values | time | speed |\n|---|---|---|");
    let mut bytes = 0;
    let took = timed(|| bytes = read_all(dir));
    let disk = report("plain read, cold", bytes, took);
    let took = timed(|| bytes = read_all(dir));
    let cache = report("plain read, cached", bytes, took);
    let block = vec![1; 4096 + 40];
    let took = timed(|| {
        for _ in 0..bytes / 4136 {
            std::hint::black_box(crc32fast::hash(std::hint::black_box(&block)));
        }
    });
    let crc = report("crc32fast of as many records", bytes, took);
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
        let speed = report(&format!("opening, all verified, {name}"), bytes, took);
        println!(
            "  ({:.2} of the slower of plain read and checksum; {} MiB more memory)",
            speed / (if cold { disk } else { cache }).min(crc),
            anonymous_mib().saturating_sub(before)
        );
    }
    let before = anonymous_mib();
    let took = timed(|| assert!(Reader::open(dir).unwrap().records().count() > 100));
    let speed = report("every record decoded, cached", bytes, took);
    println!(
        "  ({:.2} of the slower of plain read and checksum; {} MiB more memory)",
        speed / cache.min(crc),
        anonymous_mib().saturating_sub(before)
    );
    let took = timed(|| drop(Journal::open(dir, Options::default()).unwrap()));
    println!(
        "| opening as usual | {:.1} ms | |",
        took.as_secs_f64() * 1e3
    );
    let from = Revision(revision - 10);
    let took = timed(|| first_from(dir, from));
    println!(
        "| first record from a late revision | {:.1} ms | |",
        took.as_secs_f64() * 1e3
    );
    let from = Revision(revision / 2);
    let took = timed(|| first_from(dir, from));
    println!(
        "| first record from a middle revision | {:.1} ms | |",
        took.as_secs_f64() * 1e3
    );
}

fn rotations(dir: &Path) {
    let mut options = Options::default();
    options.segment_bytes = 1 << 20;
    options.max_payload_bytes = 64 << 10;
    let (journal, _) = Journal::open(dir, options).unwrap();
    let value: bytes::Bytes = vec![7; 4096].into();
    let mut took = Vec::new();
    let mut rotating = Vec::new();
    let (mut revision, mut previous) = (0, 0);
    while rotating.len() < 1000 {
        revision += 1;
        let change = Change::set("/key", value.clone());
        let record = NewRecord::changes(Revision(revision), vec![change], Timestamp(0));
        let start = Instant::now();
        let sequence = journal.append_and_commit(record).unwrap();
        took.push(start.elapsed());
        // A seal took the sequence before it.
        if sequence.0 != previous + 1 {
            rotating.push(took[took.len() - 1]);
        }
        previous = sequence.0;
    }
    took.sort();
    rotating.sort();
    let at =
        |all: &[Duration], share: f64| all[((all.len() - 1) as f64 * share) as usize].as_micros();
    println!(
        "\n{} commits of 4 KiB with 1000 rotations: p50 {} us, p99 {} us, p99.9 {} us; commits that rotate: p50 {} us, p99 {} us",
        took.len(),
        at(&took, 0.5),
        at(&took, 0.99),
        at(&took, 0.999),
        at(&rotating, 0.5),
        at(&rotating, 0.99),
    );
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let mib = std::env::var("CAIRN_SCAN_MIB").map_or(2048, |v| v.parse().unwrap());
    for (name, run) in [("scan", 0), ("rotate", 1)] {
        let dir = base.join(name);
        let _ = fs::remove_dir_all(&dir);
        match run {
            0 => scanning(&dir, mib),
            _ => rotations(&dir),
        }
        let _ = fs::remove_dir_all(&dir);
    }
}
