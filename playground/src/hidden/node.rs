//! `cairn __node ADDRESS`: a `doozer-lite`.

use anyhow::Context as _;
use cairn_lite::{Options, Server};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The hidden subcommand. What follows are arguments of `doozer-lite`, of which it knows `-l`.
pub const NODE: &str = "__node";

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// An address that cannot be listened on.
pub async fn node(address: &str) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::new(Options::default())?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    server
        .run(listener, async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
}
