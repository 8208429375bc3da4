//! GETDIR and WALK over long listings.

use std::time::{Duration, Instant};

use cairn_client::wire::{ErrCode, Request, Verb};
use cairn_lite::Options;

use crate::node::{Peer, TestNode, code, entry, set};

const FILES: usize = 20_000;

async fn fill(peer: &mut Peer) {
    for chunk in (0..FILES).collect::<Vec<_>>().chunks(64) {
        for n in chunk {
            peer.send(set(&format!("/l/{n:06}"), -1, b"x")).await;
        }
        for _ in chunk {
            assert_eq!(peer.receive().await.unwrap().err_code, None);
        }
    }
}

/// Asks for offset after offset, 64 at a time, until the listing ends; the names, in order.
async fn list(peer: &mut Peer, at: impl Fn(i32) -> Request) -> Vec<String> {
    let mut names = Vec::new();
    let mut offset = 0;
    loop {
        for next in offset..offset + 64 {
            peer.send(at(next)).await;
        }
        offset += 64;
        for _ in 0..64 {
            let response = peer.receive().await.unwrap();
            match code(&response) {
                None => names.push(response.path.unwrap()),
                code => assert_eq!(code, Some(ErrCode::Range)),
            }
        }
        if names.len() < usize::try_from(offset).unwrap() {
            return names;
        }
    }
}

/// Quadratic would be 200,000,000 steps per listing: minutes in a debug build.
#[tokio::test]
async fn a_long_listing_is_not_quadratic() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    fill(&mut peer).await;
    let pinned = Some(peer.rev().await);
    let begun = Instant::now();
    let names: Vec<String> = (0..FILES).map(|n| format!("{n:06}")).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("/l/{name}")).collect();
    for glob in ["/l/**", "/l/*", "/*/0*", "/**0**"] {
        let want: Vec<&String> = paths
            .iter()
            .filter(|path| path.starts_with("/l/0") || glob.starts_with("/l"))
            .collect();
        let got = list(&mut peer, |offset| entry(Verb::Walk, glob, offset, pinned)).await;
        let got: Vec<&String> = got.iter().filter(|path| path.starts_with("/l/")).collect();
        assert_eq!(got, want, "{glob}");
    }
    let got = list(&mut peer, |offset| {
        entry(Verb::Getdir, "/l", offset, pinned)
    })
    .await;
    assert_eq!(got, names);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    node.stop().await;
}

#[tokio::test]
async fn a_pinned_listing_does_not_see_later_writes() {
    let node = TestNode::start(Options::default()).await;
    let mut peer = node.connect().await;
    for name in ["a", "c", "e"] {
        peer.set(&format!("/l/{name}"), name.as_bytes()).await;
    }
    let pinned = Some(peer.rev().await);
    let mut got = Vec::new();
    for offset in 0.. {
        peer.set("/l/b", b"late").await;
        peer.ask(Request {
            path: Some("/l/c".into()),
            rev: Some(-1),
            ..crate::node::request(Verb::Del)
        })
        .await;
        let response = peer.ask(entry(Verb::Walk, "/l/*", offset, pinned)).await;
        match response.path {
            Some(path) => got.push(path),
            None => break,
        }
        // Any offset may be asked for, also one from before.
        let again = peer.ask(entry(Verb::Getdir, "/l", 0, pinned)).await;
        assert_eq!(again.path.as_deref(), Some("a"));
    }
    assert_eq!(got, ["/l/a", "/l/c", "/l/e"]);
    node.stop().await;
}
