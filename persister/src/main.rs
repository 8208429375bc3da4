//! The persister's process: arguments, logging, signals, exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use cairn_persister::args::Args;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

/// As shells report a process that an interrupt has ended.
const INTERRUPTED: i32 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(args.log_level()))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let cancel = CancellationToken::new();
    if let Err(error) = on_signal(cancel.clone()) {
        eprintln!("persister: cannot listen for signals: {error}");
        return ExitCode::FAILURE;
    }
    match cairn_persister::run(args.into_config(), cancel).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("persister: {error}");
            ExitCode::from(error.exit_status())
        }
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
