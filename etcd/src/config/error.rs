//! Why a cluster cannot even be tried. No error here holds a secret.

use std::path::PathBuf;

use crate::config::tls::TlsError;

/// Why a text is not a URI of a cluster.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; the form is etcd://HOST:PORT[,HOST:PORT...], etcds:// for TLS, \
     or etcd: for what ETCDCTL_ENDPOINTS says"
)]
pub struct UriError(String);

impl UriError {
    pub(crate) fn new(fault: impl Into<String>) -> Self {
        Self(fault.into())
    }

    /// The fault, without the form.
    pub(crate) fn fault(&self) -> &str {
        &self.0
    }
}

/// Why a cluster cannot even be tried.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable must be text.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A user needs a password.
    #[error("ETCDCTL_USER has no password: write NAME:PASSWORD, or set ETCDCTL_PASSWORD")]
    NoPassword,
    /// `ETCDCTL_ENDPOINTS` is not a list of addresses.
    #[error("ETCDCTL_ENDPOINTS: {}", .0.fault())]
    Endpoints(UriError),
    /// A certificate and its key belong together.
    #[error("ETCDCTL_CERT and ETCDCTL_KEY belong together: one of them is not set")]
    HalfIdentity,
    /// A file cannot be read.
    #[error("{variable}: cannot read {}: {source}", .path.display())]
    File {
        /// The variable that names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
