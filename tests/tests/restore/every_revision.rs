//! The state at every single revision of a random history comes back as a plain model has it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Uri};
use cairn_lite::{Options, Server};
use cairn_persister::cluster::Cluster;
use cairn_persister::cluster::doozer::Doozer;
use cairn_persister::identity::Outcome;
use cairn_persister::restore::{At, RestoreOptions, Restored, Source, restore};
use cairn_tests::{seeded, setting, tree};
use tokio::net::TcpListener;

use crate::history::History;

/// Which state, restored how.
async fn restored_at(
    source: &Source,
    revision: i64,
    in_flight: usize,
) -> Result<(Restored, Client)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = Uri::from_address(&listener.local_addr()?.to_string())?;
    let server = Server::new(Options::default())?;
    tokio::spawn(server.run(listener, std::future::pending()));
    let session = Doozer::new(uri.clone(), 1).open().await?;
    let options = RestoreOptions {
        at: At::Revision(cairn_journal::Revision(revision)),
        in_flight: Some(in_flight),
        wait_for_others: Some(Duration::ZERO),
        ..RestoreOptions::default()
    };
    let restored = restore(&session, source, &options).await?;
    Ok((restored, Client::connect(&uri).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_revision_comes_back_with_its_revisions() -> Result<()> {
    let mut random = seeded("every revision")?;
    let changes = setting("CAIRN_RESTORE_REVISIONS", 80)?;
    let scratch = tempfile::tempdir()?;
    let history = History::random(&mut random, changes, 2);
    let newest = history.newest();
    let journal = scratch.path().join("journal");
    history.write(&journal, newest)?;
    let source = Source::open(&journal, false)?;
    let first = history.0.first().map_or(0, |(revision, _)| *revision);
    let (mut restores, mut keys) = (0, 0);
    for revision in first..=newest {
        let in_flight = [1, 8, 64][random.usize(..3)];
        let (restored, client) = restored_at(&source, revision, in_flight)
            .await
            .with_context(|| format!("revision {revision}"))?;
        let Restored::Done(summary) = restored else {
            anyhow::bail!("revision {revision}: {restored:?}");
        };
        let expected = history.state(revision);
        let found = tree(&client).await?;
        ensure!(
            found == expected,
            "revision {revision} differs, {in_flight} in flight"
        );
        ensure!(
            summary.shifted.is_empty() && summary.surprise.is_none(),
            "{summary:?}"
        );
        let origin = summary.identity.origin.context("it has an origin")?;
        ensure!(
            origin.at.0 == revision && origin.outcome == Outcome::Kept,
            "{origin:?}"
        );
        let counter = client.rev().await?.0;
        ensure!(
            counter >= newest,
            "the counter is at {counter}, the journal at {newest}"
        );
        restores += 1;
        keys += found.len();
    }
    println!(
        "{restores} restores of {changes} changes up to revision {newest}, {keys} keys in all"
    );
    Ok(())
}
