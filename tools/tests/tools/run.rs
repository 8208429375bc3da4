//! Running a binary of this crate, and what there is to run it on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cairn_journal::{Error, Journal, Options};

pub(crate) const DUMP: &str = env!("CARGO_BIN_EXE_dumpjournal");
pub(crate) const DIFF: &str = env!("CARGO_BIN_EXE_diffjournal");
pub(crate) const WRITE: &str = env!("CARGO_BIN_EXE_writejournal");

/// A binary with nothing of the developer's environment that would change what it does.
pub(crate) fn command(binary: &str) -> Command {
    let mut command = Command::new(binary);
    for variable in [
        "DOOZER_URI",
        "DOOZER_BOOT_URI",
        "CAIRN_PERSIST",
        "CAIRN_REQUIRE",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Runs to the end with this on standard input.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A program may end without reading everything; and both pipes must move.
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Opens a journal, also one that was open a moment ago.
///
/// The story: now and then it was still locked. A process that another test has just forked has all
/// files that were open here, the lock among them, until its program runs.
pub(crate) fn open(dir: &Path, options: Options) -> Journal {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Journal::open(dir, options.clone()) {
            Err(Error::Locked { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened.unwrap().0,
        }
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs a binary with these arguments to the end.
pub(crate) fn with(binary: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = command(binary);
    command.args(arguments);
    run(command, input)
}

/// What it prints when it succeeds.
pub(crate) fn dumped(arguments: &[&str]) -> String {
    let output = with(DUMP, arguments, b"");
    assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// Every way of looking at a journal or a checkpoint that ends by itself.
pub(crate) const VIEWS: &[&[&str]] = &[
    &[],
    &["--json"],
    &["--raw"],
    &["--state"],
    &["--state", "--json"],
    &["--headers"],
    &["--headers", "--json"],
    &["--stats"],
    &["--check"],
];

/// The segments of a journal, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "seg"))
        .collect();
    segments.sort();
    segments
}
