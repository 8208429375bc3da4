//! A restore that waits for another one outlives the loss of its connection, and sees the end.

use anyhow::{Result, ensure};
use cairn_client::{Client, Revision, Uri};
use cairn_lite::{Options, Server};
use cairn_persister::restore::{Request, RestoreOptions, run};
use cairn_sync_client::keys;
use cairn_tests::{DEADLINE, eventually, seeded};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::history::{History, OLD};

/// The story: somebody restored another state, `persister restore` waited for it, and ended with
/// "no connection" when a node was started anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_outlives_a_lost_connection() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let history = History::random(&mut seeded("waiting")?, 100, 1);
    history.write(scratch.path(), history.newest())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = Uri::from_address(&listener.local_addr()?.to_string())?;
    let server = Server::new(Options::default())?;
    let control = server.control();
    let serving = tokio::spawn(server.run(listener, std::future::pending()));
    let client = Client::connect(&uri).await?;
    let at = history.newest();
    let claim = format!("b from {OLD} at {at} restoring another chosen");
    let marked = client.set(keys::IDENTITY, Revision::MISSING, claim).await?;
    let request = Request {
        cluster: uri.clone().into(),
        journal: scratch.path().to_owned(),
        options: RestoreOptions::default(),
        dry_run: false,
    };
    let restoring = tokio::spawn(async move { run(&request, &CancellationToken::new()).await });
    for _ in 0..2 {
        eventually("it follows what the other one does", || async {
            Ok((control.waiting() > 0).then_some(()))
        })
        .await?;
        control.drop_connections();
    }
    // One that was not cut off: of a lost connection nobody knows what it has written.
    let client = Client::connect(&uri).await?;
    let done = format!("b from {OLD} at {at} kept");
    client.set(keys::IDENTITY, marked, done).await?;
    let report = tokio::time::timeout(DEADLINE, restoring).await???;
    let reason = report.reason.unwrap_or_default();
    ensure!(
        report.status == 0 && reason.contains("restored already"),
        "{reason}"
    );
    serving.abort();
    Ok(())
}
