//! The persister's process: arguments, logging, signals, exit status.

// They panic where the output is closed or full.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use cairn_persister::cluster::Address;
use cairn_persister::config::{self, Command, CommandLine, Config, ConfigCommand, LogFormat};
use cairn_persister::observe::report;
use cairn_persister::restore::Request;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

/// As shells report a process that an interrupt has ended.
const INTERRUPTED: i32 = 130;

/// The exit status for wrong usage, the same that the command line's parser has.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let file = match config::read_file(line.config.as_deref()) {
        Ok(file) => file,
        Err(error) => return fail(&error, USAGE),
    };
    let format = line.settings.log_format.or(file.log_format);
    match &line.command {
        Some(Command::Restore(args)) => {
            log(line.verbose, format.unwrap_or_default());
            match config::restore_request(&line, args, file) {
                Ok(request) => restore(&request, args.json).await,
                Err(error) => fail(&error, USAGE),
            }
        }
        &Some(Command::Status { json }) => {
            let address = config::cluster(&line.settings.or(file));
            report(look(&address, json).await)
        }
        Some(Command::Config(ConfigCommand::Check)) => match Config::new(line, file) {
            Ok(config) => answer(format_args!("{config:#?}\n")),
            Err(error) => fail(&error, USAGE),
        },
        None => {
            log(line.verbose, format.unwrap_or_default());
            match Config::new(line, file) {
                Ok(config) => persist(config).await,
                Err(error) => fail(&error, USAGE),
            }
        }
    }
}

async fn persist(config: Config) -> ExitCode {
    let cancel = CancellationToken::new();
    if let Err(error) = on_signal(cancel.clone()) {
        return fail(&error, 1);
    }
    // As a task of its own: what `main` awaits is woken through another thread, at every revision.
    let run = tokio::spawn(cairn_persister::run(config, cancel));
    match run.await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error, error.exit_status()),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

async fn restore(request: &Request, json: bool) -> ExitCode {
    let cancel = CancellationToken::new();
    if let Err(error) = on_signal(cancel.clone()) {
        return fail(&error, 1);
    }
    match cairn_persister::restore::run(request, &cancel).await {
        Ok(report) => {
            let printed = if json {
                print(format_args!("{}\n", report.json()))
            } else {
                print(format_args!("{report}"))
            };
            // The status tells what became of the cluster, whoever reads the report.
            if let Err(error) = printed {
                tell(format_args!(
                    "the restore has ended with status {}, but its report cannot be written to \
                     standard output: {error}",
                    report.status
                ));
            }
            ExitCode::from(report.status)
        }
        Err(error) => {
            let status = error.exit_status();
            if json {
                // The error is told on standard error, too.
                let _ = print(format_args!("{}\n", error_as_json(&error, status)));
            }
            fail(&error, status)
        }
    }
}

fn error_as_json(error: &impl std::fmt::Display, status: u8) -> String {
    serde_json::json!({"outcome": "failed", "status": status, "error": error.to_string()})
        .to_string()
}

async fn look(address: &Address, json: bool) -> Result<String> {
    let report = report::look(address).await?;
    if json {
        return Ok(format!("{}\n", serde_json::to_string(&report)?));
    }
    Ok(report.table())
}

fn report(result: Result<String>) -> ExitCode {
    match result {
        Ok(text) => answer(format_args!("{text}")),
        Err(error) => fail(&format!("{error:#}"), 1),
    }
}

/// Prints what was asked for and nothing else: a reader that has read enough is no error, an output
/// that takes no more is one.
fn answer(text: Arguments<'_>) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("cannot write to standard output: {error}"), 1),
    }
}

fn print(text: Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(text)?;
    out.flush()
}

fn tell(message: Arguments<'_>) {
    // Nothing is left to be done about a closed or full standard error.
    let _ = writeln!(io::stderr().lock(), "persister: {message}");
}

fn fail(error: &impl std::fmt::Display, status: u8) -> ExitCode {
    tell(format_args!("{error}"));
    ExitCode::from(status)
}

fn log(verbose: u8, format: LogFormat) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // A lost line is no reason to end: the layer would panic where it cannot print its errors.
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The first SIGTERM or SIGINT ends the persister in good order, a second one at once.
fn on_signal(cancel: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tracing::info!("ending: writing and publishing what was seen");
        cancel.cancel();
        next().await;
        tracing::warn!("ending at once; the journal keeps what is durable");
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}
