//! Every limit has a clear answer, and what is within it works.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use cairn_client::wire::{ErrCode, Request, Response, Verb};
use cairn_lite::Options;
use tokio::io::AsyncWriteExt as _;

use crate::node::{TestNode, code, get, set, wait};

#[track_caller]
fn assert_other(response: &Response, detail: &str) {
    assert_eq!(code(response), Some(ErrCode::Other), "{response:?}");
    assert_eq!(response.err_detail.as_deref(), Some(detail));
}

#[tokio::test]
async fn a_value_of_one_mebibyte_is_taken_and_one_byte_more_is_not() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    let largest = vec![7; 1 << 20];
    assert_eq!(peer.set("/big", &largest).await, 59);
    assert_eq!(
        peer.ask(get("/big", None)).await.value,
        Some(Bytes::from(largest))
    );
    let response = peer.ask(set("/big", -1, &vec![7; (1 << 20) + 1])).await;
    assert_other(
        &response,
        "value of 1048577 bytes is over the limit of 1048576 bytes",
    );
    assert_eq!(peer.rev().await, 59);
    node.stop().await;
}

#[tokio::test]
async fn a_frame_over_the_limit_is_answered_before_the_connection_ends() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    peer.stream
        .write_all(&[0x7f, 0, 0, 0, 0x08, 42, 0x10, 1])
        .await
        .unwrap();
    let response = peer.receive().await.unwrap();
    assert_eq!(response.tag, Some(42));
    assert_other(
        &response,
        "frame of 2130706432 bytes is over the limit of 1114112 bytes",
    );
    assert_eq!(peer.receive().await, None);
    node.stop().await;
}

#[tokio::test]
async fn a_path_too_long_or_too_deep_is_refused_and_the_deepest_works() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    let detail = "path too long (limit: 4096 bytes, 256 names)";
    for path in ["/a".repeat(257), format!("/{}", "a".repeat(4096))] {
        assert_other(&peer.ask(set(&path, -1, b"")).await, detail);
        assert_eq!(peer.ask(get(&path, None)).await.rev, Some(0));
        let response = peer.ask(wait(&path, 1)).await;
        assert_other(&response, "glob too long (limit: 4096 bytes, 256 names)");
    }
    let deepest = "/a".repeat(256);
    assert_eq!(peer.set(&deepest, b"x").await, 59);
    assert_eq!(peer.ask(wait(&deepest, 1)).await.rev, Some(59));
    let del = Request {
        path: Some(deepest),
        rev: Some(-1),
        ..crate::node::request(Verb::Del)
    };
    assert_eq!(peer.ask(del).await.err_code, None);
    node.control.forget_history();
    assert_eq!(peer.rev().await, 60);
    node.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let node = TestNode::start(Options {
        max_connections: 2,
        ..Options::default()
    })
    .await;
    let mut first = node.connect().await;
    let mut second = node.connect().await;
    first.rev().await;
    second.rev().await;
    let mut third = node.connect().await;
    let response = third.ask(crate::node::request(Verb::Rev)).await;
    assert_other(
        &response,
        "too many connections (limit 2): try another node, or later",
    );
    assert_eq!(third.receive().await, None);
    drop(first);
    node.until("the end of the first", |control| control.connections() == 1)
        .await;
    // The node has let go of the first, so there is room again, soon.
    loop {
        let mut fourth = node.connect().await;
        if fourth.ask(crate::node::request(Verb::Rev)).await.rev == Some(58) {
            break;
        }
    }
    second.rev().await;
    node.stop().await;
}

#[tokio::test]
async fn waits_over_the_limit_are_refused_and_the_others_stay() {
    let options = Options {
        max_waiting: 3,
        max_waiting_total: 4,
        ..Options::default()
    };
    let node = TestNode::start(options).await;
    let mut first = node.connect().await;
    for _ in 0..3 {
        first.send(wait("/a", 1)).await;
    }
    let limit = |limit, whose| {
        format!("too many requests are waiting {whose} (limit {limit}): try again later")
    };
    assert_other(
        &first.ask(wait("/a", 1)).await,
        &limit(3, "on this connection"),
    );
    let mut second = node.connect().await;
    second.send(wait("/a", 1)).await;
    assert_other(&second.ask(wait("/a", 1)).await, &limit(4, "on this node"));
    second.send(set("/a", -1, b"")).await;
    for _ in 0..3 {
        assert_eq!(first.receive().await.unwrap().rev, Some(59));
    }
    node.stop().await;
}

/// 16,384 WAITs for globs of 256 names each took 1.6 GB, in a node that bounded only their number.
#[tokio::test]
async fn long_globs_that_wait_are_bounded_by_the_memory_that_they_take() {
    let options = Options {
        max_waiting_bytes: 150_000,
        ..Options::default()
    };
    let node = TestNode::start(options).await;
    let long = |n: usize| format!("/{n}{}", "/a".repeat(250));
    let refusal = "waiting requests take too much memory on this node (limit 150000 bytes): try \
                   again later";
    let mut first = node.connect().await;
    first.send(wait(&long(0), 1)).await;
    assert_other(&first.ask(wait(&long(1), 1)).await, refusal);
    let read = Request {
        rev: Some(1_000),
        value: Some(Bytes::from(vec![7; 900_000])),
        ..get("/a", None)
    };
    first.send(read).await;
    first.send(wait("/short", 1)).await;
    let mut writer = node.connect().await;
    assert_eq!(writer.set("/short", b"").await, 59);
    assert_eq!(first.receive().await.unwrap().rev, Some(59));
    assert_other(&first.ask(wait(&long(1), 1)).await, refusal);

    // Memory is given back with the connection, and with the event.
    drop(first);
    while node.control.waiting() > 0 {
        writer.rev().await;
    }
    let mut second = node.connect().await;
    for (n, revision) in [(2, 60), (3, 61)] {
        second.send(wait(&long(n), 1)).await;
        while node.control.waiting() == 0 {
            writer.rev().await;
        }
        assert_eq!(writer.set(&long(n), b"").await, revision);
        assert_eq!(second.receive().await.unwrap().rev, Some(revision));
    }
    node.stop().await;
}

/// The story: three hundred clients sent half a frame of a megabyte each, and kept it there.
#[tokio::test]
async fn half_a_request_has_a_time_limit_and_a_bound_in_bytes() {
    let node = TestNode::start(Options {
        request_time: Duration::from_millis(300),
        max_arriving: 1 << 20,
        ..Options::default()
    })
    .await;
    let half = {
        let mut half = (1_u32 << 20).to_be_bytes().to_vec();
        half.extend_from_slice(&[0x08, 42, 0x10, 2]);
        half.resize(600 << 10, 0x2a);
        half
    };
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut peer = node.connect().await;
        peer.stream.write_all(&half).await.unwrap();
        peers.push(peer);
    }
    let mut details = BTreeSet::new();
    for mut peer in peers {
        let response = peer.receive().await.unwrap();
        assert_eq!(response.tag, Some(42));
        details.extend(response.err_detail);
        assert_eq!(peer.receive().await, None);
    }
    let expected = [
        "no complete request within 300ms",
        "requests that are sent in part take too much memory on this node (limit 1048576 bytes): \
         try again later",
    ];
    assert_eq!(details, expected.map(str::to_owned).into());
    // Silence between requests is nobody's half.
    let mut idle = node.connect().await;
    let at = idle.rev().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(idle.rev().await, at);
    node.stop().await;
}

#[tokio::test]
async fn large_values_shorten_the_history() {
    let node = TestNode::start(Options {
        history_bytes: 1 << 20,
        ..Options::default()
    })
    .await;
    let mut peer = node.connect().await;
    let value = vec![7; 100 << 10];
    for _ in 0..100 {
        peer.set("/a", &value).await;
    }
    let (newest, oldest) = (node.control.revision().0, node.control.oldest_revision().0);
    assert_eq!(newest - oldest + 1, 10, "ten of them are a mebibyte");
    assert_eq!(peer.ask(wait("/a", oldest)).await.rev, Some(oldest));
    assert_eq!(
        code(&peer.ask(wait("/a", oldest - 1)).await),
        Some(ErrCode::TooLate)
    );
    // One that is larger than all of it is there all the same.
    let at = peer.set("/a", &vec![7; 1 << 20]).await;
    assert_eq!(peer.ask(wait("/a", at)).await.rev, Some(at));
    node.stop().await;
}

/// Nothing can have such a path, so the read that waits need not keep it.
#[tokio::test]
async fn a_read_of_the_future_holds_no_path_that_cannot_be() {
    let node = TestNode::start(Options {
        max_waiting_bytes: 4 << 10,
        ..Options::default()
    })
    .await;
    let mut peer = node.connect().await;
    let next = peer.rev().await + 1;
    let long = format!("/{}", "a".repeat(1 << 19));
    peer.send(get(&long, Some(next))).await;
    node.until("the read", |control| control.waiting() == 1)
        .await;
    let mut writer = node.connect().await;
    assert_eq!(writer.set("/b", b"x").await, next);
    assert_eq!(peer.receive().await.unwrap().rev, Some(0));
    node.stop().await;
}
