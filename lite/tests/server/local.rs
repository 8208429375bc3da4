//! The node by calls of its own process: what a follower sees, and how it holds the node back.

use std::future::poll_fn;

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::wire::Verb;
use cairn_lite::{LocalError, Options};
use tokio::time::timeout;

use crate::node::{PATIENCE, TestNode, get, request, set, wait};

/// So many revisions may be before a follower.
const KEPT: u64 = 64;

fn short() -> Options {
    Options {
        history: KEPT,
        ..Options::default()
    }
}

/// The story: a disk hangs, and nobody takes what clients write. Nothing is dropped, nothing grows,
/// and those who read notice nothing.
#[tokio::test]
async fn a_follower_that_is_behind_holds_writes_back_and_nothing_else() {
    let node = TestNode::start(short()).await;
    let (mut writer, mut reader) = (node.connect().await, node.connect().await);
    let begin = writer.rev().await;
    let local = node.server.local();
    let mut feed = local.follow(Revision(begin + 1)).unwrap();
    let writes = 3 * i64::try_from(KEPT).unwrap();
    for n in 0..writes {
        writer.send(set(&format!("/{n}"), -1, b"x")).await;
    }
    // Behind its writes; it is not answered before them.
    let last = writer.send(request(Verb::Rev)).await;
    let full = begin + i64::try_from(KEPT).unwrap();
    node.until("as much as there is room for", |control| {
        control.revision().0 == full
    })
    .await;
    for _ in 0..3 {
        assert_eq!(reader.rev().await, full);
        assert_eq!(reader.ask(get("/0", None)).await.rev, Some(begin + 1));
    }
    // Those who make room never wait for room.
    let own = local
        .set("/own", Revision::ANY, Bytes::from_static(b"y"), None)
        .unwrap();
    assert_eq!(own, Revision(full + 1));
    assert!(matches!(
        timeout(PATIENCE, poll_fn(|context| feed.poll_next(context))).await,
        Ok(Err(LocalError::TooLate))
    ));
    drop(feed);
    node.until("the rest", |control| {
        control.revision().0 == begin + writes + 1
    })
    .await;
    let mut answered = 0;
    while writer.receive().await.unwrap().tag != Some(last) {
        answered += 1;
    }
    assert_eq!(answered, writes);
    node.stop().await;
}

#[tokio::test]
async fn a_follower_gets_every_event_in_order_however_slow_it_is() {
    let node = TestNode::start(short()).await;
    let mut writer = node.connect().await;
    let begin = writer.rev().await;
    let mut feed = node.server.local().follow(Revision(begin + 1)).unwrap();
    const WRITES: i64 = 1_000;
    for n in 0..WRITES {
        writer.send(set(&format!("/{}", n % 7), -1, b"x")).await;
    }
    for n in 1..=WRITES {
        let event = poll_fn(|context| feed.poll_next(context));
        let event = timeout(PATIENCE, event).await.unwrap().unwrap();
        assert_eq!(event.revision, Revision(begin + n));
        if n % 100 == 0 {
            // Others run meanwhile.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
    }
    for _ in 0..WRITES {
        assert!(writer.receive().await.unwrap().err_code.is_none());
    }
    node.stop().await;
}

#[tokio::test]
async fn a_write_of_the_own_process_is_an_event_like_any_other_and_may_be_guarded() {
    let node = TestNode::start(Options::default()).await;
    let mut watcher = node.connect().await;
    let begin = watcher.rev().await;
    let local = node.server.local();
    watcher.send(wait("/a", begin)).await;
    node.until("the wait", |control| control.waiting() == 1)
        .await;
    let value = || Bytes::from_static(b"1");
    let set = local.set("/a", Revision::MISSING, value(), None).unwrap();
    let event = watcher.receive().await.unwrap();
    assert_eq!(event.rev, Some(set.0));
    assert_eq!(event.value, Some(value()));
    let guarded = |value: &'static [u8]| {
        let new = Bytes::from_static(b"2");
        local.set("/b", Revision::ANY, new, Some(("/a", value)))
    };
    assert_eq!(guarded(b"0"), Err(LocalError::Guarded));
    assert_eq!(watcher.rev().await, set.0, "no revision was consumed");
    assert_eq!(guarded(b"1"), Ok(set.next()));
    assert_eq!(local.del("/none", Revision::ANY, None), Ok(None));
    node.control.drop_connections();
    assert_eq!(local.revision(), Err(LocalError::Ended));
    node.stop().await;
}
