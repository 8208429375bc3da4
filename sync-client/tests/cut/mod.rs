//! A way to a server that can be cut at the very request that matters.

use std::sync::{Arc, Mutex};

use cairn_client::wire::{Request, Verb};
use prost::Message;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where to cut.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    /// This request arrives, its answer does not come back.
    After(Verb),
    /// This request does not arrive.
    Before(Verb),
    /// The first of these arrives and, if the client asks one after the other, is answered. The
    /// second does not arrive.
    Between(Verb, Verb),
}

/// Forwards connections to a server.
pub(crate) struct Way {
    pub(crate) address: String,
    next: Arc<Mutex<Option<Cut>>>,
    server: Arc<Mutex<String>>,
    _tasks: JoinSet<()>,
}

impl Way {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let next = Arc::new(Mutex::new(None));
        let mut tasks = JoinSet::new();
        let server = Arc::new(Mutex::new(server.to_owned()));
        let (goal, cut) = (Arc::clone(&server), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = goal.lock().unwrap().clone();
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&cut)));
            }
        });
        Self {
            address,
            next,
            server,
            _tasks: tasks,
        }
    }

    /// From the next connection on it leads to another server.
    pub(crate) fn lead_to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap());
    }

    /// The next time that this comes by; once.
    pub(crate) fn cut(&self, cut: Cut) {
        *self.next.lock().unwrap() = Some(cut);
    }
}

async fn forward(client: TcpStream, server: TcpStream, cut: Arc<Mutex<Option<Cut>>>) {
    let (mut requests, mut to_client) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    let back = async { io::copy(&mut answers, &mut to_client).await.map(drop) };
    let forth = async {
        loop {
            let length = requests.read_u32().await?;
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            requests.read_exact(&mut frame).await?;
            let verb = Request::decode(&frame[..]).unwrap().verb;
            let is = |other: Verb| verb == Some(other as i32);
            let (forwarded, ends) = {
                let mut cut = cut.lock().unwrap();
                match *cut {
                    Some(Cut::After(at)) if is(at) => (true, cut.take().is_some()),
                    Some(Cut::Between(first, then)) if is(first) => {
                        *cut = Some(Cut::Before(then));
                        (true, false)
                    }
                    Some(Cut::Before(then)) if is(then) => (false, cut.take().is_some()),
                    _ => (true, false),
                }
            };
            if forwarded {
                to_server.write_u32(length).await?;
                to_server.write_all(&frame).await?;
            }
            if ends {
                return io::Result::Ok(());
            }
        }
    };
    // Whichever ends, both ends of the way go.
    tokio::select! {
        _ = back => {}
        _ = forth => {}
    }
}
