//! The same conversation under TLS.

use std::sync::Arc;

use cairn_client::frame::{Codec, MAX_FRAME};
use cairn_client::wire::{Request, Response};
use cairn_client::{Client, Error, Options, Revision, Tls, TlsError, Uri};
use futures::{SinkExt, StreamExt};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::codec::Framed;

/// A server that answers everything with a revision, under a certificate for `host`.
async fn start(host: &str) -> (Uri, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([host.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut frames: Framed<_, Codec<Response, Request>> =
                Framed::new(stream, Codec::new(MAX_FRAME));
            while let Some(Ok(request)) = frames.next().await {
                let answer = Response {
                    tag: request.tag,
                    rev: Some(58),
                    ..Response::default()
                };
                frames.send(answer).await.unwrap();
            }
        }
    });
    (Uri::from_address(&address).unwrap(), cert.pem())
}

fn trusting(pem: &str) -> Options {
    Options {
        tls: Some(Tls::with_roots(pem.as_bytes()).unwrap()),
        ..Options::default()
    }
}

#[tokio::test]
async fn requests_go_through() {
    let (uri, roots) = start("127.0.0.1").await;
    let client = Client::connect_with(&uri, trusting(&roots)).await.unwrap();
    let large = vec![7; 1 << 20];
    for _ in 0..10 {
        let set = client.set("/a", Revision::ANY, large.clone()).await;
        assert_eq!(set.unwrap(), Revision(58));
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    let (uri, own) = start("127.0.0.1").await;
    let (misnamed, other) = start("elsewhere.example").await;
    for (uri, roots) in [(&uri, &other), (&misnamed, &other)] {
        let error = Client::connect_with(uri, trusting(roots))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Connect { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert!(Client::connect_with(&uri, trusting(&own)).await.is_ok());
}

#[test]
fn roots_must_be_certificates() {
    assert_eq!(Tls::with_roots(b"").unwrap_err(), TlsError::NoRoots);
    let torn = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(Tls::with_roots(torn), Err(TlsError::BadRoots(_))));
}
