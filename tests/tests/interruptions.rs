//! A persister that is paused, told to end twice, or whose node stops taking writes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{
    Lite, Process, Proxy, Writers, Writing, attached, durable, eventually, goes_on, history,
    journaled, journaled_once, mirrored, persister, seeded, served, tree,
};

/// How often the other node becomes the one that takes writes.
const FAILOVERS: u32 = 6;

/// The exit status of a process that was told to end at once.
const INTERRUPTED: i32 = 130;

async fn write(client: Client, mut random: fastrand::Rng, writing: Writing) -> Result<()> {
    while writing.goes_on() {
        let path = format!("/{}", random.u8(..50));
        if random.u8(..4) == 0 {
            client.del(&path, Revision::ANY).await?;
        } else {
            client.set(&path, Revision::ANY, "x").await?;
        }
    }
    Ok(())
}

/// Starts a persister that knows two addresses of its cluster.
fn persister_of_both(nodes: [&Proxy; 2], journal: &std::path::Path) -> Result<Process> {
    let uri = format!("doozer:?ca={}&ca={}", nodes[0].address, nodes[1].address);
    let journal = journal.to_str().context("a test directory is UTF-8")?;
    Process::start("persister", ["--id", "1", "-a", &uri, "-j", journal])
}

/// The story: every session began with the first address in the list, which let the persister in,
/// and then refused its writes; the second one was never tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_no_writes_is_left_for_another_without_loss_or_duplicates() -> Result<()>
{
    let mut random = seeded("failovers")?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let (first, second) = (
        Proxy::start(&lite.uri).await?,
        Proxy::start(&lite.uri).await?,
    );
    first.set_readonly(true);
    let mut process = persister_of_both([&first, &second], &journal)?;
    attached(&client, 1).await.with_context(|| process.log())?;
    let mut writers = Writers::default();
    for _ in 0..3 {
        let client = lite.client().await?;
        writers.start(|writing| write(client, random.fork(), writing));
    }
    for n in 0..FAILOVERS {
        let (out, other) = if n % 2 == 0 {
            (&second, &first)
        } else {
            (&first, &second)
        };
        let before = out.refused();
        other.set_readonly(false);
        out.set_readonly(true);
        eventually("the node refuses", || async {
            Ok((out.refused() > before).then_some(()))
        })
        .await
        .with_context(|| process.log())?;
        // By way of the other node.
        let revision = client.set("/mark", Revision::ANY, "x").await?;
        durable(&client, 1, revision)
            .await
            .with_context(|| process.log())?;
        tokio::time::sleep(Duration::from_millis(random.u64(..50))).await;
    }
    writers.end().await?;
    let last = client.set("/last", Revision::MISSING, "x").await?;
    durable(&client, 1, last).await?;
    let (of_cluster, of_journal) = (history(&client, last).await?, journaled_once(&journal)?);
    ensure!(of_cluster == of_journal, "cluster and journal differ");
    mirrored(&client, 1, &tree(&client).await?).await?;
    process.end_in_order()?;
    println!(
        "{} changes journaled exactly once over {FAILOVERS} failovers, {} writes refused",
        of_journal.len(),
        first.refused() + second.refused()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_sigterm_ends_it_at_once() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start()?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    let revision = client.set("/a", Revision::MISSING, "x").await?;
    durable(&client, 1, revision).await?;
    // A cluster that does not answer: an orderly end would ask it, and wait.
    lite.process.halt()?;
    process.ask_to_end()?;
    eventually("it is ending", || async {
        Ok(process.log().contains("ending: writing").then_some(()))
    })
    .await?;
    ensure!(process.ended()?.is_none(), "it waits for the cluster");
    let start = Instant::now();
    process.ask_to_end()?;
    process.ends_with(INTERRUPTED)?;
    let took = start.elapsed();
    lite.process.resume()?;
    // The deadline of a request is 5 seconds: it did not wait for one.
    ensure!(took < Duration::from_secs(3), "it took {took:?}");

    // Nothing that was durable is lost, and the next one goes on at once.
    let mut process = persister(1, &lite.uri, &journal, &[])?;
    goes_on(&process, &client, "/b").await?;
    ensure!(journaled(&journal)? == tree(&client).await?);
    process.end_in_order()?;
    println!("ended {took:?} after the second signal");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_until_history_is_discarded_it_reports_a_gap_and_ends_up_equal() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start_with(&["--hist", "500"])?;
    let client = lite.client().await?;
    let mut process = persister(1, &lite.uri, &journal, &["--listen", "127.0.0.1:0"])?;
    let mut last = Revision::MISSING;
    for n in 0..300 {
        last = client
            .set(&format!("/before/{n}"), Revision::ANY, "x")
            .await?;
    }
    durable(&client, 1, last).await?;
    ensure!(
        served(&process, "/metrics")
            .await?
            .contains("cairn_gaps_total 0")
    );

    process.halt()?;
    for n in 0..2000 {
        client
            .del(&format!("/before/{}", n % 200), Revision::ANY)
            .await?;
        last = client
            .set(
                &format!("/after/{}", n % 700),
                Revision::ANY,
                format!("{n}"),
            )
            .await?;
    }
    process.resume()?;
    durable(&client, 1, last)
        .await
        .with_context(|| process.log())?;
    let live = tree(&client).await?;
    ensure!(journaled(&journal)? == live, "{}", process.log());
    mirrored(&client, 1, &live)
        .await
        .with_context(|| process.log())?;
    let metrics = served(&process, "/metrics").await?;
    ensure!(metrics.contains("cairn_gaps_total 1"), "{metrics}");
    ensure!(
        process.log().contains("cannot be followed one by one"),
        "it is said loudly: {}",
        process.log()
    );
    // The state that was taken is in a checkpoint soon, and /status tells.
    let status = eventually("a checkpoint after the gap", || async {
        let status: serde_json::Value = serde_json::from_str(&served(&process, "/status").await?)?;
        let revision = status["checkpoint"]["revision"].as_i64();
        Ok(revision.map(|_| status))
    })
    .await
    .with_context(|| process.log())?;
    ensure!(status["checkpoint"]["error"].is_null(), "{status}");
    ensure!(client.get(&keys::watermark(1), None).await?.is_some());
    process.end_in_order()?;
    println!(
        "{} revisions passed while it was paused; {}",
        last, status["checkpoint"]
    );
    Ok(())
}
