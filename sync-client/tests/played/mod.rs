//! A server in this process, and persisters that are played by hand: by the keys that they write,
//! which is all that a client sees of them.

use std::time::Duration;

use cairn_lite::{Control, Options, Server};
use cairn_sync_client::{Client, Durability, Error, Event, EventKind, Revision, Uri, keys};
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Long enough for any machine to do what should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long a write waits that is not going to be confirmed.
pub(crate) const BRIEF: Duration = Duration::from_millis(300);

/// A server, and a client of it for what persisters write.
pub(crate) struct Cluster {
    pub(crate) address: String,
    pub(crate) control: Control,
    pub(crate) hand: cairn_client::Client,
    _server: JoinSet<()>,
}

pub(crate) async fn serve(listener: TcpListener) -> (Control, JoinSet<()>) {
    let server = Server::new(Options::default()).unwrap();
    let control = server.control();
    let mut running = JoinSet::new();
    running.spawn(async {
        server.run(listener, std::future::pending()).await.unwrap();
    });
    (control, running)
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (control, server) = serve(listener).await;
        let hand = cairn_client::Client::connect(&uri(&address)).await.unwrap();
        Self {
            address,
            control,
            hand,
            _server: server,
        }
    }

    pub(crate) async fn client(
        &self,
        persisters: &[u32],
        required: usize,
        timeout: Duration,
    ) -> Client {
        let durability = Durability {
            timeout,
            ..Durability::new(persisters, required)
        };
        Client::connect_durable(&uri(&self.address), durability)
            .await
            .unwrap()
    }

    pub(crate) async fn publish(&self, id: u32, watermark: Revision) {
        publish(&self.hand, id, watermark).await;
    }
}

pub(crate) fn uri(address: &str) -> Uri {
    format!("doozer:?ca={address}").parse().unwrap()
}

/// Writing a watermark twice does no harm, so it is tried again where a connection broke.
pub(crate) async fn publish(hand: &cairn_client::Client, id: u32, watermark: Revision) {
    let key = keys::watermark(id);
    while let Err(error) = hand.set(&key, Revision::ANY, watermark.to_string()).await {
        assert!(error.is_retryable(), "{error}");
    }
}

/// Plays a persister whose disk is instantaneous, from now on.
pub(crate) async fn play(cluster: &Cluster, id: u32, how: Play) -> JoinHandle<()> {
    let hand = cluster.hand.clone();
    let from = hand.rev().await.unwrap().next();
    tokio::spawn(async move {
        // What came meanwhile is one batch, as it is for a persister that was syncing.
        let mut batches = hand.watch("/**", from).ready_chunks(1_000);
        while let Some(batch) = batches.next().await {
            let changes = batch
                .into_iter()
                .map(Result::unwrap)
                .filter(|event| event.path != "/" && !keys::is_internal(&event.path));
            match how {
                Play::Watermark => {
                    if let Some(newest) = changes.last() {
                        publish(&hand, id, newest.revision).await;
                    }
                }
                Play::Mirror => {
                    for change in changes {
                        mirror(&hand, id, &change).await;
                    }
                }
            }
        }
    })
}

pub(crate) async fn mirror(hand: &cairn_client::Client, id: u32, change: &Event) {
    let key = keys::mirror(id, &change.path);
    if change.kind == EventKind::Set {
        let value = change.revision.to_string();
        hand.set(&key, Revision::ANY, value).await.unwrap();
    } else {
        hand.del(&key, Revision::ANY).await.unwrap();
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Play {
    Watermark,
    Mirror,
}

pub(crate) fn unconfirmed(
    result: Result<impl std::fmt::Debug, Error>,
) -> (Revision, bool, Vec<u32>) {
    match result {
        Err(Error::Unconfirmed {
            revision,
            exact,
            confirmed_by,
            ..
        }) => (revision, exact, confirmed_by),
        other => panic!("should be unconfirmed: {other:?}"),
    }
}
