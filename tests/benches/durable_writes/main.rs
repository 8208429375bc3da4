//! What does it cost to have a write on disk? A table, all of it from one run on one disk.
//!
//! Plain writes, sync writes by several policies, the disk alone, and where their programs are
//! installed (`apt-get install redis-server etcd-server`), redis with `appendfsync always` and a
//! single etcd through its HTTP gateway. A peer that is absent is passed over and named. Then
//! writes into etcd by gRPC, with and without fsync and persisters.
//!
//! ```sh
//! cargo bench -p cairn-tests --bench durable_writes
//! ```
//!
//! `CAIRN_WRITES` scales how many writes stand behind each row, `CAIRN_ROUNDS=5` measures all rows
//! so often in turns and shows medians, and `CAIRN_IN_FLIGHT=1,64` and `CAIRN_ROWS=embedded,redis`
//! (parts of names) choose parts of the table. The journals and the peers' files are in the
//! directory for temporary files (`TMPDIR`), so that is the disk that is measured.

mod cluster;
mod disk;
mod etcd;
mod etcd_grpc;
mod redis;
mod row;
mod trace;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cluster::{Cluster, Mirror, Shape};
use etcd_grpc::Behind;
use row::{Medians, Row};

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
    tokio::runtime::Runtime::new()?.block_on(async { tokio::spawn(run()).await? })?;
    if !is_asked_for("stages") {
        return Ok(());
    }
    trace::begin()?;
    for in_flight in in_flight()? {
        for shape in [Shape::Embedded, Shape::Apart(1)] {
            trace::trace(shape, in_flight, count(1)?)?;
        }
    }
    Ok(())
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

/// What a row measures.
#[derive(Clone, Copy)]
enum Case {
    Disk,
    Plain(Shape, Mirror),
    Sync(Shape, Mirror, usize),
    Redis,
    Etcd,
    EtcdGrpc(Behind),
}

/// The rows of the table, by the part of their names that `CAIRN_ROWS` chooses by.
const CASES: [(&str, Case); 20] = {
    use Behind::{Fsync, Nothing, Persisters};
    use Case::{Disk, Etcd, EtcdGrpc, Plain, Redis, Sync};
    use Mirror::{Paths, Watermark};
    use Shape::{Apart, Embedded};
    [
        ("disk", Disk),
        ("alone", Plain(Apart(0), Watermark)),
        ("embedded plain", Plain(Embedded, Watermark)),
        ("embedded sync", Sync(Embedded, Watermark, 1)),
        ("embedded plain paths", Plain(Embedded, Paths)),
        ("embedded sync paths", Sync(Embedded, Paths, 1)),
        ("apart plain", Plain(Apart(1), Watermark)),
        ("apart sync", Sync(Apart(1), Watermark, 1)),
        ("apart plain paths", Plain(Apart(1), Paths)),
        ("apart sync paths", Sync(Apart(1), Paths, 1)),
        ("three plain", Plain(Apart(3), Watermark)),
        ("three sync 1", Sync(Apart(3), Watermark, 1)),
        ("three sync 2", Sync(Apart(3), Watermark, 2)),
        ("redis", Redis),
        ("etcd gateway", Etcd),
        ("etcd fsync", EtcdGrpc(Fsync)),
        ("etcd no-fsync", EtcdGrpc(Nothing(0))),
        ("etcd followed", EtcdGrpc(Nothing(1))),
        ("etcd sync 1", EtcdGrpc(Persisters(1, 1))),
        ("etcd sync 2", EtcdGrpc(Persisters(3, 2))),
    ]
};

/// Whether `CAIRN_ROWS` asks for a row.
fn is_asked_for(name: &str) -> bool {
    std::env::var("CAIRN_ROWS").map_or(true, |rows| rows.split(',').any(|row| name.contains(row)))
}

async fn measure(case: Case, in_flight: usize, writes: usize) -> Result<Result<Row, String>> {
    Ok(match case {
        Case::Disk => Ok(disk::fdatasync(count(1)?)?),
        Case::Plain(shape, mirror) => {
            let cluster = Cluster::start(shape, mirror).await?;
            Ok(cluster::plain(cluster, in_flight, writes).await?)
        }
        Case::Sync(shape, mirror, required) => {
            let cluster = Cluster::start(shape, mirror).await?;
            Ok(cluster::sync(cluster, required, in_flight, writes).await?)
        }
        Case::Redis => redis::measure(in_flight, writes).await?,
        Case::Etcd => etcd::measure(in_flight, writes.min(count(1)? * 4)).await?,
        Case::EtcdGrpc(behind) => {
            let writes = writes.min(count(1)? * 10);
            Ok(etcd_grpc::measure(behind, in_flight, writes).await?)
        }
    })
}

async fn run() -> Result<()> {
    let rounds = match std::env::var("CAIRN_ROUNDS") {
        Ok(text) => text.parse().context("CAIRN_ROUNDS is a number")?,
        Err(_) => 1,
    };
    println!(
        "{VALUE} bytes a value; one connection, except etcd's gateway: one for each write in flight"
    );
    println!("beside redis; etcd by gRPC beside etcd with fsync");
    println!("medians of {rounds} rounds, the rows in turns\n");
    println!("{}", row::HEADING);
    for in_flight in in_flight()? {
        println!();
        let mut rows: Vec<Vec<Row>> = Vec::new();
        let mut absent = BTreeSet::new();
        let cases: Vec<_> = CASES.iter().filter(|case| is_asked_for(case.0)).collect();
        for _ in 0..rounds {
            for (at, (_, case)) in cases.iter().enumerate() {
                rows.resize_with(cases.len(), Vec::new);
                match measure(*case, in_flight, count(in_flight)?).await? {
                    Ok(row) => rows[at].push(row),
                    Err(why) => drop(absent.insert(why)),
                }
            }
        }
        let medians: Vec<Medians> = rows.iter().filter_map(|rows| Medians::of(rows)).collect();
        for row in &medians {
            row.print(medians.iter().find(|other| other.is_base_of(row)));
        }
        for why in absent {
            println!("{why}");
        }
    }
    Ok(())
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
