//! The state that all connections share: the store, the waiters, and for each connection the
//! answers that have become due. One lock guards it all.
//!
//! An answer that becomes due is kept as a revision, not as a message: 40 bytes for a client that
//! does not read, however large the value is. The event is looked up when there is room to send it,
//! and if it has been discarded by then, the answer is that it is too late.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::wire::Request;
use prost::Message as _;
use tokio::sync::Notify;

use crate::answer;
use crate::express::{Express, MOST, MOST_BYTES};
use crate::feeds::Feeds;
use crate::store::Store;
use crate::store::event::Event;
use crate::store::pattern::Pattern;
use crate::waiters::{Handle, Queue, Waiters};

/// Answers that are made due, or requests that are forgotten, under one lock.
const AT_ONCE: usize = 512;

/// Names, events and requests that are looked at under one lock before no further request is
/// begun: a fraction of a millisecond. What has been begun takes at most about as many again.
pub(crate) const MAX_STEPS: usize = 1_024;

/// Names one connection among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u64);

/// The kind of answer that a waiting request gets.
#[derive(Debug)]
pub(crate) enum Want {
    /// The event itself: WAIT.
    Event,
    /// It, and all that have happened since: FOLLOW.
    Events,
    /// A read of the state at that revision: GET and its like at a revision of the future.
    Read(Box<Request>),
}

/// An answer that can be given now.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) tag: Option<i32>,
    pub(crate) want: Want,
    pub(crate) revision: Revision,
}

#[derive(Debug)]
struct Ticket {
    session: SessionId,
    tag: Option<i32>,
    want: Want,
    /// Its share of [`Hub::waiting_bytes`].
    bytes: usize,
}

#[derive(Debug)]
struct Mailbox {
    /// At most as long as the connection may have requests waiting.
    due: VecDeque<Due>,
    wake: Arc<Notify>,
    /// Whether `wake` has been called since the box was last found empty.
    woken: bool,
    express: Arc<Express>,
    /// Tags of answers that went the short way, at most as many as requests may wait.
    sent: Vec<Option<i32>>,
}

impl Mailbox {
    fn post(&mut self, due: Due, to_wake: &mut Vec<Arc<Notify>>) {
        self.due.push_back(due);
        if !self.woken {
            self.woken = true;
            to_wake.push(Arc::clone(&self.wake));
        }
    }
}

/// Answers of one connection that are to go the short way.
struct Letter {
    session: SessionId,
    express: Arc<Express>,
    wake: Arc<Notify>,
    answers: Vec<(Due, Arc<Event>)>,
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) name: Bytes,
    waiters: Waiters<Ticket>,
    waiting_bytes: usize,
    mailboxes: HashMap<SessionId, Mailbox>,
    next_session: u64,
    /// Requests whose event has come, and its revision; their answers are still to be made due.
    fired: VecDeque<(Revision, Queue<Ticket>)>,
    /// Those in the node's own process that follow it.
    pub(crate) feeds: Feeds,
    to_wake: Vec<Arc<Notify>>,
    feeds_to_wake: Vec<Waker>,
    /// Names, events and requests looked at since the lock was taken.
    pub(crate) steps: usize,
    /// The most that there ever were.
    most_steps: usize,
}

/// A [`Hub`] behind its lock.
#[derive(Debug)]
pub(crate) struct SharedHub(Mutex<Hub>);

impl SharedHub {
    pub(crate) fn new(store: Store, name: String) -> Self {
        Self(Mutex::new(Hub {
            store,
            name: name.into(),
            waiters: Waiters::default(),
            waiting_bytes: 0,
            mailboxes: HashMap::new(),
            next_session: 0,
            fired: VecDeque::new(),
            feeds: Feeds::default(),
            to_wake: Vec::new(),
            feeds_to_wake: Vec::new(),
            steps: 0,
            most_steps: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0
            .lock()
            .expect("nothing panics while it changes the state")
    }

    /// Runs `act` under the lock; afterwards, without the lock, wakes those who follow the node
    /// and the connections that have answers due. Many answers are made due a few at a time, so
    /// that no lock is held for long.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Hub) -> R) -> R {
        let mut hub = self.lock();
        let result = act(&mut hub);
        loop {
            let more = hub.deliver();
            hub.most_steps = hub.most_steps.max(hub.steps);
            hub.steps = 0;
            let feeds = std::mem::take(&mut hub.feeds_to_wake);
            let to_wake = std::mem::take(&mut hub.to_wake);
            drop(hub);
            feeds.into_iter().for_each(Waker::wake);
            to_wake.iter().for_each(|wake| wake.notify_one());
            if !more {
                return result;
            }
            hub = self.lock();
        }
    }

    /// Runs `act` under the lock as [`with`](Self::with) does. Where `may_send`, it sends the
    /// answers that this makes due the short way, if they are few.
    pub(crate) fn with_letters<R>(&self, may_send: bool, act: impl FnOnce(&mut Hub) -> R) -> R {
        let (result, letters) = self.with(|hub| {
            let result = act(hub);
            let letters = if may_send { hub.letters() } else { Vec::new() };
            (result, letters)
        });
        for letter in letters {
            let answers = letter.answers.iter();
            let answers = answers.map(|(due, event)| answer::event(due.tag, event));
            if !(letter.express).send(answers, || letter.wake.notify_one()) {
                self.with(|hub| hub.post(letter));
            }
        }
        result
    }

    /// Ends a session and forgets the requests that wait on it.
    pub(crate) fn close_session<'a>(
        &self,
        id: SessionId,
        waiting: impl Iterator<Item = &'a Handle>,
    ) {
        let waiting: Vec<&Handle> = waiting.collect();
        for some in waiting.chunks(AT_ONCE) {
            self.with(|hub| some.iter().for_each(|handle| hub.forget(handle)));
        }
        self.with(|hub| hub.mailboxes.remove(&id));
    }
}

impl Hub {
    pub(crate) fn open_session(&mut self, wake: Arc<Notify>, express: Arc<Express>) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.mailboxes.insert(
            id,
            Mailbox {
                due: VecDeque::new(),
                wake,
                woken: false,
                express,
                sent: Vec::new(),
            },
        );
        id
    }

    fn forget(&mut self, handle: &Handle) {
        if let Some(ticket) = self.waiters.remove(handle) {
            self.waiting_bytes -= ticket.bytes;
        }
    }

    /// Whether enough was done under this lock.
    pub(crate) fn is_spent(&self) -> bool {
        self.steps >= MAX_STEPS
    }

    pub(crate) fn most_steps(&self) -> usize {
        self.most_steps
    }

    /// Whether nobody may wait for another wildcard where this pattern has one.
    pub(crate) fn is_crowded(&self, pattern: &Pattern) -> bool {
        self.waiters.is_crowded(pattern)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.mailboxes.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// The memory of all waiting requests, by estimate.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    pub(crate) fn wait(
        &mut self,
        session: SessionId,
        tag: Option<i32>,
        want: Want,
        pattern: &Pattern,
        from: Revision,
    ) -> Handle {
        let bytes = cost(pattern, &want);
        self.waiting_bytes += bytes;
        let ticket = Ticket {
            session,
            tag,
            want,
            bytes,
        };
        self.waiters.add(pattern, from, ticket)
    }

    /// Has the requests answered that wait for this event, and those woken that follow the node.
    pub(crate) fn announce(&mut self, event: &Event) {
        let Self { waiters, fired, .. } = self;
        let tried = waiters.fire(event, |queue| fired.push_back((event.revision, queue)));
        self.steps += tried;
        self.wake_feeds();
    }

    /// Wakes those who follow the node: something has happened.
    pub(crate) fn wake_feeds(&mut self) {
        self.feeds.wake(&mut self.feeds_to_wake);
    }

    /// Wakes the connections whose writes were held back.
    pub(crate) fn let_go(&mut self) {
        if self.feeds.have_room(&self.store) {
            self.to_wake.append(&mut self.feeds.held);
        }
    }

    /// Takes the answers whose event has come, if all are short events and they are few.
    fn letters(&mut self) -> Vec<Letter> {
        let waiting = self.fired.iter().map(|(_, queue)| queue.len());
        if self.fired.is_empty() || waiting.sum::<usize>() > MOST {
            return Vec::new();
        }
        let is_short = |revision| {
            let event = self.store.event(revision);
            event.is_some_and(|event| event.bytes() <= MOST_BYTES)
        };
        let are_short = self.fired.iter().all(|(revision, queue)| {
            let mut tickets = queue.values();
            is_short(*revision) && tickets.all(|ticket| matches!(ticket.want, Want::Event))
        });
        if !are_short {
            return Vec::new();
        }
        let mut letters: Vec<Letter> = Vec::new();
        for (revision, queue) in std::mem::take(&mut self.fired) {
            for ticket in queue.into_values() {
                self.waiting_bytes -= ticket.bytes;
                let session = ticket.session;
                let (Some(mailbox), Some(event)) =
                    (self.mailboxes.get_mut(&session), self.store.event(revision))
                else {
                    // The connection is gone.
                    continue;
                };
                mailbox.sent.push(ticket.tag);
                let due = Due {
                    tag: ticket.tag,
                    want: ticket.want,
                    revision,
                };
                let answer = (due, Arc::clone(event));
                match letters.iter_mut().find(|letter| letter.session == session) {
                    Some(letter) => letter.answers.push(answer),
                    None => letters.push(Letter {
                        session,
                        express: Arc::clone(&mailbox.express),
                        wake: Arc::clone(&mailbox.wake),
                        answers: vec![answer],
                    }),
                }
            }
        }
        letters
    }

    /// Has a letter sent the usual way.
    fn post(&mut self, letter: Letter) {
        if let Some(mailbox) = self.mailboxes.get_mut(&letter.session) {
            for (due, _) in letter.answers {
                mailbox.post(due, &mut self.to_wake);
            }
        }
    }

    /// The tags of the answers that went the short way since the last call.
    pub(crate) fn sent(&mut self, session: SessionId) -> Vec<Option<i32>> {
        let mailbox = self.mailboxes.get_mut(&session);
        mailbox.map_or_else(Vec::new, |mailbox| std::mem::take(&mut mailbox.sent))
    }

    /// Makes some of the answers due whose event has come; whether there are more.
    pub(crate) fn deliver(&mut self) -> bool {
        let Self {
            fired,
            waiting_bytes,
            mailboxes,
            to_wake,
            steps,
            ..
        } = self;
        let mut left = AT_ONCE;
        while let Some((revision, queue)) = fired.front_mut() {
            while let Some((_, ticket)) = queue.pop_first() {
                let Ticket {
                    session,
                    tag,
                    want,
                    bytes,
                } = ticket;
                *waiting_bytes -= bytes;
                if let Some(mailbox) = mailboxes.get_mut(&session) {
                    let revision = *revision;
                    mailbox.post(
                        Due {
                            tag,
                            want,
                            revision,
                        },
                        to_wake,
                    );
                }
                left -= 1;
                *steps += 1;
                if left == 0 {
                    return true;
                }
            }
            fired.pop_front();
        }
        false
    }

    /// The next answer that is due on a connection.
    pub(crate) fn next_due(&mut self, session: SessionId) -> Option<Due> {
        let mailbox = self.mailboxes.get_mut(&session)?;
        let due = mailbox.due.pop_front();
        if due.is_none() {
            mailbox.woken = false;
            // A burst of answers must not be paid for as long as the connection lasts.
            mailbox.due = VecDeque::new();
        }
        due
    }
}

/// The memory of a waiting request, by estimate: at most what it takes if it shares no name with
/// another. Measured: about 1.3 KiB for a path of two names, 100 KiB for a glob of 256.
pub(crate) fn cost(pattern: &Pattern, want: &Want) -> usize {
    const REQUEST: usize = 256;
    const NAME: usize = 512;
    /// A glob is kept as text and as tokens, by the waiter, its place and its connection.
    const COPIES: usize = 8;
    let read = match want {
        Want::Event | Want::Events => 0,
        Want::Read(request) => request.encoded_len(),
    };
    REQUEST + NAME * pattern.parts().len() + COPIES * pattern.as_str().len() + read
}
