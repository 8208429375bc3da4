//! A real file system without room, and what a persister on it says and does not say.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{Lite, SmallDisk, attached, durable, eventually, journaled, persister, tree};

/// The exit status for a failed write, as `docs/operations.md` has it.
const WRITE_FAILED: i32 = 13;

/// Small segments, so that the disk is filled by records and not by preparations.
const SMALL: [&str; 2] = ["--segment-bytes", "20MiB"];

/// Writes half a mebibyte at a time until `done`.
async fn write_until(client: &Client, mut done: impl FnMut() -> Result<bool>) -> Result<Revision> {
    for n in 0..2000 {
        let value = Bytes::from(vec![u8::try_from(n % 256)?; 512 << 10]);
        let revision = client
            .set(&format!("/big/{}", n % 8), Revision::ANY, value)
            .await?;
        if done()? {
            return Ok(revision);
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    bail!("the disk never got full")
}

async fn watermark(client: &Client) -> Result<i64> {
    let file = client.get(&keys::watermark(1), None).await?;
    let file = file.context("there is a watermark")?;
    Ok(std::str::from_utf8(&file.value)?.parse()?)
}

/// Everything that the cluster was told to be durable is in the journal, which can be read.
fn nothing_is_missing(journal: &Path, watermark: i64) -> Result<()> {
    let reader = cairn_journal::Reader::open(journal)?;
    let state = reader.state(None)?;
    ensure!(
        state.revision.0 >= watermark,
        "the watermark says {watermark}, the journal ends at {}",
        state.revision
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_persister_and_nothing_false_was_said() -> Result<()> {
    let disk = SmallDisk::mount(64)?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &disk.journal(), &SMALL)?;
    attached(&client, 1).await?;
    let mut status = None;
    write_until(&client, || {
        status = process.ended()?;
        Ok(status.is_some())
    })
    .await?;
    let said = process.log();
    ensure!(
        status.and_then(|s| s.code()) == Some(WRITE_FAILED),
        "{status:?}: {said}"
    );
    ensure!(said.contains("No space left"), "{said}");
    nothing_is_missing(&disk.journal(), watermark(&client).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_wait_it_goes_on_when_there_is_room() -> Result<()> {
    let disk = SmallDisk::mount(64)?;
    let ballast = disk.ballast(32)?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let args = [&SMALL[..], &["--on-disk-full", "wait"]].concat();
    let mut process = persister(1, &lite.uri, &disk.journal(), &args)?;
    attached(&client, 1).await?;
    let last = write_until(&client, || {
        Ok(process.log().contains("no room on the disk"))
    })
    .await?;
    ensure!(
        watermark(&client).await? < last.0,
        "it does not claim what it could not write"
    );
    nothing_is_missing(&disk.journal(), watermark(&client).await?)?;

    fs::remove_file(ballast)?;
    durable(&client, 1, last)
        .await
        .with_context(|| process.log())?;
    eventually("journal equal to the cluster", || async {
        Ok((journaled(&disk.journal())? == tree(&client).await?).then_some(()))
    })
    .await?;
    // Each opening begins a segment. While there is no room for one, none is tried.
    let opened = process.log().matches("journal open").count();
    println!("opened {opened} times");
    ensure!(opened <= 4, "{}", process.log());
    process.end_in_order()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_opened_again_once_less_is_to_be_retained() -> Result<()> {
    let disk = SmallDisk::mount(128)?;
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let all = ["--retain", "all", "--checkpoint-every", "1MiB"];
    let args = [&SMALL[..], &all[..]].concat();
    let mut process = persister(1, &lite.uri, &disk.journal(), &args)?;
    attached(&client, 1).await?;
    let mut status = None;
    let last = write_until(&client, || {
        status = process.ended()?;
        Ok(status.is_some())
    })
    .await?;
    ensure!(
        status.and_then(|s| s.code()) == Some(WRITE_FAILED),
        "{status:?}: {}",
        process.log()
    );
    ensure!(
        process.log().contains("checkpoint made"),
        "{}",
        process.log()
    );
    // What is left of the room goes too.
    disk.fill()?;

    let less = ["--retain-bytes", "0B"];
    let args = [&SMALL[..], &less[..]].concat();
    let mut process = persister(1, &lite.uri, &disk.journal(), &args)?;
    durable(&client, 1, last)
        .await
        .with_context(|| process.log())?;
    ensure!(journaled(&disk.journal())? == tree(&client).await?);
    process.end_in_order()?;
    Ok(())
}
