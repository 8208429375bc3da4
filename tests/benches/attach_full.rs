//! What does it take to attach to a cluster that is full already?
//!
//! Fills `doozer-lite`, attaches a persister with an empty journal, and says how long it took until
//! all of the state was durable, and how much memory that needed at its peak, beside the size of
//! the state; then the same for the per-path mirror.
//!
//! ```sh
//! CAIRN_KEYS=1000000 cargo bench -p cairn-tests --bench attach_full
//! ```

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::Revision;
use cairn_sync_client::keys;
use cairn_tests::{Lite, Process, durable, persister};
use futures::StreamExt;

/// How many writes are in flight.
const IN_FLIGHT: usize = 256;

/// Bytes in a value.
const VALUE: usize = 100;

/// Peak and present resident memory in MiB.
fn memory(process: &Process) -> Result<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("a field of /proc")?.parse::<u64>()? / 1024)
    };
    Ok((field("VmHWM:")?, field("VmRSS:")?))
}

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<()> {
    let keys_number: u64 = std::env::var("CAIRN_KEYS").map_or(Ok(100_000), |keys| keys.parse())?;
    let lite = Lite::start_with(&["--hist", "10000"])?;
    let client = lite.client().await?;
    let value = Bytes::from(vec![b'x'; VALUE]);
    let mut bytes = 0;
    let mut writes = futures::stream::iter(0..keys_number)
        .map(|key| {
            let path = format!("/{}/{key}", key % 1000);
            bytes += path.len() + VALUE;
            let (client, value) = (client.clone(), value.clone());
            async move { client.set(&path, Revision::ANY, value).await }
        })
        .buffer_unordered(IN_FLIGHT);
    let mut last = Revision::MISSING;
    while let Some(written) = writes.next().await {
        last = last.max(written?);
    }
    drop(writes);
    println!(
        "{keys_number} keys, {} MiB of paths and values",
        bytes >> 20
    );
    for (id, mirror) in [(1, "watermark"), (2, "paths")] {
        let scratch = tempfile::tempdir()?;
        let start = Instant::now();
        let args = ["--mirror", mirror];
        let process = persister(id, &lite.uri, &scratch.path().join("journal"), &args)?;
        durable(&client, id, last).await?;
        let (peak, present) = memory(&process)?;
        println!(
            "--mirror {mirror}: durable after {:.1?}, {peak} MiB at the peak, {present} MiB then",
            start.elapsed()
        );
        if mirror == "paths" {
            loop {
                let said = client.get(&keys::mirror_progress(id), None).await?;
                let said = said.map(|said| String::from_utf8_lossy(&said.value).into_owned());
                let said = said.unwrap_or_default();
                let revision = said.split(' ').next().and_then(|r| r.parse().ok());
                if !said.ends_with("incomplete") && revision >= Some(last.0) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            let (peak, present) = memory(&process)?;
            println!(
                "mirrored after {:.1?}, {peak} MiB at the peak, {present} MiB then",
                start.elapsed()
            );
        }
    }
    Ok(())
}
