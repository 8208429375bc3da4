//! Does a commit wait for a checkpoint?
//!
//! Fills a journal without making checkpoints, then writes durably, one write at a time, while
//! nothing else happens; then starts the persister anew so that it makes one of all of it at once,
//! and writes durably for as long as that takes.
//!
//! ```sh
//! CAIRN_KEYS=300000 cargo bench -p cairn-tests --bench checkpoint_latency
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cairn_client::{Client, Revision};
use cairn_journal::Reader;
use cairn_sync_client::keys;
use cairn_tests::{Lite, durable, persister};
use futures::StreamExt;

/// How many writes are in flight while the journal is filled.
const IN_FLIGHT: usize = 256;

/// Bytes in a value.
const VALUE: usize = 1000;

/// For how long writes are measured while nothing else happens.
const QUIET: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<()> {
    let keys: u64 = std::env::var("CAIRN_KEYS").map_or(Ok(100_000), |keys| keys.parse())?;
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start_with(&["--hist", "1000000"])?;
    let client = lite.client().await?;
    let never = ["--mirror", "watermark", "--checkpoint-every", "1TiB"];
    let mut process = persister(1, &lite.uri, &journal, &never)?;
    let mut writes = futures::stream::iter(0..keys)
        .map(|n| {
            let client = client.clone();
            async move {
                let path = format!("/{}/{n}", n % 1000);
                client.set(&path, Revision::ANY, vec![b'x'; VALUE]).await
            }
        })
        .buffer_unordered(IN_FLIGHT);
    let mut last = Revision::MISSING;
    while let Some(revision) = writes.next().await {
        last = last.max(revision?);
    }
    durable(&client, 1, last).await?;
    let start = Instant::now();
    let alone = latencies(&client, || Ok(start.elapsed() > QUIET)).await?;
    process.kill()?;

    let at_once = ["--mirror", "watermark", "--checkpoint-every", "1B"];
    let mut process = persister(1, &lite.uri, &journal, &at_once)?;
    // The watermark is still that of the one before.
    cairn_tests::eventually("following", || async {
        Ok(process.log().contains("following cluster").then_some(()))
    })
    .await?;
    let beside = latencies(&client, || has_checkpoint(&journal)).await?;
    println!("{keys} keys of {VALUE} bytes; durable writes, one at a time, in microseconds");
    println!(
        "{:>20} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "writes", "p50", "p99", "p99.9", "max"
    );
    row("alone", alone);
    row("during a checkpoint", beside);
    let log = process.log();
    let made = log.lines().find(|line| line.contains("checkpoint made"));
    println!("{}", made.context("it was made")?);
    process.terminate()?;
    Ok(())
}

fn has_checkpoint(journal: &Path) -> Result<bool> {
    Ok(!Reader::open(journal)?.checkpoints()?.usable.is_empty())
}

/// How long durable writes took, one after the other until `done`: written, journaled, and said so.
async fn latencies(client: &Client, done: impl Fn() -> Result<bool>) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut looked = Instant::now();
    loop {
        let start = Instant::now();
        let revision = client.set("/measured", Revision::ANY, "x").await?;
        let mut from = revision.next();
        loop {
            let event = client.wait(&keys::watermark(1), from).await?;
            let says: i64 = std::str::from_utf8(&event.value)?.parse()?;
            if says >= revision.0 {
                break;
            }
            from = event.revision.next();
        }
        took.push(start.elapsed());
        if looked.elapsed() > Duration::from_millis(20) {
            looked = Instant::now();
            if done()? {
                return Ok(took);
            }
        }
    }
}

fn row(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at =
        |per_mille: usize| took[(took.len() * per_mille / 1000).min(took.len() - 1)].as_micros();
    println!(
        "{name:>20} {:>8} {:>8} {:>8} {:>8} {:>8}",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}
