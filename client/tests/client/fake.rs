//! A server that does exactly what a test tells it to, byte by byte if need be.

use std::time::Duration;

use bytes::BytesMut;
use cairn_client::frame::{self, Codec, MAX_FRAME};
use cairn_client::wire::{Request, Response, Verb};
use cairn_client::{Client, Options, Uri};
use futures::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::codec::Framed;

/// No step of a test takes longer, except by a bug.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fake {
    listener: TcpListener,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub(crate) fn uri(&self) -> Uri {
        Uri::from_address(&self.address()).unwrap()
    }

    /// The next connection, before it has said anything.
    pub(crate) async fn accept(&self) -> Peer {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("the client connects").unwrap();
        stream.set_nodelay(true).unwrap();
        Peer {
            frames: Framed::new(stream, Codec::new(MAX_FRAME)),
        }
    }

    /// The next connection, let in at revision 58.
    pub(crate) async fn greet(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.answer_rev(58).await;
        peer
    }

    /// A client that is connected, and the server's end of it.
    pub(crate) async fn connect(&self, options: Options) -> (Client, Peer) {
        let uri = self.uri();
        let (client, peer) = tokio::join!(Client::connect_with(&uri, options), self.greet());
        (client.unwrap(), peer)
    }
}

/// The server's end of one connection.
pub(crate) struct Peer {
    frames: Framed<TcpStream, Codec<Response, Request>>,
}

impl Peer {
    /// The next request.
    pub(crate) async fn request(&mut self) -> Request {
        self.request_or_end().await.expect("a request, not the end")
    }

    /// The next request, or `None` when the client has closed the connection.
    pub(crate) async fn request_or_end(&mut self) -> Option<Request> {
        let next = timeout(PATIENCE, self.frames.next()).await;
        match next.expect("the client does something") {
            None => None,
            Some(Ok(request)) => Some(request),
            Some(Err(error)) => {
                // A client may cut its own frame off by going away.
                println!("the client went away: {error}");
                None
            }
        }
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        timeout(time, self.frames.next()).await.is_err()
    }

    pub(crate) async fn send(&mut self, response: Response) {
        timeout(PATIENCE, self.frames.send(response))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.frames.get_mut().write_all(bytes).await.unwrap();
    }

    /// Answers the next request, which has to be of this verb.
    pub(crate) async fn answer(&mut self, verb: Verb, response: Response) -> Request {
        let request = self.request().await;
        assert_eq!(request.verb, Some(verb as i32), "{request:?}");
        self.send(Response {
            tag: request.tag,
            ..response
        })
        .await;
        request
    }

    pub(crate) async fn answer_rev(&mut self, rev: i64) {
        self.answer(Verb::Rev, revision(rev)).await;
    }

    /// Ends the connection in good order, after everything that was sent.
    pub(crate) async fn close(&mut self) {
        self.frames.get_mut().shutdown().await.unwrap();
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.frames.into_inner()
    }
}

pub(crate) fn revision(rev: i64) -> Response {
    Response {
        rev: Some(rev),
        ..Response::default()
    }
}

pub(crate) fn file(rev: i64, value: &str) -> Response {
    Response {
        rev: Some(rev),
        value: Some(value.to_owned().into()),
        ..Response::default()
    }
}

pub(crate) fn failure(code: i32) -> Response {
    Response {
        err_code: Some(code),
        ..Response::default()
    }
}

/// The bytes of an answer, its length included.
pub(crate) fn bytes_of(response: &Response) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    frame::encode(response, MAX_FRAME, &mut buffer).unwrap();
    buffer.to_vec()
}

/// Options that do not keep a test waiting.
pub(crate) fn hasty() -> Options {
    Options {
        request_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        ..Options::default()
    }
}
