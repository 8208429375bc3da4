//! Connections that break, and servers that break the protocol.

use std::time::Duration;

use cairn_client::wire::{Response, Verb};
use cairn_client::{Error, Options, Revision};

use crate::fake::{Fake, Peer, bytes_of, file, hasty, revision};

/// Lets a server answer one GET in its own way; the client must get the file elsewhere.
async fn read_is_repeated_after(misbehave: impl AsyncFnOnce(&mut Peer, Option<i32>)) {
    let fake = Fake::start().await;
    let (client, mut first) = fake.connect(Options::default()).await;
    let served = async {
        let request = first.request().await;
        misbehave(&mut first, request.tag).await;
        let mut second = fake.greet().await;
        second.answer(Verb::Get, file(7, "there")).await;
    };
    let (read, ()) = tokio::join!(client.get("/a", None), served);
    assert_eq!(read.unwrap().unwrap().value, "there");
}

/// The same with a SET, which must fail and say that it may have happened.
async fn write_is_in_doubt_after(misbehave: impl AsyncFnOnce(&mut Peer, Option<i32>)) {
    let fake = Fake::start().await;
    let (client, mut first) = fake.connect(Options::default()).await;
    let served = async {
        let request = first.request().await;
        misbehave(&mut first, request.tag).await;
        let mut second = fake.greet().await;
        assert!(second.is_quiet_for(Duration::from_millis(20)).await);
    };
    let (write, ()) = tokio::join!(client.set("/a", Revision::ANY, "x"), served);
    let error = write.unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    assert!(error.may_have_happened() && error.is_retryable());
}

#[tokio::test]
async fn a_frame_of_garbage_ends_the_connection() {
    let garbage = b"\0\0\0\x04\xff\xff\xff\xff";
    read_is_repeated_after(async |peer, _| peer.send_bytes(garbage).await).await;
    write_is_in_doubt_after(async |peer, _| peer.send_bytes(garbage).await).await;
}

#[tokio::test]
async fn an_oversized_frame_ends_the_connection() {
    read_is_repeated_after(async |peer, _| peer.send_bytes(b"HTTP/1.1 400").await).await;
    write_is_in_doubt_after(async |peer, _| peer.send_bytes(&[0xff; 4]).await).await;
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    read_is_repeated_after(async |peer, _| peer.send(revision(1)).await).await;
    let stranger = Response {
        tag: Some(1_000_000),
        ..revision(1)
    };
    write_is_in_doubt_after(async |peer, _| peer.send(stranger).await).await;
}

#[tokio::test]
async fn a_second_answer_does_not_meet_another_request() {
    let fake = Fake::start().await;
    let (client, mut first) = fake.connect(Options::default()).await;
    let served = async {
        let request = first.request().await;
        let answer = Response {
            tag: request.tag,
            ..file(7, "first")
        };
        let twice = [bytes_of(&answer), bytes_of(&answer)].concat();
        first.send_bytes(&twice).await;
        let mut second = fake.greet().await;
        second.answer(Verb::Get, file(8, "second")).await;
    };
    let asked = async {
        let one = client.get("/a", None).await.unwrap().unwrap();
        let two = client.get("/a", None).await.unwrap().unwrap();
        (one.value, two.value)
    };
    let (values, ()) = tokio::join!(asked, served);
    assert_eq!(values, ("first".into(), "second".into()));
}

#[tokio::test]
async fn an_answer_that_is_cut_off_anywhere_is_no_answer() {
    let whole = bytes_of(&Response {
        tag: Some(2),
        ..file(7, "half")
    });
    for length in 0..whole.len() {
        let part = &whole[..length];
        let cut = async |peer: &mut Peer, tag| {
            assert_eq!(tag, Some(2));
            peer.send_bytes(part).await;
            peer.close().await;
        };
        read_is_repeated_after(cut).await;
        write_is_in_doubt_after(cut).await;
    }
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_an_answer() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let served = async {
        let tag = peer.request().await.tag;
        for byte in bytes_of(&Response {
            tag,
            ..file(7, "whole")
        }) {
            peer.send_bytes(&[byte]).await;
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(client.get("/a", None), served);
    assert_eq!(read.unwrap().unwrap().value, "whole");
}

#[tokio::test]
async fn answers_before_the_end_count() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let served = async {
        let tag = peer.request().await.tag;
        peer.send(Response {
            tag,
            ..revision(59)
        })
        .await;
        peer.close().await;
    };
    let (set, ()) = tokio::join!(client.set("/a", Revision::ANY, "x"), served);
    assert_eq!(set.unwrap(), Revision(59));
}

/// A silent server is asked for a sign of life. As long as it gives one, nothing happens.
#[tokio::test]
async fn a_silent_server_is_probed_and_left_when_it_stays_silent() {
    let fake = Fake::start().await;
    let options = Options {
        keepalive: Duration::from_millis(30),
        ..hasty()
    };
    let (client, mut first) = fake.connect(options).await;
    let wait = client.wait("/a", Revision(60));
    let served = async {
        assert_eq!(first.request().await.verb, Some(Verb::Wait as i32));
        for _ in 0..3 {
            first.answer_rev(58).await;
        }
        // Now it plays dead: the connection stands, and nothing comes.
        let mut second = fake.greet().await;
        let event = Response {
            flags: Some(4),
            path: Some("/a".to_owned()),
            ..revision(60)
        };
        second.answer(Verb::Wait, event).await;
    };
    let (event, ()) = tokio::join!(wait, served);
    assert_eq!(event.unwrap().revision, Revision(60));
}

#[tokio::test]
async fn an_idle_connection_is_probed_too() {
    let fake = Fake::start().await;
    let options = Options {
        keepalive: Duration::from_millis(20),
        ..hasty()
    };
    let (_client, mut peer) = fake.connect(options).await;
    for _ in 0..3 {
        peer.answer_rev(58).await;
    }
}

#[tokio::test]
async fn dropping_the_client_ends_the_connection_and_its_streams_keep_it() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let watch = client.watch("/a", Revision(1));
    drop(client.clone());
    drop(client);
    assert!(peer.is_quiet_for(Duration::from_millis(20)).await);
    drop(watch);
    assert!(peer.request_or_end().await.is_none());
}

/// A request of which the server cannot have seen the end cannot have happened.
#[tokio::test]
async fn a_write_that_was_cut_off_is_sent_again() {
    let fake = Fake::start().await;
    let (client, mut first) = fake.connect(Options::default()).await;
    // More than the buffers between the two ends hold, for each path.
    let value = vec![7; 1_500_000];
    let sets = (0..8).map(|n| {
        let (client, value) = (client.clone(), value.clone());
        async move { client.set(&format!("/{n}"), Revision::ANY, value).await }
    });
    let served = async {
        let whole = first.request().await;
        assert_eq!(whole.path.as_deref(), Some("/0"));
        drop(first);
        let mut second = fake.greet().await;
        let mut again = Vec::new();
        while again.last().map(String::as_str) != Some("/7") {
            again.extend(second.answer(Verb::Set, revision(59)).await.path);
        }
        again
    };
    let (sets, again) = tokio::join!(futures::future::join_all(sets), served);
    for (n, set) in sets.into_iter().enumerate() {
        // Each was either done the second time, or is in doubt; never both.
        let repeated = again.contains(&format!("/{n}"));
        match set {
            Ok(_) => assert!(repeated),
            Err(error) => assert!(!repeated && error.may_have_happened(), "{error}"),
        }
    }
    println!("sent again: {again:?}");
    assert!(again.len() > 1 && !again.contains(&"/0".to_owned()));
}

#[test]
fn when_the_runtime_goes_down_nobody_waits_for_it() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let fake = first.block_on(Fake::start());
    let (client, _peer) = first.block_on(fake.connect(Options::default()));
    first.shutdown_background();
    let error = second.block_on(client.wait("/a", Revision(1))).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}
