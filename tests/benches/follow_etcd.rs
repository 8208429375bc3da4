//! What does a follower of etcd cost, itself and others?
//!
//! Puts at full speed with 64 in flight, with nobody following, with `etcdctl watch` of all keys,
//! and with a persister that observes or publishes; then a persister that comes back to a backlog.
//! For each: what the writers get, the processor time that the follower takes for a revision, and
//! its memory at each quarter of the way. One member without fsync, all on this machine.
//!
//! ```sh
//! CAIRN_LIVE=1000000 CAIRN_BACKLOG=200000 cargo bench -p cairn-tests --bench follow_etcd
//! ```

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cairn_etcd::wire::PutRequest;
use cairn_etcd::{Environment, Options, Session, Target};
use cairn_etcd_member::Member;
use cairn_tests::{Process, eventually, served, setting, usage};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const IN_FLIGHT: usize = 64;

/// Bytes in a value.
const VALUE: usize = 100;

/// Between the puts of a client that has nothing to do with the load.
const NOW_AND_THEN: Duration = Duration::from_millis(2);

fn main() -> Result<()> {
    // `cargo test --benches` asks for a trial run only.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(async { tokio::spawn(run()).await? })
}

async fn connect(member: &Member) -> Result<Session> {
    let target = Target::new(&member.uri().parse()?, &Environment::default())?;
    let cluster = cairn_etcd::Cluster::new(target, Options::default());
    Ok(cluster.open().await?)
}

async fn put(session: &Session, number: u64) -> Result<i64> {
    let put = PutRequest::new(format!("bench/{}", number % 10_000), vec![b'x'; VALUE]);
    let header = session.call(put).await?.header;
    Ok(header.context("an answer has a header")?.revision)
}

/// So many puts: how long each took, and the newest revision.
async fn puts(session: &Session, count: u64) -> Result<(Vec<Duration>, i64)> {
    let timed = stream::iter(0..count).map(async |number| {
        let called = Instant::now();
        let at = put(session, number).await?;
        anyhow::Ok((called.elapsed(), at))
    });
    let all: Vec<_> = timed.buffer_unordered(IN_FLIGHT).try_collect().await?;
    let newest = all.iter().map(|(_, at)| *at).max().unwrap_or_default();
    Ok((all.into_iter().map(|(took, _)| took).collect(), newest))
}

fn percentile(mut all: Vec<Duration>, percent: usize) -> Duration {
    all.sort_unstable();
    let rank = (all.len() * percent).div_ceil(100).max(1);
    all.get(rank - 1).copied().unwrap_or_default()
}

/// Who follows.
#[derive(Clone, Copy, PartialEq)]
enum Follower {
    Nobody,
    Etcdctl,
    Observer,
    Persister,
}

/// A follower that runs.
enum Running {
    Nobody,
    Etcdctl(Child),
    Persister(Process),
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Self::Etcdctl(child) = self {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    fn pid(&self) -> Option<u32> {
        match self {
            Self::Nobody => None,
            Self::Etcdctl(child) => Some(child.id()),
            Self::Persister(process) => Some(process.pid()),
        }
    }

    fn usage(&self) -> Result<(f64, f64)> {
        self.pid().map_or(Ok((0.0, 0.0)), usage)
    }
}

fn persister(member: &Member, journal: &Path, args: &[&str]) -> Result<Running> {
    let (uri, journal) = (member.uri(), journal.to_str().context("UTF-8")?);
    let fixed = [
        "--id",
        "1",
        "-a",
        &uri,
        "-j",
        journal,
        "--listen",
        "127.0.0.1:0",
    ];
    let process = Process::start("persister", [&fixed, args].concat())?;
    Ok(Running::Persister(process))
}

impl Follower {
    fn start(self, member: &Member, journal: &Path, from: i64) -> Result<Running> {
        match self {
            Self::Nobody => Ok(Running::Nobody),
            Self::Observer => persister(member, journal, &["--mirror", "none"]),
            Self::Persister => persister(member, journal, &[]),
            Self::Etcdctl => {
                let endpoint = format!("http://127.0.0.1:{}", member.port());
                let from = format!("--rev={from}");
                let child = Command::new("etcdctl")
                    .env("ETCDCTL_API", "3")
                    .args(["--endpoints", &endpoint, "watch", "--prefix", &from, ""])
                    .stdout(Stdio::null())
                    .spawn()
                    .context("etcdctl is not installed")?;
                Ok(Running::Etcdctl(child))
            }
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Etcdctl => "etcdctl watch",
            Self::Observer => "persister --mirror none",
            Self::Persister => "persister",
        }
    }
}

/// How far a persister is on its disk, as it says itself.
async fn on_disk(process: &Process) -> Result<i64> {
    let status: serde_json::Value = serde_json::from_str(&served(process, "/status").await?)?;
    status["durable_revision"].as_i64().context("a revision")
}

async fn covers(running: &Running, at: i64) -> Result<()> {
    let Running::Persister(process) = running else {
        return Ok(());
    };
    let covered = || async { Ok((on_disk(process).await? >= at).then_some(())) };
    eventually("the journal has everything", covered).await
}

/// What followers cost while everything is written at full speed.
async fn live(follower: Follower, count: u64) -> Result<()> {
    let (member, directory) = (Member::start(&["--unsafe-no-fsync"])?, tempfile::tempdir()?);
    let (session, journal) = (connect(&member).await?, directory.path().join("1"));
    let first = put(&session, 0).await?;
    let running = follower.start(&member, &journal, 1)?;
    covers(&running, first).await?;
    puts(&session, count / 50).await?;
    let (_, before) = running.usage()?;
    let (begun, mut memory, mut all) = (Instant::now(), Vec::new(), Vec::new());
    let mut newest = 0;
    for _ in 0..4 {
        let (took, at) = puts(&session, count / 4).await?;
        all.extend(took);
        newest = at;
        memory.push(running.usage()?.0);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let written = Instant::now();
    let behind = match covers(&running, newest).await {
        Ok(()) => format!("{:.1?}", written.elapsed()),
        Err(late) => late.to_string(),
    };
    let processor = (running.usage()?.1 - before) / count as f64 * 1e6;
    let (p50, p99) = (percentile(all.clone(), 50), percentile(all, 99));
    println!(
        "{:<26}{count:>9}{rate:>10.0}{:>9.0}{:>9.0}{processor:>9.1}  {}  {behind}",
        follower.described(),
        p50.as_secs_f64() * 1e6,
        p99.as_secs_f64() * 1e6,
        memory
            .iter()
            .map(|mib| format!("{mib:.0}"))
            .collect::<Vec<_>>()
            .join(" "),
    );
    Ok(())
}

/// What others get while a follower takes a backlog.
async fn backlog(follower: Follower, count: u64) -> Result<()> {
    let (member, directory) = (Member::start(&["--unsafe-no-fsync"])?, tempfile::tempdir()?);
    let (session, journal) = (connect(&member).await?, directory.path().join("1"));
    let first = put(&session, 0).await?;
    if follower == Follower::Persister {
        let mut running = follower.start(&member, &journal, 1)?;
        covers(&running, first).await?;
        if let Running::Persister(process) = &mut running {
            process.end_in_order()?;
        }
    }
    let (_, newest) = puts(&session, count).await?;
    let (begun, running) = (Instant::now(), follower.start(&member, &journal, first)?);
    let (mut took, mut most) = (Vec::new(), 0_f64);
    let mut caught_up = None;
    while caught_up.is_none() && begun.elapsed() < Duration::from_secs(60) {
        for _ in 0..100 {
            let called = Instant::now();
            put(&session, 7).await?;
            took.push(called.elapsed());
            tokio::time::sleep(NOW_AND_THEN).await; // a client that is not in a hurry
        }
        most = most.max(running.usage()?.0);
        let is_there = match &running {
            Running::Nobody => begun.elapsed() > Duration::from_secs(5),
            // It prints to nowhere: done when it takes no more time.
            Running::Etcdctl(_) => {
                let before = running.usage()?.1;
                tokio::time::sleep(Duration::from_millis(500)).await;
                running.usage()?.1 - before < 0.05
            }
            Running::Persister(process) => on_disk(process).await? >= newest,
        };
        caught_up = is_there.then(|| begun.elapsed());
    }
    let processor = running.usage()?.1 / count as f64 * 1e6;
    println!(
        "{:<26}{count:>9}{:>10.0}{:>9.0}{:>9.0}{processor:>9.1}  {most:.0}  {caught_up:.1?}",
        format!("{}, backlog", follower.described()),
        took.len() as f64 / begun.elapsed().as_secs_f64(),
        percentile(took.clone(), 50).as_secs_f64() * 1e6,
        percentile(took, 99).as_secs_f64() * 1e6,
    );
    Ok(())
}

async fn run() -> Result<()> {
    let count = setting("CAIRN_LIVE", 100_000)?;
    let shorter = count.min(setting("CAIRN_SHORTER", 200_000)?);
    println!(
        "follower                      puts    puts/s   p50 µs   p99 µs   µs/rev  MiB  behind"
    );
    for (follower, count) in [
        (Follower::Nobody, shorter),
        (Follower::Etcdctl, shorter),
        (Follower::Observer, shorter),
        (Follower::Persister, count),
        (Follower::Nobody, shorter),
    ] {
        live(follower, count).await?;
    }
    let count = setting("CAIRN_BACKLOG", 50_000)?;
    for follower in [Follower::Nobody, Follower::Etcdctl, Follower::Persister] {
        backlog(follower, count).await?;
    }
    Ok(())
}
