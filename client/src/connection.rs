//! One connection: requests go out as they come, answers come in as they are ready.
//!
//! One task owns the socket. It encodes the waiting requests into one buffer and writes that at
//! once, so many small requests share a write; it reads what is there and hands out every complete
//! answer, so they share a read. Anything that a correct server would not send ends the connection:
//! what else it says could not be trusted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::io::poll_read_buf;

use crate::frame;
use crate::keepalive::{Action, Keepalive};
use crate::options::Options;
use crate::queue::{Class, Entry, Failure, Queue, Room};
use crate::revision::Revision;
use crate::tags::TagTable;
use crate::wire::{ErrCode, Request, Response, Verb};

/// Requests are encoded ahead of the socket up to this many bytes: enough for large writes, and
/// what is encoded cannot be taken back to be sent elsewhere.
const WRITE_AHEAD: usize = 64 << 10;

/// Bytes reserved for each read.
const READ_AHEAD: usize = 64 << 10;

/// A buffer that has grown beyond this is freed when it is empty.
const KEPT_BUFFER: usize = 1 << 20;

/// The stream of bytes under a connection.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// The meaning of an outstanding tag.
enum Pending {
    Probe,
    Request {
        entry: Entry,
        /// Where the request ends in the stream of all bytes sent.
        ends_at: u64,
    },
}

/// An established connection, its secrets presented.
pub(crate) struct Connection {
    pub(crate) address: String,
    /// The server's newest revision when the connection was made.
    pub(crate) revision: Revision,
    socket: Box<dyn Socket>,
    max_frame: usize,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Bytes written since the connection was made.
    written: u64,
    flushed: bool,
    tags: TagTable<Pending>,
    prompt_in_flight: usize,
    blocking_in_flight: usize,
    answered: bool,
    /// The newest revision that an answer named.
    newest: Revision,
}

/// Why a connection is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody needs it any more.
    Unused,
    /// It broke, or the server broke the protocol.
    Lost(String),
    /// The node does not take writes, and there are others.
    ReadOnly,
    /// Too many requests on it wait for answers that nobody wants.
    Recycled,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: Reason,
    /// Whether it answered anything, so that another attempt is worth making at once.
    pub(crate) useful: bool,
    /// The newest revision that it named.
    pub(crate) newest: Revision,
}

enum Moved {
    In,
    Out,
}

impl Connection {
    pub(crate) fn new(address: String, socket: Box<dyn Socket>, max_frame: usize) -> Self {
        Self {
            address,
            revision: Revision::MISSING,
            socket,
            max_frame,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            written: 0,
            flushed: true,
            tags: TagTable::new(),
            prompt_in_flight: 0,
            blocking_in_flight: 0,
            answered: false,
            newest: Revision::MISSING,
        }
    }

    /// Sends one request and waits for its answer; only before [`Connection::serve`].
    pub(crate) async fn exchange(&mut self, mut request: Request) -> Result<Response, String> {
        let tag = self.tags.insert(Pending::Probe);
        request.tag = Some(tag);
        frame::encode(&request, self.max_frame, &mut self.outbox)
            .map_err(|error| error.to_string())?;
        loop {
            match self.transfer().await.map_err(|error| error.to_string())? {
                Moved::Out => {}
                Moved::In => {
                    if let Some(response) = self.decode()? {
                        if response.tag != Some(tag) || !self.inbox.is_empty() {
                            return Err("the server answered what was not asked".to_owned());
                        }
                        self.tags.remove(tag);
                        return Ok(response);
                    }
                }
            }
        }
    }

    /// Serves the queue until there is a reason to leave. An unanswered request then goes back into
    /// the queue if that is harmless, and fails otherwise.
    pub(crate) async fn serve(mut self, queue: &Queue, options: &Options, nodes: usize) -> Ended {
        let reason = match self.run(queue, options, nodes).await {
            Ok(reason) => reason,
            Err(cause) => Reason::Lost(cause),
        };
        self.settle(queue, &reason);
        Ended {
            reason,
            useful: self.answered,
            newest: self.newest,
        }
    }

    async fn run(
        &mut self,
        queue: &Queue,
        options: &Options,
        nodes: usize,
    ) -> Result<Reason, String> {
        let answered_within = options.silence().saturating_sub(options.keepalive);
        let mut keepalive = Keepalive::new(options.keepalive, answered_within, Instant::now());
        let mut alarm = std::pin::pin!(sleep_until(Instant::now()));
        let mut leaving: Option<Leaving> = None;
        let mut taken = Vec::new();
        loop {
            if queue.has_ended() {
                return Ok(Reason::Unused);
            }
            if leaving.is_none() {
                self.fill(queue, options, &mut taken);
                if is_clogged(queue, options) {
                    leaving = Some(Leaving::new(Reason::Recycled, options));
                }
            }
            if let Some(leaving) = &leaving {
                let wanted = self.prompt_in_flight > queue.abandoned_count(Class::Prompt);
                if !wanted || Instant::now() >= leaving.by {
                    return Ok(leaving.reason.clone());
                }
            }
            let leave_by = leaving.as_ref().map(|leaving| leaving.by);
            tokio::select! {
                moved = self.transfer() => {
                    if let Moved::In = moved.map_err(|error| error.to_string())? {
                        keepalive.heard(Instant::now());
                        if self.hand_out(queue, nodes, &mut keepalive)? && leaving.is_none() {
                            leaving = Some(Leaving::new(Reason::ReadOnly, options));
                        }
                    }
                }
                // Callers that have just been woken submit one after the other; when this task
                // has gone to the back of the line, all their requests can go out together.
                () = queue.changed() => tokio::task::yield_now().await,
                () = sleep_until(leave_by.unwrap_or_else(Instant::now)), if leave_by.is_some() => {}
                () = alarm.as_mut() => {
                    let next = self.check_keepalive(&mut keepalive, options)?;
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    /// Encodes waiting requests as far as there is room for them.
    fn fill(&mut self, queue: &Queue, options: &Options, taken: &mut Vec<Entry>) {
        let room = Room {
            prompt: options
                .max_in_flight
                .max(1)
                .saturating_sub(self.prompt_in_flight),
            blocking: options
                .max_waits
                .max(1)
                .saturating_sub(self.blocking_in_flight),
            bytes: WRITE_AHEAD.saturating_sub(self.outbox.len()),
        };
        queue.take(room, taken);
        for mut entry in taken.drain(..) {
            let tag = self.tags.next_free();
            entry.request.tag = Some(tag);
            frame::encode(&entry.request, self.max_frame, &mut self.outbox)
                .expect("a request's size is checked before it is queued");
            match entry.class {
                Class::Prompt => self.prompt_in_flight += 1,
                Class::Blocking => self.blocking_in_flight += 1,
            }
            if entry.class == Class::Blocking && self.blocking_in_flight == options.max_waits {
                tracing::warn!(
                    max_waits = options.max_waits,
                    address = self.address,
                    "as many requests as allowed wait in the server: further ones wait for their \
                     turn"
                );
            }
            let ends_at = self.written + self.outbox.len() as u64;
            self.tags
                .insert_at(tag, Pending::Request { entry, ends_at });
        }
    }

    /// Probes the server if it was silent for a while. Returns when to check again.
    fn check_keepalive(
        &mut self,
        keepalive: &mut Keepalive,
        options: &Options,
    ) -> Result<Instant, String> {
        let now = Instant::now();
        match keepalive.check(now) {
            Action::Wait(until) => Ok(until),
            Action::Probe => {
                self.probe();
                keepalive.probed(now);
                Ok(now + options.silence().saturating_sub(options.keepalive))
            }
            Action::Lost => {
                let (address, silence) = (&self.address, options.silence());
                tracing::warn!(%address, "this node was silent for {silence:?}: leaving it");
                Err(format!("the server was silent for {silence:?}"))
            }
        }
    }

    /// Sends a request that the server answers at once.
    fn probe(&mut self) {
        let tag = self.tags.insert(Pending::Probe);
        let request = Request {
            tag: Some(tag),
            verb: Some(Verb::Rev as i32),
            ..Request::default()
        };
        frame::encode(&request, self.max_frame, &mut self.outbox)
            .expect("a request without a path fits into any frame");
    }

    /// Hands every complete answer to its caller. True: the node turned out not to take writes.
    fn hand_out(
        &mut self,
        queue: &Queue,
        nodes: usize,
        keepalive: &mut Keepalive,
    ) -> Result<bool, String> {
        let mut refused = false;
        while let Some(response) = self.decode()? {
            let Some(tag) = response.tag else {
                return Err("the server sent an answer without a tag".to_owned());
            };
            if let (Some(revision), None) = (response.rev, response.err_code) {
                self.newest = self.newest.max(Revision(revision));
            }
            match self.tags.remove(tag) {
                None => {
                    return Err(format!(
                        "the server sent an answer with tag {tag}, which is not outstanding"
                    ));
                }
                Some(Pending::Probe) => {
                    self.answered = true;
                    keepalive.answered();
                }
                Some(Pending::Request { entry, ends_at }) if ends_at > self.written => {
                    self.tags.insert(Pending::Request { entry, ends_at });
                    return Err("the server answered a request before it was sent".to_owned());
                }
                Some(Pending::Request { mut entry, .. }) => {
                    match entry.class {
                        Class::Prompt => self.prompt_in_flight -= 1,
                        Class::Blocking => self.blocking_in_flight -= 1,
                    }
                    self.answered = true;
                    let read_only = response.err_code == Some(ErrCode::Readonly as i32);
                    if read_only && entry.is_write() && entry.refusals + 1 < nodes {
                        entry.refusals += 1;
                        refused = true;
                        queue.put_back(entry);
                    } else {
                        queue.answer(entry, Ok(response));
                    }
                }
            }
        }
        Ok(refused)
    }

    fn decode(&mut self) -> Result<Option<Response>, String> {
        frame::decode(self.max_frame, &mut self.inbox)
            .map_err(|error| format!("the server broke the protocol: {error}"))
    }

    /// Moves bytes in one direction, whichever is possible. Nothing is lost if it is dropped.
    async fn transfer(&mut self) -> io::Result<Moved> {
        std::future::poll_fn(|cx| self.poll_transfer(cx)).await
    }

    fn poll_transfer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let mut broken = None;
        if !self.outbox.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.outbox) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(length)) => {
                    tracing::trace!(name: "client sent", target: "stage", length);
                    self.written += length as u64;
                    self.flushed = false;
                    advance(&mut self.outbox, length);
                    return Poll::Ready(Ok(Moved::Out));
                }
                // Answers that came before it broke are still worth reading.
                Poll::Ready(Err(error)) => broken = Some(error),
                Poll::Pending => {}
            }
        } else if !self.flushed && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.flushed = true;
        }
        if self.inbox.is_empty() && self.inbox.capacity() > KEPT_BUFFER {
            self.inbox = BytesMut::new();
        }
        self.inbox.reserve(READ_AHEAD);
        let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.inbox);
        let length = match (read, broken) {
            (Poll::Ready(Ok(length)), None) => length,
            (Poll::Ready(Ok(length)), Some(_)) if length > 0 => length,
            (Poll::Ready(Err(error)), _) | (_, Some(error)) => return Poll::Ready(Err(error)),
            (Poll::Pending, None) => return Poll::Pending,
        };
        if length == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed it",
            )));
        }
        tracing::trace!(name: "client read", target: "stage", length);
        Poll::Ready(Ok(Moved::In))
    }

    /// Ends every outstanding request: what can be sent again goes back into the queue, which is
    /// every read, and every write of which the server cannot have got the last byte.
    fn settle(&mut self, queue: &Queue, reason: &Reason) {
        let cause = match reason {
            Reason::Lost(cause) => cause,
            Reason::Unused => "it was closed",
            Reason::ReadOnly => "the node stopped taking writes and did not answer in time",
            Reason::Recycled => "it was replaced, and the answer did not come in time",
        };
        for pending in self.tags.drain() {
            let Pending::Request { entry, ends_at } = pending else {
                continue;
            };
            if entry.is_write() && ends_at <= self.written {
                let lost = Failure::Lost {
                    address: self.address.clone(),
                    cause: cause.to_owned(),
                };
                queue.answer(entry, Err(lost));
            } else {
                queue.put_back(entry);
            }
        }
    }
}

/// A decision to leave: sends nothing more, and waits for the answers that somebody wants.
struct Leaving {
    reason: Reason,
    by: Instant,
}

impl Leaving {
    fn new(reason: Reason, options: &Options) -> Self {
        Self {
            reason,
            by: Instant::now() + options.request_timeout,
        }
    }
}

/// Whether answers that nobody wants hold more than half of the places in flight. The protocol has
/// no way to cancel a request other than to close the connection.
fn is_clogged(queue: &Queue, options: &Options) -> bool {
    let clogged = |class, limit: usize| queue.abandoned_count(class) > limit / 2;
    clogged(Class::Prompt, options.max_in_flight) || clogged(Class::Blocking, options.max_waits)
}

fn advance(buffer: &mut BytesMut, length: usize) {
    buffer.advance(length);
    if buffer.is_empty() && buffer.capacity() > KEPT_BUFFER {
        *buffer = BytesMut::new();
    }
}
