//! How fast `dumpjournal` prints a journal, beside `cat` printing the same text: to a file, to a
//! pipe and to nowhere.
//!
//! `cargo bench -p cairn-tools --bench dump`; `CAIRN_DUMP_MIB` says how much text (1024),
//! `CAIRN_DUMP_VALUES` of which values in bytes ("200,1024,4096"), `CAIRN_BENCH_DIR` on which disk.
//! Everything is in the page cache; of three runs the fastest counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timestamp};

const DUMP: &str = env!("CARGO_BIN_EXE_dumpjournal");
const RUNS: usize = 3;

/// So many bytes of text in one-change records: what a configuration store holds.
fn journal(dir: &Path, mib: u64, value_bytes: usize) {
    let (journal, _) = Journal::open(dir, Options::default()).unwrap();
    let text: String = (0..)
        .map(|n: u32| format!("server-{n}.example.org:8046, weight={n}; "))
        .take(value_bytes / 20 + 1)
        .collect();
    let value = bytes::Bytes::from(text[..value_bytes].to_owned());
    let mut sequence = cairn_journal::Sequence(0);
    let records = (mib << 20) / (value_bytes as u64 + 40);
    for n in 1..=i64::try_from(records).unwrap() {
        let change = Change::set(
            format!("/app/service-{:05}/setting", n % 50_000),
            value.clone(),
        );
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
        sequence = journal.append(record).unwrap();
    }
    journal.commit(sequence).unwrap();
    journal.close().unwrap();
}

#[derive(Clone, Copy, Debug)]
enum To {
    File,
    Pipe,
    Nowhere,
}

/// Runs a command with its output going there.
fn run(mut command: Command, to: To, scratch: &Path) -> Duration {
    let _ = fs::remove_file(scratch);
    let mut reader = None;
    let output = match to {
        To::File => Stdio::from(File::create(scratch).unwrap()),
        To::Nowhere => {
            // `cat` would see that it is /dev/null and is asked for nothing else.
            Stdio::from(File::options().write(true).open("/dev/null").unwrap())
        }
        To::Pipe => Stdio::piped(),
    };
    let start = Instant::now();
    let mut child = command.stdout(output).spawn().unwrap();
    if let Some(out) = child.stdout.take() {
        reader = Some(
            Command::new("cat")
                .stdin(out)
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
    }
    assert!(child.wait().unwrap().success());
    if let Some(mut reader) = reader {
        assert!(reader.wait().unwrap().success());
    }
    start.elapsed()
}

fn fastest(make: impl Fn() -> Command, to: To, scratch: &Path) -> Duration {
    let runs = (0..RUNS).map(|_| run(make(), to, scratch));
    runs.min().unwrap()
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    let base = std::env::var("CAIRN_BENCH_DIR").map_or(here.path().to_owned(), PathBuf::from);
    let mib = std::env::var("CAIRN_DUMP_MIB").map_or(1024, |v| v.parse().unwrap());
    let values = std::env::var("CAIRN_DUMP_VALUES").unwrap_or("200,1024,4096".to_owned());
    println!("| values | to | dumpjournal | cat | ratio |\n|---|---|---|---|---|");
    for value_bytes in values.split(',').map(|v| v.parse().unwrap()) {
        let dir = base.join("journal");
        let _ = fs::remove_dir_all(&dir);
        journal(&dir, mib, value_bytes);
        let (text, scratch) = (base.join("text"), base.join("scratch"));
        let dump = || {
            let mut command = Command::new(DUMP);
            command.arg(&dir);
            command
        };
        run(dump(), To::File, &text);
        File::open(&text).unwrap().sync_all().unwrap();
        let bytes = fs::metadata(&text).unwrap().len();
        let cat = || {
            let mut command = Command::new("cat");
            command.arg(&text);
            command
        };
        for to in [To::File, To::Pipe, To::Nowhere] {
            let (a, b) = (fastest(dump, to, &scratch), fastest(cat, to, &scratch));
            let speed = |d: Duration| bytes as f64 / d.as_secs_f64() / 1e6;
            println!(
                "| {value_bytes} B | {to:?} | {:.2} s, {:.0} MB/s | {:.2} s, {:.0} MB/s | {:.2} |",
                a.as_secs_f64(),
                speed(a),
                b.as_secs_f64(),
                speed(b),
                a.as_secs_f64() / b.as_secs_f64()
            );
        }
        for path in [&text, &scratch] {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir_all(&dir);
    }
}
