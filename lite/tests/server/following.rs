//! FOLLOW, and answers that go the short way.

use bytes::{Buf, Bytes};
use cairn_client::wire::{ErrCode, Request, Response, Verb};
use cairn_client::{Client, Revision, Uri};
use cairn_lite::Options;
use futures::StreamExt;
use prost::Message as _;
use tokio::time::timeout;

use crate::node::{PATIENCE, TestNode, code, request, set, wait};

fn follow(from: i64) -> Request {
    Request {
        rev: Some(from),
        ..request(Verb::Follow)
    }
}

/// What an answer to FOLLOW has in it.
fn events(answer: &Response) -> Vec<Response> {
    let mut rest = answer.value.clone().unwrap();
    let mut events = Vec::new();
    while rest.has_remaining() {
        let length = usize::try_from(rest.get_u32()).unwrap();
        events.push(Response::decode(rest.split_to(length)).unwrap());
    }
    events
}

#[tokio::test]
async fn an_answer_to_follow_has_what_waits_would_have_answered() {
    let node = TestNode::start(Options::default()).await;
    let (mut writer, mut follower) = (node.connect().await, node.connect().await);
    let begin = writer.rev().await;
    let tag = follower.send(follow(begin + 1)).await;
    node.until("it waits", |control| control.waiting() == 1)
        .await;
    let first = writer.set("/a", b"1").await;
    let answer = follower.receive().await.unwrap();
    assert_eq!((answer.tag, answer.rev), (Some(tag), Some(first)));
    writer.ask(request(Verb::Nop)).await;
    let refused = writer.ask(set("/a/b", -1, b"not below a file")).await;
    assert_eq!(code(&refused), Some(ErrCode::Notdir));
    let newest = writer.rev().await;
    let answer = follower.ask(follow(first)).await;
    assert_eq!(answer.rev, Some(newest));
    let mut expected = Vec::new();
    for revision in first..=newest {
        let event = follower.ask(wait("/**", revision)).await;
        expected.push(Response { tag: None, ..event });
    }
    assert_eq!(events(&answer), expected);
    node.control.forget_history();
    let late = follower.ask(follow(first)).await;
    assert_eq!(code(&late), Some(ErrCode::TooLate));
    let without = follower.ask(request(Verb::Follow)).await;
    assert_eq!(code(&without), Some(ErrCode::MissingArg));
    node.stop().await;
}

/// The client's stream, over many answers and values that share one.
#[tokio::test]
async fn a_follower_gets_every_event_once_and_in_order() {
    const EVENTS: i64 = 3_000;
    let node = TestNode::start(Options::default()).await;
    let uri = Uri::from_address(&node.address).unwrap();
    let client = Client::connect(&uri).await.unwrap();
    let begin = client.rev().await.unwrap();
    let mut events = client.follow(begin.next());
    let writing = tokio::spawn(async move {
        for n in 0..EVENTS {
            let value = vec![b'x'; usize::try_from(n % 700).unwrap()];
            let path = format!("/n/{}", n % 7);
            client.set(&path, Revision::ANY, value).await.unwrap();
        }
    });
    for n in 0..EVENTS {
        let event = timeout(PATIENCE, events.next()).await.unwrap();
        let event = event.unwrap().unwrap();
        let value = usize::try_from(n % 700).unwrap();
        assert_eq!(event.revision, Revision(begin.0 + n + 1));
        assert_eq!(event.path, format!("/n/{}", n % 7));
        assert_eq!(event.value.len(), value);
    }
    writing.await.unwrap();
    node.stop().await;
}

/// Writes of the own process send what they make due themselves, as far as the socket takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_go_the_short_way_are_whole_and_come_once() {
    const WRITES: i64 = 4_000;
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    let begin = peer.rev().await;
    for n in 1..=WRITES {
        peer.send(wait("/**", begin + n)).await;
    }
    let waiting = usize::try_from(WRITES).unwrap();
    node.until("the waits", |control| control.waiting() == waiting)
        .await;
    let local = node.server.local();
    let value = |n: i64| vec![u8::try_from(n % 256).unwrap(); 3_000];
    // Far more than a socket takes while nobody reads.
    let writing = tokio::task::spawn_blocking(move || {
        for n in 1..=WRITES {
            let at = local.set("/w", Revision::ANY, Bytes::from(value(n)), None);
            assert_eq!(at, Ok(Revision(begin + n)));
        }
    });
    writing.await.unwrap();
    let mut seen = vec![false; waiting];
    for _ in 0..WRITES {
        let event = peer.receive().await.unwrap();
        let n = event.rev.unwrap() - begin;
        assert_eq!(event.value.as_deref(), Some(&value(n)[..]));
        let seen = &mut seen[usize::try_from(n - 1).unwrap()];
        assert!(!std::mem::replace(seen, true), "revision {n} came twice");
    }
    // The tags are free again, and the connection answers as ever.
    assert_eq!(peer.rev().await, begin + WRITES);
    node.stop().await;
}
