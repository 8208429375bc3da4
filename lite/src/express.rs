//! The short way of an answer: from whoever made it due into the socket, where the connection's own
//! task sleeps and has nothing to send.
//!
//! Waking a task of another thread takes longer than sending a short answer. So writes of the
//! node's own process, whose watermark is what durable writes wait for, send the answers that they
//! make due themselves, if those are few and short. Where the task is at work, or the socket takes
//! no more, the answers go the usual way.
//!
//! What is sent stays whole: the task opens the way only while it has nothing to send, and takes
//! over what the socket did not take before it sends anything else.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use cairn_client::frame;
use cairn_client::wire::Response;
use tokio::net::TcpStream;
use tracing::trace;

/// Answers that are sent this way at a time; more of them are worth waking somebody.
pub(crate) const MOST: usize = 16;

/// The longest path and value of an event that is sent this way, in bytes.
pub(crate) const MOST_BYTES: u64 = 4 << 10;

/// The way into one connection's socket.
#[derive(Debug)]
pub(crate) struct Express {
    stream: Arc<TcpStream>,
    way: Mutex<Way>,
}

#[derive(Debug, Default)]
struct Way {
    open: bool,
    /// What the socket has not taken yet; the way is shut then.
    rest: BytesMut,
}

impl Express {
    pub(crate) fn new(stream: Arc<TcpStream>) -> Self {
        Self {
            stream,
            way: Mutex::default(),
        }
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().expect("nothing panics while it sends")
    }

    /// The task is about to sleep, and has nothing to send.
    pub(crate) fn open(&self) {
        self.way().open = true;
    }

    /// The task is at work again; what is to be sent before anything else.
    pub(crate) fn shut(&self) -> BytesMut {
        let mut way = self.way();
        way.open = false;
        std::mem::take(&mut way.rest)
    }

    /// Sends answers; `false` if they have to go the usual way. Calls `wake` if there is something
    /// left that only the task can send.
    pub(crate) fn send(
        &self,
        answers: impl Iterator<Item = Response>,
        wake: impl FnOnce(),
    ) -> bool {
        let mut way = self.way();
        if !way.open {
            return false;
        }
        let mut bytes = BytesMut::new();
        for answer in answers {
            frame::encode(&answer, usize::MAX, &mut bytes).expect("an answer is below 4 GiB");
        }
        let sent = match self.stream.try_write(&bytes) {
            Ok(sent) => {
                trace!(name: "node answered at once", target: "stage", sent);
                sent
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // The task finds out for itself.
            Err(_) => return false,
        };
        if sent < bytes.len() {
            way.open = false;
            way.rest = bytes.split_off(sent);
            drop(way);
            wake();
        }
        true
    }
}
