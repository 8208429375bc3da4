//! Errors that answer what a caller asks: what failed, where, will it pass, did it happen?

use std::error::Error as _;
use std::fmt;

use tonic::{Code, Status};

/// The result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The connection has ended, or the member or its cluster cannot answer now.
    Unavailable,
    /// The deadline passed.
    Timeout,
    /// The revisions asked for are forgotten. The oldest that is kept, where the server tells it.
    Compacted(Option<i64>),
    /// The revision asked for is yet to come.
    FutureRevision,
    /// A message is over a limit, ours or the server's.
    TooLarge,
    /// The database is over its quota: writes are refused until somebody makes room.
    NoSpace,
    /// The server does not know who we are.
    Unauthenticated,
    /// The server knows who we are, and does not let us.
    PermissionDenied,
    /// There is no such lease.
    LeaseNotFound,
    /// The lease's number is taken.
    LeaseExists,
    /// The server answered no, for another reason.
    Refused,
    /// The server's answer makes no sense.
    Protocol,
}

/// Why a call failed. Never holds a secret or a value.
#[derive(Clone, Debug)]
pub struct Error {
    call: &'static str,
    endpoint: String,
    kind: ErrorKind,
    code: Code,
    detail: String,
    happened: bool,
}

impl Error {
    /// A call that came to nothing: it was not sent, or it only reads.
    pub(crate) fn nothing_done(
        call: &'static str,
        endpoint: impl fmt::Display,
        kind: ErrorKind,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            call,
            endpoint: endpoint.to_string(),
            kind,
            code: match kind {
                ErrorKind::Unavailable => Code::Unavailable,
                ErrorKind::Timeout => Code::DeadlineExceeded,
                ErrorKind::TooLarge => Code::ResourceExhausted,
                _ => Code::Unknown,
            },
            detail: detail.into(),
            happened: false,
        }
    }

    /// Says whether the call may have happened in spite of this.
    pub(crate) fn or_happened(mut self, happened: bool) -> Self {
        self.happened = happened;
        self
    }

    /// What the server or the connection said to a call that was sent; `writes` if it may change
    /// something.
    pub(crate) fn of_status(
        call: &'static str,
        endpoint: impl fmt::Display,
        status: &Status,
        writes: bool,
    ) -> Self {
        let kind = kind(status);
        Self {
            call,
            endpoint: endpoint.to_string(),
            kind,
            code: status.code(),
            detail: detail(status),
            happened: writes && !is_refusal(status),
        }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code with which the call ended, for programs that tell errors apart by gRPC's codes: the
    /// server's own where it answered.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the server said, in its words, or what became of the connection.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Where: the endpoint, or all that were tried.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the same call may succeed later, perhaps in another session. For a write, ask
    /// [`Error::may_have_happened`] first: trying again may do it twice.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Timeout)
    }

    /// Whether a write may be in effect, or come into effect later, in spite of this error.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.happened
    }

    /// Whether a fresh token may help: the server does not know ours any more. A call that failed
    /// so has not happened.
    pub(crate) fn is_token_lost(&self) -> bool {
        self.kind == ErrorKind::Unauthenticated && !self.happened
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.call, self.endpoint, self.detail)?;
        if self.happened {
            f.write_str(" (it may have happened)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Whether the server itself said so, with the words of etcd: not the connection, nor we.
fn is_servers(status: &Status) -> bool {
    let said = status.message();
    let by_etcd = ["etcdserver: ", "auth: ", "grpc: "];
    status.source().is_none() && by_etcd.iter().any(|by| said.starts_with(by))
}

/// Whether nothing was done: the server said no before it proposed anything, or as it applied it.
fn is_refusal(status: &Status) -> bool {
    is_servers(status)
        && matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::ResourceExhausted
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unauthenticated
        )
}

fn kind(status: &Status) -> ErrorKind {
    let said = status.message();
    let contains = |text| said.contains(text);
    match status.code() {
        Code::DeadlineExceeded => ErrorKind::Timeout,
        Code::Unavailable | Code::Cancelled | Code::Aborted => ErrorKind::Unavailable,
        _ if status.source().is_some() => ErrorKind::Unavailable,
        Code::OutOfRange if contains("has been compacted") => ErrorKind::Compacted(None),
        Code::OutOfRange if contains("future revision") => ErrorKind::FutureRevision,
        Code::OutOfRange | Code::ResourceExhausted if contains("too large") => ErrorKind::TooLarge,
        Code::ResourceExhausted if contains("larger than max") => ErrorKind::TooLarge,
        Code::ResourceExhausted if contains("space exceeded") => ErrorKind::NoSpace,
        Code::ResourceExhausted if contains("too many requests") => ErrorKind::Unavailable,
        Code::InvalidArgument if contains("too large") => ErrorKind::TooLarge,
        // The token is from before a change of users, or there was none when it was needed.
        Code::InvalidArgument if contains("revision of auth store is old") => {
            ErrorKind::Unauthenticated
        }
        Code::InvalidArgument if contains("user name is empty") => ErrorKind::Unauthenticated,
        Code::InvalidArgument if contains("authentication failed") => ErrorKind::Unauthenticated,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::NotFound if contains("lease not found") => ErrorKind::LeaseNotFound,
        Code::FailedPrecondition if contains("lease already exists") => ErrorKind::LeaseExists,
        Code::Internal if contains("not a message") => ErrorKind::Protocol,
        Code::Internal if contains("Missing response") => ErrorKind::Unavailable,
        // Maintenance calls answer so, without a code.
        Code::Unknown if said == "auth: permission denied" => ErrorKind::PermissionDenied,
        // gRPC's word for an end of the connection that says nothing.
        Code::Unknown if !is_servers(status) => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    }
}

/// The status's message, and what it stands on.
fn detail(status: &Status) -> String {
    let mut text = match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    };
    let mut source = status.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, message: &str) -> Error {
        Error::of_status("Put", "http://a:1", &Status::new(code, message), true)
    }

    #[test]
    fn what_the_server_refused_has_not_happened() {
        for (code, message, kind) in [
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                ErrorKind::TooLarge,
            ),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (3 vs. 2)",
                ErrorKind::TooLarge,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                ErrorKind::NoSpace,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                ErrorKind::Unavailable,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                ErrorKind::Unauthenticated,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                ErrorKind::PermissionDenied,
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                ErrorKind::LeaseNotFound,
            ),
        ] {
            let error = of(code, message);
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!((error.code(), error.detail()), (code, message));
            assert!(!error.may_have_happened(), "{error}");
        }
    }

    #[test]
    fn what_nobody_refused_may_have_happened() {
        for (code, message) in [
            (Code::Unavailable, "etcdserver: request timed out"),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, ""),
            (Code::DeadlineExceeded, "context deadline exceeded"),
            (Code::Cancelled, "h2 protocol error"),
            (Code::Unknown, "etcdserver: server stopped"),
            (Code::OutOfRange, "Error, decoded message length too large"),
            (Code::Internal, "not a message of etcd: varint"),
            (Code::Unauthenticated, "from a gateway"),
        ] {
            let error = of(code, message);
            assert!(error.may_have_happened(), "{error}");
            assert!(error.to_string().contains("may have happened"));
            assert!(!error.is_token_lost());
        }
    }

    #[test]
    fn a_missing_right_is_one_with_or_without_a_code() {
        let error = of(Code::Unknown, "auth: permission denied");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
}
