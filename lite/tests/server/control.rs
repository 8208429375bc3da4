//! The handle that makes a node misbehave.

use std::time::{Duration, Instant};

use cairn_client::Revision;
use cairn_client::wire::{ErrCode, Request, Verb};
use cairn_lite::store::LAST_REVISION;
use cairn_lite::{Options, OptionsError};
use tokio::time::timeout;

use crate::node::{TestNode, code, get, request, set, wait};

#[tokio::test]
async fn a_paused_node_answers_only_after_it_goes_on() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    peer.set("/a", b"1").await;
    node.control.pause();
    let tag = peer.send(set("/a", -1, b"2")).await;
    assert!(
        timeout(Duration::from_millis(50), peer.receive_bytes())
            .await
            .is_err()
    );
    assert_eq!(node.control.revision(), Revision(59));
    node.control.resume();
    assert_eq!(peer.receive().await.unwrap().tag, Some(tag));
    assert_eq!(node.control.revision(), Revision(60));
    node.stop().await;
}

#[tokio::test]
async fn a_silent_node_does_what_it_is_asked() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    peer.rev().await;
    node.control.stop_answering();
    peer.send(set("/a", -1, b"1")).await;
    node.until("the write", |control| control.revision() == Revision(59))
        .await;
    node.control.answer_again();
    // The answer to SET is lost for good.
    assert_eq!(peer.rev().await, 59);
    node.stop().await;
}

#[tokio::test]
async fn answers_are_delayed_and_stay_in_order() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    peer.rev().await;
    let delay = Duration::from_millis(60);
    node.control.delay(delay);
    let sent = Instant::now();
    let first = peer.send(set("/a", -1, b"1")).await;
    let second = peer.send(get("/a", None)).await;
    assert_eq!(peer.receive().await.unwrap().tag, Some(first));
    assert!(sent.elapsed() >= delay);
    assert_eq!(peer.receive().await.unwrap().tag, Some(second));
    node.control.delay(Duration::ZERO);
    peer.rev().await;
    node.stop().await;
}

#[tokio::test]
async fn connections_are_dropped_and_new_ones_welcome() {
    let node = TestNode::start(Options::default()).await;
    let mut peers = [node.connect().await, node.connect().await];
    for peer in &mut peers {
        peer.send(wait("/a", 1)).await;
        peer.rev().await;
    }
    node.control.drop_connections();
    for peer in &mut peers {
        assert_eq!(peer.receive().await, None);
    }
    node.until("their end", |control| {
        control.connections() == 0 && control.waiting() == 0
    })
    .await;
    assert_eq!(node.connect().await.rev().await, 58);
    node.control.refuse_connections(true);
    let mut refused = node.connect().await;
    assert_eq!(refused.receive().await, None);
    node.control.refuse_connections(false);
    assert_eq!(node.connect().await.rev().await, 58);
    node.stop().await;
}

#[tokio::test]
async fn forgotten_history_is_too_late() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    peer.set("/a", b"1").await;
    peer.set("/a", b"2").await;
    node.control.forget_history();
    assert_eq!(
        code(&peer.ask(wait("/a", 59)).await),
        Some(ErrCode::TooLate)
    );
    assert_eq!(
        code(&peer.ask(get("/a", Some(59))).await),
        Some(ErrCode::TooLate)
    );
    assert_eq!(
        peer.ask(get("/a", Some(60))).await.value.as_deref(),
        Some(&b"2"[..])
    );
    assert_eq!(peer.ask(wait("/a", 60)).await.rev, Some(60));
    assert_eq!(node.control.oldest_revision(), Revision(60));
    node.stop().await;
}

#[tokio::test]
async fn a_node_begins_or_goes_on_at_a_given_revision() {
    let options = Options {
        start_revision: Some(1_000_000),
        ..Options::default()
    };
    let node = TestNode::start(options).await;
    let mut peer = node.connect().await;
    assert_eq!(peer.rev().await, 1_000_000);
    assert_eq!(
        code(&peer.ask(wait("/**", 999_999)).await),
        Some(ErrCode::TooLate)
    );
    assert_eq!(
        peer.ask(wait("/**", 1_000_000)).await.path.as_deref(),
        Some("/")
    );
    assert_eq!(peer.ask(get("/ctl/name", None)).await.rev, Some(1));
    assert_eq!(peer.set("/a", b"").await, 1_000_001);
    let tag = peer.send(wait("/**", 2_000_000)).await;
    peer.rev().await;
    node.control.jump_to(Revision(2_000_000));
    assert_eq!(peer.receive().await.unwrap().tag, Some(tag));
    node.stop().await;
}

#[tokio::test]
async fn a_write_after_the_last_revision_is_an_error_and_reads_go_on() {
    let options = Options {
        start_revision: Some(LAST_REVISION.0),
        ..Options::default()
    };
    let node = TestNode::start(options).await;
    let mut peer = node.connect().await;
    let tag = peer.send(wait("/**", i64::MAX)).await;
    let mut other = node.connect().await;
    for write in [
        set("/a", -1, b""),
        request(Verb::Nop),
        Request {
            path: Some("/a".into()),
            rev: Some(-1),
            ..request(Verb::Del)
        },
    ] {
        let detail = other.ask(write).await.err_detail.unwrap_or_default();
        assert!(detail.contains("no revision is left"), "{detail}");
    }
    assert_eq!(peer.rev().await, LAST_REVISION.0);
    let name = peer.ask(get("/ctl/name", None)).await;
    assert_ne!(name.tag, Some(tag));
    assert_eq!(name.value.as_deref(), Some(&b"local"[..]));
    node.stop().await;

    let beyond = Options {
        start_revision: Some(LAST_REVISION.0 + 1),
        ..Options::default()
    };
    assert_eq!(beyond.validate(), Err(OptionsError::StartTooHigh(i64::MAX)));
}

#[tokio::test]
async fn a_readonly_node_refuses_writes_until_it_is_told_otherwise() {
    let node = TestNode::start(Options {
        readonly: true,
        ..Options::default()
    })
    .await;
    let mut peer = node.connect().await;
    for write in [
        set("/a", -1, b""),
        request(Verb::Nop),
        request(Verb::Del),
        request(Verb::Set),
    ] {
        assert_eq!(code(&peer.ask(write).await), Some(ErrCode::Readonly));
    }
    assert_eq!(peer.rev().await, 58);
    node.control.set_readonly(false);
    assert_eq!(peer.set("/a", b"").await, 59);
    node.stop().await;
}
