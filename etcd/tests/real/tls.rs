//! TLS with certificates of our own.

use std::fs;

use anyhow::Result;
use cairn_etcd::wire::{PutRequest, RangeRequest};
use cairn_etcd::{Environment, Options};
use cairn_etcd_member::Member;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::session::cluster;

#[tokio::test]
async fn members_prove_themselves_and_so_do_clients() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut authority = CertificateParams::new(vec![])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(path("ca"), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    for (name, host) in [("member", "127.0.0.1"), ("client", "client")] {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &issuer)?;
        fs::write(path(name), certificate.pem())?;
        fs::write(path(&format!("{name}-key")), key.serialize_pem())?;
    }
    let text = |name: &str| path(name).to_string_lossy().into_owned();
    let member = Member::start_with(
        &[
            "--cert-file",
            &text("member"),
            "--key-file",
            &text("member-key"),
            "--trusted-ca-file",
            &text("ca"),
            "--client-cert-auth",
        ],
        "https",
    )?;
    let environment = Environment {
        cacert: Some(path("ca")),
        cert: Some(path("client")),
        key: Some(path("client-key")),
        endpoints: Some(format!("127.0.0.1:{}", member.port())),
        ..Environment::default()
    };
    for uri in [
        "etcd:".to_owned(),
        format!("etcds://127.0.0.1:{}", member.port()),
    ] {
        let session = cluster(&uri, &environment, Options::default())?
            .open()
            .await?;
        session.call(PutRequest::new("k", uri)).await?;
        assert_eq!(session.call(RangeRequest::all()).await?.count, 1);
    }

    // Without a certificate of ours, with a name that the member's has not, and in the clear.
    let nobody = Environment {
        cert: None,
        key: None,
        ..environment.clone()
    };
    let plain = format!("etcd://127.0.0.1:{}", member.port());
    let misnamed = format!("etcds://localhost:{}", member.port());
    for (uri, environment) in [
        (&*member.uri(), &nobody),
        (&*misnamed, &environment),
        (&*plain, &environment),
    ] {
        let failed = cluster(uri, environment, Options::default())?.open().await;
        assert!(failed.unwrap_err().is_unavailable());
    }
    let half = Environment {
        key: None,
        ..environment
    };
    assert!(cluster("etcd:", &half, Options::default()).is_err());
    Ok(())
}
