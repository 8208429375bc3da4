//! How fast a checkpoint is made, beside plainly reading what it is made of and writing what it
//! becomes, and in how much memory; how fast a state is told from it.
//!
//! `just bench cairn-journal checkpoint`; `CAIRN_BENCH_KEYS` says how many keys
//! ("250000,1000000"), `CAIRN_BENCH_DIR` on which disk. Values have 200 bytes; a fifth of the keys
//! changes between the two checkpoints. Everything read is in the page cache.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cairn_journal::{
    Change, Journal, NewRecord, Options, Revision, Sequence, Timestamp, maintain::CheckpointReport,
};

const VALUE_BYTES: usize = 200;

fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("RssAnon")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// How long it took, and how much memory it took at the most.
fn measured<T>(work: impl FnOnce() -> T) -> (T, Duration, u64) {
    let before = anonymous_bytes();
    let (peak, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let (result, took) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        done.store(true, Ordering::Relaxed);
        (result, took)
    });
    (result, took, peak.into_inner() - before)
}

/// The same bytes through plain files: reads the inputs, writes and syncs as much as the checkpoint
/// has, and reads that back.
fn plain(inputs: &[PathBuf], output_bytes: u64, scratch: &Path) -> Duration {
    let mut buffer = vec![0; 1 << 20];
    let start = Instant::now();
    for path in inputs {
        let mut file = File::open(path).unwrap();
        while file.read(&mut buffer).unwrap() > 0 {}
    }
    let mut file = File::create(scratch).unwrap();
    let mut left = output_bytes;
    while left > 0 {
        let some = buffer.len().min(usize::try_from(left).unwrap());
        file.write_all(&buffer[..some]).unwrap();
        left -= some as u64;
    }
    file.sync_all().unwrap();
    let mut file = File::open(scratch).unwrap();
    while file.read(&mut buffer).unwrap() > 0 {}
    let took = start.elapsed();
    fs::remove_file(scratch).unwrap();
    took
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = all
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

fn bytes_of(paths: &[PathBuf]) -> u64 {
    paths.iter().map(|p| fs::metadata(p).unwrap().len()).sum()
}

fn report(
    what: &str,
    read: u64,
    made: &CheckpointReport,
    took: Duration,
    memory: u64,
    plain: Duration,
) {
    let newest = made.newest.as_ref().unwrap();
    let bytes = read + newest.file_bytes();
    println!(
        "| {what} | {} | {} + {} MiB | {:.2} s, {:.0} MiB/s | {:.2} s | {:.2} | {} runs, {} MiB in buffers, {} MiB in all |",
        newest.len(),
        read >> 20,
        newest.file_bytes() >> 20,
        took.as_secs_f64(),
        bytes as f64 / took.as_secs_f64() / f64::from(1 << 20),
        plain.as_secs_f64(),
        plain.as_secs_f64() / took.as_secs_f64(),
        made.runs,
        made.peak_buffer_bytes >> 20,
        memory >> 20,
    );
}

/// Brings the files into the page cache: what was written in large groups is not there.
fn warm(paths: &[PathBuf]) {
    for path in paths {
        std::io::copy(&mut File::open(path).unwrap(), &mut std::io::sink()).unwrap();
    }
}

/// Prints the lines of the first table, and returns those of the second.
fn run(dir: &Path, keys: u64) -> Vec<String> {
    let mut options = Options::default();
    options.idle_watermark = None;
    let (journal, _) = Journal::open(dir, options).unwrap();
    let (mut revision, mut sequence) = (0, Sequence(0));
    let mut set = |key: u64| {
        revision += 1;
        // In no order, as keys change.
        let path = format!("/key/{:016x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let value = vec![u8::try_from(key % 251).unwrap(); VALUE_BYTES];
        let record = NewRecord::changes(
            Revision(revision),
            vec![Change::set(path, value)],
            Timestamp(revision),
        );
        sequence = journal.append(record).unwrap();
        sequence
    };
    let scratch = dir.join("scratch");
    let last = (0..keys).map(&mut set).last().unwrap();
    journal.commit(last).unwrap();
    let inputs = files(dir, "seg");
    warm(&inputs);
    let (made, took, memory) = measured(|| journal.checkpoint().unwrap());
    let output = made.newest.as_ref().unwrap().file_bytes();
    let beside = plain(&inputs, output, &scratch);
    report(
        "of segments",
        bytes_of(&inputs),
        &made,
        took,
        memory,
        beside,
    );

    let known = inputs.len();
    let last = (0..keys / 5).map(|n| set(n * 5)).last().unwrap();
    journal.commit(last).unwrap();
    let mut inputs = files(dir, "ckpt");
    inputs.extend(files(dir, "seg").into_iter().skip(known - 1));
    warm(&inputs);
    let (made, took, memory) = measured(|| journal.checkpoint().unwrap());
    let output = made.newest.as_ref().unwrap().file_bytes();
    let beside = plain(&inputs, output, &scratch);
    report(
        "merged with the one before",
        bytes_of(&inputs),
        &made,
        took,
        memory,
        beside,
    );

    let reader = journal.reader().unwrap();
    let newest = made.newest.unwrap();
    let (_, took, _) = measured(|| newest.verify().unwrap());
    let mut lines = vec![format!(
        "| read and verified | {} | {:.2} s, {:.0} MiB/s | - |",
        newest.len(),
        took.as_secs_f64(),
        output as f64 / took.as_secs_f64() / f64::from(1 << 20)
    )];
    let middle = Revision(newest.revision().0 - i64::try_from(keys / 10).unwrap());
    for (what, at) in [
        ("newest state", None),
        ("state in the middle", Some(middle)),
    ] {
        let (told, took, memory) = measured(|| reader.state(at).unwrap());
        lines.push(format!(
            "| {what} | {} | {:.2} s | {} MiB |",
            told.files.len(),
            took.as_secs_f64(),
            memory >> 20
        ));
    }
    lines
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let sizes = std::env::var("CAIRN_BENCH_KEYS").unwrap_or("250000,1000000".to_owned());
    println!(
        "| checkpoint | keys | read + written | took | plain | ratio | memory |\n|---|---|---|---|---|---|---|"
    );
    let mut lines = Vec::new();
    for keys in sizes.split(',').map(|keys| keys.parse().unwrap()) {
        let dir = tempfile::tempdir_in(&base).expect("CAIRN_BENCH_DIR is a directory that exists");
        lines.extend(run(dir.path(), keys));
    }
    println!("\n| read | keys | took | memory |\n|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
}
