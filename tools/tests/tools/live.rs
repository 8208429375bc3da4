//! Looking into a journal while another process writes it, makes checkpoints and retires history:
//! no view ever fails, nothing is printed twice or out of order, and what is left out is told.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cairn_journal::{Change, NewRecord, Options, Retention, Revision, Timestamp};
use tempfile::TempDir;

use crate::run::{DUMP, VIEWS, code, command, open, stderr, stdout, with};

const WRITER: &str = "CAIRN_TOOLS_WRITER_DIR";

/// How many looks at the live journal; `CAIRN_LOOKS` asks for more.
fn looks() -> usize {
    std::env::var("CAIRN_LOOKS").map_or(90, |v| v.parse().unwrap())
}

/// Not a test: the process that writes until it is killed.
#[test]
fn writer() {
    let Ok(dir) = std::env::var(WRITER) else {
        return;
    };
    let mut options = Options::default();
    options.max_payload_bytes = 8 << 10;
    options.segment_bytes = 64 << 10;
    let journal = open(Path::new(&dir), options);
    let retention = Retention {
        age: None,
        bytes: Some(200 << 10),
    };
    for n in 1.. {
        let change = Change::set(format!("/key/{}", n % 100), vec![b'x'; 2_000]);
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
        journal.append_and_commit(record).unwrap();
        if n % 100 == 0 {
            journal.checkpoint().unwrap();
            journal.retire(&retention).unwrap();
        }
    }
}

struct Writer(Child);

impl Writer {
    fn start(dir: &Path) -> Self {
        let mut command = command(std::env::current_exe().unwrap().to_str().unwrap());
        command
            .args(["live::writer", "--exact", "--test-threads=1"])
            .env(WRITER, dir)
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn revisions(text: &str) -> impl Iterator<Item = i64> {
    text.lines()
        .map(|line| line.split(':').next().unwrap().parse().unwrap())
}

#[test]
fn every_view_of_a_journal_that_is_retired_underneath() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().to_str().unwrap();
    let writer = Writer::start(dir.path());
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_retired = || {
        let stats = with(DUMP, &["--stats", path], b"");
        stdout(&stats).contains(" is gone")
    };
    while !is_retired() {
        assert!(Instant::now() < deadline, "nothing is ever retired");
        std::thread::yield_now();
    }
    let (mut newest, mut skips) = (0, 0);
    for n in 0..looks() {
        let view = VIEWS[n % VIEWS.len()];
        let output = with(DUMP, &[view, &[path]].concat(), b"");
        let told = stderr(&output);
        // A write under way looks like a torn tail.
        let is_fine = code(&output) == 0 || view.contains(&"--check") && code(&output) == 1;
        assert!(is_fine, "{view:?}: {told}");
        let skipped = told.matches("retention was faster").count();
        skips += skipped;
        if view.is_empty() {
            let all: Vec<_> = revisions(&stdout(&output)).collect();
            let jumps = all.windows(2).filter(|pair| pair[1] != pair[0] + 1);
            assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(jumps.count() <= skipped, "{told}");
            let last = *all.last().unwrap();
            assert!(last >= newest, "{last} after {newest}: {told}");
            newest = last;
        }
    }
    drop(writer);
    println!(
        "{} looks, up to revision {newest}, {skips} times overtaken by retention",
        looks()
    );
}

/// A reader that is stopped in the middle, until all that it was about to read has been removed.
#[test]
fn a_reader_that_is_overtaken_goes_on_and_says_so() {
    use std::io::Read as _;
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.max_payload_bytes = 64 << 10;
    options.segment_bytes = 256 << 10;
    let journal = open(dir.path(), options);
    let append = |n: i64| {
        let change = Change::set("/key", vec![b'x'; 50_000]);
        let record = NewRecord::changes(Revision(n), vec![change], Timestamp(n));
        journal.append_and_commit(record).unwrap();
    };
    let append_more = |count: i64| {
        let last = journal.end().revision.0;
        (last + 1..=last + count).for_each(append);
    };
    for view in [&[][..], &["--json"]] {
        append_more(100);
        let mut child = command(DUMP)
            .args(view)
            .arg(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        // It has begun, and cannot go on before we read: the pipe and two chunks hold less than
        // all.
        let mut begin = [0; 1];
        out.read_exact(&mut begin).unwrap();
        journal.checkpoint().unwrap();
        // What retention keeps begins behind the checkpoint.
        append_more(10);
        let retention = Retention {
            age: None,
            bytes: Some(0),
        };
        assert!(journal.retire(&retention).unwrap().segments.len() > 10);
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = stderr(&output);
        assert_eq!(code(&output), 0, "{told}");
        // Once, or more often: the reader may go on while the removal is still under way.
        assert!(
            told.contains("retention was faster: it removed sequences"),
            "{told}"
        );
        assert!(rest.ends_with(b"\n"));
    }
}

/// A tail is followed through rotations and retirements for as long as somebody reads it.
#[test]
fn a_tail_is_followed_while_history_is_retired() {
    use std::io::{BufRead as _, BufReader};
    let dir = TempDir::new().unwrap();
    let writer = Writer::start(dir.path());
    let deadline = Instant::now() + Duration::from_secs(60);
    while code(&with(DUMP, &["--check", dir.path().to_str().unwrap()], b"")) > 1 {
        assert!(Instant::now() < deadline, "there is never a journal");
        std::thread::yield_now();
    }
    let mut child = command(DUMP)
        .args(["--follow", "--prefix", "/key/7"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut jumps = 0;
    for line in lines.take(looks() / 9) {
        let line = line.unwrap();
        let (revision, rest) = line.split_once(':').unwrap();
        let revision: i64 = revision.parse().unwrap();
        assert!(rest.starts_with("/key/7=xxx"));
        assert!(
            last < revision && revision % 100 == 7,
            "{revision} after {last}"
        );
        jumps += usize::from(last > 0 && revision != last + 100);
        last = revision;
    }
    drop(writer);
    let output = child.wait_with_output().unwrap();
    let told = stderr(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(
        jumps <= told.matches("retention was faster").count(),
        "{told}"
    );
    println!("followed up to revision {last}, {jumps} times overtaken by retention");
}
