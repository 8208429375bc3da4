//! `doozer COMMAND`: a command-line client of a cluster.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use cairn_tools::commands::exit;
use cairn_tools::doozer::{failure, run};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let args = match exit::parse(failure::FAILED) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut runtime = Builder::new_multi_thread();
    if run::connections(&args) == 1 {
        // A connection is one thread's work: with another thread its parts would wake each other
        // from one to the other, which costs an eighth of the durable writes.
        runtime.worker_threads(1);
    }
    match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run::run(&args)),
        Err(error) => run::failed(&args, error.into()),
    }
}
