//! TLS under a connection, for clusters that serve it.
//!
//! A cluster usually has a certificate authority of its own, so there are no built-in roots: the
//! caller says whom to trust. The server's certificate must name the host of the address that
//! was connected to.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why TLS could not be set up.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The roots are not certificates in PEM form.
    #[error("the trusted certificates cannot be read: {0}")]
    BadRoots(String),
    /// There are no certificates, so no server could be trusted.
    #[error("there is no trusted certificate")]
    NoRoots,
}

/// The TLS configuration for a cluster's nodes, for [`Options::tls`](crate::Options::tls).
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the certificate authorities in a PEM file's content.
    pub fn with_roots(pem: &[u8]) -> Result<Self, TlsError> {
        let bad = |error: &dyn fmt::Display| TlsError::BadRoots(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Takes a ready configuration, for instance with a certificate of the client's own.
    #[must_use]
    pub fn from_config(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }

    /// Makes sure that `socket` leads to the host of `address`, and encrypts it.
    pub(crate) async fn wrap(
        &self,
        address: &str,
        socket: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0))
            .connect(name, socket)
            .await
    }
}

// A configuration may hold a private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
