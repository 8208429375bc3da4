//! Several connections at once.

use cairn_client::wire::ErrCode;
use cairn_lite::Options;

use crate::node::{TestNode, code, get, set, wait};

/// If two writers were ever told yes for the same revision, an increment would be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compare_and_set_loses_no_increment() {
    const WRITERS: usize = 8;
    const INCREMENTS: usize = 200;
    let node = TestNode::start(Options::default()).await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let mut peer = node.connect().await;
        writers.push(tokio::spawn(async move {
            let mut done = 0;
            while done < INCREMENTS {
                let now = peer.ask(get("/counter", None)).await;
                let count: usize = match now.value.as_deref() {
                    Some(b"") | None => 0,
                    Some(digits) => std::str::from_utf8(digits).unwrap().parse().unwrap(),
                };
                let next = (count + 1).to_string();
                let answer = peer
                    .ask(set("/counter", now.rev.unwrap(), next.as_bytes()))
                    .await;
                match code(&answer) {
                    None => done += 1,
                    code => assert_eq!(code, Some(ErrCode::RevMismatch)),
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let total = (WRITERS * INCREMENTS).to_string();
    let counter = node.connect().await.ask(get("/counter", None)).await;
    assert_eq!(counter.value.as_deref(), Some(total.as_bytes()));
    node.stop().await;
}

/// A window of waits on a glob that has to be looked for event by event: each must find its own
/// event, whatever the waits before it have shown.
#[tokio::test]
async fn a_window_on_a_sparse_glob_finds_each_event() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    let mut hits = Vec::new();
    for n in 0..300 {
        let path = if n % 50 == 7 {
            format!("/s/{n}/hit")
        } else {
            format!("/s/{n}/miss")
        };
        let revision = peer.set(&path, b"").await;
        if path.ends_with("hit") {
            hits.push(revision);
        }
    }
    let newest = peer.rev().await;
    for from in (1..=newest).step_by(3).chain((1..=newest).rev().step_by(7)) {
        if let Some(want) = hits.iter().find(|&&hit| hit >= from) {
            assert_eq!(
                peer.ask(wait("/*/*/hit", from)).await.rev,
                Some(*want),
                "from {from}"
            );
        } else {
            let tag = peer.send(wait("/*/*/hit", from)).await;
            let revision = peer.rev().await + 1;
            peer.send(set("/s/x/hit", -1, b"")).await;
            let mut answers = [peer.receive().await.unwrap(), peer.receive().await.unwrap()];
            answers.sort_by_key(|answer| answer.tag != Some(tag));
            assert_eq!(
                (answers[0].tag, answers[0].rev),
                (Some(tag), Some(revision))
            );
            hits.push(revision);
        }
    }
    // Another glob in between must not be taken for it.
    assert_eq!(peer.ask(wait("/s/*/miss", 1)).await.rev, Some(59));
    assert_eq!(peer.ask(wait("/*/*/hit", 1)).await.rev, Some(hits[0]));
    node.stop().await;
}
