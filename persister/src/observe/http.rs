//! Metrics and health over HTTP. Answers from memory; nothing asked here touches the cluster.
//!
//! Promise: no stranger costs more than a place for a while. A connection serves one request and
//! has a few seconds for all of it; of too many, the oldest goes. So a health check, which takes a
//! moment, is answered whoever else is connected, and an end waits for nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::observe::vitals::{Status, Vitals};

/// The media type of the text format that Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many connections may be open. One more costs the oldest its place.
pub const CONNECTIONS: usize = 64;

/// How long a peer may take to send the head of its request.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection lasts in all: request, answer, and the peer's reading.
const WHOLE: Duration = Duration::from_secs(10);

/// The pause before accepting again, when the system refuses a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `cancel`, and ends then whatever is under way.
pub async fn serve(listener: TcpListener, vitals: Arc<Vitals>, cancel: CancellationToken) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(vitals);
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false);
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: trying again shortly");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(routes.clone());
        let served = server.serve_connection(TokioIo::new(stream), service);
        open.push_back(connections.spawn(async move {
            // A peer that goes away, or takes too long, is its own business.
            let _ = timeout(WHOLE, served).await;
        }));
    }
    connections.shutdown().await;
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    vitals.measure().await;
    ([(header::CONTENT_TYPE, OPEN_METRICS)], vitals.prometheus())
}

async fn live(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    yes_or(vitals.is_live(), "a commit of the journal is stuck\n")
}

async fn ready(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
    yes_or(
        vitals.is_ready(),
        "not attached, or too far behind: see /status\n",
    )
}

async fn status(State(vitals): State<Arc<Vitals>>) -> Json<Status> {
    vitals.measure().await;
    Json(vitals.status())
}

fn yes_or(yes: bool, no: &'static str) -> (StatusCode, &'static str) {
    if yes {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, no)
    }
}
