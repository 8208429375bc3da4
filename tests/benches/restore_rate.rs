//! Does a restore write as fast as the cluster takes it?
//!
//! The plain client and a restore make the same requests of a fresh `doozer-lite` each, with the
//! same number of keys in flight: a SET for each key, of the same path, size and condition, and a
//! NOP for each revision between two keys. The plain client throws the answers away. The restore
//! sends in the order of revisions, compares every answer with the revision that was meant, and
//! looks once a second whether it is still its turn; that is what the ratio is about. What it does
//! besides, reading the journal and comparing the whole cluster with it afterwards, is in the last
//! column.
//!
//! Of NOPs both have more in flight than of keys, as many as a restore has: they are all alike.
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
use cairn_persister::restore::{RestoreOptions, Restored, Source, restore};
use cairn_tests::Lite;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bytes in a value.
const VALUE: usize = 100;

/// How often each is measured, in turns; the best counts, since the machine has other things to do
/// as well.
const ROUNDS: usize = 5;

/// How many requests a restore has in flight where there are NOPs among them.
const WITH_NOPS: usize = 512;

/// The first revision that a fresh cluster gives a restore: 58 are its own, and one is the claim's.
const FIRST: i64 = 60;

/// How long one measurement may take: far longer than it should.
const DEADLINE: Duration = Duration::from_secs(60);

fn path(n: i64) -> String {
    format!("/bench/{}/{n}", n % 1000)
}

/// What is measured: a key at every so many revisions.
#[derive(Clone, Copy)]
struct History {
    keys: i64,
    every: i64,
}

impl History {
    /// A journal of it.
    fn write(self, directory: &Path) -> Result<()> {
        let (journal, _) = Journal::open(directory, Options::default())?;
        for n in 0..self.keys {
            let change = Change::set(path(n), vec![b'x'; VALUE]);
            let revision = cairn_journal::Revision(FIRST + n * self.every);
            journal.append(NewRecord::changes(revision, vec![change], Timestamp(1)))?;
        }
        journal.close()?;
        Ok(())
    }

    fn requests(self) -> i64 {
        (self.keys - 1) * self.every + 1
    }

    /// How long the plain client takes.
    async fn plain(self, in_flight: usize) -> Result<Duration> {
        let lite = Lite::start()?;
        let client = Client::connect(&lite.uri).await?;
        let value = Bytes::from(vec![b'x'; VALUE]);
        let keys = Semaphore::new(in_flight);
        let begun = Instant::now();
        futures::stream::iter(0..self.requests())
            .map(|n| {
                let (client, keys, value) = (&client, &keys, value.clone());
                async move {
                    if n % self.every != 0 {
                        return Ok(client.nop().await?);
                    }
                    // Where there is nothing but keys, the stream's own bound is the same.
                    let _turn = match self.every {
                        1 => None,
                        _ => Some(keys.acquire().await?),
                    };
                    let path = path(n / self.every);
                    client.set(&path, Revision::MISSING, value).await?;
                    anyhow::Ok(())
                }
            })
            .buffer_unordered(if self.every == 1 {
                in_flight
            } else {
                WITH_NOPS
            })
            .try_for_each(|()| std::future::ready(Ok(())))
            .await?;
        Ok(begun.elapsed())
    }

    /// How long a restore writes, and how long it takes.
    async fn restored(self, source: &Source, in_flight: usize) -> Result<(Duration, Duration)> {
        let lite = Lite::start()?;
        let session = Doozer::new(lite.uri.clone(), 1).open().await?;
        let options = RestoreOptions {
            in_flight: Some(in_flight),
            ..RestoreOptions::default()
        };
        let begun = Instant::now();
        match restore(&session, source, &options).await? {
            Restored::Done(summary) => {
                ensure!(summary.shifted.is_empty(), "{:?}", summary.shifted.first());
                ensure!(summary.surprise.is_none(), "{:?}", summary.surprise);
                Ok((summary.took, begun.elapsed()))
            }
            other => bail!("{other:?}"),
        }
    }
}

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(run())
}

fn setting(name: &str, default: i64) -> Result<i64> {
    match std::env::var(name) {
        Ok(number) => number
            .parse()
            .with_context(|| format!("{name} is a number")),
        Err(_) => Ok(default),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn run() -> Result<()> {
    let requests = setting("CAIRN_KEYS", 100_000)?;
    let only = setting("CAIRN_IN_FLIGHT", 0)?;
    let scratch = tempfile::tempdir()?;
    println!(
        "{requests} requests, values of {VALUE} bytes; best of {ROUNDS}, in requests per second"
    );
    println!(
        "a key every  in flight       plain     restore       ratio  with reading and comparing"
    );
    for every in [1, 10] {
        let keys = (requests / every).max(1);
        let history = History { keys, every };
        let directory = scratch.path().join(every.to_string());
        history.write(&directory)?;
        let source = Source::open(&directory, false)?;
        for in_flight in [1, 8, 64] {
            if only != 0 && only != i64::try_from(in_flight)? {
                continue;
            }
            let mut plain = Duration::MAX;
            let mut best = (Duration::MAX, Duration::MAX);
            for _ in 0..ROUNDS {
                let late = || format!("{in_flight} in flight: not within {DEADLINE:?}");
                let took = timeout(DEADLINE, history.plain(in_flight));
                plain = plain.min(took.await.with_context(late)??);
                let took = timeout(DEADLINE, history.restored(&source, in_flight));
                let (writing, whole) = took.await.with_context(late)??;
                best = (best.0.min(writing), best.1.min(whole));
            }
            let rate = |time: Duration| history.requests() as f64 / time.as_secs_f64();
            println!(
                "{every:>11}{in_flight:>11}{:>12.0}{:>12.0}{:>12.2}{:>12.0}",
                rate(plain),
                rate(best.0),
                rate(best.0) / rate(plain),
                rate(best.1),
            );
        }
    }
    Ok(())
}
