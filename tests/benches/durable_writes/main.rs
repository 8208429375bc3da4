//! What does it cost to have a write on disk? A table, all of it from one run on one disk.
//!
//! Plain writes, sync writes by several policies, the disk alone, and where their programs are
//! installed (`apt-get install redis-server etcd-server`), redis with `appendfsync always` and a
//! single etcd through its HTTP gateway. A peer that is absent is passed over and named.
//!
//! ```sh
//! cargo bench -p cairn-tests --bench durable_writes
//! ```
//!
//! `CAIRN_WRITES` scales how many writes stand behind each row, and `CAIRN_IN_FLIGHT=1,64` chooses
//! parts of the table. The journals and the peers' files are in the directory for temporary files
//! (`TMPDIR`), so that is the disk that is measured.

mod cluster;
mod disk;
mod etcd;
mod redis;
mod row;

use anyhow::{Context, Result};
use cluster::{Cluster, Mirror};
use row::Row;

/// Writes in flight.
const IN_FLIGHT: [usize; 4] = [1, 8, 64, 256];

/// Bytes in a value.
const VALUE: usize = 100;

/// How many writes stand behind a row with one in flight; with more it is up to fifty times as
/// many.
const WRITES: usize = 2_000;

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    // The load runs as a task, as it does in a server: what `block_on` awaits is woken through
    // another thread, and that would be most of what a write without a disk costs.
    tokio::runtime::Runtime::new()?.block_on(async { tokio::spawn(run()).await? })
}

fn count(in_flight: usize) -> Result<usize> {
    let base = match std::env::var("CAIRN_WRITES") {
        Ok(text) => text.parse().context("CAIRN_WRITES is a number")?,
        Err(_) => WRITES,
    };
    Ok(base * in_flight.min(50))
}

fn in_flight() -> Result<Vec<usize>> {
    match std::env::var("CAIRN_IN_FLIGHT") {
        Ok(text) => text
            .split(',')
            .map(|word| word.parse().context("CAIRN_IN_FLIGHT is a list of numbers"))
            .collect(),
        Err(_) => Ok(IN_FLIGHT.to_vec()),
    }
}

async fn run() -> Result<()> {
    println!("{VALUE} bytes a value; one connection, except etcd: one for each write in flight\n");
    println!("{}", row::HEADING);
    let disk = disk::fdatasync(count(1)?)?;
    disk.print();
    for in_flight in in_flight()? {
        println!();
        let writes = count(in_flight)?;
        let alone = cluster::plain(
            Cluster::start(0, Mirror::Watermark).await?,
            in_flight,
            writes,
        )
        .await?;
        alone.print();
        for (persisters, mirror, policies) in [
            (1, Mirror::Watermark, &[1][..]),
            (3, Mirror::Watermark, &[1, 2]),
            (1, Mirror::Paths, &[1]),
        ] {
            let cluster = || Cluster::start(persisters, mirror);
            let plain = cluster::plain(cluster().await?, in_flight, writes).await?;
            plain.print();
            for &required in policies {
                let sync = cluster::sync(cluster().await?, required, in_flight, writes).await?;
                sync.print();
                let (of_plain, of_alone) = (sync.rate() / plain.rate(), sync.rate() / alone.rate());
                println!(
                    "  {of_plain:.2} of plain here, {of_alone:.2} of plain without persisters"
                );
            }
        }
        if in_flight == 1 {
            let goal = 2 * alone.percentile(50) + disk.percentile(50) * 12 / 10;
            println!("  two plain SETs and 1.2 fdatasync are {goal:.0?}");
        }
        for peer in [
            redis::measure(in_flight, writes).await?,
            etcd::measure(in_flight, writes.min(count(1)? * 4)).await?,
        ] {
            match peer {
                Ok(row) => row.print(),
                Err(absent) => println!("{absent}"),
            }
        }
    }
    println!();
    cluster::trace(count(1)?, &disk).await
}

/// Connects to a peer that is starting.
async fn connect(port: u16) -> Result<tokio::net::TcpStream> {
    cairn_tests::eventually("a peer that listens", || async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        Ok(stream
            .ok()
            .filter(|stream| stream.set_nodelay(true).is_ok()))
    })
    .await
}
