//! The state that all connections share: the store, the waiters, and for each connection the
//! answers that have become due. One lock guards it all.
//!
//! An answer that becomes due is kept as a revision, not as a message: 40 bytes for a client that
//! does not read, however large the value is. The event is looked up when there is room to send it,
//! and if it has been discarded by then, the answer is that it is too late.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::wire::Request;
use prost::Message as _;
use tokio::sync::Notify;

use crate::store::Store;
use crate::store::event::Event;
use crate::store::pattern::Pattern;
use crate::waiters::{Handle, Waiters};

/// Names one connection among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u64);

/// The kind of answer that a waiting request gets.
#[derive(Debug)]
pub(crate) enum Want {
    /// The event itself: WAIT.
    Event,
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
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) name: Bytes,
    waiters: Waiters<Ticket>,
    waiting_bytes: usize,
    mailboxes: HashMap<SessionId, Mailbox>,
    next_session: u64,
    to_wake: Vec<Arc<Notify>>,
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
            to_wake: Vec::new(),
        }))
    }

    /// Runs `act` under the lock; afterwards, without the lock, wakes the connections that have
    /// answers due.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Hub) -> R) -> R {
        let (result, to_wake) = {
            let mut hub = self
                .0
                .lock()
                .expect("nothing panics while it changes the state");
            let result = act(&mut hub);
            (result, std::mem::take(&mut hub.to_wake))
        };
        for wake in to_wake {
            wake.notify_one();
        }
        result
    }
}

impl Hub {
    pub(crate) fn open_session(&mut self, wake: Arc<Notify>) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        self.mailboxes.insert(
            id,
            Mailbox {
                due: VecDeque::new(),
                wake,
                woken: false,
            },
        );
        id
    }

    pub(crate) fn close_session<'a>(
        &mut self,
        id: SessionId,
        waiting: impl Iterator<Item = &'a Handle>,
    ) {
        for handle in waiting {
            if let Some(ticket) = self.waiters.remove(handle) {
                self.waiting_bytes -= ticket.bytes;
            }
        }
        self.mailboxes.remove(&id);
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

    /// Makes the answers due that wait for this event.
    pub(crate) fn announce(&mut self, event: &Event) {
        let Self {
            waiters,
            waiting_bytes,
            mailboxes,
            to_wake,
            ..
        } = self;
        waiters.fire(event, |ticket| {
            let Ticket {
                session,
                tag,
                want,
                bytes,
            } = ticket;
            *waiting_bytes -= bytes;
            let Some(mailbox) = mailboxes.get_mut(&session) else {
                return;
            };
            mailbox.due.push_back(Due {
                tag,
                want,
                revision: event.revision,
            });
            if !mailbox.woken {
                mailbox.woken = true;
                to_wake.push(Arc::clone(&mailbox.wake));
            }
        });
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
        Want::Event => 0,
        Want::Read(request) => request.encoded_len(),
    };
    REQUEST + NAME * pattern.parts().len() + COPIES * pattern.as_str().len() + read
}
