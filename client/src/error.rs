//! Errors that answer what a caller asks: what failed, where, may it be tried again, did it happen?

use std::fmt;
use std::time::Duration;

use crate::glob::GlobError;
use crate::path::PathError;
use crate::revision::Revision;
use crate::uri::UriError;
use crate::wire::{ErrCode, Verb};

/// The result of a client's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. No variant ever holds a secret or a value.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server answered that it will not or cannot.
    #[error("{}: {code}{}", request(*verb, path), after_colon(detail))]
    Server {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob; empty if the verb has none.
        path: String,
        /// The server's reason.
        code: ErrorCode,
        /// The server's words, often empty.
        detail: String,
    },
    /// No answer within the deadline.
    #[error("{}: no answer within {after:?}{}", request(*verb, path), happened(*verb, *sent))]
    Timeout {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// The deadline.
        after: Duration,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// The connection ended before the answer came.
    #[error(
        "{}: connection to {address} lost: {cause}{}",
        request(*verb, path),
        happened(*verb, *sent)
    )]
    ConnectionLost {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// The server's address.
        address: String,
        /// How the connection ended.
        cause: String,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// No server could be reached; nothing was sent.
    #[error("cannot connect to {}", each_attempt(.attempts))]
    Connect {
        /// Each address that was tried, and why it failed.
        attempts: Vec<(String, String)>,
    },
    /// The server's answer makes no sense.
    #[error("{}: the server broke the protocol: {detail}", request(*verb, path))]
    Protocol {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// The reachable nodes belong to another cluster than the one that this client was bound to
    /// with [`Client::require`](crate::Client::require). Every later call fails with this error.
    #[error(
        "this is another cluster: {path} should be {expected:?} and is {}",
        or_missing(found)
    )]
    ClusterChanged {
        /// The file that tells.
        path: String,
        /// What it should hold.
        expected: String,
        /// What it holds; `None`: there is no such file.
        found: Option<String>,
    },
    /// The revision that the request waits for is of a history that is gone: the node that the
    /// client is connected to now has a lower revision than was seen before. The cluster was reset,
    /// or, in rare cases, the node lags far behind. Begin again with its newest one.
    #[error(
        "{}: {address} is at revision {newest}, and {seen} was seen before: the cluster was reset \
         and counts anew, or this node lags behind. Read everything again, and go on from there",
        request(*verb, path)
    )]
    WentBack {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// The node's address.
        address: String,
        /// Its newest revision.
        newest: Revision,
        /// The newest one that was seen before.
        seen: Revision,
    },
    /// The runtime on which the client was connected has gone.
    #[error("{}: the client is closed", request(*verb, path))]
    Closed {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
    },
    /// The path cannot be written to; the server was not asked.
    #[error(transparent)]
    InvalidPath(#[from] PathError),
    /// The glob cannot match; the server was not asked.
    #[error(transparent)]
    InvalidGlob(#[from] GlobError),
    /// The URI is not one.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The request is larger than a frame may be; the server was not asked.
    #[error("{}: request of {length} bytes is over the limit of {max} bytes", request(*verb, path))]
    TooLarge {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// Bytes of the request.
        length: usize,
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// The server's reason, also where the client knew it without asking.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::InvalidPath(_) => Some(ErrorCode::BadPath),
            Self::InvalidGlob(_) => Some(ErrorCode::Other),
            _ => None,
        }
    }

    /// Whether the same call may succeed later. For a write, ask [`Error::may_have_happened`]
    /// first: trying again may do it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::ConnectionLost { .. } | Self::Connect { .. } => true,
            Self::Server { code, .. } => {
                matches!(code, ErrorCode::ReadOnly | ErrorCode::TagInUse)
            }
            _ => false,
        }
    }

    /// Whether the call may have changed the cluster although it failed.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Timeout { verb, sent, .. } | Self::ConnectionLost { verb, sent, .. } => {
                *sent && is_write(*verb)
            }
            Self::Protocol { verb, .. } => is_write(*verb),
            _ => false,
        }
    }

    /// Whether a compare-and-set failed because the file is newer than the caller knew.
    #[must_use]
    pub fn is_rev_mismatch(&self) -> bool {
        self.code() == Some(ErrorCode::RevMismatch)
    }

    /// Whether the revision asked for is no longer in the server's history.
    #[must_use]
    pub fn is_too_late(&self) -> bool {
        self.code() == Some(ErrorCode::TooLate)
    }
}

/// Whether a verb changes the cluster.
pub(crate) fn is_write(verb: Verb) -> bool {
    matches!(verb, Verb::Set | Verb::Del | Verb::Nop)
}

fn request(verb: Verb, path: &str) -> String {
    let verb = match verb {
        Verb::Get => "GET",
        Verb::Set => "SET",
        Verb::Del => "DEL",
        Verb::Rev => "REV",
        Verb::Wait => "WAIT",
        Verb::Follow => "FOLLOW",
        Verb::Nop => "NOP",
        Verb::Walk => "WALK",
        Verb::Getdir => "GETDIR",
        Verb::Stat => "STAT",
        Verb::Self_ => "SELF",
        Verb::Access => "ACCESS with the secret (sk= of a URI)",
    };
    if path.is_empty() {
        verb.to_owned()
    } else {
        format!("{verb} {path}")
    }
}

fn or_missing(found: &Option<String>) -> String {
    found
        .as_ref()
        .map_or("missing".to_owned(), |found| format!("{found:?}"))
}

fn after_colon(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

fn happened(verb: Verb, sent: bool) -> &'static str {
    match (is_write(verb), sent) {
        (true, true) => "; it may have been done",
        (true, false) => "; it was not done",
        (false, _) => "",
    }
}

fn each_attempt(attempts: &[(String, String)]) -> String {
    let each: Vec<String> = attempts
        .iter()
        .map(|(address, cause)| format!("{address} ({cause})"))
        .collect();
    if each.is_empty() {
        "any address".to_owned()
    } else {
        each.join(", ")
    }
}

/// A server's reason for refusing a request.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Another request with this tag is still unanswered.
    TagInUse,
    /// The server does not know the verb.
    UnknownVerb,
    /// The node does not take writes.
    ReadOnly,
    /// The revision's history has been discarded.
    TooLate,
    /// The file's revision is newer than the one given.
    RevMismatch,
    /// The path has a character or a shape that is not allowed.
    BadPath,
    /// A required field is absent.
    MissingArg,
    /// The offset is beyond the listing.
    Range,
    /// A file stands where a directory is needed.
    NotDir,
    /// A directory stands where a file is needed.
    IsDir,
    /// There is no such directory.
    NoEnt,
    /// See the detail.
    Other,
    /// A number that this client does not know.
    Unknown(i32),
}

impl From<i32> for ErrorCode {
    fn from(number: i32) -> Self {
        match ErrCode::try_from(number) {
            Ok(ErrCode::TagInUse) => Self::TagInUse,
            Ok(ErrCode::UnknownVerb) => Self::UnknownVerb,
            Ok(ErrCode::Readonly) => Self::ReadOnly,
            Ok(ErrCode::TooLate) => Self::TooLate,
            Ok(ErrCode::RevMismatch) => Self::RevMismatch,
            Ok(ErrCode::BadPath) => Self::BadPath,
            Ok(ErrCode::MissingArg) => Self::MissingArg,
            Ok(ErrCode::Range) => Self::Range,
            Ok(ErrCode::Notdir) => Self::NotDir,
            Ok(ErrCode::Isdir) => Self::IsDir,
            Ok(ErrCode::Noent) => Self::NoEnt,
            Ok(ErrCode::Other) => Self::Other,
            Err(_) => Self::Unknown(number),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::TagInUse => "the tag is in use",
            Self::UnknownVerb => "the server does not know this verb",
            Self::ReadOnly => "the node does not take writes",
            Self::TooLate => "too late, the history of that revision was discarded",
            Self::RevMismatch => "revision mismatch, the file has changed since",
            Self::BadPath => "bad path",
            Self::MissingArg => "an argument is missing",
            Self::Range => "the offset is beyond the listing",
            Self::NotDir => "not a directory",
            Self::IsDir => "is a directory",
            Self::NoEnt => "no such directory",
            Self::Other => "refused",
            Self::Unknown(number) => return write!(f, "error code {number}"),
        };
        f.write_str(text)
    }
}
