//! The state is loaded into the embedded node at once: the same as a restore over the protocol
//! gives, however high the revisions are.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Uri};
use cairn_journal::{Change, Journal, NewRecord, Options, Revision, Timestamp};
use cairn_playground::world::Ports;
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, eventually, journaled, persister, seeded, tree};

use crate::history::History;

async fn start(journal: &Path) -> Result<(Process, Client)> {
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    let address = Ports::default().port()?.address();
    let args = ["--id", "1", "--embedded", "-l", &address, "-j", journal];
    let process = Process::start("persister", args)?;
    let uri = Uri::from_address(&address)?;
    let client = eventually("the cluster answers", || async {
        Ok(Client::connect(&uri).await.ok())
    })
    .await
    .with_context(|| process.log())?;
    Ok((process, client))
}

/// The identity without its random part, and the revision that it was written at.
async fn lineage(client: &Client) -> Result<(String, i64)> {
    let file = client
        .get(keys::IDENTITY, None)
        .await?
        .context("it has an identity")?;
    let text = String::from_utf8_lossy(&file.value).into_owned();
    let (_, lineage) = text.split_once(' ').context("it was restored")?;
    Ok((lineage.to_owned(), file.revision.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_loaded_equals_what_is_restored() -> Result<()> {
    let mut random = seeded("loaded")?;
    let scratch = tempfile::tempdir()?;
    let history = History::random(&mut random, 2000, 2);
    let newest = history.newest();
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    for journal in [&one, &other] {
        history.write(journal, newest)?;
    }
    let lite = Lite::start()?;
    let restored = lite.client().await?;
    let process = persister(1, &lite.uri, &one, &["-r"])?;
    cairn_tests::attached(&restored, 1)
        .await
        .with_context(|| process.log())?;
    let (_node, loaded) = start(&other).await?;
    ensure!(tree(&restored).await? == history.state(newest));
    ensure!(tree(&loaded).await? == history.state(newest));
    ensure!(lineage(&restored).await? == lineage(&loaded).await?);
    // The last event is what it was, and what came before it is known to be unknown.
    let (path, (revision, value)) = history
        .state(newest)
        .into_iter()
        .max_by_key(|(_, (revision, _))| *revision)
        .context("there are keys")?;
    if revision.0 == newest {
        let event = loaded.wait("/**", revision).await?;
        ensure!(event.path == path && event.value == value, "{event:?}");
    }
    let early = loaded.wait("/**", cairn_client::Revision(newest - 1)).await;
    ensure!(early.is_err_and(|error| error.is_too_late()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_takes_no_longer_at_high_revisions() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("journal");
    let (journal, _) = Journal::open(&path, Options::default())?;
    for revision in [5, 70, 4_000_000_000, 4_000_000_003] {
        let change = Change::set(format!("/at-{revision}"), "x");
        journal.append(NewRecord::changes(
            Revision(revision),
            vec![change],
            Timestamp(1),
        ))?;
    }
    journal.close()?;
    let before = journaled(&path)?;
    let (mut process, client) = start(&path).await?;
    ensure!(tree(&client).await? == before, "{}", process.log());
    ensure!(client.rev().await?.0 > 4_000_000_003);
    // Even the key that is older than the node itself has kept its revision, and can be changed.
    let at = cairn_client::Revision(5);
    client.set("/at-5", at, "y").await?;
    let client2 = cairn_sync_client::Client::connect(&client_uri(&client).await?).await?;
    let written = client2
        .set("/new", cairn_client::Revision::MISSING, "x")
        .await?;
    ensure!(written.0 > 4_000_000_003);
    ensure!(process.terminate()?.success(), "{}", process.log());
    let (_process, client) = start(&path).await?;
    ensure!(tree(&client).await? == journaled(&path)?);
    Ok(())
}

/// Where a node says that it is.
async fn client_uri(client: &Client) -> Result<Uri> {
    let name = client.self_name().await?;
    let path = format!("/ctl/node/{}/addr", String::from_utf8_lossy(&name));
    let file = client
        .get(&path, None)
        .await?
        .context("a node has an address")?;
    Ok(Uri::from_address(std::str::from_utf8(&file.value)?)?)
}
