//! Does a restore write as fast as the cluster takes it?
//!
//! For each number of requests in flight: the plain client writes keys into a fresh `doozer-lite`, then
//! a journal with as many keys is restored into another, with the same number in flight. The restore
//! keeps every revision, and compares everything afterwards; the plain client does neither.
//!
//! ```sh
//! CAIRN_KEYS=100000 cargo bench -p cairn-tests --bench restore_rate
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use cairn_client::{Client, Revision};
use cairn_journal::{Change, Journal, NewRecord, Options, Timestamp};
use cairn_persister::cluster::Cluster;
use cairn_persister::cluster::doozer::Doozer;
use cairn_persister::restore::{Restored, Source, Wish, restore};
use cairn_tests::Lite;
use futures::{StreamExt, TryStreamExt};

/// Bytes in a value.
const VALUE: usize = 100;

/// How often each is measured; the best counts, since the machine has other things to do as well.
const ROUNDS: usize = 3;

fn path(n: u64) -> String {
    format!("/bench/{}/{n}", n % 1000)
}

/// One change at each revision, so that nothing but keys is to be written.
fn journal(directory: &Path, keys: u64) -> Result<()> {
    let (journal, _) = Journal::open(directory, Options::default())?;
    for (n, revision) in (0..keys).zip(61..) {
        let change = Change::set(path(n), vec![b'x'; VALUE]);
        let revision = cairn_journal::Revision(revision);
        journal.append(NewRecord::changes(revision, vec![change], Timestamp(1)))?;
    }
    journal.close()?;
    Ok(())
}

async fn plain(keys: u64, in_flight: usize) -> Result<Duration> {
    let lite = Lite::start()?;
    let client = Client::connect(&lite.uri).await?;
    let value = Bytes::from(vec![b'x'; VALUE]);
    let begun = Instant::now();
    futures::stream::iter(0..keys)
        .map(|n| {
            let (client, value) = (&client, value.clone());
            async move { client.set(&path(n), Revision::MISSING, value).await }
        })
        .buffer_unordered(in_flight)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(begun.elapsed())
}

/// How long the writing took, and how long everything.
async fn restored(source: &Source, in_flight: usize) -> Result<(Duration, Duration)> {
    let lite = Lite::start()?;
    let session = Doozer::new(lite.uri.clone(), 1).open().await?;
    let wish = Wish {
        in_flight: Some(in_flight),
        ..Wish::default()
    };
    let begun = Instant::now();
    match restore(&session, source, &wish, None).await? {
        Restored::Done(summary) => {
            ensure!(summary.shifted.is_empty(), "{:?}", summary.shifted.first());
            Ok((summary.took, begun.elapsed()))
        }
        other => bail!("{other:?}"),
    }
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
    let keys = match std::env::var("CAIRN_KEYS") {
        Ok(keys) => keys.parse().context("CAIRN_KEYS is a number")?,
        Err(_) => 100_000_u64,
    };
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("journal");
    journal(&directory, keys)?;
    let source = Source::open(&directory, false)?;
    println!("{keys} keys of {VALUE} bytes; best of {ROUNDS}, in keys per second");
    println!("in flight       plain     restore       ratio  with reading and comparing");
    for in_flight in [1, 8, 64] {
        let (mut best_plain, mut best, mut best_whole) =
            (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            best_plain = best_plain.min(plain(keys, in_flight).await?);
            let (writing, whole) = restored(&source, in_flight).await?;
            (best, best_whole) = (best.min(writing), best_whole.min(whole));
        }
        let rate = |time: Duration| keys as f64 / time.as_secs_f64();
        println!(
            "{in_flight:>9}{:>12.0}{:>12.0}{:>12.2}{:>12.0}",
            rate(best_plain),
            rate(best),
            rate(best) / rate(best_plain),
            rate(best_whole),
        );
    }
    Ok(())
}
