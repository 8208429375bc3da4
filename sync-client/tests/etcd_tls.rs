//! The sync client of etcd beside a member that wants certificates and passwords.
#![cfg(feature = "tls")]

use anyhow::{Result, ensure};
use cairn_etcd::{ErrorKind, Secret, User};
use cairn_etcd_member::{Certificates, Member};
use cairn_protocol::keys;
use cairn_sync_client::Durability;
use cairn_sync_client::etcd::wire::{PutRequest, WatchCreateRequest};
use cairn_sync_client::etcd::{Client, Environment, Error, Options, Session, Target};
use futures::StreamExt as _;

fn environment(certificates: &Certificates, user: &str, password: &str) -> Environment {
    Environment {
        cacert: Some(certificates.path("ca")),
        cert: Some(certificates.path("client")),
        key: Some(certificates.path("client-key")),
        user: Some(User {
            name: user.to_owned(),
            password: Secret::new(password),
        }),
        ..Environment::default()
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
    let mut member = Member::start_with_tls(&certificates)?;
    let ours = certificates.of_a_client();
    let ours = ours.each_ref().map(String::as_str);
    member.ask_for_users(&ours)?;
    let (root, ada) = (
        environment(&certificates, "root", "hush"),
        environment(&certificates, "ada", "secret"),
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
    let wrong = environment(&certificates, "ada", "guessed");
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
