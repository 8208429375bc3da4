//! Durable writes that are called at once, through all their stages, each with its time and its
//! thread: client, node and persister in this process, with a runtime for the client and one for
//! the others.
//!
//! The programs tell their stages as events of `tracing` at the target `stage`. Without a
//! subscriber for it, which only this bench has, an event costs a look at one number.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use cairn_client::{Revision, Uri};
use cairn_persister::config::{CommandLine, Config, read_file};
use cairn_playground::world::Ports;
use cairn_sync_client::{Client, Durability};
use futures::future::try_join_all;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::VALUE;
use crate::cluster::Shape;

const TARGET: &str = "stage";

/// Everything that was told since the last call of [`Stages::take`].
struct Stages {
    on: AtomicBool,
    told: Mutex<Vec<(Instant, &'static str, ThreadId)>>,
}

static STAGES: Stages = Stages {
    on: AtomicBool::new(false),
    told: Mutex::new(Vec::new()),
};

impl Stages {
    fn tell(&self, name: &'static str) {
        let now = Instant::now();
        if self.on.load(Ordering::Relaxed)
            && let Ok(mut told) = self.told.lock()
        {
            told.push((now, name, thread::current().id()));
        }
    }

    fn take(&self) -> Vec<(Instant, &'static str, ThreadId)> {
        self.told
            .lock()
            .map_or_else(|_| Vec::new(), |mut told| std::mem::take(&mut *told))
    }
}

/// The stages of one write, or of some that are called at once, by the time since the call.
type One = Vec<(Duration, &'static str, ThreadId)>;

/// Notes stages and nothing else.
struct Note;

impl Subscriber for Note {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        STAGES.tell(event.metadata().name());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// One stage in all the writes: its times since the call, and how often it was on another thread
/// than the stage before it.
#[derive(Default)]
struct Stage {
    after: Vec<Duration>,
    hops: usize,
}

impl Stage {
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.after.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    }
}

/// Has stages noted from now on.
pub(crate) fn begin() -> Result<()> {
    tracing::subscriber::set_global_default(Note).context("nobody else subscribes")
}

/// Traces so many times the writes of one client that are called at once, and prints the median
/// time of each stage.
pub(crate) fn trace(shape: Shape, in_flight: usize, times: usize) -> Result<()> {
    let journal = tempfile::tempdir()?;
    let address = Ports::default().port()?.address();
    let uri = Uri::from_address(&address)?;
    let directory = journal.path().to_str().context("a directory is UTF-8")?;
    let (node, serving, calling) = (Runtime::new()?, Runtime::new()?, Runtime::new()?);
    let (cluster, listen) = (format!("doozer:?ca={address}"), format!("-l{address}"));
    let cluster: [&str; 3] = match shape {
        Shape::Embedded => ["--mirror=watermark", "--embedded", &listen],
        Shape::Apart(_) => {
            let listener = node.block_on(TcpListener::bind(&address))?;
            node.spawn(cairn_lite::run(listener, std::future::pending()));
            ["--mirror=watermark", "--cluster", &cluster]
        }
    };
    let fixed = ["persister", "--id", "1", "-j", directory];
    let line = CommandLine::read(fixed.iter().chain(&cluster))?;
    let config = Config::new(line, read_file(None)?)?;
    let persisting = serving.spawn(cairn_persister::process::persist(config));
    let calls = calling.spawn(call(uri, in_flight, times));
    let all = calling.block_on(async {
        tokio::select! {
            all = calls => all?,
            status = persisting => Err(anyhow!("the persister has ended with status {}", status?)),
        }
    })?;
    println!("\n{}, {in_flight} in flight:", shape.name());
    print(&all);
    serving.shutdown_background();
    node.shutdown_background();
    Ok(())
}

async fn call(uri: Uri, in_flight: usize, times: usize) -> Result<Vec<One>> {
    let client = cairn_tests::eventually("the cluster answers", || async {
        let client = Client::connect_durable(&uri, Durability::new([1], 1)).await;
        Ok(client.ok())
    });
    let client = client.await?;
    client.set("/bench/0", Revision::ANY, "first").await?;
    let mut all = Vec::new();
    for time in 0..times {
        let set = |number| {
            let path = format!("/bench/{}", (time * in_flight + number) % 1000);
            let client = &client;
            async move { client.set(&path, Revision::ANY, vec![b'x'; VALUE]).await }
        };
        let sets = try_join_all((0..in_flight).map(set));
        STAGES.take();
        STAGES.on.store(true, Ordering::Relaxed);
        let called = Instant::now();
        sets.await?;
        STAGES.tell("calls returned");
        STAGES.on.store(false, Ordering::Relaxed);
        let mut told = STAGES.take();
        told.dedup_by_key(|(_, name, thread)| (*name, *thread));
        let since = |(at, name, thread): (Instant, _, _)| (at - called, name, thread);
        all.push(told.into_iter().map(since).collect());
    }
    Ok(all)
}

/// The usual course, and the times within it.
fn print(all: &[One]) {
    let mut courses: HashMap<Vec<&str>, Vec<usize>> = HashMap::new();
    for (at, one) in all.iter().enumerate() {
        let course = one.iter().map(|(_, name, _)| *name).collect();
        courses.entry(course).or_default().push(at);
    }
    let count = all.len();
    let usual = courses.into_iter().max_by_key(|(_, those)| those.len());
    let Some((course, those)) = usual else {
        return;
    };
    println!("{} of {count} times went this way", those.len());
    println!("{:>10}{:>10}{:>8}  stage", "p50 µs", "p90 µs", "hops");
    let mut before = Duration::ZERO;
    for (step, name) in course.iter().enumerate() {
        let mut stage = Stage::default();
        for &at in &those {
            let one = &all[at];
            stage.after.push(one[step].0);
            stage.hops += usize::from(step > 0 && one[step].2 != one[step - 1].2);
        }
        let median = stage.percentile(50);
        println!(
            "{:>10.1}{:>10.1}{:>7.0}%  {name} (+{:.1})",
            micros(median),
            micros(stage.percentile(90)),
            stage.hops as f64 * 100.0 / those.len() as f64,
            micros(median.saturating_sub(before)),
        );
        before = median;
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
