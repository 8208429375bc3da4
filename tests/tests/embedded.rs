//! The cluster in the persister's own process: durable across kills and orderly ends alike, for
//! clients that know nothing of either.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision, Uri};
use cairn_playground::world::Ports;
use cairn_tests::{Process, Writers, Writing, eventually, tree};

fn start(journal: &Path, address: &str) -> Result<Process> {
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    Process::start(
        "persister",
        ["--id", "1", "--embedded", "-l", address, "-j", journal],
    )
}

/// Writes its own keys, one after the other, and returns those that were acknowledged.
async fn write_plainly(client: Client, writer: usize, writing: Writing) -> Result<Vec<String>> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        if !writing.goes_on() {
            break;
        }
        let path = format!("/{writer}/{n}");
        if client.set(&path, Revision::MISSING, "x").await.is_ok() {
            acknowledged.push(path);
        }
    }
    Ok(acknowledged)
}

/// The story: every write that was answered before an orderly end was promised to be journaled, yet
/// the server went on answering while the persister had already stopped to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_end_loses_nothing_that_was_answered() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut ports = Ports::default();
    let address = ports.port()?.address();
    let uri = Uri::from_address(&address)?;
    let mut expected = Vec::new();
    for round in 0..5 {
        let mut process = start(&journal, &address)?;
        let client = eventually("the cluster answers", || async {
            Ok(Client::connect(&uri).await.ok())
        })
        .await
        .with_context(|| process.log())?;
        let found = tree(&client).await?;
        for path in &expected {
            ensure!(
                found.contains_key(path),
                "{path} was answered, and is gone: {}",
                process.log()
            );
        }
        let mut writers = Writers::default();
        for n in 0..4 {
            writers.start(|writing| write_plainly(client.clone(), round * 4 + n, writing));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = process.terminate()?;
        ensure!(status.success(), "{status}: {}", process.log());
        expected.extend(writers.end().await?.into_iter().flatten());
    }
    println!(
        "{} writes were answered before five orderly ends",
        expected.len()
    );
    ensure!(expected.len() > 100, "too few to show anything");
    Ok(())
}

/// The story: clients that reconnect by themselves wrote into the fresh node before the journal's
/// state was back, and the restore found a cluster that was not empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_reconnect_do_not_get_in_before_the_state_is_back() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let mut ports = Ports::default();
    let address = ports.port()?.address();
    let uri = Uri::from_address(&address)?;
    let mut process = start(&journal, &address)?;
    let client = eventually("the cluster answers", || async {
        Ok(Client::connect(&uri).await.ok())
    })
    .await?;
    let durable = cairn_sync_client::Client::connect(&uri).await?;
    for n in 0..200 {
        durable
            .set(&format!("/kept/{n}"), Revision::MISSING, "x")
            .await?;
    }
    let mut writers = Writers::default();
    for writer in 0..8 {
        writers.start(|writing| write_plainly(client.clone(), writer, writing));
    }
    for _ in 0..5 {
        process.kill()?;
        process = start(&journal, &address)?;
        let watermark = cairn_sync_client::keys::watermark(1);
        eventually("it is back", || async {
            Ok(client.get(&watermark, None).await.ok().flatten())
        })
        .await
        .with_context(|| process.log())?;
        if let Some(status) = process.ended()? {
            anyhow::bail!("it ended, {status}: {}", process.log());
        }
        let found = tree(&client).await?;
        for n in 0..200 {
            ensure!(
                found.contains_key(&format!("/kept/{n}")),
                "/kept/{n} is gone"
            );
        }
    }
    writers.end().await?;
    process.end_in_order()?;
    Ok(())
}
