//! A node in front of another: the same cluster under a second address, which can stop taking
//! writes.
//!
//! Whoever talks to it cannot tell it from a node of the cluster that has lost its membership: what
//! is read is answered, and every write is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::Uri;
use cairn_client::frame::{Codec, MAX_FRAME};
use cairn_client::wire::{ErrCode, Request, Response, Verb};
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, FramedWrite};

/// How many answers wait to be written: more than a client asks for at once.
const ANSWERS: usize = 4096;

/// A running one; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    readonly: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of `node`, on a free port.
    pub async fn start(node: &Uri) -> Result<Self> {
        let node = node.addresses.first().context("a node has an address")?;
        let (node, listener) = (node.clone(), TcpListener::bind("127.0.0.1:0").await?);
        let address = listener.local_addr()?;
        let (readonly, refused) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let rules = (Arc::clone(&readonly), Arc::clone(&refused));
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                served.spawn(serve(client, node.clone(), rules.clone()));
            }
        });
        Ok(Self {
            address,
            readonly,
            refused,
            task,
        })
    }

    /// Refuses writes, or takes them.
    pub fn set_readonly(&self, readonly: bool) {
        self.readonly.store(readonly, Ordering::SeqCst);
    }

    /// How many writes it has refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until either side ends it.
async fn serve(
    client: TcpStream,
    node: String,
    (readonly, refused): (Arc<AtomicBool>, Arc<AtomicUsize>),
) -> Result<()> {
    let node = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_node, to_node) = node.into_split();
    let mut requests = FramedRead::new(from_client, Codec::<Response, Request>::new(MAX_FRAME));
    let mut answers = FramedRead::new(from_node, Codec::<Request, Response>::new(MAX_FRAME));
    let mut ask = FramedWrite::new(to_node, Codec::<Request, Response>::new(MAX_FRAME));
    let mut answer = FramedWrite::new(to_client, Codec::<Response, Request>::new(MAX_FRAME));
    let (to, mut ready) = mpsc::channel::<Response>(ANSWERS);
    let refuse = to.clone();
    let asking = async {
        while let Some(request) = requests.next().await {
            let request = request?;
            let writes = [Verb::Set, Verb::Del, Verb::Nop].map(|verb| verb as i32);
            let is_write = request.verb.is_some_and(|verb| writes.contains(&verb));
            if is_write && readonly.load(Ordering::SeqCst) {
                refused.fetch_add(1, Ordering::SeqCst);
                let no = Response {
                    tag: request.tag,
                    err_code: Some(ErrCode::Readonly as i32),
                    value: Some(Bytes::new()),
                    ..Response::default()
                };
                refuse.send(no).await?;
            } else {
                ask.send(request).await?;
            }
        }
        anyhow::Ok(())
    };
    let answering = async {
        while let Some(answer) = answers.next().await {
            to.send(answer?).await?;
        }
        anyhow::Ok(())
    };
    let writing = async {
        while let Some(ready) = ready.recv().await {
            answer.send(ready).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
        ended = writing => ended,
    }
}
