//! Requests and answers on one healthy connection.

use std::time::Duration;

use cairn_client::wire::{ErrCode, Request, Response, Verb};
use cairn_client::{Error, ErrorCode, Options, Revision};
use futures::future::join_all;
use tokio::io::AsyncReadExt;

use crate::fake::{Fake, failure, file, hasty, revision};

fn answer_to(request: &Request, response: Response) -> Response {
    Response {
        tag: request.tag,
        ..response
    }
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let paths: Vec<String> = (0..50).map(|n| format!("/{n}")).collect();
    let gets = join_all(paths.iter().map(|path| client.get(path, None)));
    let served = async {
        let mut requests = Vec::new();
        for _ in &paths {
            requests.push(peer.request().await);
        }
        fastrand::Rng::with_seed(crate::seed()).shuffle(&mut requests);
        for request in requests {
            let value = file(7, request.path.as_deref().unwrap());
            peer.send(answer_to(&request, value)).await;
        }
    };
    let (files, ()) = tokio::join!(gets, served);
    for (path, file) in paths.iter().zip(files) {
        assert_eq!(file.unwrap().unwrap().value, path.as_bytes());
    }
}

#[tokio::test]
async fn requests_go_out_in_the_order_of_their_first_poll_also_past_the_limit() {
    let fake = Fake::start().await;
    let options = Options {
        max_in_flight: 4,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let client = client.clone();
            // A task of a single-threaded runtime is first polled in the order of spawning.
            tokio::spawn(async move { client.get(&format!("/{n}"), None).await })
        })
        .collect();
    for n in 0..100 {
        let request = peer.answer(Verb::Get, file(7, "")).await;
        assert_eq!(request.path.unwrap(), format!("/{n}"));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn no_more_than_the_limit_is_in_flight_and_waits_do_not_hold_up_others() {
    let fake = Fake::start().await;
    let options = Options {
        max_in_flight: 2,
        max_waits: 3,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let waits = join_all((1..=4).map(|n| client.wait("/never", Revision(n))));
    let gets = join_all((1..=3).map(|_| client.get("/a", None)));
    let served = async {
        let mut requests = Vec::new();
        for _ in 0..5 {
            requests.push(peer.request().await);
        }
        let verbs: Vec<i32> = requests
            .iter()
            .map(|request| request.verb.unwrap())
            .collect();
        assert_eq!(verbs, [6, 6, 6, 1, 1]);
        assert!(peer.is_quiet_for(Duration::from_millis(50)).await);
        // An answer makes room for one more of its kind.
        peer.send(answer_to(&requests[4], file(7, ""))).await;
        let third = peer.request().await;
        assert_eq!(third.verb, Some(Verb::Get as i32));
        peer.send(answer_to(&requests[3], file(7, ""))).await;
        peer.send(answer_to(&third, file(7, ""))).await;
        let event = Response {
            flags: Some(4),
            path: Some("/never".to_owned()),
            ..file(9, "x")
        };
        peer.send(answer_to(&requests[0], event.clone())).await;
        let fourth = peer.request().await;
        assert_eq!((fourth.verb, fourth.rev), (Some(6), Some(4)));
        for request in [&requests[1], &requests[2], &fourth] {
            peer.send(answer_to(request, event.clone())).await;
        }
    };
    let (waits, gets, ()) = tokio::join!(waits, gets, served);
    assert!(waits.into_iter().all(|wait| wait.is_ok()));
    assert!(gets.into_iter().all(|get| get.is_ok()));
}

#[tokio::test]
async fn many_small_requests_share_few_writes() {
    let fake = Fake::start().await;
    let (client, peer) = fake.connect(Options::default()).await;
    let mut stream = peer.into_stream();
    let gets = join_all((0..64).map(|_| client.get("/some/path", None)));
    let counted = async {
        let mut buffer = vec![0; 1 << 20];
        let (mut reads, mut bytes) = (0, 0);
        // Tag, verb and path take 16 bytes, and the length 4.
        while bytes < 64 * 20 {
            bytes += stream.read(&mut buffer).await.unwrap();
            reads += 1;
        }
        reads
    };
    let reads = tokio::select! {
        _ = gets => panic!("nobody answers"),
        reads = counted => reads,
    };
    println!("64 requests in {reads} reads");
    assert!(reads <= 4, "{reads} reads");
}

#[tokio::test]
async fn a_server_that_never_answers_meets_the_deadline() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(hasty()).await;
    let served = async {
        peer.request().await;
        peer.request().await;
    };
    let (read, write, ()) = tokio::join!(
        client.get("/a", None),
        client.set("/a", Revision::ANY, "x"),
        served
    );
    let (read, write) = (read.unwrap_err(), write.unwrap_err());
    assert!(
        matches!(read, Error::Timeout { sent: true, .. }),
        "{read:?}"
    );
    assert!(read.is_retryable() && !read.may_have_happened());
    assert!(write.is_retryable() && write.may_have_happened());
    assert_eq!(
        write.to_string(),
        "SET /a: no answer within 300ms; it may have been done"
    );
}

#[tokio::test]
async fn what_had_to_wait_for_its_turn_too_long_was_not_done() {
    let fake = Fake::start().await;
    let options = Options {
        max_in_flight: 1,
        ..hasty()
    };
    let (client, mut peer) = fake.connect(options).await;
    let (_, late, _) = tokio::join!(client.get("/a", None), client.nop(), peer.request());
    let late = late.unwrap_err();
    assert!(
        matches!(late, Error::Timeout { sent: false, .. }),
        "{late:?}"
    );
    assert!(!late.may_have_happened());
}

#[tokio::test]
async fn waits_and_reads_of_the_future_have_no_deadline() {
    let fake = Fake::start().await;
    let options = Options {
        request_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let served = async {
        let requests = [peer.request().await, peer.request().await];
        assert!(peer.is_quiet_for(Duration::from_millis(200)).await);
        let event = Response {
            flags: Some(8),
            path: Some("/a".to_owned()),
            ..revision(99)
        };
        peer.send(answer_to(&requests[0], event)).await;
        peer.send(answer_to(&requests[1], file(98, "x"))).await;
    };
    let (event, file, ()) = tokio::join!(
        client.wait("/a", Revision(99)),
        client.get("/a", Some(Revision(99))),
        served
    );
    assert_eq!(event.unwrap().revision, Revision(99));
    assert_eq!(file.unwrap().unwrap().revision, Revision(98));
}

#[tokio::test]
async fn a_dropped_request_keeps_its_tag_until_it_is_answered() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let mut dropped = Vec::new();
    for n in 1..=10 {
        let wait = client.wait("/never", Revision(n));
        tokio::select! {
            _ = wait => panic!("nobody answers"),
            request = peer.request() => dropped.push(request.tag),
        }
    }
    let served = async {
        let request = peer.request().await;
        assert!(!dropped.contains(&request.tag));
        // The answers that nobody waits for any more, first.
        for tag in &dropped {
            let event = Response {
                tag: *tag,
                flags: Some(4),
                path: Some("/never".to_owned()),
                ..revision(60)
            };
            peer.send(event).await;
        }
        peer.send(answer_to(&request, revision(61))).await;
    };
    let (rev, ()) = tokio::join!(client.rev(), served);
    assert_eq!(rev.unwrap(), Revision(61));
}

/// The protocol cannot cancel, so a client that gives up many waits would fill all its places.
#[tokio::test]
async fn a_connection_full_of_dropped_waits_is_replaced() {
    let fake = Fake::start().await;
    let options = Options {
        max_waits: 8,
        ..Options::default()
    };
    let (client, mut first) = fake.connect(options).await;
    let kept = client.wait("/kept", Revision(1));
    let mut kept = std::pin::pin!(kept);
    for n in 1..=4 {
        let wait = client.wait("/never", Revision(n));
        tokio::select! {
            _ = &mut kept => panic!("nobody answers"),
            _ = wait => panic!("nobody answers"),
            // The first time, the request of `kept` comes first.
            () = async { while first.request().await.path.unwrap() != "/never" {} } => {}
        }
    }
    let fifth = client.wait("/never", Revision(5));
    {
        let fifth = std::pin::pin!(fifth);
        tokio::select! {
            _ = &mut kept => panic!("nobody answers"),
            _ = fifth => panic!("nobody answers"),
            _ = first.request() => {}
        }
    }
    // Whatever comes next makes the client look.
    let rev = client.rev();
    let served = async {
        if let Some(request) = first.request_or_end().await {
            first.send(answer_to(&request, revision(59))).await;
            assert!(first.request_or_end().await.is_none());
        }
        let mut second = fake.accept().await;
        // Revisions never go back.
        second.answer_rev(59).await;
        let request = second.request().await;
        assert_eq!(request.path.as_deref(), Some("/kept"));
        let event = Response {
            flags: Some(4),
            path: Some("/kept".to_owned()),
            ..revision(60)
        };
        second.send(answer_to(&request, event)).await;
        // The question may have gone either way.
        if let Ok(request) =
            tokio::time::timeout(Duration::from_millis(100), second.request()).await
        {
            second.send(answer_to(&request, revision(59))).await;
        }
    };
    let (rev, event, ()) = tokio::join!(rev, kept, served);
    assert_eq!(rev.unwrap(), Revision(59));
    assert_eq!(event.unwrap().revision, Revision(60));
}

#[tokio::test]
async fn errors_of_the_server_keep_their_code_and_words() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let response = Response {
        err_detail: Some("permission denied".to_owned()),
        ..failure(ErrCode::Other as i32)
    };
    let (denied, _) = tokio::join!(client.nop(), peer.answer(Verb::Nop, response));
    let denied = denied.unwrap_err();
    assert_eq!(denied.to_string(), "NOP: refused: permission denied");
    assert!(!denied.is_retryable() && !denied.may_have_happened());

    let unknown = peer.answer(Verb::Nop, failure(4_711));
    let (unheard, _) = tokio::join!(client.nop(), unknown);
    assert_eq!(unheard.unwrap_err().code(), Some(ErrorCode::Unknown(4_711)));

    let set = client.set("/a", Revision(1), "x");
    let (stale, _) = tokio::join!(set, peer.answer(Verb::Set, failure(5)));
    assert!(stale.unwrap_err().is_rev_mismatch());
}

#[tokio::test]
async fn an_answer_that_lacks_what_it_must_have_is_an_error() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let set = client.set("/a", Revision::ANY, "x");
    let (set, _) = tokio::join!(set, peer.answer(Verb::Set, Response::default()));
    let set = set.unwrap_err();
    assert!(matches!(set, Error::Protocol { .. }), "{set:?}");
    // The server did not say no.
    assert!(set.may_have_happened());

    let both = Response {
        flags: Some(12),
        path: Some("/a".to_owned()),
        ..revision(3)
    };
    let wait = client.wait("/a", Revision(1));
    let (event, _) = tokio::join!(wait, peer.answer(Verb::Wait, both));
    assert!(matches!(event, Err(Error::Protocol { .. })));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    let fake = Fake::start().await;
    let options = Options {
        max_frame: 1_000,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let large = client
        .set("/a", Revision::ANY, vec![0; 1_000])
        .await
        .unwrap_err();
    assert!(
        matches!(large, Error::TooLarge { max: 1_000, .. }),
        "{large:?}"
    );
    let path = client.set("/a_b", Revision::ANY, "x").await.unwrap_err();
    assert_eq!(path.code(), Some(ErrorCode::BadPath));
    let glob = client.wait("a", Revision(1)).await.unwrap_err();
    assert!(matches!(glob, Error::InvalidGlob(_)), "{glob:?}");
    assert!(peer.is_quiet_for(Duration::from_millis(20)).await);
}
