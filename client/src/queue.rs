//! Requests on their way to the wire.
//!
//! A request enters the queue when its future is first polled and leaves it in that order, also
//! across reconnects: a request that has to be sent again returns to its old place. The queue
//! holds no more requests than there are futures waiting for them, because a future that is
//! dropped takes its request out again; so it needs no bound of its own.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};

use crate::error::is_write;
use crate::revision::Revision;
use crate::wire::{Request, Response, Verb};

/// Whether the server answers at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It does, or the deadline ends it.
    Prompt,
    /// It answers when a revision comes, which may be never.
    Blocking,
}

/// Why a request ended without an answer. The caller knows the verb and path to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection ended after the request was on the wire.
    Lost { address: String, cause: String },
    /// The connections now lead to another cluster.
    Changed(Changed),
    /// The node's revisions have gone back; what the request asks for is of a history that is gone.
    WentBack(WentBack),
    /// The client is gone, and the request had not been sent.
    Closed,
}

/// A node whose newest revision is lower than one that the client has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WentBack {
    pub(crate) address: String,
    pub(crate) newest: Revision,
    pub(crate) seen: Revision,
}

/// A required file that holds another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) path: String,
    pub(crate) expected: String,
    pub(crate) found: Option<String>,
}

pub(crate) type Outcome = std::result::Result<Response, Failure>;

/// One request, from its future's first poll to its answer.
pub(crate) struct Entry {
    place: u64,
    pub(crate) class: Class,
    pub(crate) verb: Verb,
    pub(crate) request: Request,
    /// Bytes that it takes on the wire, without its tag.
    length: usize,
    /// Nodes that have refused it because they do not take writes.
    pub(crate) refusals: usize,
    reply: oneshot::Sender<Outcome>,
}

impl Entry {
    pub(crate) fn is_write(&self) -> bool {
        is_write(self.verb)
    }
}

/// Requests of one class, in the order of their places. Nearly all come at the end and leave at the
/// front; one that is cancelled or sent again is looked for.
#[derive(Default)]
struct Line(VecDeque<Entry>);

impl Line {
    fn first(&self) -> Option<u64> {
        self.0.front().map(|entry| entry.place)
    }

    fn insert(&mut self, entry: Entry) {
        let at = self.0.partition_point(|other| other.place < entry.place);
        self.0.insert(at, entry);
    }

    fn remove(&mut self, place: u64) -> Option<Entry> {
        let at = self.0.binary_search_by_key(&place, |entry| entry.place);
        self.0.remove(at.ok()?)
    }
}

#[derive(Default)]
struct Waiting {
    prompt: Line,
    blocking: Line,
    next_place: u64,
    /// How often revisions have gone back, and how they did the last time.
    histories: u64,
    went_back: Option<WentBack>,
    /// Set once: nothing will be sent any more, and why.
    end: Option<Failure>,
}

impl Waiting {
    fn of(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Prompt => &mut self.prompt,
            Class::Blocking => &mut self.blocking,
        }
    }
}

/// The requests of each class that the connection may still take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) prompt: usize,
    pub(crate) blocking: usize,
    /// And how many bytes of requests may be taken; the last request may exceed it.
    pub(crate) bytes: usize,
}

/// The queue between all callers and the one task that owns the connection.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Unanswered requests on the wire that nobody waits for any more. They dip below zero for
    /// the moment in which an answer meets a future that is being dropped.
    abandoned_prompt: AtomicI64,
    abandoned_blocking: AtomicI64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("nothing panics while it holds the queue")
    }

    /// The number of the history that revisions are counted in now.
    pub(crate) fn history(&self) -> u64 {
        self.lock().histories
    }

    /// Puts a request at the end of the queue. `history`: the one that its revision is of; it fails
    /// if that is gone. `length`: its bytes on the wire, without its tag.
    pub(crate) fn submit_in(
        self: &Arc<Self>,
        history: Option<u64>,
        verb: Verb,
        request: Request,
        length: usize,
        class: Class,
    ) -> Call {
        let (reply, outcome) = oneshot::channel();
        let mut waiting = self.lock();
        let place = waiting.next_place;
        waiting.next_place += 1;
        let gone = history.is_some_and(|history| history != waiting.histories);
        let gone = waiting.went_back.clone().filter(|_| gone);
        if let Some(end) = waiting.end.clone().or(gone.map(Failure::WentBack)) {
            // The receiver is still in our hands.
            let _ = reply.send(Err(end));
        } else {
            let line = waiting.of(class);
            let was_empty = line.0.is_empty();
            let entry = Entry {
                place,
                class,
                verb,
                request,
                length,
                refusals: 0,
                reply,
            };
            line.0.push_back(entry);
            drop(waiting);
            // Otherwise the connection knows that there is more to take.
            if was_empty {
                self.changed.notify_one();
            }
        }
        Call {
            queue: Arc::clone(self),
            place,
            class,
            outcome: Some(outcome),
        }
    }

    /// Takes the next requests, oldest first, as far as there is room.
    pub(crate) fn take(&self, mut room: Room, taken: &mut Vec<Entry>) {
        let mut waiting = self.lock();
        while room.bytes > 0 {
            let prompt = waiting.prompt.first().filter(|_| room.prompt > 0);
            let blocking = waiting.blocking.first().filter(|_| room.blocking > 0);
            let class = match (prompt, blocking) {
                (None, None) => return,
                (Some(prompt), Some(blocking)) if blocking < prompt => Class::Blocking,
                (Some(_), _) => Class::Prompt,
                (None, Some(_)) => Class::Blocking,
            };
            match class {
                Class::Prompt => room.prompt -= 1,
                Class::Blocking => room.blocking -= 1,
            }
            if let Some(entry) = waiting.of(class).0.pop_front() {
                room.bytes = room.bytes.saturating_sub(entry.length);
                taken.push(entry);
            }
        }
    }

    /// Returns a request to its place, to be sent again.
    pub(crate) fn put_back(&self, entry: Entry) {
        let mut waiting = self.lock();
        if entry.reply.is_closed() {
            self.abandoned(entry.class).fetch_sub(1, Ordering::Relaxed);
        } else if let Some(end) = waiting.end.clone() {
            drop(waiting);
            self.answer(entry, Err(end));
        } else {
            waiting.of(entry.class).insert(entry);
        }
    }

    /// Hands an outcome to the future that waits for it.
    pub(crate) fn answer(&self, entry: Entry, outcome: Outcome) {
        if entry.reply.send(outcome).is_err() {
            self.abandoned(entry.class).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the queue: all waiting and all later requests fail.
    pub(crate) fn end(&self, failure: &Failure) {
        let mut waiting = self.lock();
        waiting.end.get_or_insert_with(|| failure.clone());
        let prompt = std::mem::take(&mut waiting.prompt);
        let blocking = std::mem::take(&mut waiting.blocking);
        drop(waiting);
        for entry in prompt.0.into_iter().chain(blocking.0) {
            self.answer(entry, Err(failure.clone()));
        }
        self.changed.notify_one();
    }

    /// Revisions have gone back: all requests that wait for one fail.
    pub(crate) fn went_back(&self, went_back: WentBack) {
        let mut waiting = self.lock();
        waiting.histories += 1;
        waiting.went_back = Some(went_back.clone());
        let blocking = std::mem::take(&mut waiting.blocking);
        drop(waiting);
        for entry in blocking.0 {
            self.answer(entry, Err(Failure::WentBack(went_back.clone())));
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Returns when there may be something to take, or the queue has ended. For one waiter.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Requests on the wire that nobody waits for.
    pub(crate) fn abandoned_count(&self, class: Class) -> usize {
        let count = self.abandoned(class).load(Ordering::Relaxed);
        usize::try_from(count).unwrap_or(0)
    }

    fn abandoned(&self, class: Class) -> &AtomicI64 {
        match class {
            Class::Prompt => &self.abandoned_prompt,
            Class::Blocking => &self.abandoned_blocking,
        }
    }

    fn remove(&self, class: Class, place: u64) -> bool {
        self.lock().of(class).remove(place).is_some()
    }
}

/// The outcome of a submitted request. Dropping it cancels: a request that was not sent yet never
/// will be; the answer to one that was is thrown away when it comes.
pub(crate) struct Call {
    queue: Arc<Queue>,
    place: u64,
    class: Class,
    outcome: Option<oneshot::Receiver<Outcome>>,
}

/// Whether a cancelled request had been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It was never sent and will not be.
    Unsent,
    /// It may be on the wire.
    Sent,
}

impl Call {
    /// Gives up.
    pub(crate) fn cancel(mut self) -> Cancelled {
        self.give_up()
    }

    fn give_up(&mut self) -> Cancelled {
        let Some(mut outcome) = self.outcome.take() else {
            return Cancelled::Sent;
        };
        // First close, then look: so the other side either has sent before, or learns that
        // nobody listens. Exactly the latter is what the count of the abandoned stands for.
        outcome.close();
        if outcome.try_recv().is_ok() {
            return Cancelled::Sent;
        }
        if self.queue.remove(self.class, self.place) {
            return Cancelled::Unsent;
        }
        let abandoned = self.queue.abandoned(self.class);
        abandoned.fetch_add(1, Ordering::Relaxed);
        Cancelled::Sent
    }
}

impl Future for Call {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = self
            .outcome
            .as_mut()
            .expect("a call is not polled after its outcome");
        let Poll::Ready(received) = Pin::new(outcome).poll(cx) else {
            return Poll::Pending;
        };
        self.outcome = None;
        // Only a runtime that goes down drops requests without a word.
        Poll::Ready(received.unwrap_or(Err(Failure::Closed)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Room = Room {
        prompt: 100,
        blocking: 100,
        bytes: 1_000,
    };

    fn submit(queue: &Arc<Queue>, class: Class) -> Call {
        let verb = match class {
            Class::Prompt => Verb::Rev,
            Class::Blocking => Verb::Wait,
        };
        queue.submit_in(None, verb, Request::default(), 0, class)
    }

    fn take(queue: &Queue, room: Room) -> Vec<Entry> {
        let mut taken = Vec::new();
        queue.take(room, &mut taken);
        taken
    }

    fn places(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.place).collect()
    }

    #[test]
    fn classes_keep_one_order_and_do_not_block_each_other() {
        let queue = Arc::new(Queue::default());
        let classes = [
            Class::Blocking,
            Class::Prompt,
            Class::Blocking,
            Class::Prompt,
        ];
        let _calls: Vec<Call> = classes.iter().map(|class| submit(&queue, *class)).collect();
        let room = Room {
            prompt: 100,
            blocking: 1,
            ..AMPLE
        };
        assert_eq!(places(&take(&queue, room)), [0, 1, 3]);
        assert_eq!(places(&take(&queue, AMPLE)), [2]);
    }

    #[test]
    fn a_request_that_is_sent_again_keeps_its_place() {
        let queue = Arc::new(Queue::default());
        let _calls: Vec<Call> = (0..3).map(|_| submit(&queue, Class::Prompt)).collect();
        let room = Room {
            prompt: 2,
            blocking: 0,
            ..AMPLE
        };
        for entry in take(&queue, room).into_iter().rev() {
            queue.put_back(entry);
        }
        assert_eq!(places(&take(&queue, AMPLE)), [0, 1, 2]);
    }

    #[test]
    fn a_dropped_call_leaves_the_queue_or_is_counted_until_its_answer() {
        let queue = Arc::new(Queue::default());
        assert_eq!(submit(&queue, Class::Prompt).cancel(), Cancelled::Unsent);
        assert!(take(&queue, AMPLE).is_empty());

        let call = submit(&queue, Class::Prompt);
        let sent = take(&queue, AMPLE).remove(0);
        assert_eq!(call.cancel(), Cancelled::Sent);
        assert_eq!(queue.abandoned_count(Class::Prompt), 1);
        queue.answer(sent, Ok(Response::default()));
        assert_eq!(queue.abandoned_count(Class::Prompt), 0);

        let call = submit(&queue, Class::Blocking);
        let sent = take(&queue, AMPLE).remove(0);
        drop(call);
        assert_eq!(queue.abandoned_count(Class::Blocking), 1);
        queue.put_back(sent);
        assert_eq!(queue.abandoned_count(Class::Blocking), 0);
        assert!(take(&queue, AMPLE).is_empty());
    }

    #[test]
    fn after_the_end_every_call_fails() {
        let queue = Arc::new(Queue::default());
        let before = submit(&queue, Class::Prompt);
        queue.end(&Failure::Closed);
        let after = submit(&queue, Class::Prompt);
        for call in [before, after] {
            assert_eq!(futures::executor::block_on(call), Err(Failure::Closed));
        }
    }
}
