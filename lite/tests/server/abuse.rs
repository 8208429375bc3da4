//! Peers that do not read, and peers that send garbage.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use cairn_client::frame;
use cairn_client::wire::{Request, Response, Verb};
use cairn_lite::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::node::{PATIENCE, TestNode, entry, get, request, set, wait};

/// The peak of this process's memory, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A client asks for 1 MiB ten thousand times and reads nothing: 10 GiB of answers. A second
/// client must not notice, and the node must not hold the answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_costs_a_bounded_amount_of_memory() {
    const REQUESTS: usize = 10_000;
    let node = TestNode::start(Options::default()).await;
    let mut slow = node.connect().await;
    slow.set("/big", &vec![7; 1 << 20]).await;
    // Waits as well: their answers come whether it reads or not.
    for revision in 60..160 {
        slow.send(wait("/**", revision)).await;
    }
    let before = peak_kib();
    let mut bytes = BytesMut::new();
    for tag in 0..REQUESTS {
        let tag = Some(1_000_000 + i32::try_from(tag).unwrap());
        let get = Request {
            tag,
            ..get("/big", None)
        };
        frame::encode(&get, frame::MAX_FRAME, &mut bytes).unwrap();
    }
    // The node stops reading at some point; then this ends for want of room.
    let _ = timeout(Duration::from_millis(300), slow.stream.write_all(&bytes)).await;
    let mut other = node.connect().await;
    let value = vec![8; 1 << 20];
    for _ in 0..50 {
        other.set("/other", &value).await;
    }
    let grown = peak_kib() - before;
    // 50 values in history, the answers under way, the sockets: far below 10 GiB.
    assert!(grown < 300 << 10, "grown by {grown} KiB");
    // It gets everything when it reads at last.
    let mut waits = 0;
    for _ in 0..100 {
        let response = slow.receive().await.unwrap();
        waits += usize::from(response.flags.is_some());
    }
    assert!(waits > 0);
    node.stop().await;
}

/// Damaged requests, mixed with good ones. `LITE_FUZZ_FRAMES` sets how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_frames_neither_crash_nor_bloat_the_node() {
    let frames: u64 =
        std::env::var("LITE_FUZZ_FRAMES").map_or(20_000, |count| count.parse().unwrap());
    let seed =
        std::env::var("LITE_FUZZ_SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let node = TestNode::start(Options {
        history: 1_000,
        ..Options::default()
    })
    .await;
    let before = peak_kib();
    let (mut sent, mut answered) = (0, 0);
    while sent < frames {
        let mut peer = node.connect().await;
        let (mut reader, mut writer) = peer.stream.split();
        let mut bytes = BytesMut::new();
        // A connection ends with its first frame that is no request, so most are left whole.
        for _ in 0..random.usize(1..40) {
            put_mutated(&mut bytes, &mut random);
            sent += 1;
        }
        // The node may close at any frame; what it says until then is read and dropped.
        let write = async {
            let _ = writer.write_all(&bytes).await;
            let _ = writer.shutdown().await;
        };
        let read = async {
            let mut answers = BytesMut::new();
            let mut count = 0;
            while reader
                .read_buf(&mut answers)
                .await
                .is_ok_and(|read| read > 0)
            {
                while frame::decode::<Response>(frame::MAX_FRAME, &mut answers)
                    .unwrap()
                    .is_some()
                {
                    count += 1;
                }
            }
            count
        };
        let ((), count) = timeout(PATIENCE, async { tokio::join!(write, read) })
            .await
            .expect("the node closes");
        answered += count;
    }
    println!("{answered} of {sent} frames were answered");
    assert!(answered > sent / 20);
    let grown = peak_kib() - before;
    assert!(grown < 200 << 10, "grown by {grown} KiB");
    assert!(node.connect().await.rev().await >= 58);
    node.stop().await;
}

fn put_mutated(bytes: &mut BytesMut, random: &mut fastrand::Rng) {
    let path = [
        "/",
        "/a",
        "/a/b",
        "/ctl/name",
        "bad",
        "/**",
        "/*/b",
        "/a?",
        "/ctl/err/x",
        "/ctl",
    ][random.usize(..10)];
    let verb = [
        Verb::Get,
        Verb::Set,
        Verb::Del,
        Verb::Rev,
        Verb::Wait,
        Verb::Nop,
        Verb::Walk,
        Verb::Getdir,
        Verb::Stat,
        Verb::Self_,
        Verb::Access,
    ][random.usize(..11)];
    let rev = [0, 1, -1, -2, 59, 1 << 40, i64::MIN, i64::MAX][random.usize(..8)];
    let request = match verb {
        Verb::Set => set(path, rev, &vec![7; random.usize(..100)]),
        Verb::Walk | Verb::Getdir => entry(
            verb,
            path,
            random.i32(-2..100),
            random.bool().then_some(rev),
        ),
        _ => Request {
            path: Some(path.into()),
            rev: random.bool().then_some(rev),
            ..request(verb)
        },
    };
    let request = Request {
        tag: random.bool().then(|| random.i32(..)),
        ..request
    };
    let mut frame = BytesMut::new();
    frame::encode(&request, frame::MAX_FRAME, &mut frame).unwrap();
    match random.u8(..100) {
        0..10 => {
            for _ in 0..random.usize(1..4) {
                // The length is mostly spared, so that the message is looked at.
                let first = if random.u8(..20) > 0 { 4 } else { 0 };
                let at = random.usize(first..frame.len());
                frame[at] = random.u8(..);
            }
        }
        10 => frame.truncate(random.usize(..frame.len())),
        11 => {
            let length = random.usize(..64);
            frame.clear();
            frame.put_u32(u32::try_from(length).unwrap());
            frame.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        }
        _ => {}
    }
    bytes.extend_from_slice(&frame);
}
