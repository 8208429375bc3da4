//! Connections that break at the worst moment: what is known then, and what is found out.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cut;

use std::time::Duration;

use cairn_client::wire::Verb;
use cairn_lite::{Options, Server};
use cairn_sync_client::{Client, Durability, Error, Liveness, Revision, Uri, keys};
use cut::{Cut, Way};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Long enough for any machine to do what should happen.
const SOON: Duration = Duration::from_secs(20);
/// How long a write waits that is not going to be confirmed.
const BRIEF: Duration = Duration::from_millis(500);

struct Cluster {
    way: Way,
    /// Goes to the server by itself.
    hand: cairn_client::Client,
    _server: JoinSet<()>,
}

impl Cluster {
    async fn start() -> Self {
        let mut running = JoinSet::new();
        let address = serve(&mut running).await;
        let way = Way::to(&address).await;
        let hand = cairn_client::Client::connect(&uri(&address)).await.unwrap();
        Self {
            way,
            hand,
            _server: running,
        }
    }

    async fn client(&self, timeout: Duration) -> Client {
        let durability = Durability {
            timeout,
            ..Durability::default()
        };
        Client::connect_durable(&uri(&self.way.address), durability)
            .await
            .unwrap()
    }

    async fn publish(&self, watermark: Revision) {
        let key = keys::watermark(1);
        let value = watermark.to_string();
        self.hand.set(&key, Revision::ANY, value).await.unwrap();
    }

    /// A client that has heard the name of the cluster.
    async fn introduced(&self) -> Client {
        let (path, name) = (keys::IDENTITY, "a cluster");
        self.hand.set(path, Revision::ANY, name).await.unwrap();
        self.publish(Revision(1)).await;
        let client = self.client(SOON).await;
        // It reads the watermark with the name.
        while client.durable_revision().is_none() {
            tokio::task::yield_now().await;
        }
        client
    }
}

/// Starts a server; its address.
async fn serve(running: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = Server::new(Options::default()).unwrap();
    running.spawn(async { server.run(listener, std::future::pending()).await.unwrap() });
    address
}

fn uri(address: &str) -> Uri {
    format!("doozer:?ca={address}").parse().unwrap()
}

#[tokio::test]
async fn a_delete_that_was_answered_is_found_over_the_next_connection() {
    let cluster = Cluster::start().await;
    let client = cluster.introduced().await;
    cluster.hand.set("/a", Revision::ANY, "x").await.unwrap();
    let deleted = cluster.hand.rev().await.unwrap().next();
    // The bracket's second REV: the delete is done, its revision is unknown, the connection gone.
    cluster.way.cut(Cut::Between(Verb::Del, Verb::Rev));
    let delete = tokio::spawn({
        let client = client.clone();
        async move { client.del("/a", Revision::ANY).await }
    });
    // A fence is written over the new connection.
    let event = cluster.hand.wait("/**", deleted.next()).await.unwrap();
    assert_eq!(event.path, "/", "a NOP: {event:?}");
    cluster.publish(Revision(deleted.0 - 1)).await;
    while client.durable_revision() != Some(Revision(deleted.0 - 1)) {
        tokio::task::yield_now().await;
    }
    assert!(!delete.is_finished(), "the delete is not on disk yet");
    cluster.publish(deleted).await;
    delete.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_delete_is_not_looked_for_in_a_cluster_of_another_name() {
    let cluster = Cluster::start().await;
    let client = cluster.introduced().await;
    let first = cluster.hand.rev().await.unwrap();
    let other = "another cluster";
    cluster
        .hand
        .set(keys::IDENTITY, Revision::ANY, other)
        .await
        .unwrap();
    cluster.way.cut(Cut::Between(Verb::Del, Verb::Rev));
    let error = client.del("/a", Revision::ANY).await.unwrap_err();
    match error {
        Error::Unconfirmed {
            revision,
            exact: false,
            ..
        } => assert!(revision <= first.next(), "it was applied after {revision}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_set_without_an_answer_may_have_happened_until_it_is_found() {
    let cluster = Cluster::start().await;
    let client = cluster.client(SOON).await;
    cluster.publish(Revision(1_000)).await;
    let since = client.rev().await.unwrap();
    cluster.way.cut(Cut::After(Verb::Set));
    let error = client.set("/a", Revision::MISSING, "mine").await;
    let error = error.unwrap_err();
    assert!(
        error.may_have_happened() && !error.is_unconfirmed(),
        "{error}"
    );
    let written = cluster.hand.wait("/a", since).await.unwrap().revision;
    let found = client.find_set("/a", b"mine", since).await.unwrap();
    assert_eq!(found, Some(written));
    // Also when it is history.
    cluster
        .hand
        .set("/a", Revision::ANY, "other")
        .await
        .unwrap();
    assert_eq!(client.find_set("/a", b"mine", since).await, Ok(found));
    cluster.hand.del("/a", Revision::ANY).await.unwrap();
    assert_eq!(client.find_set("/a", b"mine", since).await, Ok(found));
    assert_eq!(client.find_set("/a", b"mine", written).await, Ok(None));

    cluster.way.cut(Cut::Before(Verb::Set));
    let since = client.rev().await.unwrap();
    let error = client.set("/b", Revision::MISSING, "mine").await;
    assert!(error.unwrap_err().may_have_happened());
    assert_eq!(client.find_set("/b", b"mine", since).await, Ok(None));
}

/// The end of the bracket is another node's, which the one behind the next connection has not
/// reached, and never will if its cluster was reset: it must not be waited for.
#[tokio::test]
async fn looking_for_a_set_ends_though_the_cluster_was_replaced_meanwhile() {
    let cluster = Cluster::start().await;
    let client = cluster.introduced().await;
    let since = client.rev().await.unwrap();
    for _ in 0..20 {
        cluster.hand.nop().await.unwrap();
    }
    let mut running = JoinSet::new();
    cluster.way.lead_to(&serve(&mut running).await);
    // Behind the REV that says how far the old one has come.
    cluster.way.cut(Cut::Before(Verb::Get));
    let found = client.find_set("/a", b"mine", since);
    let found = tokio::time::timeout(SOON, found).await;
    assert_eq!(found.expect("it ends"), Ok(None));
}

/// Why a compare-and-set without an answer is not settled by what its file has become: a server may
/// still have the request, and once the file is deleted, any expectation fits again.
#[tokio::test]
async fn a_late_compare_and_set_succeeds_behind_a_delete() {
    let cluster = Cluster::start().await;
    let hand = &cluster.hand;
    let expected = hand.set("/lock", Revision::MISSING, "free").await.unwrap();
    hand.set("/lock", expected, "other").await.unwrap();
    let late = async || hand.set("/lock", expected, "mine").await;
    assert!(late().await.unwrap_err().is_rev_mismatch());
    hand.del("/lock", Revision::ANY).await.unwrap();
    late().await.unwrap();
}

/// What is found is returned only when it is on disk, like any write.
#[tokio::test]
async fn what_is_found_is_waited_for() {
    let cluster = Cluster::start().await;
    let client = cluster.client(BRIEF).await;
    let since = client.rev().await.unwrap();
    let set = cluster.hand.set("/a", Revision::ANY, "mine").await.unwrap();
    let error = client.find_set("/a", b"mine", since).await.unwrap_err();
    assert!(
        matches!(error, Error::Unconfirmed { revision, exact: true, .. } if revision == set),
        "{error}"
    );
}

#[tokio::test]
async fn the_error_says_whether_the_persister_lives() {
    let cluster = Cluster::start().await;
    let client = cluster.client(BRIEF).await;
    let liveness = async || match client.set("/a", Revision::ANY, "x").await.unwrap_err() {
        Error::Unconfirmed { behind, .. } => behind[0].liveness,
        other => panic!("{other}"),
    };
    assert_eq!(liveness().await, Liveness::Absent { since: None });
    let owner = keys::owner(1);
    cluster.hand.set(&owner, Revision::ANY, "me").await.unwrap();
    let alive = liveness().await;
    assert!(matches!(alive, Liveness::Alive { .. }), "{alive:?}");
    cluster.hand.del(&owner, Revision::ANY).await.unwrap();
    let ended = liveness().await;
    assert!(
        matches!(ended, Liveness::Absent { since: Some(_) }),
        "{ended:?}"
    );
}
