//! Metrics and health over HTTP. Answers from memory; nothing asked here touches the cluster.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::observe::vitals::{Status, Vitals};

/// The media type of the text format that Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `cancel`.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    vitals: Arc<Vitals>,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(vitals);
    axum::serve(listener, routes)
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> impl IntoResponse {
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
    Json(vitals.status())
}

fn yes_or(yes: bool, no: &'static str) -> (StatusCode, &'static str) {
    if yes {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, no)
    }
}
