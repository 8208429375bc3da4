//! Answers on their way out: encoded once, sent in as few writes as the peer takes them.
//!
//! Bounded by its user: a connection that finds this full answers nothing more until the peer
//! has read.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use cairn_client::frame;
use cairn_client::wire::Response;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tracing::trace;

/// Capacity that an idle connection may keep.
const KEPT_CAPACITY: usize = 4 << 10;

#[derive(Debug, Default)]
pub(crate) struct Output {
    /// To be sent now.
    ready: BytesMut,
    /// To be sent from an instant on, in order; only while answers are delayed on purpose.
    delayed: VecDeque<(Instant, BytesMut)>,
    delayed_bytes: usize,
}

impl Output {
    /// Bytes not sent yet.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.delayed_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an answer, to be sent after `delay` and after all answers before it.
    pub(crate) fn push(&mut self, response: &Response, delay: Duration) {
        let limit = usize::MAX;
        let encoded = if delay.is_zero() && self.delayed.is_empty() {
            frame::encode(response, limit, &mut self.ready)
        } else {
            let mut bytes = BytesMut::new();
            let encoded = frame::encode(response, limit, &mut bytes);
            self.delayed_bytes += bytes.len();
            self.delayed.push_back((Instant::now() + delay, bytes));
            encoded
        };
        encoded.expect("an answer is a value and a path, far below 4 GiB");
    }

    /// Puts bytes before everything else.
    pub(crate) fn put_first(&mut self, mut bytes: BytesMut) {
        if !bytes.is_empty() {
            bytes.extend_from_slice(&self.ready);
            self.ready = bytes;
        }
    }

    /// When the next delayed answer may go.
    pub(crate) fn next_instant(&self) -> Option<Instant> {
        self.delayed.front().map(|(instant, _)| *instant)
    }

    /// Whether something could be written now.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Sends what the peer takes without waiting.
    pub(crate) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        if !self.delayed.is_empty() {
            self.release(Instant::now());
        }
        while !self.ready.is_empty() {
            match stream.try_write(&self.ready) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    trace!(name: "node answered", target: "stage", sent);
                    self.ready.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if self.ready.capacity() > KEPT_CAPACITY {
            self.ready = BytesMut::new();
        }
        Ok(())
    }

    fn release(&mut self, now: Instant) {
        while let Some((instant, bytes)) = self.delayed.front()
            && *instant <= now
        {
            self.ready.extend_from_slice(bytes);
            self.delayed_bytes -= bytes.len();
            self.delayed.pop_front();
        }
    }
}
