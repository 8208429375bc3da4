//! Watches: every event once, in order, whatever happens to connections.

use std::time::Duration;

use cairn_client::glob::Glob;
use cairn_client::wire::{Response, Verb};
use cairn_client::{Client, Error, Event, Options, Revision, Watch};
use fastrand::Rng;
use futures::StreamExt;
use tokio::time::timeout;

use crate::fake::{Fake, PATIENCE, file};
use crate::model::Model;

async fn next(watch: &mut Watch) -> Event {
    let event = timeout(PATIENCE, watch.next()).await;
    event
        .expect("an event comes")
        .expect("the watch goes on")
        .unwrap()
}

/// Lets random things happen, all over a small tree.
fn happen(model: &Model, rng: &mut Rng) -> Event {
    let path = format!("/{}/{}", rng.u8(0..4), rng.u8(0..8));
    match rng.u8(0..10) {
        0 => model.nop(),
        1..3 => model.del(&path),
        n => model.set(&path, &"x".repeat(usize::from(n))),
    }
}

/// `CAIRN_WATCH_REVISIONS` makes it longer: a million revisions take under a minute in a release
/// build, with some thousands of cut connections.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_and_in_order_over_cut_connections() {
    let revisions: usize = std::env::var("CAIRN_WATCH_REVISIONS").map_or(20_000, |count| {
        count.parse().expect("CAIRN_WATCH_REVISIONS is a number")
    });
    let seed = crate::seed();
    let mut rng = Rng::with_seed(seed);
    let model = Model::start(seed).await;
    model.cut_after(1..revisions / 50);
    let client = Client::connect_with(&model.uri, Model::options())
        .await
        .unwrap();
    let mut watch = client.watch("/**", Revision(1));
    let mut expected = std::collections::VecDeque::new();
    for _ in 0..revisions {
        // Sometimes there is a backlog, sometimes the watch waits for the next event.
        for _ in 0..[0, 0, 1, 2, 100][rng.usize(..5)] {
            expected.push_back(happen(&model, &mut rng));
        }
        if expected.is_empty() {
            expected.push_back(happen(&model, &mut rng));
        }
        assert_eq!(next(&mut watch).await, expected.pop_front().unwrap());
    }
    let (waits, connections) = (model.requests(Verb::Wait), model.connections());
    println!("{revisions} events, {waits} WAITs, {connections} connections");
    assert!(connections > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_of_any_density_deliver_what_they_match_without_waste() {
    let seed = crate::seed();
    let mut rng = Rng::with_seed(seed);
    let model = Model::start(seed).await;
    let events: Vec<Event> = (0..5_000).map(|_| happen(&model, &mut rng)).collect();
    for glob in ["/**", "/*/**", "/0/*", "/?/3", "/0/0", "/", "/*", "/none"] {
        let parsed = Glob::parse(glob).unwrap();
        let client = Client::connect_with(&model.uri, Model::options())
            .await
            .unwrap();
        let mut watch = client.watch(glob, Revision(1));
        let before = model.requests(Verb::Wait);
        let mut count = 0;
        for expected in events.iter().filter(|event| parsed.matches(&event.path)) {
            assert_eq!(&next(&mut watch).await, expected, "{glob}");
            count += 1;
        }
        let waits = model.requests(Verb::Wait) - before;
        println!("{glob}: {count} events with {waits} WAITs");
        assert!(
            waits <= 3 * count + 64,
            "{glob}: {waits} WAITs for {count} events"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_watch_survives_cut_connections() {
    let seed = crate::seed();
    let mut rng = Rng::with_seed(seed);
    let model = Model::start(seed).await;
    model.cut_after(1..20);
    let client = Client::connect_with(&model.uri, Model::options())
        .await
        .unwrap();
    let glob = Glob::parse("/1/?").unwrap();
    let mut watch = client.watch(glob.as_str(), Revision(1));
    for _ in 0..500 {
        let expected = loop {
            let event = happen(&model, &mut rng);
            if glob.matches(&event.path) {
                break event;
            }
        };
        assert_eq!(next(&mut watch).await, expected);
    }
    assert!(model.connections() > 10);
}

#[tokio::test]
async fn a_watch_from_the_future_waits_for_it() {
    let model = Model::start(1).await;
    model.set("/a", "past");
    let client = Client::connect_with(&model.uri, Model::options())
        .await
        .unwrap();
    let mut watch = client.watch("/**", Revision(5));
    assert!(
        timeout(Duration::from_millis(50), watch.next())
            .await
            .is_err()
    );
    for n in 2..=5 {
        model.set("/a", &n.to_string());
    }
    assert_eq!(next(&mut watch).await.value, "5");
}

#[tokio::test]
async fn revisions_before_the_first_mean_the_first() {
    let model = Model::start(1).await;
    model.set("/a", "first");
    let client = Client::connect_with(&model.uri, Model::options())
        .await
        .unwrap();
    for from in [i64::MIN, -1, 0, 1] {
        let mut watch = client.watch("/**", Revision(from));
        assert_eq!(next(&mut watch).await.value, "first");
        assert_eq!(watch.next_revision(), Revision(2));
    }
}

#[tokio::test]
async fn forgotten_history_ends_a_watch_and_says_where() {
    let model = Model::start(crate::seed()).await;
    for n in 1..=100 {
        model.set("/a", &n.to_string());
    }
    let options = Options {
        watch_window: 4,
        ..Model::options()
    };
    let client = Client::connect_with(&model.uri, options).await.unwrap();
    let mut watch = client.watch("/**", Revision(1));
    assert_eq!(next(&mut watch).await.revision, Revision(1));
    model.forget_before(90);
    let error = loop {
        match watch.next().await.unwrap() {
            Ok(event) => assert!(event.revision.0 < 10),
            Err(error) => break error,
        }
    };
    assert!(error.is_too_late() && !error.is_retryable());
    let next_revision = watch.next_revision();
    let known = format!("everything before revision {next_revision} was delivered");
    assert!(error.to_string().ends_with(&known), "{error}");
    assert!(watch.next().await.is_none());
    // What is still there can be had.
    let mut watch = client.watch("/**", Revision(90));
    assert_eq!(next(&mut watch).await.revision, Revision(90));
}

#[tokio::test]
async fn a_watch_that_is_not_polled_asks_for_its_window_only() {
    let fake = Fake::start().await;
    let options = Options {
        watch_window: 8,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let mut watch = client.watch("/**", Revision(10));
    assert!(
        timeout(Duration::from_millis(1), watch.next())
            .await
            .is_err()
    );
    for n in 10..18 {
        let event = Response {
            flags: Some(4),
            path: Some("/a".to_owned()),
            ..file(n, "")
        };
        assert_eq!(peer.answer(Verb::Wait, event).await.rev, Some(n));
    }
    assert!(peer.is_quiet_for(Duration::from_millis(30)).await);
    assert_eq!(next(&mut watch).await.revision, Revision(10));
}

/// The story: a window of 1,024 values of a megabyte each was held in memory, a gigabyte.
#[tokio::test]
async fn a_watch_of_large_events_asks_for_few() {
    const LARGE: usize = 10_000;
    let fake = Fake::start().await;
    let options = Options {
        watch_window: 1_024,
        watch_bytes: 4 * LARGE + 3,
        ..Options::default()
    };
    let (client, mut peer) = fake.connect(options).await;
    let mut watch = client.watch("/**", Revision(1));
    let event = |rev| Response {
        flags: Some(4),
        path: Some("/a".to_owned()),
        ..file(rev, &"v".repeat(LARGE - 2))
    };
    let idle = Duration::from_millis(1);
    assert!(timeout(idle, watch.next()).await.is_err());
    // Before the first answer nobody knows how large events are.
    for n in 1..=64 {
        peer.answer(Verb::Wait, event(n)).await;
    }
    assert!(peer.is_quiet_for(Duration::from_millis(30)).await);
    for n in 1..=64 {
        assert_eq!(next(&mut watch).await.revision, Revision(n));
    }
    assert!(timeout(idle, watch.next()).await.is_err());
    for n in 65..=68 {
        peer.answer(Verb::Wait, event(n)).await;
    }
    assert!(peer.is_quiet_for(Duration::from_millis(30)).await);
    assert_eq!(next(&mut watch).await.revision, Revision(65));
}

/// A server that skips a revision of `/**` has lost it: that is never passed over.
#[tokio::test]
async fn a_hole_in_the_events_is_an_error() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let mut watch = client.watch("/**", Revision(10));
    let event = |rev| Response {
        flags: Some(4),
        path: Some("/a".to_owned()),
        ..file(rev, "")
    };
    let (first, _) = tokio::join!(watch.next(), peer.answer(Verb::Wait, event(10)));
    assert!(first.unwrap().is_ok());
    let (second, _) = tokio::join!(watch.next(), peer.answer(Verb::Wait, event(12)));
    let error = second.unwrap().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_bad_glob_ends_a_watch_at_once() {
    let fake = Fake::start().await;
    let (client, _peer) = fake.connect(Options::default()).await;
    let mut watch = client.watch("a", Revision(1));
    assert!(matches!(
        watch.next().await,
        Some(Err(Error::InvalidGlob(_)))
    ));
    assert!(watch.next().await.is_none());
}

/// The story: a watch went on over a cluster that was reset, waited for the revision that came
/// after those it had seen, and missed all that the new cluster did until then.
#[tokio::test]
async fn a_watch_does_not_go_on_over_a_cluster_that_was_reset() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let mut watch = client.watch("/app/*", Revision(10));
    let event = |rev| Response {
        flags: Some(4),
        path: Some("/app/a".to_owned()),
        ..file(rev, "")
    };
    let (first, _) = tokio::join!(watch.next(), peer.answer(Verb::Wait, event(70)));
    assert_eq!(first.unwrap().unwrap().revision, Revision(70));
    let mut other = client.watch("/app/*", Revision(71));
    let waiting = client.wait("/app/*", Revision(71));
    let reading = client.get("/app/a", Some(Revision(80)));
    let reset = async {
        for _ in 0..4 {
            peer.request().await;
        }
        peer.close().await;
        let mut peer = fake.accept().await;
        peer.answer_rev(58).await;
        peer
    };
    let (watched, other, waited, read, mut peer) =
        tokio::join!(watch.next(), other.next(), waiting, reading, reset);
    for error in [
        watched.unwrap().unwrap_err(),
        other.unwrap().unwrap_err(),
        waited.unwrap_err(),
        read.unwrap_err(),
    ] {
        let is_reset = matches!(
            error,
            Error::WentBack {
                newest: Revision(58),
                seen: Revision(70),
                ..
            }
        );
        assert!(is_reset && !error.is_retryable(), "{error:?}");
    }
    assert!(watch.next().await.is_none());
    // Whoever begins again is served.
    let mut watch = client.watch("/app/*", Revision(59));
    let (next, asked) = tokio::join!(watch.next(), peer.answer(Verb::Wait, event(59)));
    assert_eq!(asked.rev, Some(59));
    assert_eq!(next.unwrap().unwrap().revision, Revision(59));
}

/// A watch that nobody polled meanwhile learns it as well.
#[tokio::test]
async fn a_watch_that_slept_through_a_reset_learns_of_it() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(Options::default()).await;
    let mut watch = client.watch("/app/*", Revision(10));
    let event = |rev| Response {
        flags: Some(4),
        path: Some("/app/a".to_owned()),
        ..file(rev, "")
    };
    let (first, _) = tokio::join!(watch.next(), peer.answer(Verb::Wait, event(70)));
    assert!(first.unwrap().is_ok());
    peer.close().await;
    let mut peer = fake.accept().await;
    peer.answer_rev(1).await;
    let (rev, ()) = tokio::join!(client.rev(), peer.answer_rev(2));
    assert_eq!(rev.unwrap(), Revision(2));
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::WentBack { .. }), "{error:?}");
}
