//! The main job, end to end: real files of this machine, written durably through the sync client,
//! survive the death of every process and come back by one restore.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cairn_client::Revision;
use cairn_playground::engine;
use cairn_playground::ledger::{Class, Outcome, Revisions};
use cairn_playground::writers::Shared;
use cairn_sync_client::{Client as SyncClient, Durability};
use cairn_tests::{
    Lite, attached, durable, eventually, files_below, journaled, persister, restored, seeded, tree,
};

const WRITERS: usize = 8;

/// How long a writer waits for its persister: more than it takes, and no longer than a test should
/// wait for the writes that were under way when everything was killed.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// How many writes of the second phase are acknowledged before everything is killed.
const ACKNOWLEDGED_BEFORE_KILL: usize = 400;

fn policy(persisters: &[u32]) -> Durability {
    Durability {
        persisters: persisters.to_vec(),
        required: persisters.len(),
        timeout: CONFIRMED_WITHIN,
    }
}

/// A client, its own paths, and the ledger of what it was told.
struct Writer {
    number: u32,
    client: SyncClient,
    paths: Vec<String>,
    ledger: Shared,
}

impl Writer {
    /// Writes a value, or deletes. What it was told is in the ledger then.
    async fn write(&self, path: &str, rev: Revision, value: Option<Bytes>) -> Result<Outcome> {
        let ticket = self
            .ledger
            .lock()
            .begin(self.number, path, value.as_deref())?;
        let told = match value {
            Some(value) => self.client.set(path, rev, value).await.map(|at| Some(at.0)),
            None => self.client.del(path, rev).await.map(|()| None),
        };
        let outcome = match told {
            Ok(revision) => Outcome::Durable { revision },
            Err(error) => engine::outcome(&error),
        };
        self.ledger.lock().end(ticket, outcome);
        Ok(outcome)
    }
}

/// Sets, changes and deletes its own paths, for ever, until the cluster dies under it.
async fn write_until_killed(
    writer: Writer,
    mut random: fastrand::Rng,
    acknowledged: Arc<AtomicUsize>,
) -> Result<()> {
    loop {
        let path = &writer.paths[random.usize(..writer.paths.len())];
        let outcome = if random.u8(..4) == 0 {
            writer.write(path, Revision::ANY, None).await?
        } else {
            let length = random.usize(..2000);
            let value = (0..length).map(|_| random.u8(..)).collect();
            writer.write(path, Revision::ANY, Some(value)).await?
        };
        if outcome.class() != Class::Durable {
            return Ok(());
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_files_survive_the_death_of_everything() -> Result<()> {
    let mut random = seeded("the main job")?;
    let files = files_below(Path::new("/etc"));
    println!("{} files below /etc", files.len());
    ensure!(
        files.len() >= 50,
        "a machine with so few files shows nothing"
    );

    let journals = tempfile::tempdir()?;
    let journal = |id: u32| journals.path().join(id.to_string());
    let mut lite = Lite::start()?;
    let mut persisters = Vec::new();
    for id in 1..=3 {
        persisters.push(persister(id, &lite.uri, &journal(id), &[])?);
    }
    // Keys that are older than the cluster's identity cannot keep their revisions in the next.
    attached(&lite.client().await?, 1).await?;

    // Phase one: every file, through the sync client, by concurrent writers.
    let ledger = Shared::default();
    let mut writers = Vec::new();
    for (n, number) in (0..WRITERS).zip(1..) {
        let share: Vec<_> = files.iter().skip(n).step_by(WRITERS).cloned().collect();
        let writer = Writer {
            number,
            client: SyncClient::connect_durable(&lite.uri, policy(&[1])).await?,
            paths: share.iter().map(|(path, _)| path.clone()).collect(),
            ledger: ledger.clone(),
        };
        writers.push(tokio::spawn(async move {
            for (path, content) in share {
                let outcome = writer
                    .write(&path, Revision::MISSING, Some(content))
                    .await?;
                ensure!(outcome.class() == Class::Durable, "{path}: {outcome:?}");
            }
            anyhow::Ok(writer)
        }));
    }
    let mut loaded = Vec::new();
    for writer in writers {
        loaded.push(writer.await??);
    }

    // Phase two: change and delete, and kill all four in the middle of it.
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for writer in loaded {
        let acknowledged = Arc::clone(&acknowledged);
        writers.push(tokio::spawn(write_until_killed(
            writer,
            random.fork(),
            acknowledged,
        )));
    }
    eventually("writes acknowledged", || async {
        let enough = acknowledged.load(Ordering::Relaxed) >= ACKNOWLEDGED_BEFORE_KILL;
        ensure!(
            !writers.iter().any(tokio::task::JoinHandle::is_finished),
            "a writer gave up early"
        );
        Ok(enough.then_some(()))
    })
    .await?;
    for process in &mut persisters {
        process.kill()?;
    }
    lite.process.kill()?;
    for writer in writers {
        writer.await??;
    }

    // A fresh, empty cluster, and one restore.
    let fresh = Lite::start()?;
    let client = fresh.client().await?;
    let mut restorer = persister(1, &fresh.uri, &journal(1), &["-r"])?;
    restored(&client).await.with_context(|| restorer.log())?;
    let found = tree(&client).await?;
    let now = found
        .iter()
        .map(|(path, (at, value))| (path.clone(), (at.0, value.clone())));
    let audit = ledger.lock().audit(&now.collect(), Revisions::Kept);
    ensure!(audit.passed(), "{:#?}", audit.told);
    println!(
        "{} acknowledged in phase two; {} of {} acknowledged writes are there, {} of {} open ones, \
         {} found in all, none invented",
        acknowledged.load(Ordering::Relaxed),
        audit.durable.there,
        audit.durable.writes,
        audit.unknown.there,
        audit.unknown.writes,
        found.len()
    );

    // The other two know the lineage. What they may hold beyond the restored journal's end was
    // never acknowledged, and we say that it may go. All three then confirm the same write.
    let mut others = Vec::new();
    for id in [2, 3] {
        others.push(persister(id, &fresh.uri, &journal(id), &["--accept-loss"])?);
    }
    let sync = SyncClient::connect_durable(&fresh.uri, policy(&[1, 2, 3])).await?;
    let revision = sync
        .set("/after/the/storm", Revision::MISSING, "calm")
        .await?;
    for id in 1..=3 {
        durable(&client, id, revision).await?;
    }
    drop(sync);
    restorer.end_in_order()?;
    for mut other in others {
        other.end_in_order()?;
    }

    // Each of the three journals alone now tells the cluster's state.
    let expected = tree(&client).await?;
    for id in 1..=3 {
        let state = journaled(&journal(id))?;
        ensure!(state == expected, "journal {id} differs from the cluster");
    }
    Ok(())
}
