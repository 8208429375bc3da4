//! Any persisters beyond those required may die, and writes do not notice; if too many die,
//! writes say so in time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::Revision;
use cairn_sync_client::{Client, Error, Liveness};
use cairn_tests::{Writers, Writing, durable, eventually, records, seeded, setting};

use crate::Persisted;
use crate::history::{Did, Operation, Truth};

const WRITERS: usize = 6;
const PATHS: usize = 5;

/// How often a persister is killed and restarted during load, unless `CAIRN_TEST_FAILOVERS` says
/// otherwise.
const FAILOVERS: u64 = 6;

/// How long a write may take to be confirmed while one persister of three is missing.
const PATIENT: Duration = Duration::from_secs(10);

/// The same when nobody is going to confirm it.
const BRIEF: Duration = Duration::from_millis(400);

/// Sets, deletes and reads until told to stop. No operation may fail.
async fn load(
    client: Client,
    writer: usize,
    mut random: fastrand::Rng,
    writing: Writing,
) -> Result<Vec<Operation>> {
    let mut history = Vec::new();
    while writing.goes_on() {
        let path = format!("/shared/{}", random.usize(..PATHS));
        let called = Instant::now();
        let did = match random.u8(..10) {
            0..4 => {
                let value = Bytes::from(format!("{writer}/{}", history.len()));
                let revision = client.set(&path, Revision::ANY, value.clone()).await?.0;
                Did::Set { revision, value }
            }
            4..6 => {
                client.del(&path, Revision::ANY).await?;
                Did::Delete
            }
            _ => {
                let found = client.get(&path, None).await?;
                let found = found.map(|file| (file.revision.0, file.value));
                Did::Get { found }
            }
        };
        let returned = Instant::now();
        history.push(Operation {
            path,
            called,
            returned,
            did,
        });
        writing.did_one();
    }
    Ok(history)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_do_not_notice_the_death_of_any_one() -> Result<()> {
    let mut random = seeded("failovers")?;
    let mut cluster = Persisted::start(3).await?;
    let hand = cluster.lite.client().await?;
    let mut writers = Writers::default();
    for n in 0..WRITERS {
        let client = cluster.client(2, PATIENT).await?;
        writers.start(|writing| load(client, n, random.fork(), writing));
    }
    let failovers = setting("CAIRN_TEST_FAILOVERS", FAILOVERS)?;
    for _ in 0..failovers {
        let id = random.u32(1..=3);
        cluster.process(id).kill()?;
        let progress = writers.progress(300).await;
        progress.context("without one persister")?;
        *cluster.process(id) = cluster.persister(id)?;
        // Back for good: the next to be killed may be another.
        durable(&hand, id, hand.rev().await?)
            .await
            .or_else(|_| bail!("persister {id} is not back"))?;
    }
    let histories = writers.end().await.context("no operation fails")?;
    let history: Vec<_> = histories.into_iter().flatten().collect();
    let last = hand.set("/last", Revision::ANY, "x").await?;
    for id in 1..=3 {
        durable(&hand, id, last).await?;
        let truth = Truth::of(&records(&cluster.journal(id))?);
        let operations = truth.check(history.clone())?;
        println!("journal {id}: {operations} operations, {failovers} failovers, one history");
    }
    Ok(())
}

/// What an unconfirmed write says of one persister.
pub(crate) fn liveness(error: &Error, id: u32) -> Result<Liveness> {
    match error {
        Error::Unconfirmed { behind, .. } => {
            let one = behind.iter().find(|one| one.persister == id);
            Ok(one.context("it is behind")?.liveness)
        }
        other => bail!("should be unconfirmed: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_two_of_three_writes_are_unconfirmed_and_say_who_is_dead() -> Result<()> {
    let mut cluster = Persisted::start(3).await?;
    let client = cluster.client(2, BRIEF).await?;
    client.set("/a", Revision::ANY, "before").await?;
    cluster.process(1).kill()?;
    let killed = Instant::now();
    client.set("/a", Revision::ANY, "two are enough").await?;
    cluster.process(2).end_in_order()?;

    let started = Instant::now();
    let Err(error) = client.set("/a", Revision::ANY, "one is not").await else {
        bail!("confirmed by one of three");
    };
    let waited = started.elapsed();
    ensure!(
        waited < BRIEF + Duration::from_secs(2),
        "it took {waited:?}"
    );
    let Error::Unconfirmed {
        revision,
        exact: true,
        ref confirmed_by,
        ..
    } = error
    else {
        bail!("should be unconfirmed: {error}");
    };
    ensure!(*confirmed_by == [3], "{error}");
    let now = client.get("/a", None).await?.context("it was applied")?;
    ensure!(now.revision == revision && now.value == "one is not");
    ensure!(
        matches!(liveness(&error, 2)?, Liveness::Absent { since: Some(_) }),
        "{error}"
    );
    let Err(error) = client.del("/b", Revision::ANY).await else {
        bail!("confirmed by one of three");
    };
    ensure!(
        matches!(error, Error::Unconfirmed { exact: true, .. }),
        "{error}"
    );

    // Killed rather than ended: that shows when its heartbeats stay out.
    let error = eventually("persister 1 is known to be dead", || async {
        let Err(error) = client.wait_durable(revision).await else {
            bail!("confirmed by one of three");
        };
        let silent = matches!(liveness(&error, 1)?, Liveness::Silent { .. });
        Ok(silent.then_some(error))
    })
    .await?;
    println!("{:.1?} after the kill: {error}", killed.elapsed());
    let Liveness::Silent { since } = liveness(&error, 1)? else {
        bail!("{error}");
    };
    ensure!(since + Duration::from_secs(1) > killed.elapsed(), "{error}");

    *cluster.process(1) = cluster.persister(1)?;
    let patient = cluster.client(2, PATIENT).await?;
    patient.wait_durable(revision).await?;
    client.set("/a", Revision::ANY, "works again").await?;
    client.del("/a", Revision::ANY).await?;
    Ok(())
}
