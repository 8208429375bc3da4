//! Connecting to one endpoint.

use std::io;
use std::sync::Arc;

use hyper::client::conn::http2;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::config::endpoint::Endpoint;
use crate::config::tls::Tls;
use crate::connection::end::{End, Tasks};
use crate::connection::link::Link;
use crate::connection::sender::Sender;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;

/// What a stream may send before it is read.
const STREAM_WINDOW: u32 = 2 << 20;

/// What all streams together may send: more than a few streams that nobody reads, so that those do
/// not hold up the calls.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Connects within [`Options::connect_timeout`].
pub(crate) async fn dial(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Arc<Options>,
) -> Result<Link> {
    let failed = |detail: String| {
        Err(Error::nothing_done(
            "connect",
            endpoint,
            ErrorKind::Unavailable,
            detail,
        ))
    };
    match tokio::time::timeout(options.connect_timeout, connect(endpoint, tls, options)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("no answer within {:?}", options.connect_timeout)),
    }
}

async fn connect(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    options: &Arc<Options>,
) -> io::Result<Link> {
    let socket = TcpStream::connect(endpoint.authority()).await?;
    socket.set_nodelay(true)?;
    if !endpoint.is_tls() {
        return handshake(TokioIo::new(socket), endpoint, options).await;
    }
    let tls = tls.ok_or_else(|| io::Error::other("TLS is not set up"))?;
    secured(socket, tls, endpoint, options).await
}

#[cfg(feature = "tls")]
async fn secured(
    socket: TcpStream,
    tls: &Tls,
    endpoint: &Endpoint,
    options: &Arc<Options>,
) -> io::Result<Link> {
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;

    let name = ServerName::try_from(endpoint.server_name().to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::clone(&tls.0));
    let socket = connector.connect(name, socket).await?;
    handshake(TokioIo::new(socket), endpoint, options).await
}

#[cfg(not(feature = "tls"))]
async fn secured(_: TcpStream, _: &Tls, _: &Endpoint, _: &Arc<Options>) -> io::Result<Link> {
    Err(io::Error::other(crate::config::tls::TlsError::NotBuilt))
}

async fn handshake<T>(io: T, endpoint: &Endpoint, options: &Arc<Options>) -> io::Result<Link>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let end = End::new();
    let (sender, connection) = http2::Builder::new(Tasks(end.clone()))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(options.keepalive())
        .keep_alive_timeout(options.keepalive_timeout)
        // A member takes pings without a stream for an attack. Whoever is idle finds out with
        // the next call, which has a deadline.
        .keep_alive_while_idle(false)
        .handshake(io)
        .await
        .map_err(io::Error::other)?;
    let ended = end.clone();
    tokio::spawn(async move {
        tokio::select! {
            result = connection => match result {
                Ok(()) => ended.end("the connection has ended"),
                Err(error) => ended.end(&format!("the connection has ended: {error}")),
            },
            () = ended.ended() => {}
        }
    });
    Link::new(endpoint, Sender(sender), end, Arc::clone(options)).map_err(io::Error::other)
}
