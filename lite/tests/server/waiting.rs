//! WAIT, and reads of the future.

use std::collections::BTreeSet;

use cairn_client::wire::{ErrCode, Verb};
use cairn_lite::Options;

use crate::node::{TestNode, code, entry, get, request, set, wait};

#[tokio::test]
async fn a_wait_is_answered_by_the_event_it_waits_for() {
    let node = TestNode::start(Options::default()).await;
    let mut writer = node.connect().await;
    let mut watcher = node.connect().await;
    let tag = watcher.send(wait("/a/*", 1)).await;
    node.until("the wait", |control| control.waiting() == 1)
        .await;
    writer.set("/b", b"no").await;
    writer.set("/a/b/c", b"no").await;
    let revision = writer.set("/a/x", b"yes").await;
    let event = watcher.receive().await.unwrap();
    assert_eq!(
        (event.tag, event.rev, event.flags),
        (Some(tag), Some(revision), Some(4))
    );
    assert_eq!(
        (event.path.as_deref(), event.value.as_deref()),
        (Some("/a/x"), Some(&b"yes"[..]))
    );
    assert_eq!(node.control.waiting(), 0);
    node.stop().await;
}

/// The way a follower works: a window of waits, one for each revision to come.
#[tokio::test]
async fn a_window_of_waits_gets_every_event_once() {
    const EVENTS: i64 = 2_000;
    let node = TestNode::start(Options::default()).await;
    let mut writer = node.connect().await;
    let mut watcher = node.connect().await;
    let first = writer.rev().await + 1;
    for revision in first..first + 64 {
        watcher.send(wait("/**", revision)).await;
    }
    let writing = tokio::spawn(async move {
        for n in 0..EVENTS {
            match n % 3 {
                0 => drop(writer.set(&format!("/n/{}", n % 7), b"v").await),
                1 => drop(writer.ask(request(Verb::Nop)).await),
                _ => drop(writer.ask(set("/n/0", 0, b"refused")).await),
            }
        }
    });
    let mut seen = BTreeSet::new();
    while seen.len() < usize::try_from(EVENTS).unwrap() {
        let event = watcher.receive().await.unwrap();
        assert!(seen.insert(event.rev.unwrap()), "twice: {event:?}");
        let next = first + i64::try_from(seen.len()).unwrap() + 63;
        if next < first + EVENTS {
            watcher.send(wait("/**", next)).await;
        }
    }
    assert_eq!(seen.first(), Some(&first));
    assert_eq!(seen.last(), Some(&(first + EVENTS - 1)));
    writing.await.unwrap();
    node.stop().await;
}

#[tokio::test]
async fn thousands_of_waiters_each_get_their_own_event() {
    const WAITERS: usize = 5_000;
    let node = TestNode::start(Options::default()).await;
    let mut peers = Vec::new();
    for _ in 0..10 {
        peers.push(node.connect().await);
    }
    for n in 0..WAITERS {
        peers[n % 10].send(wait(&format!("/w/{n}"), 1)).await;
    }
    node.until("all the waits", |control| control.waiting() == WAITERS)
        .await;
    let mut writer = node.connect().await;
    for n in 0..WAITERS {
        writer
            .set(&format!("/w/{n}"), n.to_string().as_bytes())
            .await;
    }
    let mut seen = BTreeSet::new();
    for n in 0..WAITERS {
        let event = peers[n % 10].receive().await.unwrap();
        let path = event.path.unwrap();
        assert_eq!(
            path.as_bytes(),
            [b"/w/", &event.value.unwrap()[..]].concat()
        );
        seen.insert(path);
    }
    assert_eq!(seen.len(), WAITERS);
    assert_eq!(node.control.waiting(), 0);
    node.stop().await;
}

#[tokio::test]
async fn reads_of_the_future_are_answered_when_it_comes() {
    let node = TestNode::start(Options::default()).await;
    let mut writer = node.connect().await;
    let mut reader = node.connect().await;
    let now = writer.set("/d/a", b"before").await;
    let expected = [
        get("/d/a", Some(now + 1)),
        entry(Verb::Stat, "/d", 0, Some(now + 1)),
        entry(Verb::Getdir, "/d", 1, Some(now + 1)),
        entry(Verb::Walk, "/d/*", 1, Some(now + 1)),
        entry(Verb::Walk, "/d/*", 2, Some(now + 1)),
    ];
    for request in expected {
        reader.send(request).await;
    }
    node.until("the reads", |control| control.waiting() == 5)
        .await;
    writer.set("/d/b", b"b").await;
    writer.set("/d/a", b"after").await;
    assert_eq!(
        reader.receive().await.unwrap().value.as_deref(),
        Some(&b"before"[..])
    );
    assert_eq!(reader.receive().await.unwrap().len, Some(2));
    assert_eq!(reader.receive().await.unwrap().path.as_deref(), Some("b"));
    assert_eq!(
        reader.receive().await.unwrap().path.as_deref(),
        Some("/d/b")
    );
    assert_eq!(code(&reader.receive().await.unwrap()), Some(ErrCode::Range));
    node.stop().await;
}

#[tokio::test]
async fn a_tag_that_still_waits_is_not_taken_again() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    let tag = peer.send(wait("/a", 1)).await;
    let mut again = request(Verb::Rev);
    again.tag = Some(tag);
    assert_eq!(
        code(&peer.ask(again.clone()).await),
        Some(ErrCode::TagInUse)
    );
    let revision = peer.set("/b", b"").await;
    peer.send(set("/a", -1, b"")).await;
    let mut answers = [peer.receive().await.unwrap(), peer.receive().await.unwrap()];
    answers.sort_by_key(|answer| answer.tag != Some(tag));
    assert_eq!(
        (answers[0].tag, answers[0].rev),
        (Some(tag), Some(revision + 1))
    );
    // It has been answered now, so it is free.
    assert_eq!(peer.ask(again).await.rev, Some(revision + 1));
    node.stop().await;
}

#[tokio::test]
async fn a_connection_takes_its_waits_with_it() {
    let node = TestNode::start(Options::default()).await;
    let mut writer = node.connect().await;
    let mut watcher = node.connect().await;
    for n in 0..100 {
        watcher
            .send(wait(["/a", "/**", "/*", "/a**", "/a/*/b"][n % 5], 1_000))
            .await;
    }
    node.until("the waits", |control| control.waiting() == 100)
        .await;
    drop(watcher);
    node.until("their end", |control| control.waiting() == 0)
        .await;
    assert_eq!(writer.set("/a", b"").await, 59);
    node.stop().await;
}
