//! TLS with certificates of our own.

use anyhow::Result;
use cairn_etcd::wire::{PutRequest, RangeRequest};
use cairn_etcd::{Environment, Options};
use cairn_etcd_member::{Certificates, Member};

use crate::session::cluster;

#[tokio::test]
async fn members_prove_themselves_and_so_do_clients() -> Result<()> {
    let certificates = Certificates::make()?;
    let path = |name| certificates.path(name);
    let member = Member::start_with_tls(&certificates)?;
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
