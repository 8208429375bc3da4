//! A persister killed again and again under load: the journal has every revision exactly once, and
//! everybody who waits for it is released in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, EventKind, Revision};
use cairn_sync_client::keys;
use cairn_tests::{Lite, durable, history, journaled, journaled_once, mirrored, persister, tree};

/// How often the persister is killed, unless the environment says otherwise.
const KILLS: u32 = 40;

/// How many writers there are, and so how many programs wait for single paths.
const WRITERS: u32 = 4;

/// Sets or deletes, then waits for the mirror of that very path as any program might that knows
/// only the public protocol: one SET, one WAIT at a time, and nothing of watermarks.
async fn write_and_wait(
    client: Client,
    writer: u32,
    mut random: fastrand::Rng,
    stop: Arc<AtomicBool>,
) -> Result<u32> {
    let mut released = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/{writer}/{}", random.u8(..20));
        let mirror = keys::mirror(1, &path);
        let revision = client
            .set(&path, Revision::ANY, format!("{released}"))
            .await?;
        let mut from = revision;
        loop {
            let event = client.wait(&mirror, from).await?;
            let says = std::str::from_utf8(&event.value)?.parse::<i64>();
            if event.kind == EventKind::Set && says? >= revision.0 {
                break;
            }
            from = event.revision.next();
        }
        released += 1;
        if random.bool() {
            // Set and deleted at once: both may reach the disk in one batch, and the delete must
            // not be lost in it.
            let set = client.set(&path, Revision::ANY, "short-lived").await?;
            client.del(&path, Revision::ANY).await?;
            let mut from = set;
            loop {
                let event = client.wait(&mirror, from).await?;
                if event.kind == EventKind::Delete {
                    break;
                }
                from = event.revision.next();
            }
            released += 1;
        }
    }
    Ok(released)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_journals_everything_once_and_releases_everybody() -> Result<()> {
    let seed = fastrand::u64(..);
    let kills = std::env::var("CAIRN_KILLS").map_or(Ok(KILLS), |kills| kills.parse())?;
    println!("seed {seed}, {kills} kills");
    let mut random = fastrand::Rng::with_seed(seed);
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = lite.client().await?;
        writers.push(tokio::spawn(write_and_wait(
            client,
            writer,
            random.fork(),
            Arc::clone(&stop),
        )));
    }
    for _ in 0..kills {
        let mut process = persister(1, &lite.uri, &journal, &[])?;
        // Any moment: from before it has opened its journal to well into the work.
        tokio::time::sleep(Duration::from_millis(random.u64(..120))).await;
        process.kill()?;
        ensure!(
            !writers.iter().any(tokio::task::JoinHandle::is_finished),
            "a writer gave up"
        );
    }
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    stop.store(true, Ordering::Relaxed);
    let mut released = 0;
    for writer in writers {
        released += tokio::time::timeout(cairn_tests::DEADLINE, writer)
            .await
            .with_context(|| format!("somebody waits in vain:\n{}", process.log()))???;
    }
    let last = client.set("/last", Revision::MISSING, "x").await?;
    durable(&client, 1, last)
        .await
        .with_context(|| process.log())?;

    // The journal, the watermark and the mirror agree with the cluster.
    let (of_cluster, of_journal) = (history(&client, last).await?, journaled_once(&journal)?);
    ensure!(
        of_cluster == of_journal,
        "cluster and journal differ: seed {seed}"
    );
    let live = tree(&client).await?;
    ensure!(journaled(&journal)? == live);
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    ensure!(process.terminate()?.success(), "{}", process.log());
    println!(
        "{} changes journaled exactly once over {kills} kills; {released} waiters released",
        of_journal.len()
    );
    Ok(())
}
