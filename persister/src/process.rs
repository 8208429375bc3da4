//! A persister as a process: its limits, its signals, and how it ends.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::observe::log;
use crate::run::end::End;
use crate::run::run;

/// As shells report a process that an interrupt has ended.
pub const INTERRUPTED: u8 = 130;

/// A defect.
const DEFECT: u8 = 1;

/// Persists until a signal asks for the end, or until going on is impossible; tells why on standard
/// error. Returns the exit status. `docs/operations.md` has the table.
///
/// Whatever is still under way then is of no use to anybody: the process should end at once.
pub async fn persist(config: Config) -> u8 {
    let end = Arc::new(End::new());
    if let Err(error) = on_signal(&end) {
        log::tell(format_args!("cannot listen to signals: {error}"));
        return DEFECT;
    }
    // As a task of its own: what `main` awaits is woken through another thread, at every revision.
    let running = tokio::spawn({
        let end = Arc::clone(&end);
        async move { run(config, &end).await }
    });
    let status = tokio::select! {
        ended = running => match ended {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => end.because(&error),
            Err(panic) => {
                log::tell(format_args!("{panic}"));
                DEFECT
            }
        },
        () = end.overdue() => {
            log::tell(format_args!(
                "the end takes too long (a disk or a cluster that hangs?): ending at once. The \
                 journal keeps what is durable"
            ));
            end.status().unwrap_or(INTERRUPTED)
        }
    };
    log::flush();
    status
}

/// The first SIGTERM, SIGINT or SIGHUP asks for the end, a second one ends the process at once.
///
/// # Errors
/// The system has no room for their handlers.
pub fn on_signal(end: &End) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let asked = end.asked().clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        };
        next().await;
        tracing::info!("ending: writing and publishing what was seen");
        asked.cancel();
        next().await;
        tracing::warn!("ending at once; the journal keeps what is durable");
        log::flush();
        std::process::exit(i32::from(INTERRUPTED));
    });
    Ok(())
}
