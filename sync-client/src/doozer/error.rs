//! Errors of the sync client: the regular client's under their own names, and what only this one
//! can say.
//!
//! A write has three outcomes, and they are never confused. `Ok`: durable. [`Error::Unconfirmed`]:
//! applied, and not known to be durable. Every other error: not applied, unless
//! [`Error::may_have_happened`] says that nobody can tell.
//!
//! The variants of [`cairn_client::Error`] are declared here again rather than wrapped, so that
//! code which matches on them compiles against either client.

use std::fmt;
use std::time::Duration;

use cairn_client::Error as Regular;
use cairn_client::glob::GlobError;
use cairn_client::path::PathError;
use cairn_client::uri::UriError;
use cairn_client::wire::Verb;
use cairn_client::{ErrorCode, Revision};

use crate::core::behind::{Behind, confirmed};
use crate::core::durability::DurabilityError;

/// The result of a client's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed: the variants of [`cairn_client::Error`], field by field, and
/// [`Unconfirmed`](Error::Unconfirmed), and [`Durability`](Error::Durability) for what is refused
/// before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The server answered that it will not or cannot.
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
    Connect {
        /// Each address that was tried, and why it failed.
        attempts: Vec<(String, String)>,
    },
    /// The server's answer makes no sense.
    Protocol {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// The nodes that can be reached are not those of the cluster that this client was bound to
    /// with [`Client::require`](crate::Client::require). Every later call fails in the same way.
    ClusterChanged {
        /// The file that tells.
        path: String,
        /// What it should hold.
        expected: String,
        /// What it holds; `None`: there is no such file.
        found: Option<String>,
    },
    /// The runtime on which the client was connected has gone.
    Closed {
        /// What was asked.
        verb: Verb,
        /// Of which path or glob.
        path: String,
    },
    /// The path cannot be written to; the server was not asked.
    InvalidPath(PathError),
    /// The glob cannot match; the server was not asked.
    InvalidGlob(GlobError),
    /// The URI is not one.
    Uri(UriError),
    /// The request is larger than a frame may be; the server was not asked.
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
    /// A kind of error that the regular client has learned since and this file has not.
    #[doc(hidden)]
    Later(Regular),
    /// The write was applied, and every reader of the cluster sees it; but fewer persisters than
    /// required have said in time that it is on disk. It may have become durable, or still become
    /// so: [`Client::wait_durable`](crate::Client::wait_durable) waits for longer.
    Unconfirmed {
        /// The revision of the write; see `exact`.
        revision: Revision,
        /// Whether `revision` is the write's own. If not, the write is a delete whose revision
        /// could not be found out: it was applied after `revision`.
        exact: bool,
        /// The persisters that have it on disk.
        confirmed_by: Vec<u32>,
        /// The persisters that were waited for and have not said so, and whether they live.
        behind: Vec<Behind<Revision>>,
        /// How long they were waited for.
        waited: Duration,
    },
    /// Nothing could ever confirm that: an impossible policy, or a write into the cluster's own
    /// subtree. Nothing was sent.
    Durability(DurabilityError),
}

/// Moves an error between the two enums. One list for both directions, so that they cannot differ.
macro_rules! renamed {
    ($error:expr, $from:ident => $to:ident, $($rest:tt)*) => {
        match $error {
            $from::Server { verb, path, code, detail } => $to::Server { verb, path, code, detail },
            $from::Timeout { verb, path, after, sent } => $to::Timeout { verb, path, after, sent },
            $from::ConnectionLost { verb, path, address, cause, sent } => {
                $to::ConnectionLost { verb, path, address, cause, sent }
            }
            $from::Connect { attempts } => $to::Connect { attempts },
            $from::Protocol { verb, path, detail } => $to::Protocol { verb, path, detail },
            $from::ClusterChanged { path, expected, found } => {
                $to::ClusterChanged { path, expected, found }
            }
            $from::Closed { verb, path } => $to::Closed { verb, path },
            $from::InvalidPath(error) => $to::InvalidPath(error),
            $from::InvalidGlob(error) => $to::InvalidGlob(error),
            $from::Uri(error) => $to::Uri(error),
            $from::TooLarge { verb, path, length, max } => {
                $to::TooLarge { verb, path, length, max }
            }
            $($rest)*
        }
    };
}

impl From<Regular> for Error {
    fn from(error: Regular) -> Self {
        renamed!(error, Regular => Self, later => Self::Later(later))
    }
}

impl From<DurabilityError> for Error {
    fn from(error: DurabilityError) -> Self {
        Self::Durability(error)
    }
}

macro_rules! from_parts {
    ($($part:ty),*) => {$(
        impl From<$part> for Error {
            fn from(error: $part) -> Self {
                Regular::from(error).into()
            }
        }
    )*};
}
from_parts!(PathError, GlobError, UriError);

impl Error {
    /// The regular client's error; `None` for the kinds that only this client has.
    #[must_use]
    pub fn regular(&self) -> Option<Regular> {
        let error = self.clone();
        Some(renamed!(
            error, Self => Regular,
            Self::Later(later) => later,
            Self::Unconfirmed { .. } | Self::Durability(_) => return None,
        ))
    }

    /// The server's reason, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.regular()?.code()
    }

    /// Whether the same call may succeed later. For a write, ask [`Error::may_have_happened`]
    /// first: trying again may do it twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.regular().is_some_and(|error| error.is_retryable())
    }

    /// Whether the call may have changed the cluster although it failed. An unconfirmed write
    /// certainly has.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.is_unconfirmed()
            || self
                .regular()
                .is_some_and(|error| error.may_have_happened())
    }

    /// Whether the write was applied but is not known to be durable.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Unconfirmed { .. })
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

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconfirmed {
                revision,
                exact,
                confirmed_by,
                behind,
                waited,
            } => {
                let at = if *exact { "at" } else { "after" };
                write!(
                    f,
                    "applied {at} revision {revision}, but not confirmed durable within \
                     {waited:.1?}: "
                )?;
                confirmed(f, confirmed_by)?;
                behind.iter().try_for_each(|one| write!(f, "; {one}"))?;
                write!(
                    f,
                    ". Unless that cluster is gone, the write is in effect and may yet become \
                     durable"
                )
            }
            Self::Durability(error) => write!(f, "durability: {error}"),
            other => match other.regular() {
                Some(error) => error.fmt(f),
                None => unreachable!("what the regular client cannot say is said above"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Regular> {
        let (verb, path) = (Verb::Set, "/a".to_owned());
        let detail = "why".to_owned();
        let code = ErrorCode::RevMismatch;
        vec![
            Regular::Server {
                verb,
                path: path.clone(),
                code,
                detail: detail.clone(),
            },
            Regular::Timeout {
                verb,
                path: path.clone(),
                after: Duration::from_secs(1),
                sent: true,
            },
            Regular::ConnectionLost {
                verb,
                path: path.clone(),
                address: "h:1".into(),
                cause: detail.clone(),
                sent: false,
            },
            Regular::Connect {
                attempts: vec![("h:1".into(), detail.clone())],
            },
            Regular::Protocol {
                verb,
                path: path.clone(),
                detail,
            },
            Regular::ClusterChanged {
                path: path.clone(),
                expected: "x".into(),
                found: None,
            },
            Regular::Closed {
                verb,
                path: path.clone(),
            },
            cairn_client::path::validate("a").unwrap_err().into(),
            cairn_client::glob::Glob::parse("").unwrap_err().into(),
            "x".parse::<cairn_client::Uri>().unwrap_err().into(),
            Regular::TooLarge {
                verb,
                path,
                length: 2,
                max: 1,
            },
        ]
    }

    #[test]
    fn every_regular_error_is_the_same_here() {
        for regular in all() {
            let error = Error::from(regular.clone());
            assert!(
                !matches!(error, Error::Later(_)),
                "{error:?} is not declared here"
            );
            assert_eq!(error.to_string(), regular.to_string());
            assert_eq!(error.code(), regular.code());
            assert_eq!(error.is_retryable(), regular.is_retryable());
            assert_eq!(error.may_have_happened(), regular.may_have_happened());
            assert_eq!(error.regular(), Some(regular));
        }
    }
}
