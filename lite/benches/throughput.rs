//! How fast a node is, and what it costs: one table. Node and clients share this machine, so
//! every figure includes the client's work.
//!
//! `cargo bench -p cairn-lite` runs all of it in about half a minute; a word after `--` picks
//! the rows that contain it.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that fails has nothing to say"
)]

use std::collections::VecDeque;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cairn_client::frame::{self, MAX_FRAME};
use cairn_client::wire::{Request, Response, Verb};
use cairn_client::{Client, Revision};
use cairn_lite::{Control, Options, Server};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const VALUE: &[u8] = &[7; 64];

type Row = (String, Box<dyn Fn() -> String>);

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row =
        |name: &str, figure: Box<dyn Fn() -> String>| rows.push((name.to_owned(), figure));
    for in_flight in [1, 8, 64, 256] {
        row(
            &format!("SET of 64 bytes, {in_flight} in flight, one bare connection"),
            Box::new(move || rate(on_node(|node| write(node, in_flight)))),
        );
    }
    for in_flight in [1, 64, 256] {
        row(
            &format!("SET of 64 bytes, {in_flight} in flight, cairn-client"),
            Box::new(move || rate(on_node(|node| write_by_client(node, in_flight)))),
        );
    }
    for in_flight in [1, 64] {
        row(
            &format!("GET of 64 bytes, {in_flight} in flight, one bare connection"),
            Box::new(move || rate(on_node(|node| read(node, in_flight)))),
        );
    }
    row(
        "GET at a random revision of 300,000, 100,000 keys",
        Box::new(|| rate(on_node(read_the_past))),
    );
    row(
        "WAIT /*/*/none among 300,000 events of the past",
        Box::new(|| format!("{:.1} ms", each(on_node(look_back)) * 1e3)),
    );
    row(
        "WAIT, one event to 1,000 watchers on 1,000 connections",
        Box::new(|| format!("{:.2} ms", each(on_node(fan_out)) * 1e3)),
    );
    row(
        "SET with 10,000 idle waiters on other paths, against none",
        Box::new(idle_waiters),
    );
    row(
        "memory per idle connection",
        Box::new(|| format!("{:.1} KiB", on_node(idle_connections))),
    );
    row(
        "memory per waiter, each on a path of its own",
        Box::new(|| format!("{:.0} B", on_node(waiters))),
    );
    for keys in [1_000, 100_000] {
        row(
            &format!("memory per revision of history, {keys} keys"),
            Box::new(move || format!("{:.0} B", on_node(|node| history(node, keys)))),
        );
    }
    for (verb, what) in [
        (Verb::Getdir, "/l"),
        (Verb::Walk, "/**"),
        (Verb::Walk, "/l/*0"),
    ] {
        row(
            &format!("{verb:?} {what} of 100,000 files, 64 in flight"),
            Box::new(move || {
                let entries = on_node(|node| list(node, verb, what));
                format!("{:.2} us/entry", each(entries) * 1e6)
            }),
        );
    }
    rows
}

/// Each row has a process of its own: memory that one has used and freed would hide what the next
/// one takes.
fn main() {
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let rows = rows();
    if let Some((name, figure)) = rows.iter().find(|(name, _)| Some(name) == only.as_ref()) {
        println!("{name:<58} {:>14}", figure());
        return;
    }
    println!("{:<58} {:>14}", "what", "figure");
    let program = std::env::current_exe().unwrap();
    for (name, _) in &rows {
        if only.as_deref().is_none_or(|only| name.contains(only)) {
            assert!(Command::new(&program).arg(name).status().unwrap().success());
        }
    }
}

fn each((count, took): (u32, Duration)) -> f64 {
    took.as_secs_f64() / f64::from(count)
}

fn rate((count, took): (u32, Duration)) -> String {
    format!("{:.0}/s", f64::from(count) / took.as_secs_f64())
}

struct Node {
    address: String,
    control: Control,
}

/// Runs something against a fresh node in this process.
fn on_node<R, F: Future<Output = R>>(run: impl FnOnce(Node) -> F) -> R {
    Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(Options::default()).unwrap();
        let node = Node {
            address,
            control: server.control(),
        };
        let running = tokio::spawn(server.run(listener, std::future::pending()));
        let result = tokio::spawn(async {})
            .await
            .map(|()| run(node))
            .unwrap()
            .await;
        running.abort();
        result
    })
}

/// A client with nothing in it: requests out, answers counted.
struct Bare {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    tag: i32,
    /// Tags whose answers are expected, in order.
    in_flight: VecDeque<i32>,
}

impl Bare {
    async fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(&node.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            input: BytesMut::with_capacity(64 << 10),
            output: BytesMut::new(),
            tag: 0,
            in_flight: VecDeque::new(),
        }
    }

    fn push(&mut self, request: Request) {
        self.tag += 1;
        self.in_flight.push_back(self.tag);
        let request = Request {
            tag: Some(self.tag),
            ..request
        };
        frame::encode(&request, MAX_FRAME, &mut self.output).unwrap();
    }

    async fn flush(&mut self) {
        self.stream.write_all(&self.output).await.unwrap();
        self.output.clear();
    }

    /// Takes what has arrived, at least one answer.
    async fn receive(&mut self) -> Vec<Response> {
        let mut responses = Vec::new();
        while responses.is_empty() {
            assert_ne!(self.stream.read_buf(&mut self.input).await.unwrap(), 0);
            while let Some(response) =
                frame::decode::<Response>(MAX_FRAME, &mut self.input).unwrap()
            {
                assert_eq!(response.tag, self.in_flight.pop_front(), "{response:?}");
                responses.push(response);
            }
        }
        responses
    }

    /// Keeps so many requests in flight until `count` are answered.
    async fn run(&mut self, count: u32, in_flight: usize, request: impl Fn(u32) -> Request) {
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && self.in_flight.len() < in_flight {
                self.push(request(sent));
                sent += 1;
            }
            self.flush().await;
            for response in self.receive().await {
                assert_eq!(response.err_code, None);
                answered += 1;
            }
        }
    }
}

fn set(path: String) -> Request {
    Request {
        verb: Some(Verb::Set as i32),
        path: Some(path),
        rev: Some(-1),
        value: Some(Bytes::from_static(VALUE)),
        ..Request::default()
    }
}

fn rev() -> Request {
    Request {
        verb: Some(Verb::Rev as i32),
        ..Request::default()
    }
}

fn wait(path: &str, rev: i64) -> Request {
    Request {
        verb: Some(Verb::Wait as i32),
        path: Some(path.into()),
        rev: Some(rev),
        ..Request::default()
    }
}

fn key(n: u32) -> String {
    format!("/service/node-{}/{}", n % 10, n % 1_000)
}

fn rounds(in_flight: usize) -> u32 {
    if in_flight == 1 { 30_000 } else { 400_000 }
}

async fn write(node: Node, in_flight: usize) -> (u32, Duration) {
    let mut client = Bare::connect(&node).await;
    client.run(5_000, in_flight, |n| set(key(n))).await;
    let begun = Instant::now();
    client
        .run(rounds(in_flight), in_flight, |n| set(key(n)))
        .await;
    (rounds(in_flight), begun.elapsed())
}

async fn write_by_client(node: Node, in_flight: usize) -> (u32, Duration) {
    let uri = format!("doozer:?ca={}", node.address).parse().unwrap();
    let client = Client::connect(&uri).await.unwrap();
    let count = rounds(in_flight) / 2;
    let begun = Instant::now();
    let mut running = FuturesUnordered::new();
    for n in 0..count {
        if running.len() == in_flight {
            let result: Result<Revision, cairn_client::Error> = running.next().await.unwrap();
            result.unwrap();
        }
        let client = client.clone();
        running.push(async move { client.set(&key(n), Revision::ANY, VALUE).await });
    }
    while let Some(result) = running.next().await {
        result.unwrap();
    }
    (count, begun.elapsed())
}

async fn read(node: Node, in_flight: usize) -> (u32, Duration) {
    let mut client = Bare::connect(&node).await;
    client.run(1_000, 64, |n| set(key(n))).await;
    let begun = Instant::now();
    let get = |n| Request {
        verb: Some(Verb::Get as i32),
        path: Some(key(n)),
        ..Request::default()
    };
    client.run(rounds(in_flight), in_flight, get).await;
    (rounds(in_flight), begun.elapsed())
}

async fn read_the_past(node: Node) -> (u32, Duration) {
    const REVISIONS: u32 = 300_000;
    const READS: u32 = 20_000;
    let mut client = Bare::connect(&node).await;
    let path = |n: u32| format!("/service/node-{}/{}", n % 10, n % 100_000);
    client.run(REVISIONS, 64, |n| set(path(n))).await;
    let begun = Instant::now();
    let get = |n: u32| Request {
        verb: Some(Verb::Get as i32),
        path: Some(path(n)),
        rev: Some(i64::from(58 + n.wrapping_mul(2_654_435_761) % REVISIONS)),
        ..Request::default()
    };
    client.run(READS, 64, get).await;
    (READS, begun.elapsed())
}

/// A wait that tries every event and finds none; REV is answered after it.
async fn look_back(node: Node) -> (u32, Duration) {
    const LOOKS: u32 = 20;
    let mut client = Bare::connect(&node).await;
    client.run(300_000, 64, |n| set(key(n))).await;
    let mut took = Duration::ZERO;
    for _ in 0..LOOKS {
        let mut watcher = Bare::connect(&node).await;
        let begun = Instant::now();
        watcher.push(wait("/*/*/none", 1));
        watcher.in_flight.clear();
        watcher.run(1, 1, |_| rev()).await;
        took += begun.elapsed();
    }
    (LOOKS, took)
}

/// The time from an event to the last of its thousand answers.
async fn fan_out(node: Node) -> (u32, Duration) {
    const EVENTS: u32 = 200;
    let mut watchers = Vec::new();
    for _ in 0..1_000 {
        watchers.push(Bare::connect(&node).await);
    }
    let mut writer = Bare::connect(&node).await;
    let mut took = Duration::ZERO;
    for _ in 0..EVENTS {
        let next = node.control.revision().next().0;
        for watcher in &mut watchers {
            watcher.push(wait("/service/**", next));
            watcher.flush().await;
        }
        while node.control.waiting() < watchers.len() {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        writer.run(1, 1, |_| set(key(1))).await;
        for watcher in &mut watchers {
            watcher.receive().await;
        }
        took += begun.elapsed();
    }
    (EVENTS, took)
}

/// Interleaved, because the machine is not equally fast all the time.
fn idle_waiters() -> String {
    let (mut with, mut without) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        without = without.min(on_node(|node| write_beside(node, 0)));
        with = with.min(on_node(|node| write_beside(node, 10_000)));
    }
    format!("{:.2} times", with.as_secs_f64() / without.as_secs_f64())
}

async fn write_beside(node: Node, waiters: u32) -> Duration {
    let mut idle = Bare::connect(&node).await;
    for n in 0..waiters {
        let glob = match n % 4 {
            0 => format!("/service/other-{n}"),
            1 => format!("/service/other-{n}/**"),
            2 => format!("/other/{n}/*/leader"),
            _ => "/other/*".to_owned(),
        };
        idle.push(wait(&glob, 1));
    }
    idle.flush().await;
    while node.control.waiting() < usize::try_from(waiters).unwrap() {
        tokio::task::yield_now().await;
    }
    let mut client = Bare::connect(&node).await;
    client.run(5_000, 64, |n| set(key(n))).await;
    let begun = Instant::now();
    client.run(200_000, 64, |n| set(key(n))).await;
    begun.elapsed()
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Both ends are in this process: the client's end, a bare socket, counts as well. Every
/// connection has been used, and one request waits on each.
async fn idle_connections(node: Node) -> f64 {
    const COUNT: u32 = 5_000;
    let mut streams = Vec::with_capacity(COUNT as usize);
    let before = resident_kib();
    for _ in 0..COUNT {
        let mut client = Bare::connect(&node).await;
        client.run(64, 64, |_| rev()).await;
        client.push(wait("/nothing", 1));
        client.flush().await;
        streams.push(client.stream);
    }
    while node.control.waiting() < streams.len() {
        tokio::task::yield_now().await;
    }
    (resident_kib() - before) / f64::from(COUNT)
}

async fn waiters(node: Node) -> f64 {
    const CONNECTIONS: u32 = 10;
    const EACH: u32 = 10_000;
    let before = resident_kib();
    let mut clients = Vec::new();
    for connection in 0..CONNECTIONS {
        let mut client = Bare::connect(&node).await;
        for n in 0..EACH {
            client.push(wait(&format!("/service/node-{connection}/{n}/leader"), 1));
        }
        client.flush().await;
        clients.push(client.stream);
    }
    while node.control.waiting() < (CONNECTIONS * EACH) as usize {
        tokio::task::yield_now().await;
    }
    (resident_kib() - before) * 1024.0 / f64::from(CONNECTIONS * EACH)
}

async fn history(node: Node, keys: u32) -> f64 {
    const REVISIONS: u32 = 300_000;
    let mut client = Bare::connect(&node).await;
    let path = |n: u32| format!("/service/node-{}/{n}", n % 10);
    client.run(keys, 64, |n| set(path(n))).await;
    node.control.forget_history();
    let before = resident_kib();
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761) % keys;
    client.run(REVISIONS, 64, |n| set(path(scattered(n)))).await;
    (resident_kib() - before) * 1024.0 / f64::from(REVISIONS)
}

async fn list(node: Node, verb: Verb, what: &'static str) -> (u32, Duration) {
    const COUNT: u32 = 100_000;
    let mut client = Bare::connect(&node).await;
    client.run(COUNT, 64, |n| set(format!("/l/{n:06}"))).await;
    let pinned = node.control.revision().0;
    let begun = Instant::now();
    let entry = |n: u32| Request {
        verb: Some(verb as i32),
        path: Some(what.into()),
        offset: i32::try_from(n).ok(),
        rev: Some(pinned),
        ..Request::default()
    };
    // Every tenth file matches "/l/*0".
    let entries = if what.ends_with('0') {
        COUNT / 10
    } else {
        COUNT
    };
    client.run(entries, 64, entry).await;
    (entries, begun.elapsed())
}
