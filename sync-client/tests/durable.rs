//! The sync client against a real server and persisters that are played by hand.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod played;

use std::time::Duration;

use cairn_lite::{Options, Server};
use cairn_sync_client::{Client, Durability, Error, Revision, Uri, keys};
use played::{BRIEF, Cluster, Play, SOON, play, publish, serve, unconfirmed, uri};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn writes_return_when_either_kind_of_persister_has_them() {
    for how in [Play::Watermark, Play::Mirror] {
        let cluster = Cluster::start().await;
        let persister = play(&cluster, 1, how).await;
        let client = cluster.client(&[1], 1, SOON).await;
        let first = client.set("/a", Revision::MISSING, "one").await.unwrap();
        let second = client.set("/a", first, "two").await.unwrap();
        assert!(second > first);
        assert_eq!(client.get("/a", None).await.unwrap().unwrap().value, "two");
        client.del("/a", second).await.unwrap();
        client.del("/a", Revision::ANY).await.unwrap();
        client.set("/a", Revision::MISSING, "again").await.unwrap();
        client.del("/a", Revision::ANY).await.unwrap();
        assert_eq!(client.get("/a", None).await.unwrap(), None);
        persister.abort();
    }
}

#[tokio::test]
async fn a_write_does_not_return_before_its_revision_is_published() {
    let cluster = Cluster::start().await;
    cluster.publish(1, Revision(1)).await;
    let client = cluster.client(&[1], 1, SOON).await;
    let write = tokio::spawn({
        let client = client.clone();
        async move { client.set("/a", Revision::ANY, "x").await }
    });
    let event = cluster.hand.wait("/a", Revision(1)).await.unwrap();
    cluster.publish(1, Revision(event.revision.0 - 1)).await;
    // The client has seen this watermark once it shows it.
    while client.durable_revision() != Some(Revision(event.revision.0 - 1)) {
        tokio::task::yield_now().await;
    }
    assert!(!write.is_finished());
    cluster.publish(1, event.revision).await;
    assert_eq!(write.await.unwrap().unwrap(), event.revision);
    // A value that falls lowers nothing.
    cluster.publish(1, Revision(2)).await;
    client.wait_durable(event.revision).await.unwrap();
    assert_eq!(client.durable_revision(), Some(event.revision));
}

#[test]
fn a_write_ends_in_time_though_nobody_drives_the_runtime_of_the_client() {
    let here = Builder::new_multi_thread().enable_all().build().unwrap();
    let elsewhere = Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = here.block_on(Cluster::start());
    // Longer than a write waits until it looks closer.
    let client = elsewhere.block_on(cluster.client(&[1], 1, Duration::from_millis(1_100)));
    let writer = client.clone();
    let write = here.spawn(async move { writer.set("/a", Revision::ANY, "x").await });
    elsewhere.block_on(async {
        cluster.hand.wait("/a", Revision(1)).await.unwrap();
        // Over one connection, so the write was answered before this is.
        client.rev().await.unwrap();
    });
    let ended = here.block_on(async { timeout(SOON, write).await });
    unconfirmed(ended.expect("by a timer of its own").unwrap());
}

#[tokio::test]
async fn unconfirmed_names_the_revision_and_who_has_it() {
    let cluster = Cluster::start().await;
    let persister = play(&cluster, 2, Play::Watermark).await;
    let client = cluster.client(&[1, 2], 2, BRIEF).await;
    let result = client.set("/a", Revision::ANY, "x").await;
    let text = result.as_ref().unwrap_err().to_string();
    assert!(
        text.contains("persister 1 has published no watermark"),
        "{text}"
    );
    let (revision, exact, confirmed_by) = unconfirmed(result);
    assert!(exact);
    assert_eq!(confirmed_by, [2]);
    assert_eq!(
        client.get("/a", None).await.unwrap().unwrap().revision,
        revision
    );
    // It becomes durable later, and that can be asked for.
    cluster.publish(1, revision).await;
    let patient = cluster.client(&[1, 2], 2, SOON).await;
    patient.wait_durable(revision).await.unwrap();
    persister.abort();
}

#[tokio::test]
async fn what_was_not_applied_is_an_ordinary_error_and_costs_no_wait() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    cluster.hand.set("/a", Revision::ANY, "x").await.unwrap();
    let started = Instant::now();
    let error = client.set("/a", Revision::MISSING, "y").await.unwrap_err();
    assert!(
        error.is_rev_mismatch() && !error.may_have_happened(),
        "{error}"
    );
    let error = client.del("/a", Revision(1)).await.unwrap_err();
    assert!(error.is_rev_mismatch(), "{error}");
    let error = client.set("/ctl/x", Revision::ANY, "y").await.unwrap_err();
    assert!(matches!(error, Error::Durability(_)), "{error}");
    assert_eq!(cluster.hand.get("/ctl/x", None).await.unwrap(), None);
    assert!(started.elapsed() < SOON / 2);
}

#[tokio::test]
async fn impossible_policies_are_refused_before_anything_is_connected() {
    // Nobody listens at port 1.
    for query in [
        "persist=1,1",
        "persist=1&require=2",
        "persist=0",
        "require=0",
        "persist=x",
    ] {
        let uri: Uri = format!("doozer:?ca=127.0.0.1:1&{query}").parse().unwrap();
        let error = Client::connect(&uri).await.unwrap_err();
        assert!(matches!(error, Error::Durability(_)), "{query}: {error}");
    }
}

#[tokio::test]
async fn the_uri_says_whom_to_wait_for() {
    let cluster = Cluster::start().await;
    let uri: Uri = format!("doozer:?ca={}&persist=7,8,9&require=2", cluster.address)
        .parse()
        .unwrap();
    let client = Client::connect(&uri).await.unwrap();
    assert_eq!(*client.durability(), Durability::new([7, 8, 9], 2));
}

#[tokio::test]
async fn the_secret_may_be_presented_after_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let secret = Some("sesame".to_owned());
    let server = Server::new(Options {
        secret_rw: secret,
        ..Options::default()
    })
    .unwrap();
    let mut running = JoinSet::new();
    running.spawn(async { server.run(listener, std::future::pending()).await.unwrap() });
    let client = Client::connect_durable(&uri(&address), Durability::default())
        .await
        .unwrap();
    assert!(client.set("/a", Revision::ANY, "x").await.is_err());
    client.access(b"sesame").await.unwrap();
    publish(client.regular(), 1, Revision(1_000)).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
}

#[tokio::test]
async fn any_k_of_n_are_enough() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1, 2, 3], 2, SOON).await;
    let mut players = Vec::new();
    for id in [2, 3] {
        players.push(play(&cluster, id, Play::Watermark).await);
    }
    client.set("/a", Revision::ANY, "x").await.unwrap();
    players.remove(0).abort();
    // One watermark and one mirror do as well.
    let _third = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "y").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
}

#[tokio::test]
async fn a_leftover_watermark_does_not_hide_a_persister_that_writes_only_the_mirror() {
    let cluster = Cluster::start().await;
    cluster.publish(1, Revision(2)).await;
    let client = cluster.client(&[1], 1, SOON).await;
    let _persister = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
}

/// The persister lags: the path was deleted, set and deleted again, and what it has mirrored is
/// the first delete. The second one must not be taken for confirmed by that.
#[tokio::test]
async fn an_older_delete_in_the_mirror_confirms_nothing() {
    let cluster = Cluster::start().await;
    let hand = &cluster.hand;
    let old = hand.set("/a", Revision::ANY, "old").await.unwrap();
    hand.set(&keys::mirror(1, "/a"), Revision::ANY, old.to_string())
        .await
        .unwrap();
    let client = cluster.client(&[1], 1, BRIEF).await;
    hand.del("/a", Revision::ANY).await.unwrap();
    hand.set("/a", Revision::ANY, "new").await.unwrap();
    let delete = tokio::spawn({
        let client = client.clone();
        async move { client.del("/a", Revision::ANY).await }
    });
    while hand.get("/a", None).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    hand.del(&keys::mirror(1, "/a"), Revision::ANY)
        .await
        .unwrap();
    unconfirmed(delete.await.unwrap());
}

#[tokio::test]
async fn a_delete_among_many_revisions_of_others_is_found() {
    let cluster = Cluster::start().await;
    let _persister = play(&cluster, 1, Play::Watermark).await;
    let client = cluster.client(&[1], 1, SOON).await;
    let noise = tokio::spawn({
        let hand = cluster.hand.clone();
        async move {
            loop {
                let writes = (0..20).map(|n| {
                    let hand = hand.clone();
                    async move { hand.set(&format!("/noise/{n}"), Revision::ANY, "x").await }
                });
                futures::future::try_join_all(writes).await.unwrap();
            }
        }
    });
    for _ in 0..50 {
        let deletes = (0..4).map(|n| {
            let client = client.clone();
            async move {
                let path = format!("/file/{n}");
                client.set(&path, Revision::ANY, "x").await?;
                client.del(&path, Revision::ANY).await
            }
        });
        futures::future::try_join_all(deletes).await.unwrap();
    }
    noise.abort();
}

#[tokio::test]
async fn a_dropped_write_leaves_no_waiter() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    let before = settled(&cluster).await;
    for n in 0..50 {
        let path = format!("/a/{n}");
        let write = client.set(&path, Revision::ANY, "x");
        assert!(timeout(Duration::from_millis(5), write).await.is_err());
    }
    let after = settled(&cluster).await;
    assert_eq!(before, after, "requests waiting in the server");
}

/// How many requests wait in the server, once that number stands still.
async fn settled(cluster: &Cluster) -> usize {
    let mut last = usize::MAX;
    let mut same = 0;
    while same < 20 {
        // A round trip lets whatever was sent before arrive.
        cluster.hand.rev().await.unwrap();
        let now = cluster.control.waiting();
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test]
async fn writes_go_on_after_the_connection_was_lost() {
    let cluster = Cluster::start().await;
    let _persister = play(&cluster, 1, Play::Watermark).await;
    let client = cluster.client(&[1], 1, SOON).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    cluster.control.drop_connections();
    // The write itself may meet the broken connection: then it says that it may have happened.
    let mut result = client.set("/a", Revision::ANY, "y").await;
    if let Err(error) = &result {
        assert!(error.is_retryable(), "{error}");
        result = client.set("/a", Revision::ANY, "y").await;
    }
    result.unwrap();
}

#[tokio::test]
async fn a_wait_is_resumed_over_a_new_connection() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    let write = tokio::spawn({
        let client = client.clone();
        async move { client.set("/a", Revision::ANY, "x").await }
    });
    let delete = tokio::spawn({
        let client = client.clone();
        async move { client.del("/b", Revision::ANY).await }
    });
    let set = cluster.hand.wait("/a", Revision(1)).await.unwrap();
    let deleted = cluster.hand.wait("/b", Revision(1)).await.unwrap();
    // Both are in the cluster, and their answers with the client: it has asked for more since.
    settled(&cluster).await;
    cluster.control.drop_connections();
    cluster.publish(1, set.revision.max(deleted.revision)).await;
    assert_eq!(write.await.unwrap().unwrap(), set.revision);
    delete.await.unwrap().unwrap();
}

/// A long-lived client, and a cluster that loses everything and starts again at the same address
/// with lower revisions. What the old cluster's persister said must confirm nothing in the new one.
#[tokio::test]
async fn a_cluster_that_was_reset_confirms_nothing_by_its_past() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_, mut server) = serve(listener).await;
    let durability = Durability {
        timeout: BRIEF,
        ..Durability::default()
    };
    let client = Client::connect_durable(&uri(&address.to_string()), durability)
        .await
        .unwrap();
    let hand = client.regular();
    publish(hand, 1, Revision(1_000_000)).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();

    server.shutdown().await;
    let listener = TcpListener::bind(address).await.unwrap();
    let (_, _server) = serve(listener).await;
    let mut result = client.set("/a", Revision::ANY, "y").await;
    if result.as_ref().is_err_and(Error::is_retryable) {
        result = client.set("/a", Revision::ANY, "y").await;
    }
    unconfirmed(result);
    unconfirmed(client.del("/a", Revision::ANY).await);
    let revision = hand.rev().await.unwrap().next();
    publish(hand, 1, revision).await;
    // The story: a set ended unconfirmed, the cluster was restored from before it, others wrote
    // past its revision, and waiting for that number then said that it was durable.
    unconfirmed(client.wait_durable(Revision(60)).await);
    let anew = Client::connect(&uri(&address.to_string())).await.unwrap();
    anew.wait_durable(Revision(60)).await.unwrap();
}
