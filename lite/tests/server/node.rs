//! A node in this process and a connection that speaks to it frame by frame, so that the tests
//! see exactly what is on the wire.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_client::frame::{self, MAX_FRAME};
use cairn_client::wire::{ErrCode, Request, Response, Verb};
use cairn_lite::{Control, Options, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No answer takes this long, unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestNode {
    pub(crate) address: String,
    pub(crate) control: Control,
    pub(crate) server: Server,
    stop: oneshot::Sender<()>,
    running: JoinHandle<anyhow::Result<()>>,
}

impl TestNode {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::new(options).unwrap();
        let control = server.control();
        let (stop, stopped) = oneshot::channel();
        server.begin(&address);
        let running = tokio::spawn(server.clone().run_also(listener, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            control,
            server,
            stop,
            running,
        }
    }

    pub(crate) async fn connect(&self) -> Peer {
        Peer::new(TcpStream::connect(&self.address).await.unwrap())
    }

    /// Ends the node and shows that it did not fail.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.running)
            .await
            .expect("the node ends")
            .unwrap()
            .unwrap();
    }

    /// Returns when a condition holds that the node brings about by itself.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Control) -> bool) {
        let wait = async {
            while !condition(&self.control) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("never came: {what}"));
    }
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    input: BytesMut,
    tag: i32,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            tag: 0,
        }
    }

    pub(crate) async fn send_bytes(&mut self, payload: &[u8]) {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Sends a request; it gets the next tag, which is returned.
    pub(crate) async fn send(&mut self, request: Request) -> i32 {
        self.tag += 1;
        let request = Request {
            tag: request.tag.or(Some(self.tag)),
            ..request
        };
        let mut bytes = BytesMut::new();
        frame::encode(&request, 4 * MAX_FRAME, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
        request.tag.unwrap()
    }

    /// The next frame; `None` when the node has closed the connection.
    pub(crate) async fn receive_bytes(&mut self) -> Option<Bytes> {
        loop {
            if let Some(header) = self.input.first_chunk::<4>() {
                let length = u32::from_be_bytes(*header) as usize;
                if self.input.len() >= 4 + length {
                    return Some(self.input.split_to(4 + length).freeze().slice(4..));
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    pub(crate) async fn receive(&mut self) -> Option<Response> {
        let bytes = timeout(PATIENCE, self.receive_bytes())
            .await
            .expect("an answer in time")?;
        Some(prost::Message::decode(bytes).unwrap())
    }

    /// Sends a request and takes the next answer, which must be its own.
    pub(crate) async fn ask(&mut self, request: Request) -> Response {
        let tag = self.send(request).await;
        let response = self.receive().await.expect("an answer, not the end");
        assert_eq!(response.tag, Some(tag));
        response
    }

    pub(crate) async fn set(&mut self, path: &str, value: &[u8]) -> i64 {
        let response = self.ask(set(path, -1, value)).await;
        response
            .rev
            .unwrap_or_else(|| panic!("not set: {response:?}"))
    }

    pub(crate) async fn rev(&mut self) -> i64 {
        self.ask(request(Verb::Rev)).await.rev.unwrap()
    }
}

pub(crate) fn request(verb: Verb) -> Request {
    Request {
        verb: Some(verb as i32),
        ..Request::default()
    }
}

pub(crate) fn set(path: &str, rev: i64, value: &[u8]) -> Request {
    Request {
        path: Some(path.to_owned()),
        rev: Some(rev),
        value: Some(Bytes::copy_from_slice(value)),
        ..request(Verb::Set)
    }
}

pub(crate) fn get(path: &str, rev: Option<i64>) -> Request {
    Request {
        path: Some(path.to_owned()),
        rev,
        ..request(Verb::Get)
    }
}

pub(crate) fn wait(glob: &str, rev: i64) -> Request {
    Request {
        path: Some(glob.to_owned()),
        rev: Some(rev),
        ..request(Verb::Wait)
    }
}

pub(crate) fn entry(verb: Verb, path: &str, offset: i32, rev: Option<i64>) -> Request {
    Request {
        path: Some(path.to_owned()),
        offset: Some(offset),
        rev,
        ..request(verb)
    }
}

pub(crate) fn code(response: &Response) -> Option<ErrCode> {
    response
        .err_code
        .map(|code| ErrCode::try_from(code).unwrap())
}
