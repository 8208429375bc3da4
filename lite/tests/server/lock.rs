//! Nobody holds the node's lock for long, whatever one client asks for. Counted in steps (names,
//! events and requests looked at), because time depends on the machine.

use cairn_client::wire::Verb;
use cairn_lite::Options;

use crate::node::{Peer, TestNode, entry, request, set, wait};

/// What is done under one lock at most: the bound after which no request is begun, and what the
/// last one and the answers that it makes due may add.
const MOST: usize = 3_000;

/// So many keys, each written once, in directories of a hundred.
async fn filled(keys: usize) -> (TestNode, Peer) {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    for n in 0..keys {
        peer.send(set(&format!("/d{}/k{n}", n / 100), -1, b"x"))
            .await;
        if n % 100 == 99 {
            for _ in 0..100 {
                peer.receive().await.unwrap();
            }
        }
    }
    (node, peer)
}

/// Nobody has held the lock for more than [`MOST`] steps.
async fn ends_without_a_long_lock(node: TestNode) {
    let steps = node.control.most_steps();
    assert!(steps < MOST, "{steps}");
    node.stop().await;
}

/// The story: 256 such requests in one write stopped everybody for 23 seconds.
#[tokio::test]
async fn globs_that_match_nothing_delay_nobody() {
    let (node, mut attacker) = filled(20_000).await;
    let mut other = node.connect().await;
    for n in 0..64 {
        attacker.send(wait(&format!("/*/*no-such-{n}"), 1)).await;
    }
    while node.control.waiting() < 64 {
        other.rev().await;
    }
    // What they wait for still comes to them, and what has been is still found.
    let set_at = other.set("/x/is-no-such-7", b"y").await;
    assert_eq!(attacker.receive().await.unwrap().rev, Some(set_at));
    let found = other.ask(wait("/*/k1999?", 1)).await;
    assert_eq!(found.path.as_deref(), Some("/d199/k19990"));
    ends_without_a_long_lock(node).await;
}

#[tokio::test]
async fn states_of_the_past_are_made_by_those_who_ask() {
    let (node, mut attacker) = filled(3_000).await;
    let mut other = node.connect().await;
    let newest = attacker.rev().await;
    for at in newest - 255..newest {
        attacker.send(entry(Verb::Getdir, "/", 0, Some(at))).await;
    }
    other.rev().await;
    for _ in newest - 255..newest {
        assert_eq!(
            attacker.receive().await.unwrap().path.as_deref(),
            Some("ctl")
        );
    }
    ends_without_a_long_lock(node).await;
}

#[tokio::test]
async fn an_event_that_thousands_wait_for_is_told_a_few_at_a_time() {
    const WAITERS: usize = 10_000;
    let node = TestNode::start(Options::default()).await;
    let (mut watcher, mut writer) = (node.connect().await, node.connect().await);
    for _ in 0..WAITERS {
        watcher.send(wait("/a", 1)).await;
    }
    node.until("the waits", |control| control.waiting() == WAITERS)
        .await;
    let at = writer.set("/a", b"x").await;
    for _ in 0..WAITERS {
        assert_eq!(watcher.receive().await.unwrap().rev, Some(at));
    }
    assert_eq!(watcher.ask(request(Verb::Rev)).await.rev, Some(at));
    ends_without_a_long_lock(node).await;
}
