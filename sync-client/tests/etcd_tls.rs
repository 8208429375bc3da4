//! The sync client of etcd beside a member that wants certificates and passwords.
#![cfg(feature = "tls")]

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use cairn_etcd::{ErrorKind, Secret, User};
use cairn_etcd_member::Member;
use cairn_protocol::keys;
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::wire::{PutRequest, WatchCreateRequest};
use cairn_sync_client::etcd::{Client, Environment, Error, Options, Session, Target};
use futures::StreamExt as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority, and what it has signed.
struct Certificates(TempDir);

impl Certificates {
    fn make() -> Result<Self> {
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

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    fn environment(&self, user: &str, password: &str) -> Environment {
        Environment {
            cacert: Some(self.path("ca")),
            cert: Some(self.path("client")),
            key: Some(self.path("client-key")),
            user: Some(User {
                name: user.to_owned(),
                password: Secret::new(password),
            }),
            ..Environment::default()
        }
    }
}

async fn connect(uri: &str, environment: &Environment) -> Result<Client, Error> {
    let uri = uri.parse().expect("a test's URI is one");
    let target = Target::new(&uri, environment)?;
    Client::connect_to(target, Durability::new([1], 1), Options::default()).await
}

/// Plays persister 1, which has everything on disk at once.
async fn play(session: Session) -> Result<()> {
    let mut watch = session.watch(WatchCreateRequest::all(1)).await?;
    while let Some(batch) = watch.next().await {
        let events = batch?.events.into_iter().filter_map(|event| event.kv);
        let data = events.filter(|kv| !kv.key.starts_with(keys::FLAT_ROOT.as_bytes()));
        if let Some(newest) = data.map(|kv| kv.mod_revision).max() {
            let said = PutRequest::new(keys::watermark(1), newest.to_string());
            session.call(said).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_write_is_durable_over_tls_for_a_user_and_for_nobody_else() -> Result<()> {
    let certificates = Certificates::make()?;
    let text = |name| certificates.text(name);
    let mut member = Member::start_with(
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
    let (ca, cert, key) = (text("ca"), text("client"), text("client-key"));
    let ours = ["--cacert", &*ca, "--cert", &cert, "--key", &key];
    for command in [
        "user add root:hush",
        "user grant-role root root",
        "user add ada:secret",
        "role add app",
        "role grant-permission app --prefix=true readwrite app/",
        "role grant-permission app --prefix=true read /ctl/persistence/",
        "user grant-role ada app",
        "auth enable",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        member
            .etcdctl(&[&ours[..], &words].concat())
            .context(command)?;
    }
    let (root, ada) = (
        certificates.environment("root", "hush"),
        certificates.environment("ada", "secret"),
    );
    let endpoint = format!("127.0.0.1:{}", member.port());
    let uri = format!("etcds://{endpoint}");
    let persister = connect(&uri, &root).await?;
    let playing = tokio::spawn(play(persister.session().await?));

    let client = connect(&uri, &ada).await?;
    client.put(PutRequest::new("app/1", "x")).await?;
    let by_variables = Environment {
        endpoints: Some(format!("https://{endpoint}")),
        ..ada.clone()
    };
    let other = connect("etcd:", &by_variables).await?;
    other.put(PutRequest::new("app/2", "x")).await?;
    let denied = other.put(PutRequest::new("theirs", "x")).await;
    ensure!(
        matches!(&denied, Err(Error::Etcd(error)) if error.kind() == ErrorKind::PermissionDenied),
        "{denied:?}"
    );

    // The member forgets its tokens, and every connection ends.
    playing.abort();
    member.kill();
    ensure!(member.restart()?, "it does not start again");
    let persister = connect(&uri, &root).await?;
    let playing = tokio::spawn(play(persister.session().await?));
    client.put(PutRequest::new("app/3", "x")).await?;
    playing.abort();

    let nobody = Environment {
        cert: None,
        key: None,
        ..ada.clone()
    };
    let stranger = Environment {
        cacert: Some(certificates.path("member")),
        ..ada.clone()
    };
    let plain = format!("etcd://{endpoint}");
    let wrong = certificates.environment("ada", "guessed");
    for (uri, environment) in [
        (&uri, &nobody),
        (&uri, &stranger),
        (&uri, &wrong),
        (&plain, &ada),
    ] {
        let failed = connect(uri, environment).await;
        let Err(Error::Etcd(error)) = failed else {
            anyhow::bail!("{uri}: {failed:?}");
        };
        let said = error.to_string();
        ensure!(
            !said.contains("secret") && !said.contains("guessed"),
            "{said}"
        );
    }
    Ok(())
}
