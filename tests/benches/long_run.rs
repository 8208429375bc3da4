//! Does a persister keep up, and does it stay as small and as fast as it began?
//!
//! Drives `doozer-lite` as hard as this machine can, with a persister following and making
//! checkpoints, and prints a row for every tenth of the way: rates, lag, memory, checkpoints, and
//! the processor time that each of the three takes for a change (they share the machine: together
//! they are what bounds the rate). After some of them it kills the persister and times its return:
//! at different lengths of history.
//!
//! ```sh
//! CAIRN_CHANGES=10000000 CAIRN_KEYS=1000000 cargo bench -p cairn-tests --bench long_run
//! ```

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::{Client, Revision};
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, attached, durable, persister, usage};
use futures::StreamExt;

/// After which tenths the persister is killed.
const RESTARTS: [u64; 4] = [1, 2, 5, 10];

/// How many writes are in flight.
const IN_FLIGHT: usize = 256;

/// Bytes in a value.
const VALUE: usize = 100;

fn setting(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |value| {
        value.parse().with_context(|| format!("{name} is a number"))
    })
}

async fn watermark(client: &Client) -> Result<i64> {
    let file = client.get(&keys::watermark(1), None).await?;
    let file = file.context("there is a watermark")?;
    Ok(std::str::from_utf8(&file.value)?.parse()?)
}

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(run())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn run() -> Result<()> {
    let changes = setting("CAIRN_CHANGES", 1_000_000)?;
    let keys = setting("CAIRN_KEYS", 100_000)?;
    let mirror = std::env::var("CAIRN_MIRROR").unwrap_or_else(|_| "watermark".to_owned());
    let scratch = tempfile::tempdir()?;
    let journal = scratch.path().join("journal");
    let lite = Lite::start_with(&["--hist", "1000000"])?;
    let client = lite.client().await?;
    // All of history stays, so that a restart that reads it would show. (Up to 256 MiB of it are
    // verified.)
    let args = ["--mirror", mirror.as_str(), "--retain", "all"];
    let mut process = persister(1, &lite.uri, &journal, &args)?;
    attached(&client, 1).await?;

    println!(
        "{changes} changes of {keys} keys, {VALUE} bytes each, {IN_FLIGHT} in flight, --mirror {mirror}"
    );
    println!(
        "{:>10} {:>10} {:>12} {:>14} {:>28} {:>10} {:>12} {:>12}  restart",
        "changes",
        "SET/s",
        "lag (revs)",
        "persister MiB",
        "CPU µs: persister/lite/load",
        "lite MiB",
        "catch-up ms",
        "checkpoints"
    );
    let value = Bytes::from(vec![b'x'; VALUE]);
    let step = changes / 10;
    let own = std::process::id();
    let (mut done, mut cpu_before) = (0, usage(process.pid())?.1);
    let mut cpu_beside = (usage(lite.process.pid())?.1, usage(own)?.1);
    let mut random = fastrand::Rng::with_seed(1);
    let mut last = Revision::MISSING;
    for tenth in 1..=10 {
        let start = Instant::now();
        let paths: Vec<String> = (0..step)
            .map(|n| {
                // The first round makes all keys, the others change any.
                let key = if done + n < keys {
                    done + n
                } else {
                    random.u64(..keys)
                };
                format!("/{}/{key}", key % 1000)
            })
            .collect();
        let mut writes = futures::stream::iter(paths)
            .map(|path| {
                let (client, value) = (client.clone(), value.clone());
                async move { client.set(&path, Revision::ANY, value).await }
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some(revision) = writes.next().await {
            last = last.max(revision?);
        }
        let rate = step as f64 / start.elapsed().as_secs_f64();
        let lag = last.0 - watermark(&client).await?;
        let behind = Instant::now();
        durable(&client, 1, last).await?;
        let catch_up = behind.elapsed();
        done += step;
        let (memory, cpu) = usage(process.pid())?;
        let (lite_memory, lite_cpu) = usage(lite.process.pid())?;
        let cpu_here = usage(own)?.1;
        let each = |seconds: f64| seconds * 1e6 / step as f64;
        let each = format!(
            "{:.1} / {:.1} / {:.1}",
            each(cpu - cpu_before),
            each(lite_cpu - cpu_beside.0),
            each(cpu_here - cpu_beside.1)
        );
        cpu_beside = (lite_cpu, cpu_here);
        let checkpoints = process.log().matches("checkpoint made").count();
        print!(
            "{done:>10} {rate:>10.0} {lag:>12} {memory:>14.1} {each:>28} {lite_memory:>10.0} {:>12.1} {checkpoints:>12}",
            catch_up.as_secs_f64() * 1e3,
        );
        cpu_before = cpu;
        if RESTARTS.contains(&tenth) {
            process.kill()?;
            let start = Instant::now();
            process = persister(1, &lite.uri, &journal, &args)?;
            returned(&client, &process).await?;
            let took = start.elapsed();
            let bytes: u64 = fs::read_dir(&journal)?
                .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
                .sum();
            print!(
                "  after {:.0} ms with {} MiB of journal, {:.1} MiB",
                took.as_secs_f64() * 1e3,
                bytes >> 20,
                usage(process.pid())?.0
            );
            cpu_before = usage(process.pid())?.1;
        }
        println!();
    }
    let log = process.log();
    if let Some(last) = log
        .lines()
        .rev()
        .find(|line| line.contains("checkpoint made"))
    {
        println!("{last}");
    }
    Ok(())
}

/// Waits until a persister that was just started has taken its id.
async fn returned(client: &Client, process: &Process) -> Result<()> {
    let pid = process.pid().to_string();
    cairn_tests::eventually("the persister is back", || async {
        let owner = client.get(&keys::owner(1), None).await?;
        let is_it = owner.is_some_and(|owner| owner.value.ends_with(pid.as_bytes()));
        Ok(is_it.then_some(()))
    })
    .await
}
