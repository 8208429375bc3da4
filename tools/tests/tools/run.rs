//! Running a binary of this crate.

use std::io::Write;
use std::process::{Command, Output, Stdio};

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
