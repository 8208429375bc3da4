//! One suite, compiled and run against both clients: the import is all that differs.
//!
//! It calls every method with every argument, takes every result apart and matches on the errors. A
//! method, a field or a variant that one of the two lacks is a compile error here.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

/// What both clients are run against: a server, and a persister 1 whose disk is instantaneous.
mod cluster {
    use cairn_client::{Client, Revision, Uri};
    use cairn_lite::{Options, Server};
    use cairn_sync_client::keys;
    use futures::StreamExt;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    pub(crate) struct Cluster {
        pub(crate) uri: String,
        _running: JoinSet<()>,
    }

    pub(crate) async fn start() -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("doozer:?ca={}", listener.local_addr().unwrap());
        let server = Server::new(Options::default()).unwrap();
        let mut running = JoinSet::new();
        running.spawn(async { server.run(listener, std::future::pending()).await.unwrap() });
        let parsed: Uri = uri.parse().unwrap();
        let client = Client::connect(&parsed).await.unwrap();
        let from = client.rev().await.unwrap().next();
        running.spawn(async move {
            let mut events = client.watch("/**", from);
            while let Some(event) = events.next().await {
                let event = event.unwrap();
                if event.path != "/" && !keys::is_internal(&event.path) {
                    let key = keys::watermark(1);
                    let value = event.revision.to_string();
                    client.set(&key, Revision::ANY, value).await.unwrap();
                }
            }
        });
        Cluster {
            uri,
            _running: running,
        }
    }
}

mod regular {
    use cairn_client as client;
    include!("suite.rs");
}

mod sync {
    use cairn_sync_client as client;
    include!("suite.rs");
}
