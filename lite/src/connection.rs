//! One connection: reads all that has arrived, does it under one lock, and sends all answers in one
//! write.
//!
//! Requests are applied in the order in which they arrive. Nothing here waits for the peer with
//! work in its hands: while more than `max_unsent` bytes are unsent, no request is read and no
//! answer that has become due is fetched, so a peer that does not read stops being served and
//! costs a bounded amount of memory. An idle connection holds no buffer at all. A request that is
//! sent in part has a time limit, and all of them together a bound in bytes.
//!
//! No lock is held for long: [`MAX_STEPS`](crate::hub::MAX_STEPS) bounds what is done under one,
//! and what would take longer (trying a glob on the past, making a state of the past) is done
//! without it. A write waits, and so does what was sent behind it, while a follower in the node's
//! own process has no [room](crate::feeds) for it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cairn_client::Revision;
use cairn_client::frame::HEADER_LEN;
use cairn_client::wire::{ErrCode, Request, Response, Verb};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, trace};

use crate::answer;
use crate::arriving::{Arriving, Share};
use crate::cursors::{Cursors, ListVerb};
use crate::express::Express;
use crate::following;
use crate::hub::{Hub, SharedHub};
use crate::input::{BadFrame, missing, next_request, peek_tag};
use crate::mode::Mode;
use crate::options::Options;
use crate::output::Output;
use crate::spare::Buffers;
use crate::store::event::Event;
use crate::store::pattern::Pattern;
use crate::store::tree::{Dir, Node};
use crate::store::walk::{Step, Walk};
use crate::throttle::Throttle;
use crate::verbs::{ListJob, PastJob, Reply, SearchJob, Session};

static CLOSED: Throttle = Throttle::new();

/// Bytes reserved for a read. A client rarely sends more at a time.
const READ_SIZE: usize = 64 << 10;

/// Requests done under one lock: enough to make the lock cheap, few enough that other
/// connections wait less than a millisecond for it.
const MAX_BATCH: usize = 256;

/// What a peer that has sent a part of a request may hold in any case.
const SMALL_INPUT: usize = 4 << 10;

/// Names looked at in a listing before other tasks get their turn.
const LIST_BUDGET: usize = 10_000;

/// Room in a frame for everything but the value.
const FRAME_OVERHEAD: usize = 64 << 10;

/// The node, as its connections see it.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    pub(crate) hub: Arc<SharedHub>,
    pub(crate) options: Arc<Options>,
    pub(crate) mode: watch::Receiver<Mode>,
    pub(crate) arriving: Arc<Arriving>,
}

pub(crate) struct Connection {
    stream: Arc<TcpStream>,
    express: Arc<Express>,
    node: NodeHandle,
    session: Session,
    wake: Arc<Notify>,
    input: BytesMut,
    /// Read, but not done yet. At most [`MAX_BATCH`].
    requests: VecDeque<Request>,
    /// Done, but not encoded yet: their values are shared with the store.
    replies: VecDeque<Reply>,
    /// A WAIT to be tried on events of the past; it is the first of the requests.
    search: Option<Box<SearchJob>>,
    /// The state of the past that was made last.
    made: Option<(Revision, Dir)>,
    cursors: Cursors,
    output: Output,
    /// The memory of what is sent in part.
    arriving: Share,
    /// When the peer began to send the request that is not complete.
    begun: Option<Instant>,
    /// Whether a write waits until followers have room.
    held: bool,
    generation: u64,
    /// Whether answers may have become due.
    woken: bool,
    /// Whether all has been read that ever will be.
    ended: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, mut node: NodeHandle) -> Self {
        let wake = Arc::new(Notify::new());
        let stream = Arc::new(stream);
        let express = Arc::new(Express::new(Arc::clone(&stream)));
        let way = (Arc::clone(&wake), Arc::clone(&express));
        let id = node.hub.with(|hub| hub.open_session(way.0, way.1));
        let session = Session::new(id, &node.options);
        let generation = node.mode.borrow_and_update().generation;
        let arriving = Share::of(&node.arriving);
        Self {
            stream,
            express,
            node,
            session,
            wake,
            input: BytesMut::new(),
            requests: VecDeque::new(),
            replies: VecDeque::new(),
            search: None,
            made: None,
            cursors: Cursors::default(),
            output: Output::default(),
            arriving,
            begun: None,
            held: false,
            generation,
            woken: false,
            ended: false,
        }
    }

    /// Serves until the peer is gone or the node closes the connection.
    pub(crate) async fn serve(mut self) -> io::Result<()> {
        loop {
            let mode = self.node.mode.borrow_and_update().clone();
            if mode.generation != self.generation {
                return Ok(());
            }
            if !mode.paused {
                self.work(&mode).await;
            }
            self.output.flush(&self.stream)?;
            let more = self.has_work() && !self.is_full() && !mode.paused;
            if more {
                // Others get their turn, even if this peer sends without a pause.
                tokio::task::yield_now().await;
                continue;
            }
            if self.ended && self.output.is_empty() && !self.has_work() && !self.held {
                return Ok(());
            }
            if mode.is_plain() && self.output.is_empty() {
                self.express.open();
            }
            let waited = self.wait(&mode).await;
            self.output.put_first(self.express.shut());
            waited?;
        }
    }

    fn is_full(&self) -> bool {
        self.output.len() >= self.node.options.max_unsent
    }

    /// Whether there is something to do without reading more.
    fn has_work(&self) -> bool {
        self.woken || !self.replies.is_empty() || (!self.requests.is_empty() && !self.held)
    }

    /// Decodes, does and encodes as much as there is room for.
    async fn work(&mut self, mode: &Mode) {
        loop {
            self.encode(mode).await;
            if self.is_full() {
                return;
            }
            self.decode(mode);
            if !self.woken && (self.requests.is_empty() || self.held) {
                return;
            }
            self.apply(mode.readonly);
            if let Some(job) = self.search.take() {
                self.session.search(&job);
                // Others get the lock, and their turn.
                tokio::task::yield_now().await;
            }
        }
    }

    fn decode(&mut self, mode: &Mode) {
        while self.requests.len() < MAX_BATCH && !self.input.is_empty() {
            match next_request(
                &mut self.input,
                self.node.options.max_value + FRAME_OVERHEAD,
            ) {
                Ok(Some(request)) => {
                    self.begun = None;
                    self.requests.push_back(request);
                }
                Ok(None) => break,
                Err(bad) => {
                    self.reject(bad, mode);
                    break;
                }
            }
        }
    }

    /// Says what is wrong with a frame and reads no further.
    fn reject(&mut self, BadFrame { tag, detail }: BadFrame, mode: &Mode) {
        if let Some(closed) = CLOSED.due(std::time::Instant::now()) {
            info!(peer = ?self.stream.peer_addr().ok(), closed, %detail, "closing the connection");
        }
        self.input.clear();
        self.ended = true;
        if !mode.silent {
            let response = answer::other(tag, detail);
            self.output.push(&response, mode.delay);
        }
    }

    /// Does what has been asked and fetches what has become due, under one lock.
    fn apply(&mut self, readonly: bool) {
        let room = self.node.options.max_unsent;
        let hub = Arc::clone(&self.node.hub);
        hub.with(|hub| {
            for tag in hub.sent(self.session.id) {
                self.session.answered(tag);
            }
            // Due answers go first, so that a peer that never stops asking gets them.
            let mut taken = self.collect_due(hub, 0);
            let mut batch = 0;
            self.held = false;
            while taken < room
                && batch < MAX_BATCH
                && !hub.is_spent()
                && let Some(request) = self.requests.pop_front()
            {
                if is_write(&request) && !hub.feeds.have_room(&hub.store) {
                    self.held = true;
                    self.requests.push_front(request);
                    hub.feeds.held.push(Arc::clone(&self.wake));
                    break;
                }
                hub.steps += 1;
                let reply = self
                    .session
                    .answer(hub, request, &self.node.options, readonly);
                if let Reply::Search(request, job) = reply {
                    self.requests.push_front(request);
                    self.search = Some(job);
                    break;
                }
                taken += size(&reply);
                batch += 1;
                self.replies.push_back(reply);
            }
            // The answers that these requests have made due on this connection.
            hub.deliver();
            self.collect_due(hub, taken);
        });
        trace!(name: "node applied", target: "stage", replies = self.replies.len());
    }

    /// Fetches answers that have become due while there is room; returns what is taken then.
    fn collect_due(&mut self, hub: &mut Hub, mut taken: usize) -> usize {
        self.woken = true;
        let mut batch = 0;
        while taken < self.node.options.max_unsent && batch < MAX_BATCH {
            let Some(due) = hub.next_due(self.session.id) else {
                self.woken = false;
                break;
            };
            let reply = self.session.give(hub, due);
            taken += size(&reply);
            batch += 1;
            self.replies.push_back(reply);
        }
        taken
    }

    async fn encode(&mut self, mode: &Mode) {
        while !self.is_full()
            && let Some(reply) = self.replies.pop_front()
        {
            let response = match reply {
                Reply::Now(response) => response,
                Reply::Events(tag, events) => following::answer(tag, &events),
                Reply::Later | Reply::Search(..) => continue,
                Reply::List(job) => list(*job, &mut self.cursors).await,
                Reply::Past(job) => match self.read_past(*job).await {
                    Reply::Now(response) => response,
                    Reply::List(job) => list(*job, &mut self.cursors).await,
                    _ => continue,
                },
            };
            if !mode.silent {
                self.output.push(&response, mode.delay);
            }
        }
        self.made = None;
    }

    /// Makes the state that a read asks for, and reads it.
    async fn read_past(&mut self, job: PastJob) -> Reply {
        let PastJob { request, at, past } = job;
        let state = match &self.made {
            Some((made_at, state)) if *made_at == at => state.clone(),
            _ => {
                let state = past.make();
                let shared = state.clone();
                self.node.hub.with(|hub| hub.store.remember(at, shared));
                self.made = Some((at, state.clone()));
                tokio::task::yield_now().await;
                state
            }
        };
        self.session.read_state(&state, at, request)
    }

    async fn wait(&mut self, mode: &Mode) -> io::Result<()> {
        let may_work = !mode.paused && !self.is_full();
        // What is read while a write is held back would only wait behind it.
        let may_read = may_work && !self.ended && !self.held;
        if may_read && self.input.is_empty() {
            // Nothing under way: a connection that only waits takes no buffers.
            let buffers = Buffers {
                input: std::mem::take(&mut self.input),
                requests: std::mem::take(&mut self.requests),
                replies: std::mem::take(&mut self.replies),
            };
            buffers.give_back();
            self.session.rest();
        }
        let overdue = self.arrive_by(may_read);
        if may_read && !self.arriving.take(self.input.capacity()) {
            let limit = self.node.options.max_arriving;
            let detail = format!(
                "requests that are sent in part take too much memory on this node (limit {limit} \
                 bytes): try again later"
            );
            self.reject_incomplete(detail, mode);
            return Ok(());
        }
        let release = self.output.next_instant();
        tokio::select! {
            ready = self.stream.readable(), if may_read => {
                ready?;
                self.read()?;
            }
            ready = self.stream.writable(), if self.output.is_ready() => ready?,
            () = self.wake.notified(), if may_work => self.woken = true,
            () = sleep_until(release.unwrap_or_else(far_away)), if release.is_some() => {}
            () = sleep_until(overdue.unwrap_or_else(far_away)), if overdue.is_some() => {
                let within = self.node.options.request_time;
                self.reject_incomplete(format!("no complete request within {within:?}"), mode);
            }
            changed = self.node.mode.changed() => if changed.is_err() {
                // The node is gone.
                return Err(io::ErrorKind::ConnectionAborted.into());
            },
        }
        Ok(())
    }

    /// Until when the request that is sent in part must be complete. Its time begins with its first
    /// byte, and passes only while it is read.
    fn arrive_by(&mut self, may_read: bool) -> Option<Instant> {
        if !may_read || self.input.is_empty() {
            self.begun = None;
            return None;
        }
        if self.input.capacity() > 2 * self.input.len() + SMALL_INPUT {
            // A peer that sends little and waits holds little.
            self.input = BytesMut::from(&self.input[..]);
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        Some(begun + self.node.options.request_time)
    }

    /// Gives up on a request of which only a part has come.
    fn reject_incomplete(&mut self, detail: String, mode: &Mode) {
        let tag = self.input.get(HEADER_LEN..).and_then(peek_tag);
        self.reject(BadFrame { tag, detail }, mode);
    }

    /// Takes what has arrived, without waiting.
    fn read(&mut self) -> io::Result<()> {
        if self.input.capacity() == 0 && self.requests.is_empty() && self.replies.is_empty() {
            let buffers = Buffers::take();
            self.input = buffers.input;
            self.requests = buffers.requests;
            self.replies = buffers.replies;
        }
        loop {
            // A frame's memory grows with what arrives of it, not with what it announces.
            let room =
                missing(&self.input).map_or(READ_SIZE, |missing| missing.clamp(1, READ_SIZE));
            self.input.reserve(room.max(READ_SIZE / 4));
            let taken = self.stream.try_read_buf(&mut self.input);
            trace!(name: "node read", target: "stage", ?taken);
            match taken {
                Ok(0) => self.ended = true,
                Ok(_) if missing(&self.input).is_none_or(|missing| missing > 0) => continue,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Self { node, session, .. } = self;
        node.hub.close_session(session.id, session.waiting());
        debug!(peer = ?self.stream.peer_addr().ok(), "connection closed");
    }
}

/// Whether it becomes an event.
fn is_write(request: &Request) -> bool {
    let verb = request.verb.and_then(|verb| Verb::try_from(verb).ok());
    matches!(verb, Some(Verb::Set | Verb::Del | Verb::Nop))
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}

/// The bytes that a reply takes when encoded, about.
fn size(reply: &Reply) -> usize {
    match reply {
        Reply::Now(response) => response.encoded_len(),
        Reply::Events(_, events) => following::size(events),
        // Its value is not known yet; a batch of them is bounded by its number.
        Reply::List(_) | Reply::Past(_) => 4 << 10,
        Reply::Later | Reply::Search(..) => 0,
    }
}

/// Finds one entry of a listing, going on from the entry before where that is known.
async fn list(job: ListJob, cursors: &mut Cursors) -> Response {
    let ListJob {
        tag,
        state,
        listing,
        pattern,
        offset,
    } = job;
    let (skip, after) = cursors.take(&listing, offset);
    let entry = match (listing.verb, &pattern) {
        (ListVerb::Walk, Some(pattern)) => walk(&state, pattern, after.as_deref(), skip)
            .await
            .map(|event| (answer::entry(tag, &event), Arc::clone(&event.path))),
        _ => {
            let dir = match state.find(&listing.what) {
                Some(Node::Dir(dir)) => dir,
                _ => &state,
            };
            dir.names(after.as_deref())
                .nth(skip)
                .map(|name| (answer::name(tag, name), Arc::from(name.as_str())))
        }
    };
    match entry {
        Some((response, name)) => {
            cursors.keep(listing, offset, name);
            response
        }
        None => answer::error(tag, ErrCode::Range),
    }
}

async fn walk(
    state: &Dir,
    pattern: &Pattern,
    after: Option<&str>,
    mut skip: usize,
) -> Option<Arc<Event>> {
    let mut walk = Walk::new(state, pattern, after);
    loop {
        match walk.step(skip, LIST_BUDGET) {
            Step::At(event) => return Some(Arc::clone(event)),
            Step::End => return None,
            Step::Unfinished(left) => skip = left,
        }
        tokio::task::yield_now().await;
    }
}
