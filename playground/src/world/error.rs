//! Why something did not work, in a sentence for a person: what, where, what now.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::world::decide::Command;

/// The result of a step.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a step failed, or was not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A process could not be started.
    #[error("cannot start {name} ({program}): {cause}{}", hint(cause))]
    Start {
        /// The service.
        name: String,
        /// Its program.
        program: String,
        /// The system's reason.
        cause: io::Error,
    },
    /// A program is not on this computer.
    #[error("{program} is not installed: {hint}")]
    NotInstalled {
        /// Its name.
        program: String,
        /// How to install it.
        hint: &'static str,
    },
    /// A step took longer than it may.
    #[error("{name}: {step} took longer than {limit:?}{}", with_log(log))]
    TooSlow {
        /// The service.
        name: String,
        /// What was waited for.
        step: String,
        /// How long.
        limit: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// A service ended while it was to become ready.
    #[error("{name} ended ({status}) before it was ready{}", with_log(log))]
    EndedEarly {
        /// The service.
        name: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The machine does something else just now.
    #[error("{machine} is busy ({doing}); try again when that is over")]
    Busy {
        /// The machine.
        machine: String,
        /// What it does.
        doing: Command,
    },
    /// The command makes no sense now.
    #[error("cannot {command} {machine}: {why}")]
    Refused {
        /// The machine.
        machine: String,
        /// What was asked.
        command: Command,
        /// Why not.
        why: String,
    },
    /// A directory belongs to a program that runs.
    #[error("{path} is in use by another cairn{}; choose another directory", by(*pid))]
    DirectoryInUse {
        /// The directory.
        path: PathBuf,
        /// The other's process id, if it is known.
        pid: Option<u32>,
    },
    /// A directory that is not ours, or not only ours.
    #[error("{path} cannot be used: {why}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No ports.
    #[error(
        "no {wanted} free ports in a row between {low} and {high} on 127.0.0.1; end other clusters on this computer"
    )]
    NoPorts {
        /// How many were looked for.
        wanted: u16,
        /// From here.
        low: u16,
        /// To here.
        high: u16,
    },
    /// The system refused something.
    #[error("{doing}: {cause}{}", hint(cause))]
    Io {
        /// What was done, and to what.
        doing: String,
        /// The system's reason.
        cause: io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was done to which path.
    pub(super) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |cause| Self::Io { doing, cause }
    }
}

fn hint(cause: &io::Error) -> &'static str {
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    match cause.raw_os_error() {
        Some(code) if TOO_MANY_FILES.contains(&code) => "; raise the limit with: ulimit -n 4096",
        _ => "",
    }
}

fn with_log(log: &str) -> String {
    if log.is_empty() {
        return String::new();
    }
    format!("; the end of its log:\n{log}")
}

fn by(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}
