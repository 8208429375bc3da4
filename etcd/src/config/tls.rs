//! TLS under a connection, for clusters that serve it.
//!
//! A cluster usually has a certificate authority of its own, so there are no built-in roots: the
//! caller says whom to trust. The member's certificate must name the host of the endpoint.

use std::fmt;
#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use tokio_rustls::rustls::pki_types::pem::PemObject;
#[cfg(feature = "tls")]
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
#[cfg(feature = "tls")]
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why TLS could not be set up. Never holds any of a key.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The roots are not certificates in PEM form.
    #[error("the trusted certificates (ETCDCTL_CACERT) cannot be read: {0}")]
    BadRoots(String),
    /// There are no certificates, so no member could be trusted.
    #[error("there is no trusted certificate: ETCDCTL_CACERT names no file that has one (PEM)")]
    NoRoots,
    /// The client's own certificate or its key cannot be used.
    #[error("the client's certificate (ETCDCTL_CERT, ETCDCTL_KEY) cannot be used: {0}")]
    BadIdentity(String),
    /// This build leaves TLS out.
    #[error("this program was built without TLS: build it with the feature `tls`")]
    NotBuilt,
}

/// Whom to trust, and how to prove who we are.
#[cfg(feature = "tls")]
#[derive(Clone)]
pub struct Tls(pub(crate) Arc<ClientConfig>);

/// Whom to trust, and how to prove who we are. Cannot be made without the feature `tls`.
#[cfg(not(feature = "tls"))]
#[derive(Clone)]
pub struct Tls(std::convert::Infallible);

// A configuration may hold a private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

#[cfg(not(feature = "tls"))]
impl Tls {
    /// Fails: this build leaves TLS out.
    ///
    /// # Errors
    /// [`TlsError::NotBuilt`].
    pub fn new(_roots: &[u8], _identity: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        Err(TlsError::NotBuilt)
    }
}

#[cfg(feature = "tls")]
impl Tls {
    /// Trusts the certificate authorities `roots`; `identity` is the client's certificate and its
    /// key. Each is a PEM file's content.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(roots: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let bad = |error: &dyn fmt::Display| TlsError::BadRoots(error.to_string());
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots) {
            let certificate = certificate.map_err(|error| bad(&error))?;
            store.add(certificate).map_err(|error| bad(&error))?;
        }
        if store.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let bad = |error: &dyn fmt::Display| TlsError::BadIdentity(error.to_string());
        let builder = ClientConfig::builder().with_root_certificates(store);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| bad(&error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(&error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| bad(&error))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}
