//! How long a durable commit takes, beside the disk itself and other logs, in one run and one
//! table.
//!
//! `cargo bench -p cairn-journal`; `CAIRN_BENCH_DIR` says on which disk, `CAIRN_BENCH_MS` how long
//! each cell runs, `CAIRN_BENCH_ONLY` which systems take part, `CAIRN_BENCH_SIZES` and
//! `CAIRN_BENCH_WRITERS` which cells. Every system acknowledges a commit only after a sync of its
//! own that covers it; `strace -f -c -e trace=fsync,fdatasync,pwritev2` around a run with one
//! system shows them (`pwritev2` with `RWF_DSYNC` is one: large groups of ours).

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Barrier, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timestamp};
use okaywal::{LogVoid, WriteAheadLog};
use raft_engine::{Config, Engine, LogBatch, ReadableSize};

/// Something that makes bytes durable.
trait Log: Sync {
    fn commit(&self, writer: usize, bytes: &bytes::Bytes);
    fn syncs(&self) -> Option<u64> {
        None
    }
}

/// The floor: one write and one fdatasync at a time into blocks that are allocated and written.
struct Raw(Mutex<(File, u64)>);

const RAW_BYTES: u64 = 256 << 20;

impl Raw {
    fn open(dir: &Path) -> Self {
        let file = File::create(dir.join("raw")).unwrap();
        let zeros = vec![0; 1 << 20];
        for i in 0..RAW_BYTES >> 20 {
            file.write_all_at(&zeros, i << 20).unwrap();
        }
        file.sync_all().unwrap();
        Self(Mutex::new((file, 0)))
    }
}

impl Log for Raw {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut at = self.0.lock().unwrap();
        if at.1 + bytes.len() as u64 > RAW_BYTES {
            at.1 = 0;
        }
        at.0.write_all_at(bytes, at.1).unwrap();
        rustix::fs::fdatasync(&at.0).unwrap();
        at.1 += bytes.len() as u64;
    }
}

/// What one writes without thinking: append and fdatasync.
struct Naive(Mutex<File>);

impl Log for Naive {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut file = self.0.lock().unwrap();
        file.write_all(bytes).unwrap();
        file.sync_data().unwrap();
    }
}

struct Cairn(Journal);

impl Log for Cairn {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        // One for all: revisions may not fall, and writers do not agree on an order.
        let revision = Revision(1);
        let change = Change::set("/bench", bytes.clone());
        let record = NewRecord::changes(revision, vec![change], Timestamp(0));
        self.0.append_and_commit(record).unwrap();
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.0.syncs())
    }
}

struct Okay(WriteAheadLog);

impl Log for Okay {
    fn commit(&self, _: usize, bytes: &bytes::Bytes) {
        let mut entry = self.0.begin_entry().unwrap();
        entry.write_chunk(bytes).unwrap();
        entry.commit().unwrap();
    }
}

struct Raft(Engine, AtomicI64);

impl Log for Raft {
    fn commit(&self, writer: usize, bytes: &bytes::Bytes) {
        // Few keys: its memory holds the values.
        let key = self.1.fetch_add(1, Ordering::Relaxed) % 16;
        let mut batch = LogBatch::default();
        batch
            .put(
                writer as u64 + 1,
                key.to_le_bytes().to_vec(),
                bytes.to_vec(),
            )
            .unwrap();
        self.0.write(&mut batch, true).unwrap();
    }
}

const SYSTEMS: [&str; 5] = ["raw", "naive", "cairn", "okaywal", "raft-engine"];

fn open(system: &str, dir: &Path) -> Box<dyn Log> {
    match system {
        "raw" => Box::new(Raw::open(dir)),
        "naive" => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(dir.join("naive"));
            Box::new(Naive(Mutex::new(file.unwrap())))
        }
        "cairn" => {
            let (journal, _) = Journal::open(dir, Options::default()).unwrap();
            Box::new(Cairn(journal))
        }
        "okaywal" => Box::new(Okay(WriteAheadLog::recover(dir, LogVoid).unwrap())),
        "raft-engine" => {
            let config = Config {
                dir: dir.to_str().unwrap().to_owned(),
                // The others do not compress either.
                batch_compression_threshold: ReadableSize(0),
                ..Config::default()
            };
            Box::new(Raft(Engine::open(config).unwrap(), AtomicI64::new(0)))
        }
        other => panic!("{other}"),
    }
}

struct Cell {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    syncs: Option<u64>,
    commits: usize,
}

fn measure(system: &str, dir: &Path, size: usize, writers: usize, run_for: Duration) -> Cell {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    let log = open(system, dir);
    // Not compressible, as values seldom are.
    let mut rng = fastrand::Rng::with_seed(1);
    let value: bytes::Bytes = (0..size).map(|_| rng.u8(..)).collect::<Vec<_>>().into();
    for _ in 0..20 {
        log.commit(0, &value);
    }
    let syncs_before = log.syncs();
    let stop = AtomicBool::new(false);
    let barrier = Barrier::new(writers + 1);
    let mut took: Vec<Duration> = Vec::new();
    let mut elapsed = Duration::ZERO;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|w| {
                let (log, stop, barrier, value) = (&*log, &stop, &barrier, &value);
                scope.spawn(move || {
                    let mut took = Vec::new();
                    barrier.wait();
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        log.commit(w, value);
                        took.push(start.elapsed());
                    }
                    took
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        std::thread::sleep(run_for);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            took.extend(thread.join().unwrap());
        }
        elapsed = start.elapsed();
    });
    let syncs = log.syncs().zip(syncs_before).map(|(a, b)| a - b);
    drop(log);
    let _ = fs::remove_dir_all(dir);
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    Cell {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        syncs,
        commits: took.len(),
    }
}

fn size_name(size: usize) -> String {
    match size {
        1_048_576 => "1 MiB".to_owned(),
        1024.. => format!("{} KiB", size / 1024),
        _ => format!("{size} B"),
    }
}

fn main() {
    // `cargo test --benches` only wants to know that this runs.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let run_for = Duration::from_millis(variable("CAIRN_BENCH_MS", "700").parse().unwrap());
    let only = variable("CAIRN_BENCH_ONLY", &SYSTEMS.join(","));
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let dir = base.join("cairn-bench");
    println!(
        "commits per second, p50, p99 in microseconds; {} ms per cell",
        run_for.as_millis()
    );
    println!();
    println!(
        "| size | writers | {} | cairn: records per sync | cairn / raw p50 | / naive | / okaywal | / raft-engine |",
        SYSTEMS.join(" | ")
    );
    println!(
        "|---|---|{}---|---|---|---|---|",
        "---|".repeat(SYSTEMS.len())
    );
    let mut ratios: Vec<f64> = Vec::new();
    let list = |name: &str, default: &str| -> Vec<usize> {
        variable(name, default)
            .split(',')
            .map(|n| n.parse().unwrap())
            .collect()
    };
    for size in list("CAIRN_BENCH_SIZES", "256,1024,4096,1048576") {
        for writers in list("CAIRN_BENCH_WRITERS", "1,4,16,64") {
            let cells: Vec<Option<Cell>> = SYSTEMS
                .iter()
                .map(|s| {
                    let takes_part = only.split(',').any(|o| o == *s);
                    takes_part.then(|| measure(s, &dir, size, writers, run_for))
                })
                .collect();
            let shown: Vec<String> = cells
                .iter()
                .map(|c| {
                    c.as_ref().map_or("-".to_owned(), |c| {
                        format!(
                            "{:.0}, {}, {}",
                            c.per_second,
                            c.p50.as_micros(),
                            c.p99.as_micros()
                        )
                    })
                })
                .collect();
            let ours = cells[2].as_ref();
            let per_sync = ours.and_then(|c| Some(c.commits as f64 / c.syncs? as f64));
            let against = |i: usize| Some(ours?.per_second / cells[i].as_ref()?.per_second);
            ratios.extend([3, 4].into_iter().filter_map(against));
            let p50 = ours.zip(cells[0].as_ref());
            let p50 = p50.map(|(o, r)| o.p50.as_secs_f64() / r.p50.as_secs_f64());
            let two = |n: Option<f64>| n.map_or("-".to_owned(), |n| format!("{n:.2}"));
            println!(
                "| {} | {writers} | {} | {} | {} | {} | {} | {} |",
                size_name(size),
                shown.join(" | "),
                two(per_sync),
                two(p50.filter(|_| writers == 1)),
                two(against(1)),
                two(against(3)),
                two(against(4)),
            );
        }
    }
    if !ratios.is_empty() {
        let mean = (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let worst = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!("\nagainst okaywal and raft-engine: geometric mean {mean:.2}, worst {worst:.2}");
    }
}
