//! A real file system without room, and what a persister on it says and does not say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{Lite, attached, durable, eventually, journaled, persister, tree};

/// The exit status for a failed write, as `docs/operations.md` has it.
const WRITE_FAILED: i32 = 13;

/// A small file system in memory; unmounted when dropped.
struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self> {
        Self::mount_sized("size=64m")
    }

    fn mount_sized(size: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(directory.path())
            .status()
            .context("cannot run mount: install the package mount")?;
        ensure!(
            mounted.success(),
            "cannot mount a small file system. Run the tests as root, or in a namespace of their own: \
             unshare --map-root-user --mount cargo test"
        );
        Ok(Self { directory })
    }

    fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    /// Takes up a part of it, to be given back later.
    fn ballast(&self) -> Result<PathBuf> {
        let path = self.directory.path().join("ballast");
        fs::write(&path, vec![1; 32 << 20])?;
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.directory.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.directory.path().display());
        }
    }
}

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
    let state = cairn_journal::state(&reader, None)?;
    ensure!(
        state.revision.0 >= watermark,
        "the watermark says {watermark}, the journal ends at {}",
        state.revision
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_persister_and_nothing_false_was_said() -> Result<()> {
    let disk = SmallDisk::mount()?;
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
    let disk = SmallDisk::mount()?;
    let ballast = disk.ballast()?;
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
    process.end_in_order()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_opened_again_once_less_is_to_be_retained() -> Result<()> {
    let disk = SmallDisk::mount_sized("size=128m")?;
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
    let rest = std::io::copy(
        &mut std::io::repeat(1),
        &mut fs::File::create(disk.directory.path().join("rest"))?,
    );
    ensure!(rest.is_err(), "the disk is full");

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
