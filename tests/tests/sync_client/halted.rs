//! Persisters that neither work nor die: halted like by a hanging disk or machine, let go on, and
//! replaced meanwhile by another that takes their id.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_client::Revision;
use cairn_journal::{Entry, Op};
use cairn_protocol::owner::HEARTBEAT;
use cairn_sync_client::{Client, Error, Liveness, keys};
use cairn_tests::{Writers, Writing, durable, eventually, persister, records};

use crate::Persisted;
use crate::failover::liveness;

/// How long a write may take to be confirmed while one persister of three does nothing.
const PATIENT: Duration = Duration::from_secs(10);

/// The same when nobody is going to confirm it.
const BRIEF: Duration = Duration::from_millis(400);

/// How many writes are progress.
const STEP: usize = 100;

/// The exit status of a persister whose id was taken over.
const REPLACED: i32 = 21;

/// Sets files until told to stop; each one's path and revision. None may fail.
async fn load(client: Client, writing: Writing) -> Result<Vec<(String, i64)>> {
    let mut written = Vec::new();
    while writing.goes_on() {
        let path = format!("/load/{}", written.len() % 50);
        let revision = client.set(&path, Revision::ANY, "x").await?;
        written.push((path, revision.0));
        writing.did_one();
    }
    Ok(written)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_notice_neither_a_slow_persister_nor_its_replacement() -> Result<()> {
    let mut cluster = Persisted::start(3).await?;
    let hand = cluster.lite.client().await?;
    let client = cluster.client(2, PATIENT).await?;
    let mut writer = Writers::default();
    writer.start(|writing| load(client, writing));

    for id in [1, 2, 3] {
        cluster.process(id).halt()?;
        writer.progress(STEP).await?;
        cluster.process(id).resume()?;
        durable(&hand, id, hand.rev().await?).await?;
    }

    // Halted for so long that another one takes its id.
    cluster.process(3).halt()?;
    let journal = cluster.journal(4);
    let _successor = persister(3, cluster.uri(), &journal, &["--mirror", "watermark"])?;
    let key = keys::owner(3);
    let before = hand.get(&key, None).await?.context("it is held")?.value;
    eventually("its successor holds the id", || async {
        let now = hand.get(&key, None).await?.context("it is held")?.value;
        Ok((now != before).then_some(()))
    })
    .await?;
    writer.progress(STEP).await?;
    durable(&hand, 3, hand.rev().await?).await?;
    // It goes on where it was halted, in a cluster that has another in its place.
    cluster.process(3).resume()?;
    cluster.process(3).ends_with(REPLACED)?;
    writer.progress(STEP).await?;

    let written = writer.end().await.context("no write fails")?.concat();
    // Which was never halted for long, and so has it all once it has the last.
    let last = written.last().context("something was written")?.1;
    durable(&hand, 1, Revision(last)).await?;
    let mut journaled = HashSet::new();
    for record in records(&cluster.journal(1))? {
        let Entry::Changes { changes, .. } = record.entry else {
            continue;
        };
        for change in changes {
            if matches!(change.op, Op::Set(_)) {
                let path = String::from_utf8(change.path.to_vec())?;
                journaled.insert((path, change.revision.unwrap_or(record.revision).0));
            }
        }
    }
    for write in &written {
        ensure!(journaled.contains(write), "{write:?} is in no journal");
    }
    println!("{} writes, none failed, all in journal 1", written.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_halted_of_three_leave_writes_unconfirmed_until_they_go_on() -> Result<()> {
    let mut cluster = Persisted::start(3).await?;
    let client = cluster.client(2, BRIEF).await?;
    client.set("/a", Revision::ANY, "before").await?;
    for id in [2, 3] {
        cluster.process(id).halt()?;
    }
    let halted = Instant::now();

    let Err(error) = client.set("/a", Revision::ANY, "one is not enough").await else {
        bail!("confirmed by one of three");
    };
    let waited = halted.elapsed();
    ensure!(
        waited < BRIEF + Duration::from_secs(2),
        "it took {waited:?}"
    );
    let revision = unconfirmed_by_all_but(&[1], &error)?;
    let now = client.get("/a", None).await?.context("it was applied")?;
    ensure!(now.revision == revision && now.value == "one is not enough");
    let Err(error) = client.del("/a", Revision::ANY).await else {
        bail!("confirmed by one of three");
    };
    let deleted = unconfirmed_by_all_but(&[1], &error)?;

    // That they do not live shows when their heartbeats stay out, and since when.
    let error = eventually("both are known to be silent", || async {
        let Err(error) = client.wait_durable(deleted).await else {
            bail!("confirmed by one of three");
        };
        let mut silent = true;
        for id in [2, 3] {
            silent &= matches!(liveness(&error, id)?, Liveness::Silent { .. });
        }
        Ok(silent.then_some(error))
    })
    .await?;
    let elapsed = halted.elapsed();
    println!("{elapsed:.1?} after they were halted: {error}");
    unconfirmed_by_all_but(&[1], &error)?;
    for id in [2, 3] {
        let Liveness::Silent { since } = liveness(&error, id)? else {
            bail!("{error}");
        };
        let slack = Duration::from_secs(1);
        ensure!(
            since + slack > elapsed && since < elapsed + HEARTBEAT + slack,
            "halted {elapsed:?} ago: {error}"
        );
    }

    for id in [2, 3] {
        cluster.process(id).resume()?;
    }
    let patient = cluster.client(2, PATIENT).await?;
    patient.wait_durable(deleted).await?;
    patient.set("/a", Revision::ANY, "works again").await?;
    patient.del("/a", Revision::ANY).await?;
    // So does the client that has seen it all.
    client.wait_durable(deleted).await?;
    Ok(())
}

/// The revision of a write that was applied and that only these have on disk.
fn unconfirmed_by_all_but(have_it: &[u32], error: &Error) -> Result<Revision> {
    match error {
        Error::Unconfirmed {
            revision,
            exact: true,
            confirmed_by,
            ..
        } if confirmed_by == have_it => Ok(*revision),
        other => bail!("should be unconfirmed by all but {have_it:?}: {other}"),
    }
}

/// The story: a client of a halted node left it after ten seconds, and called the persisters dead
/// that it could not hear there; these had left it after five.
#[test]
fn a_halted_node_is_left_before_its_persisters_count_as_silent() {
    let options = cairn_sync_client::Options::default();
    assert!(options.silence() <= HEARTBEAT);
    // By who waits as by who asks.
    assert_eq!(options.silence(), options.request_timeout);
}
