//! What stands between this program and each of its children, so that none outlives it.
//!
//! Every child is started as `cairn __guard PARENT PROGRAM ARGS...`. The guard asks the kernel to
//! kill it when its parent dies, makes sure that the parent has not died before that, and then
//! becomes the program: the request survives the `exec`. It is lost where the program is setuid or
//! has file capabilities, and it does not reach what the program starts in turn.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The hidden subcommand.
pub const GUARD: &str = "__guard";

/// The exit status of a guard that could not become the program, as shells have it.
pub const CANNOT_START: u8 = 127;

/// Becomes the program that the arguments after [`GUARD`] name. Returns only to say why it cannot.
pub fn run(mut args: impl Iterator<Item = OsString>) -> String {
    let parent = args
        .next()
        .and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        return format!("usage: cairn {GUARD} PARENT PROGRAM [ARGS]");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot ask to die with the parent: {error}");
    }
    // A parent that died before the request is not told to us by the kernel: we are another's child
    // then.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return "the parent died before the start".to_owned();
    }
    let error = Command::new(&program).args(args).exec();
    format!("cannot start {}: {error}", program.display())
}
