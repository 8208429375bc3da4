//! Certificates of a test's own, for members that speak TLS.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, and what it has signed: the certificate of a member at 127.0.0.1, and that of a
/// client. All in PEM, in files of a directory that goes with this.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// New ones.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn make() -> Result<Self> {
        let all = Self(tempfile::tempdir()?);
        let mut authority = CertificateParams::new(vec![])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        fs::write(all.path("ca"), authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);
        for (name, host) in [("member", "127.0.0.1"), ("client", "client")] {
            let key = KeyPair::generate()?;
            let params = CertificateParams::new(vec![host.to_owned()])?;
            fs::write(all.path(name), params.signed_by(&key, &issuer)?.pem())?;
            fs::write(all.path(&format!("{name}-key")), key.serialize_pem())?;
        }
        Ok(all)
    }

    /// The file of `ca`, `member`, `member-key`, `client` or `client-key`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The flags of a member that has its certificate, and wants one of its clients.
    pub(crate) fn of_a_member(&self) -> Vec<String> {
        let text = |name: &str| self.path(name).display().to_string();
        vec![
            format!("--cert-file={}", text("member")),
            format!("--key-file={}", text("member-key")),
            format!("--trusted-ca-file={}", text("ca")),
            "--client-cert-auth".to_owned(),
        ]
    }

    /// The flags of `etcdctl` for the client.
    #[must_use]
    pub fn of_a_client(&self) -> [String; 3] {
        [
            ("--cacert", "ca"),
            ("--cert", "client"),
            ("--key", "client-key"),
        ]
        .map(|(flag, name)| format!("{flag}={}", self.path(name).display()))
    }
}
