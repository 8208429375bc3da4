//! A watch over a long history of a server that pauses and throws everybody out, again and again.
//!
//! The client and the server were written by the same specification, but not by the same hand: this
//! is where both meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_client::{Client, Revision, Uri};
use cairn_lite::{Control, Options, Server};
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const DISCONNECTS: i64 = 100;
const PAUSES: i64 = 10;

/// How many writes are in flight.
const IN_FLIGHT: usize = 256;

/// Writes until told to stop. A write whose connection was cut may have happened or not: whoever
/// watches sees each revision in either case.
async fn write(client: Client, stop: Arc<AtomicBool>) {
    let writes = futures::stream::iter(0_u64..).take_while(|_| {
        let go_on = !stop.load(Ordering::Relaxed);
        std::future::ready(go_on)
    });
    let mut writes = writes
        .map(|n| {
            let client = client.clone();
            async move {
                let path = format!("/{}/{}", n % 100, n % 7);
                let _ = client.set(&path, Revision::ANY, n.to_string()).await;
            }
        })
        .buffer_unordered(IN_FLIGHT);
    while writes.next().await.is_some() {}
}

/// Makes trouble of each kind when the watch has come that far.
async fn make_trouble(control: &Control, seen: i64, total: i64) {
    if seen % (total / DISCONNECTS) == 0 {
        control.drop_connections();
    }
    if seen % (total / PAUSES) == total / PAUSES / 2 {
        control.pause();
        // How long does not matter: the watch has to find its place again after any time.
        tokio::time::sleep(Duration::from_millis(20)).await;
        control.resume();
    }
}

/// `CAIRN_WATCH_REVISIONS` makes it longer: a million take about half a minute in a release build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_revision_is_seen_exactly_once_and_in_order() {
    let total: i64 = std::env::var("CAIRN_WATCH_REVISIONS").map_or(20_000, |count| {
        count.parse().expect("CAIRN_WATCH_REVISIONS is a number")
    });
    let server = Server::new(Options::default()).expect("the defaults are valid");
    let control = server.control();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (shutdown, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(listener, async {
        let _ = ended.await;
    }));
    let uri = Uri::from_address(&address).expect("an address");

    let watcher = Client::connect(&uri).await.expect("it listens");
    let writer = Client::connect(&uri).await.expect("it listens");
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write(writer, Arc::clone(&stop)));

    let generation = watcher.status();
    let mut watch = watcher.watch("/**", Revision(1));
    for expected in 1..=total {
        let event = watch.next().await.expect("a watch has no end");
        let event = event.expect("history is long enough");
        assert_eq!(event.revision, Revision(expected));
        make_trouble(&control, expected, total).await;
    }
    let connections = generation.borrow().generation();
    println!("{total} revisions over {connections} connections and {PAUSES} pauses");
    assert!(
        connections > u64::try_from(DISCONNECTS).expect("positive") / 2,
        "{connections} connections: there was too little trouble to show anything"
    );

    stop.store(true, Ordering::Relaxed);
    writing.await.expect("the writer does not panic");
    drop(watch);
    drop(watcher);
    let _ = shutdown.send(());
    serving
        .await
        .expect("the server does not panic")
        .expect("it ends in good order");
}
