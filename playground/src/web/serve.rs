//! Serves pages and calls until the end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::play::inner::Play;
use crate::told::shown::Shown;
use crate::web::gate::{self, Gate};
use crate::web::shared::{Options, Shared};
use crate::web::{api, assets, stream};

/// How many connections may be open; one more waits until another is closed. A browser has six.
const CONNECTIONS: usize = 256;

/// How many event streams may be open: pages of one person.
const STREAMS: usize = 64;

/// The longest body of a POST.
const BODY: usize = 64 << 10;

/// How long a peer may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(10);

/// The pause before accepting again, when the system refuses a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

fn routes(shown: Shown, play: Option<Play>, options: &Options, end: CancellationToken) -> Router {
    let shared = Shared {
        shown,
        play,
        streams: Arc::new(Semaphore::new(STREAMS)),
        assets: options.assets.clone().map(Arc::new),
        end,
    };
    let gate = Arc::new(Gate::new(options));
    let api = Router::new()
        .route("/events", get(stream::events))
        .route("/do", post(api::act))
        .route("/write", post(api::write))
        .route("/restore", post(api::restore))
        .route("/changes", get(api::changes))
        .route("/keys", get(api::keys))
        .route("/diff", get(api::diff))
        .route("/log/{id}", get(api::log))
        .fallback(api::unknown)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn_with_state(Arc::clone(&gate), gate::keyed));
    Router::new()
        .nest("/api", api)
        .fallback(get(assets::asset))
        .layer(from_fn_with_state(gate, gate::own_page_only))
        .layer(from_fn(gate::headers))
        .with_state(shared)
}

/// Serves until `end`, and ends then whatever is under way. `play`: what a page can do to what it
/// shows; none: it can watch.
pub async fn serve(
    listeners: Vec<TcpListener>,
    shown: Shown,
    play: Option<Play>,
    options: &Options,
    end: CancellationToken,
) {
    let routes = routes(shown, play, options, end.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            routes.clone(),
            Arc::clone(&places),
            end.clone(),
        ));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    listener: TcpListener,
    routes: Router,
    places: Arc<Semaphore>,
    end: CancellationToken,
) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(routes.clone());
        let served = server.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move {
            // A peer that goes away is its own business.
            let _ = served.await;
            drop(place);
        });
    }
    connections.shutdown().await;
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection: trying again shortly");
            None
        }
    }
}
