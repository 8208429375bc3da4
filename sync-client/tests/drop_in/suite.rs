// Included once for each client, which is called `client` here.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use self::client::glob::Glob;
use self::client::path;
use self::client::wire::Verb;
use self::client::{
    Client, Error, ErrorCode, Event, EventKind, File, Listing, Options, Result, Revision, Secret,
    Stat, Status, Uri, Walk, Watch,
};
use super::cluster;

fn options() -> Options {
    Options {
        request_timeout: Duration::from_secs(20),
        ..Options::default()
    }
}

/// All that a caller may want to tell apart.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Server {
            verb: Verb::Set | Verb::Del,
            code: ErrorCode::RevMismatch,
            ..
        } => "mismatch",
        Error::Server { path, detail, .. } if path.is_empty() && detail.is_empty() => "refused",
        Error::Server { .. } => "refused, with words",
        Error::Timeout { after, sent, .. } if *sent && !after.is_zero() => "timeout",
        Error::Timeout { .. } => "timeout, unsent",
        Error::ConnectionLost { address, cause, .. } if address.is_empty() && cause.is_empty() => {
            ""
        }
        Error::ConnectionLost {
            verb: _,
            path: _,
            sent: _,
            ..
        } => "lost",
        Error::Connect { attempts } if attempts.is_empty() => "",
        Error::Connect { .. } => "connect",
        Error::Protocol {
            verb: _,
            path: _,
            detail: _,
        } => "protocol",
        Error::ClusterChanged {
            path: _,
            expected: _,
            found: None,
        } => "cluster",
        Error::ClusterChanged { .. } => "another cluster",
        Error::Closed { verb: _, path: _ } => "closed",
        Error::InvalidPath(_) => "path",
        Error::InvalidGlob(_) => "glob",
        Error::Uri(_) => "uri",
        Error::TooLarge {
            verb: _,
            path: _,
            length: _,
            max: _,
        } => "large",
        _ => "of the sync client alone",
    }
}

/// As programs do it: the errors of all parts, through one `?`.
async fn open(uri: &str) -> Result<Client> {
    let uri: Uri = uri.parse()?;
    path::validate("/a")?;
    Glob::parse("/**")?;
    Client::connect_with(&uri, options()).await
}

#[tokio::test]
async fn writes_and_reads() -> Result<()> {
    let cluster = cluster::start().await;
    let client: Client = open(&cluster.uri).await?.clone();
    let created: Revision = client.set("/d/a", Revision::MISSING, "one").await?;
    let changed = client.set("/d/a", created, vec![0, 255]).await?;
    client.set("/d/b", Revision::ANY, "").await?;
    let File { revision, value } = client.get("/d/a", None).await?.unwrap();
    assert_eq!((revision, &value[..]), (changed, &[0, 255][..]));
    assert_eq!(
        client.get("/d/a", Some(created)).await?.unwrap().value,
        "one"
    );
    assert_eq!(client.get("/none", None).await?, None);
    match client.stat("/d", None).await? {
        Stat::Directory { entries } => assert_eq!(entries, 2),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        client.stat("/d/a", Some(changed)).await?,
        Stat::File { len: 2, .. }
    ));
    assert_eq!(client.stat("/none", None).await?, Stat::Missing);
    assert_eq!(client.del("/d/a", changed).await?, ());
    assert!(client.rev().await? > changed);
    client.nop().await?;
    assert!(!client.self_name().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn streams() -> Result<()> {
    let cluster = cluster::start().await;
    let client = Client::connect(&cluster.uri.parse()?).await?;
    let first = client.set("/d/a", Revision::MISSING, "x").await?;
    client.set("/d/b", Revision::MISSING, "y").await?;
    client.del("/d/a", Revision::ANY).await?;
    let mut watch: Watch = client.watch("/d/*", first);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let Event { path, kind, .. } = watch.next().await.unwrap()?;
        kinds.push((path, kind));
    }
    let names: Vec<_> = kinds
        .iter()
        .map(|(path, kind)| (&path[..], *kind))
        .collect();
    let (set, delete) = (EventKind::Set, EventKind::Delete);
    assert_eq!(names, [("/d/a", set), ("/d/b", set), ("/d/a", delete)]);
    assert!(watch.next_revision() > first);
    let event: Event = client.wait("/d/b", first).await?;
    assert_eq!(event.value, "y");
    let walk: Walk = client.walk("/d/**", Some(event.revision));
    let found: Vec<Event> = walk.try_collect().await?;
    assert_eq!(found.len(), 2);
    let listing: Listing = client.getdir("/d", None);
    let names: Vec<String> = listing.try_collect().await?;
    assert_eq!(names, ["b"]);
    Ok(())
}

#[tokio::test]
async fn errors() -> Result<()> {
    let cluster = cluster::start().await;
    let client = open(&cluster.uri).await?;
    client.set("/a", Revision::ANY, "x").await?;
    let mismatch = client.set("/a", Revision::MISSING, "y").await.unwrap_err();
    assert_eq!(kind(&mismatch), "mismatch");
    assert_eq!(mismatch.code(), Some(ErrorCode::RevMismatch));
    assert!(mismatch.is_rev_mismatch() && !mismatch.is_retryable());
    assert!(!mismatch.may_have_happened() && !mismatch.is_too_late());
    assert_eq!(
        mismatch.to_string(),
        "SET /a: revision mismatch, the file has changed since"
    );
    assert_eq!(
        kind(&client.del("/a", Revision(1)).await.unwrap_err()),
        "mismatch"
    );
    assert_eq!(
        kind(&client.set("bad", Revision::ANY, "").await.unwrap_err()),
        "path"
    );
    assert_eq!(
        kind(&client.wait("bad", Revision(1)).await.unwrap_err()),
        "glob"
    );
    assert_eq!(
        kind(
            &client
                .watch("bad", Revision(1))
                .next()
                .await
                .unwrap()
                .unwrap_err()
        ),
        "glob"
    );
    let large = vec![0; Options::default().max_frame];
    assert_eq!(
        kind(&client.set("/a", Revision::ANY, large).await.unwrap_err()),
        "large"
    );
    let missing = client.getdir("/none", None).try_collect::<Vec<_>>().await;
    assert_eq!(missing.unwrap_err().code(), Some(ErrorCode::NoEnt));
    assert_eq!(kind(&open("nonsense").await.unwrap_err()), "uri");
    // Nobody listens at port 1.
    assert_eq!(
        kind(&open("doozer:?ca=127.0.0.1:1").await.unwrap_err()),
        "connect"
    );
    let boxed: Box<dyn std::error::Error + Send + Sync> = mismatch.clone().into();
    assert_eq!(boxed.to_string(), mismatch.to_string());
    Ok(())
}

#[tokio::test]
async fn connection() -> Result<()> {
    let cluster = cluster::start().await;
    let client = open(&cluster.uri).await?;
    assert!(matches!(
        *client.status().borrow(),
        Status::Connected { generation: 1, .. }
    ));
    assert_eq!(client.generation(), 1);
    // A server without secrets denies every one of them.
    let denied = client.access(Secret::new("any").expose()).await;
    assert_eq!(denied.unwrap_err().code(), Some(ErrorCode::Other));
    client.require("/who", "me");
    let debug = format!("{client:?}");
    assert!(!debug.is_empty());
    Ok(())
}

/// Futures of a client can be spawned, and streams be sent to another task.
#[tokio::test]
async fn tasks() -> Result<()> {
    fn movable<T: Send + 'static>(value: T) -> T {
        value
    }
    let cluster = cluster::start().await;
    let client = open(&cluster.uri).await?;
    movable(client.watch("/**", Revision(1)));
    movable(client.walk("/**", None));
    movable(client.getdir("/", None));
    let write = tokio::spawn(async move { client.set("/a", Revision::ANY, "x").await });
    assert!(write.await.unwrap()? > Revision::MISSING);
    Ok(())
}
