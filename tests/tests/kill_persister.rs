//! A persister killed again and again under load: the journal has every revision exactly once, and
//! everybody who waits for it is released in the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision};
use cairn_tests::{
    Lite, Writers, Writing, goes_on, history, journaled, journaled_once, mirrored, persister,
    seeded, setting, shows_delete, shows_set, tree,
};

/// How often the persister is killed, unless the environment says otherwise.
const KILLS: u32 = 40;

/// How many writers there are, and so how many programs wait for single paths.
const WRITERS: u32 = 4;

/// Sets or deletes, then waits for the mirror of that very path.
async fn write_and_wait(
    client: Client,
    writer: u32,
    mut random: fastrand::Rng,
    writing: Writing,
) -> Result<u32> {
    let mut released = 0;
    while writing.goes_on() {
        let path = format!("/{writer}/{}", random.u8(..20));
        let revision = client
            .set(&path, Revision::ANY, format!("{released}"))
            .await?;
        shows_set(&client, &path, revision).await?;
        released += 1;
        if random.bool() {
            // Set and deleted at once: both may reach the disk in one batch, and the delete must
            // not be lost in it.
            let set = client.set(&path, Revision::ANY, "short-lived").await?;
            client.del(&path, Revision::ANY).await?;
            shows_delete(&client, &path, set).await?;
            released += 1;
        }
    }
    Ok(released)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_journals_everything_once_and_releases_everybody() -> Result<()> {
    let mut random = seeded("kills")?;
    let kills = setting("CAIRN_KILLS", KILLS)?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;

    let mut writers = Writers::default();
    for writer in 0..WRITERS {
        let client = lite.client().await?;
        writers.start(|writing| write_and_wait(client, writer, random.fork(), writing));
    }
    for _ in 0..kills {
        let mut process = persister(1, &lite.uri, &journal, &[])?;
        // Any moment: from before it has opened its journal to well into the work.
        tokio::time::sleep(Duration::from_millis(random.u64(..120))).await;
        process.kill()?;
        writers.none_gave_up()?;
    }
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    let released = writers.end().await.with_context(|| process.log())?;
    let last = goes_on(&process, &client, "/last").await?;

    // The journal, the watermark and the mirror agree with the cluster.
    let (of_cluster, of_journal) = (history(&client, last).await?, journaled_once(&journal)?);
    ensure!(of_cluster == of_journal, "cluster and journal differ");
    let live = tree(&client).await?;
    ensure!(journaled(&journal)? == live);
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;
    println!(
        "{} changes journaled exactly once over {kills} kills; {} waiters released",
        of_journal.len(),
        released.iter().sum::<u32>()
    );
    Ok(())
}
