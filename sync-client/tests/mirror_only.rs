//! Persisters of somebody else's making: they write nothing but an entry for each path, as the
//! protocol allows. No watermark, no heartbeat, and whatever an earlier one has left behind.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod played;

use std::time::Duration;

use cairn_sync_client::{Client, Durability, Error, Liveness, Revision, keys};
use played::{BRIEF, Cluster, Play, SOON, play, publish, unconfirmed, uri};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Shows in the mirror of persister 1 that this set of the path is on disk.
async fn show(cluster: &Cluster, path: &str, revision: Revision) {
    let key = keys::mirror(1, path);
    let value = revision.to_string();
    cluster.hand.set(&key, Revision::ANY, value).await.unwrap();
}

/// Shows there that a delete of the path is.
async fn show_deleted(cluster: &Cluster, path: &str) {
    let key = keys::mirror(1, path);
    cluster.hand.del(&key, Revision::ANY).await.unwrap();
}

fn set(client: &Client, path: &'static str) -> JoinHandle<Result<Revision, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.set(path, Revision::ANY, "x").await })
}

fn del(client: &Client, path: &'static str) -> JoinHandle<Result<(), Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.del(path, Revision::ANY).await })
}

/// The revision of the first event of the path at or after `from`.
async fn event(cluster: &Cluster, path: &str, from: Revision) -> Revision {
    cluster.hand.wait(path, from).await.unwrap().revision
}

#[tokio::test]
async fn it_is_followed_from_its_first_entry_on_and_never_waited_for_in_vain() {
    let cluster = Cluster::start().await;
    // The client is there first, and has seen nothing of any persister.
    let client = cluster.client(&[1], 1, SOON).await;
    let _persister = play(&cluster, 1, Play::Mirror).await;
    let started = Instant::now();
    for _ in 0..20 {
        client.set("/a", Revision::ANY, "x").await.unwrap();
        client.del("/a", Revision::ANY).await.unwrap();
    }
    assert!(started.elapsed() < SOON / 2, "{:?}", started.elapsed());
    assert_eq!(client.durable_revision(), None, "it publishes no watermark");
    // A bare revision is nothing that a mirror could confirm.
    let brief = cluster.client(&[1], 1, BRIEF).await;
    unconfirmed(brief.wait_durable(Revision(1)).await);
}

/// It writes no heartbeats, and that must not be taken for the silence of one that does.
#[tokio::test]
async fn it_is_not_said_to_be_dead() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, BRIEF).await;
    let write = set(&client, "/a");
    let revision = event(&cluster, "/a", Revision(1)).await;
    show(&cluster, "/a", revision).await;
    write.await.unwrap().unwrap();
    match client.set("/b", Revision::ANY, "x").await.unwrap_err() {
        Error::Unconfirmed { behind, .. } => {
            assert_eq!(behind[0].liveness, Liveness::Absent { since: None });
            assert!(behind[0].heard.is_some(), "it was heard: {behind:?}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn several_sets_of_a_path_are_confirmed_by_the_last_of_them() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    let first = set(&client, "/a");
    let at_first = event(&cluster, "/a", Revision(1)).await;
    let other = set(&client, "/b");
    let second = set(&client, "/a");
    let at_second = event(&cluster, "/a", at_first.next()).await;
    show(&cluster, "/a", at_second).await;
    assert_eq!(first.await.unwrap().unwrap(), at_first);
    assert_eq!(second.await.unwrap().unwrap(), at_second);
    assert!(!other.is_finished(), "another path says nothing of this");
    other.abort();
}

#[tokio::test]
async fn a_set_a_delete_and_a_set_in_one_batch_are_each_confirmed() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    let first = set(&client, "/a");
    let at_first = event(&cluster, "/a", Revision(1)).await;
    let delete = del(&client, "/a");
    let at_delete = event(&cluster, "/a", at_first.next()).await;
    let second = set(&client, "/a");
    let at_second = event(&cluster, "/a", at_delete.next()).await;
    assert!(!first.is_finished() && !delete.is_finished() && !second.is_finished());
    show(&cluster, "/a", at_first).await;
    assert_eq!(first.await.unwrap().unwrap(), at_first);
    show_deleted(&cluster, "/a").await;
    delete.await.unwrap().unwrap();
    assert!(!second.is_finished());
    show(&cluster, "/a", at_second).await;
    assert_eq!(second.await.unwrap().unwrap(), at_second);
}

/// The persister was upgraded, say: from now on it publishes a watermark.
#[tokio::test]
async fn a_watermark_that_appears_later_is_what_counts_then() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, SOON).await;
    let persister = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    persister.abort();
    let waiting = set(&client, "/b");
    let revision = event(&cluster, "/b", Revision(1)).await;
    cluster.publish(1, revision).await;
    assert_eq!(waiting.await.unwrap().unwrap(), revision);
    assert_eq!(client.durable_revision(), Some(revision));
    let _persister = play(&cluster, 1, Play::Watermark).await;
    client.set("/a", Revision::ANY, "y").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
    client.wait_durable(revision.next()).await.unwrap();
}

/// And the other way round: an operator goes back, and deletes the watermark that would mislead.
#[tokio::test]
async fn a_watermark_that_is_deleted_leaves_the_mirror() {
    let cluster = Cluster::start().await;
    cluster.publish(1, Revision(1)).await;
    let client = cluster.client(&[1], 1, SOON).await;
    let key = keys::watermark(1);
    cluster.hand.del(&key, Revision::ANY).await.unwrap();
    let _persister = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
}

/// An earlier persister of this id has left entries, and nobody has cleaned up. What they show is
/// older than any write of today.
#[tokio::test]
async fn entries_of_an_earlier_life_confirm_no_write_of_today() {
    let cluster = Cluster::start().await;
    let hand = &cluster.hand;
    let old = hand.set("/a", Revision::ANY, "old").await.unwrap();
    show(&cluster, "/a", old).await;
    show(&cluster, "/gone", old).await;
    // After that one's life.
    hand.set("/a", Revision::ANY, "newer").await.unwrap();
    let client = cluster.client(&[1], 1, BRIEF).await;
    let (at, exact, by) = unconfirmed(client.set("/a", Revision::ANY, "today").await);
    assert!(at > old && exact && by.is_empty());
    unconfirmed(client.set("/gone", Revision::ANY, "today").await);
    unconfirmed(client.del("/gone", Revision::ANY).await);
    // The one of today writes over them, which is as good as any entry.
    let client = cluster.client(&[1], 1, SOON).await;
    let _persister = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "again").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
}

/// The file was last written in that earlier life. That the leftover goes when today's persister
/// shows the delete cannot be told from its showing an older one: unconfirmed, rather than wrong.
#[tokio::test]
async fn a_delete_behind_an_entry_of_an_earlier_life_is_not_guessed_at() {
    let cluster = Cluster::start().await;
    let hand = &cluster.hand;
    let old = hand.set("/a", Revision::ANY, "old").await.unwrap();
    show(&cluster, "/a", old).await;
    hand.set("/a", Revision::ANY, "never shown").await.unwrap();
    let client = cluster.client(&[1], 1, BRIEF).await;
    let _persister = play(&cluster, 1, Play::Mirror).await;
    unconfirmed(client.del("/a", Revision::ANY).await);
    assert_eq!(hand.get("/a", None).await.unwrap(), None, "it was applied");
}

/// A leftover watermark beside it, as after a change of programs: found out within a second or so,
/// once for each client and not once for each write.
#[tokio::test]
async fn a_leftover_watermark_is_seen_through_once() {
    let cluster = Cluster::start().await;
    cluster.publish(1, Revision(2)).await;
    let client = cluster.client(&[1], 1, SOON).await;
    let _persister = play(&cluster, 1, Play::Mirror).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    let started = Instant::now();
    for _ in 0..50 {
        client.set("/a", Revision::ANY, "x").await.unwrap();
    }
    let each = started.elapsed() / 50;
    assert!(each < Duration::from_millis(500), "{each:?} a write");
}

/// Entries that are no revisions are nobody's word.
#[tokio::test]
async fn what_is_no_revision_confirms_nothing() {
    let cluster = Cluster::start().await;
    let client = cluster.client(&[1], 1, BRIEF).await;
    let write = set(&client, "/a");
    event(&cluster, "/a", Revision(1)).await;
    let key = keys::mirror(1, "/a");
    for nonsense in ["", "yes", "-1", "1e9", "99999999999999999999"] {
        cluster
            .hand
            .set(&key, Revision::ANY, nonsense)
            .await
            .unwrap();
    }
    unconfirmed(write.await.unwrap());
}

/// For ever is a time, too.
#[tokio::test]
async fn a_timeout_may_be_longer_than_any_clock() {
    let cluster = Cluster::start().await;
    let durability = Durability {
        timeout: Duration::MAX,
        ..Durability::default()
    };
    let options = cairn_sync_client::Options {
        request_timeout: Duration::MAX,
        keepalive: Duration::MAX,
        connect_timeout: Duration::MAX,
        backoff_max: Duration::MAX,
        ..Default::default()
    };
    let client = Client::connect_durable_with(&uri(&cluster.address), durability, options)
        .await
        .unwrap();
    publish(&cluster.hand, 1, Revision(1_000)).await;
    client.set("/a", Revision::ANY, "x").await.unwrap();
    client.del("/a", Revision::ANY).await.unwrap();
    cluster.control.drop_connections();
    client.get("/a", None).await.unwrap();
}
