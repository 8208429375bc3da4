//! The persister's command line: which command, and what it prints.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::{Arguments, Display};
use std::io::{self, Write as _};
use std::process::ExitCode;

use cairn_persister::End;
use cairn_persister::cluster::Address;
use cairn_persister::cluster::in_process::node::raise_limit;
use cairn_persister::config::{self, Command, CommandLine, Config, ConfigCommand, LogFormat};
use cairn_persister::error::Error;
use cairn_persister::import::ImportRequest;
use cairn_persister::observe::wait::{self, progress::WaitRequest};
use cairn_persister::observe::{escape, log, report};
use cairn_persister::process;
use cairn_persister::restore::{FileRequest, Request};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

/// The system's grows the heap of a thread by a page at a time, and the history of an embedded node
/// grows all the time.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit status for wrong usage, the same that the command line's parser has.
const USAGE: u8 = 2;

/// The exit status where a revision is not on enough disks in time.
const LATE: u8 = 31;

/// The exit status where the machine has no thread left to begin with.
const SHORTAGE: u8 = 23;

fn main() -> ExitCode {
    raise_limit();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let status = match runtime.enable_all().build() {
        Ok(runtime) => {
            let status = runtime.block_on(run());
            // Whatever hangs is left behind: the process ends.
            runtime.shutdown_background();
            status
        }
        Err(error) => fail(&format_args!("no threads to work with: {error}"), SHORTAGE),
    };
    log::flush();
    ExitCode::from(status)
}

async fn run() -> u8 {
    let line = CommandLine::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let file = match config::read_file(line.config.as_deref()) {
        Ok(file) => file,
        Err(error) => return fail(&error, USAGE),
    };
    let format = line.settings.log_format.or(file.log_format);
    match &line.command {
        Some(Command::Restore(args)) => {
            start_log(line.verbose, format.unwrap_or_default());
            match config::file_request(&line, args, &file) {
                Ok(Some(request)) => return to_snapshot(&request, args.json).await,
                Ok(None) => {}
                Err(error) => return fail(&error, USAGE),
            }
            match config::restore_request(&line, args, file) {
                Ok(request) => restore(&request, args.json).await,
                Err(error) => fail(&error, USAGE),
            }
        }
        Some(Command::Import(args)) => {
            start_log(line.verbose, format.unwrap_or_default());
            match config::import_request(&line, args, file) {
                Ok(request) => import(&request, args.json).await,
                Err(error) => fail(&error, USAGE),
            }
        }
        &Some(Command::Status { json }) => {
            let address = config::cluster(&line.settings.or(file));
            status(&address, json).await
        }
        Some(Command::Wait(args)) => {
            start_log(line.verbose, format.unwrap_or_default());
            match config::wait_request(&line, args, file) {
                Ok(request) => wait(&request, args.json).await,
                Err(error) => fail(&error, USAGE),
            }
        }
        &Some(Command::Config(ConfigCommand::Check { json })) => match Config::new(line, file) {
            Ok(config) if json => answer(format_args!("{}\n", config.to_json())),
            Ok(config) => answer(format_args!("{}", config.to_toml())),
            Err(error) => fail(&error, USAGE),
        },
        None => {
            start_log(line.verbose, format.unwrap_or_default());
            match Config::new(line, file) {
                Ok(config) => process::persist(config).await,
                Err(error) => fail(&error, USAGE),
            }
        }
    }
}

async fn restore(request: &Request, json: bool) -> u8 {
    let work = async |cancel: &_| cairn_persister::restore::run(request, cancel).await;
    report_of(work, |report| report.status, json).await
}

async fn to_snapshot(request: &FileRequest, json: bool) -> u8 {
    let work = async |cancel: &_| cairn_persister::restore::to_snapshot(request, cancel).await;
    report_of(work, |_| 0, json).await
}

async fn import(request: &ImportRequest, json: bool) -> u8 {
    let work = async |cancel: &_| cairn_persister::import::import(request, cancel).await;
    report_of(work, |_| 0, json).await
}

/// Does what a signal may end, and prints its report: as text, or as one line of JSON.
async fn report_of<R: Serialize + Display>(
    work: impl AsyncFnOnce(&CancellationToken) -> Result<R, Error>,
    status: impl FnOnce(&R) -> u8,
    json: bool,
) -> u8 {
    let end = End::new();
    if let Err(error) = process::on_signal(&end) {
        return fail(&format_args!("cannot listen to signals: {error}"), 1);
    }
    match work(end.asked()).await {
        Ok(report) if json => {
            let text = serde_json::to_string(&report);
            let text = text.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
            made(format_args!("{text}\n"), status(&report))
        }
        Ok(report) => made(format_args!("{report}"), status(&report)),
        Err(error) => failed(&error, json),
    }
}

/// Prints the report of a restore. The status tells what became of it, whoever reads the report.
fn made(report: Arguments<'_>, status: u8) -> u8 {
    if let Err(error) = print(report) {
        log::tell(format_args!(
            "the restore has ended with status {status}, but its report cannot be written to \
             standard output: {error}"
        ));
    }
    status
}

fn failed(error: &Error, json: bool) -> u8 {
    let status = error.exit_status();
    if json {
        // The error is told on standard error, too.
        let _ = print(format_args!("{}\n", error_as_json(error, status)));
    }
    fail(error, status)
}

fn error_as_json(error: &Error, status: u8) -> String {
    serde_json::json!({"outcome": "failed", "status": status, "error": error.to_string()})
        .to_string()
}

async fn status(address: &Address, json: bool) -> u8 {
    match report::look(address).await {
        Ok(report) if json => answer(format_args!("{}\n", report.json())),
        Ok(report) => answer(format_args!("{}", report.table())),
        Err(error) => fail(&error, error.exit_status()),
    }
}

async fn wait(request: &WaitRequest, json: bool) -> u8 {
    let progress = match wait::wait(request).await {
        Ok(progress) => progress,
        Err(error) => return failed(&error, json),
    };
    let status = if progress.is_durable() { 0 } else { LATE };
    if json {
        return answer(format_args!("{}\n", progress.json())).max(status);
    }
    match status {
        0 => answer(format_args!("{progress}\n")),
        late => fail(&progress, late),
    }
}

/// Prints what was asked for and nothing else: a reader that has read enough is no error, an output
/// that takes no more is one.
fn answer(text: Arguments<'_>) -> u8 {
    match print(text) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => fail(&format_args!("cannot write to standard output: {error}"), 1),
    }
}

fn print(text: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(escape::escaped_text(&text.to_string()).as_bytes())?;
    out.flush()
}

fn fail(error: &impl Display, status: u8) -> u8 {
    log::tell(format_args!("{error}"));
    status
}

fn start_log(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    log::start(level, format == LogFormat::Json);
}
