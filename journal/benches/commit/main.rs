//! How long a durable commit takes, beside the disk itself and other logs, in one run and one
//! table: `just bench cairn-journal commit`, about six minutes.
//!
//! Every cell is measured in rounds. In a round each system has its turn, raw twice, as the first
//! and the last; every other round goes backwards. A figure is the median of the rounds, a ratio
//! the median of the ratios within each round, so that a machine that is faster now than then
//! counts for nothing. What the ratios are worth is told by those of raw against raw, which would
//! be 1.00 on a machine at rest: their mean distance from 1 is the *spread*. A cell is *ahead* of a
//! system if its ratio is at least 1 minus the spread.
//!
//! `CAIRN_BENCH_DIR` says on which disk, `CAIRN_BENCH_MS` how long each turn takes (700),
//! `CAIRN_BENCH_ROUNDS` how many rounds (5), `CAIRN_BENCH_ONLY` which systems take part
//! ("raw,cairn,okaywal,raft-engine"; there is also "naive"), `CAIRN_BENCH_SIZES` and
//! `CAIRN_BENCH_WRITERS` which cells. `strace -f -c -e trace=fsync,fdatasync,pwritev2` around a run
//! with one system shows its syncs (`pwritev2` with `RWF_DSYNC` is one: large groups of ours).

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod systems;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Barrier, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use systems::{Raw, System};

/// One system in one turn.
struct Turn {
    per_second: f64,
    /// In microseconds.
    p50: f64,
    p99: f64,
    records_per_sync: Option<f64>,
    /// Processor time of the whole process for each commit, in microseconds.
    processor: f64,
}

struct Bench {
    dir: PathBuf,
    raw: OnceLock<Raw>,
    run_for: Duration,
}

/// User and system time of this process so far.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn turn(bench: &Bench, system: System, size: usize, writers: usize) -> Turn {
    let _ = fs::remove_dir_all(&bench.dir);
    fs::create_dir_all(&bench.dir).unwrap();
    let log = system.open(&bench.dir, &bench.raw);
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
    let (mut elapsed, mut processor) = (Duration::ZERO, Duration::ZERO);
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
        let processor_before = processor_time();
        barrier.wait();
        let start = Instant::now();
        std::thread::sleep(bench.run_for);
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            took.extend(thread.join().unwrap());
        }
        elapsed = start.elapsed();
        processor = processor_time() - processor_before;
    });
    let syncs = log
        .syncs()
        .zip(syncs_before)
        .map(|(now, before)| now - before);
    drop(log);
    let _ = fs::remove_dir_all(&bench.dir);
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    Turn {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        records_per_sync: syncs.map(|syncs| took.len() as f64 / syncs as f64),
        processor: processor.as_secs_f64() * 1e6 / took.len() as f64,
    }
}

fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All rounds of one cell.
struct Cell {
    /// In each round: each system, and raw once more.
    rounds: Vec<(Vec<Turn>, Option<Turn>)>,
}

impl Cell {
    fn measure(
        bench: &Bench,
        systems: &[System],
        size: usize,
        writers: usize,
        rounds: u32,
    ) -> Self {
        let go = |system: System| turn(bench, system, size, writers);
        let round = |round: u32| {
            let again = systems.contains(&System::Raw);
            if round.is_multiple_of(2) {
                let turns = systems.iter().copied().map(go).collect();
                return (turns, again.then(|| go(System::Raw)));
            }
            let again = again.then(|| go(System::Raw));
            let mut turns: Vec<Turn> = systems.iter().rev().copied().map(go).collect();
            turns.reverse();
            (turns, again)
        };
        let rounds = (0..rounds).map(round).collect();
        Self { rounds }
    }

    fn median(&self, system: usize, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.rounds.iter().map(|(turns, _)| of(&turns[system])))
    }

    /// Commits per second of one system for each of another: the median of the rounds.
    fn ratio(&self, system: usize, other: usize) -> f64 {
        let ratio = |turns: &[Turn]| turns[system].per_second / turns[other].per_second;
        median(self.rounds.iter().map(|(turns, _)| ratio(turns)))
    }

    /// The mean distance from 1 of raw for each of raw.
    fn spread(&self, raw: usize) -> f64 {
        let distance = |(turns, again): &(Vec<Turn>, Option<Turn>)| {
            let again = again.as_ref().map_or(f64::NAN, |again| again.per_second);
            (turns[raw].per_second / again).ln().abs().exp() - 1.0
        };
        self.rounds.iter().map(distance).sum::<f64>() / self.rounds.len() as f64
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
    let list = |name: &str, default: &str| -> Vec<usize> {
        let numbers = variable(name, default);
        numbers.split(',').map(|n| n.parse().unwrap()).collect()
    };
    let run_for = Duration::from_millis(variable("CAIRN_BENCH_MS", "700").parse().unwrap());
    let rounds = variable("CAIRN_BENCH_ROUNDS", "5").parse().unwrap();
    let only = variable("CAIRN_BENCH_ONLY", "raw,cairn,okaywal,raft-engine");
    let takes_part = |system: &System| only.split(',').any(|name| name == system.to_string());
    let systems: Vec<System> = System::ALL.into_iter().filter(takes_part).collect();
    let index = |system: System| systems.iter().position(|s| *s == system);
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let base = tempfile::tempdir_in(base).expect("CAIRN_BENCH_DIR is a directory that exists");
    let bench = Bench {
        dir: base.path().join("log"),
        raw: OnceLock::new(),
        run_for,
    };
    println!(
        "Commits per second (p50, p99 in microseconds; processor time of one in microseconds); \
         medians of {rounds} rounds, {} ms for each turn\n",
        run_for.as_millis()
    );
    let against: Vec<(usize, System)> = [System::Naive, System::Okaywal, System::RaftEngine]
        .into_iter()
        .filter_map(|system| Some((index(system)?, system)))
        .collect();
    let names = |prefix: &str, of: &mut dyn Iterator<Item = System>| -> String {
        of.map(|system| format!(" {prefix}{system} |")).collect()
    };
    println!(
        "| size | writers |{} cairn: records per sync | raw / raw: spread |{}",
        names("", &mut systems.iter().copied()),
        names("cairn / ", &mut against.iter().map(|(_, system)| *system)),
    );
    println!("|{}", "---|".repeat(4 + systems.len() + against.len()));
    let mut judged: Vec<(f64, f64, String)> = Vec::new();
    for size in list("CAIRN_BENCH_SIZES", "256,1024,4096,1048576") {
        for writers in list("CAIRN_BENCH_WRITERS", "1,4,16,64") {
            let cell = Cell::measure(&bench, &systems, size, writers, rounds);
            let name = format!("{} | {writers}", size_name(size));
            print!("| {name} |");
            for system in 0..systems.len() {
                let of = |of: fn(&Turn) -> f64| cell.median(system, of);
                let (p50, p99) = (of(|turn| turn.p50), of(|turn| turn.p99));
                let (speed, processor) = (of(|turn| turn.per_second), of(|turn| turn.processor));
                print!(" {speed:.0} ({p50:.0}, {p99:.0}; {processor:.0}) |");
            }
            let per_sync = |turn: &Turn| turn.records_per_sync.unwrap_or(f64::NAN);
            let per_sync =
                index(System::Cairn).map_or(f64::NAN, |ours| cell.median(ours, per_sync));
            let spread = index(System::Raw).map_or(f64::NAN, |raw| cell.spread(raw));
            print!(" {per_sync:.2} | {spread:.2} |");
            for (other, system) in &against {
                let ratio = index(System::Cairn).map_or(f64::NAN, |ours| cell.ratio(ours, *other));
                print!(" {ratio:.2} |");
                if *system != System::Naive && ratio.is_finite() {
                    judged.push((ratio, spread, format!("{name}, {system}")));
                }
            }
            println!();
        }
    }
    let Some((worst, _, worst_name)) = judged.iter().min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return;
    };
    let mean = judged.iter().map(|(ratio, ..)| ratio.ln()).sum::<f64>() / judged.len() as f64;
    println!(
        "\nGeometric mean against okaywal and raft-engine {:.2}, worst {worst:.2} ({worst_name}).",
        mean.exp()
    );
    for (ratio, spread, name) in &judged {
        if ratio + spread < 1.0 {
            println!("Not ahead: {name}: {ratio:.2}, spread {spread:.2}.");
        }
    }
}
