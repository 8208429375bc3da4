//! What going on to the next segment costs the commits that do: `just bench cairn-journal rotate`.
//!
//! One writer, 4 KiB values, segments of 1 MiB, 1,000 rotations (`CAIRN_BENCH_ROTATIONS`), beside
//! the same number of plain writes and syncs. A commit is one that rotates if its record is the
//! first of its segment, which its sequence tells: the seal before it took one.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Sequence, Timestamp};

const VALUE_BYTES: usize = 4096;
const SEGMENT_BYTES: u64 = 1 << 20;

fn show(name: &str, took: &mut [Duration]) -> Duration {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "| {name} | {} | {} | {} | {} | {} |",
        took.len(),
        at(0.5).as_micros(),
        at(0.99).as_micros(),
        at(0.999).as_micros(),
        at(1.0).as_micros()
    );
    at(0.999)
}

fn raw(dir: &Path, commits: usize) -> Vec<Duration> {
    const BYTES: u64 = 64 << 20;
    let file = File::create(dir.join("raw")).unwrap();
    for i in 0..BYTES >> 20 {
        file.write_all_at(&vec![0; 1 << 20], i << 20).unwrap();
    }
    file.sync_all().unwrap();
    let value = vec![7; VALUE_BYTES];
    (0..commits)
        .map(|n| {
            let start = Instant::now();
            let at = (n * VALUE_BYTES) as u64 % BYTES;
            file.write_all_at(&value, at).unwrap();
            rustix::fs::fdatasync(&file).unwrap();
            start.elapsed()
        })
        .collect()
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let rotations: usize =
        std::env::var("CAIRN_BENCH_ROTATIONS").map_or(1_000, |v| v.parse().unwrap());
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("CAIRN_BENCH_DIR is a directory that exists");
    let mut options = Options::default();
    options.segment_bytes = SEGMENT_BYTES;
    options.max_payload_bytes = 64 << 10;
    let (journal, _) = Journal::open(&dir.path().join("journal"), options).unwrap();
    let value: bytes::Bytes = vec![7; VALUE_BYTES].into();
    let (mut all, mut rotating, mut last) = (Vec::new(), Vec::new(), Sequence(0));
    while rotating.len() < rotations {
        let change = Change::set("/bench", value.clone());
        let record = NewRecord::changes(Revision(1), vec![change], Timestamp(0));
        let start = Instant::now();
        let sequence = journal.append_and_commit(record).unwrap();
        let took = start.elapsed();
        all.push(took);
        if sequence > last.next() {
            rotating.push(took);
        }
        last = sequence;
    }
    journal.close().unwrap();
    println!("| microseconds | commits | p50 | p99 | p99.9 | most |");
    println!("|---|---|---|---|---|---|");
    show(
        "write and fdatasync",
        &mut raw(dir.path(), all.len().min(100_000)),
    );
    show("all commits", &mut all);
    let worst = show("commits that rotate", &mut rotating);
    let p50 = all[all.len() / 2];
    println!(
        "\np99.9 of the commits that rotate is {:.1} times the p50 of all",
        worst.as_secs_f64() / p50.as_secs_f64()
    );
}
