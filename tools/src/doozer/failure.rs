//! Why a `doozer` command fails, its exit code, and its message.

use std::io::{self, Write};
use std::time::Duration;

use cairn_client::Revision;
use cairn_sync_client::Error;

use crate::doozer::output::error_object;

/// The file has changed since the revision that was given.
pub const REV_MISMATCH: u8 = 1;
/// Anything else that is not success, a wrong command line included.
pub const FAILED: u8 = 2;

/// Why the command did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The cluster, or the way to it.
    #[error(transparent)]
    Cluster(#[from] Error),
    /// There is no such file.
    #[error("{0}: no such file")]
    Missing(String),
    /// Nothing happened in time.
    #[error("wait {glob}: nothing changed within {after:?}")]
    Nothing {
        /// What was waited for.
        glob: String,
        /// How long.
        after: Duration,
    },
    /// A revision that is read at did not come in time.
    #[error("{path}: revision {rev} did not come within {after:?}")]
    NotYet {
        /// What was to be read.
        path: String,
        /// The revision.
        rev: Revision,
        /// How long it had.
        after: Duration,
    },
    /// `bench` was told to end, and has removed its files.
    #[error("interrupted; the files of this run were removed")]
    Interrupted,
    /// `bench` could not remove its files.
    #[error("cannot remove {files} files of this run below {directory}: {error}")]
    Left {
        /// Where they are.
        directory: String,
        /// How many there were.
        files: usize,
        /// Why.
        error: cairn_client::Error,
    },
    /// The body could not be read.
    #[error("cannot read the body from standard input: {0}")]
    Input(#[source] io::Error),
    /// The result could not be printed.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

impl From<cairn_client::Error> for Failure {
    fn from(error: cairn_client::Error) -> Self {
        Self::Cluster(error.into())
    }
}

impl Failure {
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Cluster(error) if error.is_rev_mismatch() => REV_MISMATCH,
            _ => FAILED,
        }
    }

    pub(super) fn tell(&self, json: bool) {
        // Nothing is left to be done about a closed standard error.
        let _ = match (json, self) {
            (false, _) => writeln!(io::stderr().lock(), "doozer: {self}"),
            (true, Self::Cluster(error)) => {
                writeln!(io::stderr().lock(), "{}", error_object(error))
            }
            (true, _) => {
                let object = serde_json::json!({ "error": self.to_string() });
                writeln!(io::stderr().lock(), "{object}")
            }
        };
    }
}
