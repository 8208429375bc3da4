//! Checkpoints and retention beside a running persister: killed in the middle of either, with
//! nearly nothing kept of history, and with a mirror that has missed what went.
//!
//! What must hold: the journal's state is the cluster's, the mirror is its image, and a lost
//! cluster comes back from a checkpoint and what followed it, with its revisions.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_client::{Client, Revision};
use cairn_journal::Reader;
use cairn_sync_client::keys;
use cairn_tests::{
    Lite, Process, Tree, Writers, Writing, attached, durable, eventually, goes_on, journaled,
    mirrored, persister, seeded, served, setting, shows_set, tree,
};

/// How often the persister is killed, unless the environment says otherwise.
const KILLS: u32 = 12;

/// How many keys there are before the load begins, so that a checkpoint takes a while.
const KEYS: u32 = 4000;

/// The exit status for a damaged journal, as `docs/operations.md` has it.
const DAMAGED: i32 = 10;

/// Checkpoints as often as they can be made, and nothing kept that one covers.
const GREEDY: [&str; 6] = [
    "--checkpoint-every",
    "1B",
    "--retain-bytes",
    "0B",
    // Close to the smallest there can be. Every start begins a new one.
    "--segment-bytes",
    "20MiB",
];

fn files(journal: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(journal)? {
        let path = entry?.path();
        if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How many checkpoints are there that were never completed.
fn unfinished(journal: &Path) -> Result<usize> {
    let temporary = files(journal, "tmp")?;
    let named = |path: &&PathBuf| path.to_string_lossy().ends_with(".ckpt.tmp");
    Ok(temporary.iter().filter(named).count())
}

/// Waits a while for something that lasts a few milliseconds only; not seeing it is no failure.
async fn begun(mut seen: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) && !seen()? {
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    Ok(())
}

/// The sequence of the oldest record that there still is.
fn oldest(journal: &Path) -> Result<u64> {
    let mut records = Reader::open(journal)?.records();
    let first = records.next().context("there is a record")??;
    Ok(first.sequence.0)
}

/// The revision of the newest checkpoint.
fn newest_checkpoint(journal: &Path) -> Result<Option<i64>> {
    let found = Reader::open(journal)?.checkpoints()?;
    Ok(found.usable.first().map(|newest| newest.revision().0))
}

/// Writes on until a checkpoint covers all that there is now: one is due only after as much was
/// journaled as the one before has.
async fn covered(client: &Client, journal: &Path, process: &Process) -> Result<()> {
    let goal = client.rev().await?.0;
    eventually("a checkpoint", || async {
        client
            .set("/filler", Revision::ANY, vec![b'x'; 2000])
            .await?;
        Ok(newest_checkpoint(journal)?.filter(|newest| *newest >= goal))
    })
    .await
    .map(drop)
    .with_context(|| process.log())
}

/// Has the cluster named. What is older than its name cannot keep its revision in a restored one.
async fn named(lite: &Lite, journal: &Path) -> Result<()> {
    let mut process = persister(1, &lite.uri, journal, &[])?;
    attached(&lite.client().await?, 1).await?;
    process.kill()
}

/// Waits until a persister follows, with all that it had to restore restored.
async fn following(process: &Process) -> Result<()> {
    eventually("following", || async {
        Ok(process.log().contains("following cluster").then_some(()))
    })
    .await
    .with_context(|| process.log())
}

/// Waits until retention has removed what was before sequence `first`.
async fn retired(journal: &Path, first: u64, process: &Process) -> Result<()> {
    eventually("retention", || async {
        Ok((oldest(journal)? > first).then_some(()))
    })
    .await
    .with_context(|| process.log())
}

/// Sets and deletes, and waits for the mirror of every fourth set as any program might.
async fn write(
    client: Client,
    writer: u32,
    mut random: fastrand::Rng,
    writing: Writing,
) -> Result<u32> {
    let mut released = 0;
    while writing.goes_on() {
        let path = format!("/{writer}/{}", random.u8(..50));
        if random.u8(..3) == 0 {
            client.del(&path, Revision::ANY).await?;
            continue;
        }
        let value = vec![b'x'; random.usize(..2000)];
        let revision = client.set(&path, Revision::ANY, value).await?;
        if random.u8(..4) > 0 {
            continue;
        }
        shows_set(&client, &path, revision).await?;
        released += 1;
    }
    Ok(released)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_checkpoints_and_retention_it_loses_nothing() -> Result<()> {
    let mut random = seeded("kills in checkpoints")?;
    let kills = setting("CAIRN_KILLS", KILLS)?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    named(&lite, &journal).await?;
    for n in 0..KEYS {
        let path = format!("/before/{n}");
        client.set(&path, Revision::ANY, vec![b'x'; 50]).await?;
    }
    let mut writers = Writers::default();
    for writer in 0..4 {
        let client = lite.client().await?;
        writers.start(|writing| write(client, writer, random.fork(), writing));
    }
    let (mut unfinished_ones, mut removals, mut checkpoints, mut newest) = (0, 0, 0, None);
    for _ in 0..kills {
        let mut process = persister(1, &lite.uri, &journal, &GREEDY)?;
        let before = files(&journal, "seg")?.len();
        match random.u8(..3) {
            // Any moment.
            0 => tokio::time::sleep(Duration::from_millis(random.u64(..900))).await,
            // While a checkpoint is being written, or has just been named.
            1 => {
                begun(|| Ok(unfinished(&journal)? > 0)).await?;
                tokio::time::sleep(Duration::from_millis(random.u64(..8))).await;
            }
            // While history is being removed. The start itself has begun a segment.
            _ => begun(|| Ok(files(&journal, "seg")?.len() < before)).await?,
        }
        process.kill()?;
        unfinished_ones += u32::from(unfinished(&journal)? > 0);
        removals += u32::from(files(&journal, "seg")?.len() < before);
        let now = newest_checkpoint(&journal)?;
        checkpoints += u32::from(now > newest);
        newest = now;
        writers.none_gave_up()?;
    }
    let mut process = persister(1, &lite.uri, &journal, &GREEDY)?;
    let released = writers.end().await.with_context(|| process.log())?;
    goes_on(&process, &client, "/last").await?;
    let live = tree(&client).await?;
    same(&journaled(&journal)?, &live)?;
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    covered(&client, &journal, &process).await?;
    process.end_in_order()?;
    let live = tree(&client).await?;
    // It begins a segment, so that all before it may go.
    let args = [&["--listen", "127.0.0.1:0"], &GREEDY[..]].concat();
    let mut process = persister(1, &lite.uri, &journal, &args)?;
    following(&process).await?;
    retired(&journal, 1, &process).await?;
    eventually("the checkpoint is told of", || async {
        let metrics = served(&process, "/metrics").await?;
        let nothing = [
            "cairn_last_checkpoint_timestamp_seconds 0.0\n",
            "cairn_checkpoint_bytes 0\n",
        ];
        ensure!(
            metrics.contains("cairn_checkpoint_failures_total 0\n"),
            "{metrics}"
        );
        Ok((!nothing.iter().any(|none| metrics.contains(none))).then_some(()))
    })
    .await?;
    process.end_in_order()?;

    // All is lost but a checkpoint and the little behind it.
    drop(lite);
    let first = oldest(&journal)?;
    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let mut process = persister(1, &fresh.uri, &journal, &[&["-r"], &GREEDY[..]].concat())?;
    following(&process).await?;
    same(&tree(&client).await?, &live)?;
    process.end_in_order()?;
    println!(
        "{kills} kills, {unfinished_ones} with a checkpoint half written, {removals} with history just removed, \
         {checkpoints} new checkpoints between them; \
         {} waiters released; records begin with {first}; {} keys restored",
        released.iter().sum::<u32>(),
        live.len()
    );
    Ok(())
}

/// Fails with the first path that differs, in its revision or its value.
fn same(found: &Tree, expected: &Tree) -> Result<()> {
    for path in found.keys().chain(expected.keys()) {
        let (Some((is, value)), Some((was, body))) = (found.get(path), expected.get(path)) else {
            bail!(
                "{path}: found at {:?}, expected at {:?}",
                found.get(path).map(|file| file.0),
                expected.get(path).map(|file| file.0)
            );
        };
        ensure!(value == body, "{path} has another value");
        ensure!(is == was, "{path} is at {is}, and was at {was}");
    }
    Ok(())
}

/// The story: a mirror was switched off for a while, and switched on again when the records that it
/// had missed were gone: what had been deleted meanwhile stayed in it for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_missed_what_was_retired_ends_right() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &GREEDY)?;
    for n in 0..200 {
        client
            .set(&format!("/gone/{n}"), Revision::ANY, "x")
            .await?;
        client
            .set(&format!("/kept/{n}"), Revision::ANY, "x")
            .await?;
        client
            .set(&format!("/file/{n}"), Revision::ANY, "x")
            .await?;
    }
    mirrored(&client, 1, &tree(&client).await?)
        .await
        .with_context(|| process.log())?;
    process.kill()?;
    let before = oldest(&journal)?;

    // Without the mirror: deletes, new values, files that become directories; twice, as each start
    // begins a segment and only what has a successor may go.
    let mut last = Revision::MISSING;
    for round in 0..2 {
        let args = [&["--mirror", "watermark"], &GREEDY[..]].concat();
        let mut process = persister(1, &lite.uri, &journal, &args)?;
        for n in 0..200 {
            if round == 0 {
                client.del(&format!("/gone/{n}"), Revision::ANY).await?;
                client.del(&format!("/file/{n}"), Revision::ANY).await?;
                let below = format!("/file/{n}/below");
                client.set(&below, Revision::ANY, "y").await?;
            }
            last = client
                .set(&format!("/kept/{}", n / 2), Revision::ANY, "y")
                .await?;
        }
        durable(&client, 1, last).await?;
        covered(&client, &journal, &process).await?;
        process.kill()?;
    }
    let mut process = persister(1, &lite.uri, &journal, &GREEDY)?;
    retired(&journal, before, &process).await?;
    let live = tree(&client).await?;
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    process.end_in_order()?;

    // And once more with the place of the mirror certainly among what has gone: nothing of it is
    // left.
    client.del("/gone/none", Revision::ANY).await?;
    let stale = format!(
        "1 {} 1",
        Reader::open(&journal)?.checkpoints()?.usable[0].uuid()
    );
    client
        .set(&keys::mirror_progress(1), Revision::ANY, stale)
        .await?;
    client
        .set(&keys::mirror(1, "/zombie/1"), Revision::ANY, "7")
        .await?;
    client.del("/kept/199", Revision::ANY).await?;
    let mut process = persister(1, &lite.uri, &journal, &GREEDY)?;
    let live = tree(&client).await?;
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    ensure!(
        process
            .log()
            .contains("comparing the mirror with the state"),
        "{}",
        process.log()
    );
    process.end_in_order()?;
    Ok(())
}

/// Overwrites a byte in the middle of a file.
fn damage(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(path, bytes)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_passed_over_while_there_is_history_and_named_when_there_is_none()
-> Result<()> {
    for keeps_history in [true, false] {
        let scratch = tempfile::tempdir()?;
        let journal = scratch.path().join("journal");
        let lite = Lite::start()?;
        let client = lite.client().await?;
        named(&lite, &journal).await?;
        let args: &[&str] = if keeps_history {
            &["--checkpoint-every", "1B", "--retain", "all"]
        } else {
            &GREEDY
        };
        // Each start begins a segment, and only what has a successor may go.
        for round in 0..2 {
            let mut process = persister(1, &lite.uri, &journal, args)?;
            for n in 0..300 {
                let path = format!("/{n}");
                client.set(&path, Revision::ANY, round.to_string()).await?;
            }
            covered(&client, &journal, &process).await?;
            process.end_in_order()?;
        }
        let mut process = persister(1, &lite.uri, &journal, args)?;
        following(&process).await?;
        if !keeps_history {
            retired(&journal, 1, &process).await?;
            eventually("the older checkpoints are gone", || async {
                Ok((files(&journal, "ckpt")?.len() == 1).then_some(()))
            })
            .await?;
        }
        process.end_in_order()?;
        let live = tree(&client).await?;
        drop(lite);
        let newest = files(&journal, "ckpt")?.pop().context("a checkpoint")?;
        damage(&newest)?;

        let fresh = Lite::start()?;
        let client = fresh.client().await?;
        let mut process = persister(1, &fresh.uri, &journal, &[&["-r"], args].concat())?;
        if keeps_history {
            following(&process).await?;
            same(&tree(&client).await?, &live)?;
            let said = process.log();
            let name = newest.file_name().context("a name")?.to_string_lossy();
            ensure!(said.contains(&*name) && said.contains("damaged"), "{said}");
            // The next one is sound.
            covered(&client, &journal, &process).await?;
            process.end_in_order()?;
        } else {
            let said = process.ends_with(DAMAGED)?;
            ensure!(
                said.contains(".ckpt") && said.contains("persister -f"),
                "{said}"
            );
            ensure!(tree(&client).await?.is_empty(), "nothing was half restored");
        }
    }
    Ok(())
}
