//! How errors of the sync client look in `etcd_client`, and how they are found again.

use std::error::Error as _;
use std::sync::Arc;

use cairn_sync_client::etcd::{Error as SyncError, Unconfirmed};
use etcd_client::Error;
use tonic::{Code, Status};

/// What ended a write, as the sync client tells it; `None` for an error of any other call.
#[must_use]
pub fn cause(error: &Error) -> Option<&SyncError> {
    match error {
        Error::GRpcStatus(status) => status.source()?.downcast_ref(),
        _ => None,
    }
}

/// The write that was applied and is not known to be durable, if the error says that.
/// [`Client::durable`](crate::Client::durable) can wait for it for longer.
#[must_use]
pub fn unconfirmed(error: &Error) -> Option<&Unconfirmed> {
    match cause(error)? {
        SyncError::Unconfirmed(it) => Some(it),
        _ => None,
    }
}

/// Whether a write may be in effect in spite of this error. An unconfirmed one certainly is.
#[must_use]
pub fn may_have_happened(error: &Error) -> bool {
    cause(error).is_some_and(SyncError::may_have_happened)
}

/// The error as a status, whose source it is. A write that may have happened gets no status for
/// which `etcd_client` would send it again.
pub(crate) fn status(error: SyncError) -> Status {
    let words = match &error {
        SyncError::Etcd(said) if !said.may_have_happened() => said.detail().to_owned(),
        other => other.to_string(),
    };
    with_words(words, error)
}

/// Why the connection that writes did not come about.
pub(crate) fn not_connected(error: SyncError) -> Error {
    let words = format!(
        "the connection that writes: {error} (its certificates come from ETCDCTL_CACERT, \
         ETCDCTL_CERT and ETCDCTL_KEY, or from Client::connect_with)"
    );
    Error::GRpcStatus(with_words(words, error))
}

fn with_words(words: String, error: SyncError) -> Status {
    let code = match &error {
        SyncError::Etcd(said) => match said.code() {
            Code::Unauthenticated if said.may_have_happened() => Code::Unknown,
            code => code,
        },
        SyncError::Unconfirmed(_) => Code::DeadlineExceeded,
        SyncError::Durability(_) | SyncError::Config(_) => Code::InvalidArgument,
        SyncError::Disconnected { .. } => Code::Unavailable,
        SyncError::Busy { .. } => Code::ResourceExhausted,
        _ => Code::Unknown,
    };
    let mut status = Status::new(code, words);
    status.set_source(Arc::new(error));
    status
}
