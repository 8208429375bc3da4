//! A stream of events: ordered, without gaps or repetitions, across lost connections.
//!
//! WAIT(glob, n) answers the first matching event at or after n. A watch asks for a window of
//! consecutive revisions at once, and takes the answers in that order. If every revision matches,
//! as they do for `/**`, each answer is a new event, and events arrive at the speed of the wire.
//! Otherwise several WAITs answer the same event: with n the next revision and e the event's, all
//! of n..=e do. So e settles all of them, e + 1 is the next revision, and the window shrinks, for
//! rare events down to one, where each costs one answer and one round trip.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::answer::{self, Event, broken};
use crate::caller::Caller;
use crate::error::{Error, ErrorCode, Result};
use crate::glob::Glob;
use crate::queue::Call;
use crate::revision::Revision;
use crate::wire::Verb;

/// How many WAITs are in flight before the first answer.
const FIRST_WINDOW: usize = 64;

/// All events at or after a revision whose path matches, from
/// [`Client::watch`](crate::Client::watch).
///
/// It waits as long as it takes for the next one, also while there is no connection, and ends
/// only after an error: with [`Error::is_too_late`], the server has discarded events that were
/// not delivered yet, from [`Watch::next_revision`] on; with [`Error::WentBack`], the nodes that
/// can be reached have a lower revision than was seen: they are of a cluster that was reset, and
/// count anew. [`Client::require`](crate::Client::require) tells such a cluster also by what is in
/// it. A watch keeps at most [`Options::watch_window`](crate::Options::watch_window) events in
/// memory, fewer where they are
/// large ([`Options::watch_bytes`](crate::Options::watch_bytes)), and stops asking when it is not
/// polled.
pub struct Watch {
    caller: Caller,
    /// The history that the revisions are of.
    history: u64,
    glob: String,
    /// Whether every revision must have its event.
    complete: bool,
    /// All events before it are delivered.
    next: Revision,
    /// The revision after the last one that was asked for.
    ask: Revision,
    window: usize,
    window_max: usize,
    /// The size of the largest event of late, and what all in the window may have.
    largest: usize,
    bytes_max: usize,
    calls: VecDeque<(Revision, Call)>,
    invalid: Option<Error>,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(caller: Caller, glob: &str, from: Revision) -> Self {
        let parsed = Glob::parse(glob);
        let complete = parsed.as_ref().is_ok_and(Glob::matches_everything);
        let window_max = caller.options().watch_window.max(1);
        let bytes_max = caller.options().watch_bytes;
        // The first revision is 1; a server takes anything before it for that.
        let from = from.max(Revision(1));
        Self {
            history: caller.history(),
            caller,
            glob: glob.to_owned(),
            complete,
            next: from,
            ask: from,
            // Until the first answers tell how large events are.
            window: if complete {
                window_max.min(FIRST_WINDOW)
            } else {
                1
            },
            window_max,
            largest: 0,
            bytes_max,
            calls: VecDeque::new(),
            invalid: parsed.err().map(Error::from),
            ended: false,
        }
    }

    /// The first revision whose event, if it matches, was not delivered yet: where to go on
    /// after an error, or in another watch.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.next
    }

    /// How many WAITs may be in flight.
    fn room(&self) -> usize {
        let affordable = self.bytes_max / self.largest.max(1);
        self.window.min(affordable).max(1)
    }

    /// Asks for what the window lacks.
    fn ask(&mut self) -> Result<()> {
        while self.calls.len() < self.room() {
            let call = self
                .caller
                .submit_wait(self.history, &self.glob, self.ask)?;
            self.calls.push_back((self.ask, call));
            self.ask = self.ask.next();
        }
        Ok(())
    }

    /// Takes note of an event that answers `asked`, the next revision.
    fn accept(&mut self, asked: Revision, event: &Event) -> Result<()> {
        if event.revision < asked || (self.complete && event.revision != asked) {
            let revision = event.revision;
            let detail = format!("asked for revision {asked}, it answered {revision}");
            return Err(broken(Verb::Wait, &self.glob, detail));
        }
        let size = event.path.len() + event.value.len();
        // Forgotten after a while: one large event does not slow a watch down for ever.
        self.largest = size.max(self.largest - self.largest / 64);
        self.next = event.revision.next();
        self.ask = self.ask.max(self.next);
        while self
            .calls
            .front()
            .is_some_and(|(asked, _)| *asked < self.next)
        {
            self.calls.pop_front();
        }
        // Grow while the events come one after the other, hold when one revision in two matches,
        // and shrink when most answers of the window would be repetitions.
        self.window = match event.revision.0 - asked.0 {
            0 => (self.window * 2).min(self.window_max),
            1 => self.window,
            _ => (self.window / 2).max(1),
        };
        Ok(())
    }

    fn explain(&self, error: Error) -> Error {
        match error {
            Error::Server {
                verb,
                path,
                code: code @ ErrorCode::TooLate,
                detail,
            } => {
                let separator = if detail.is_empty() { "" } else { "; " };
                let next = self.next;
                Error::Server {
                    verb,
                    path,
                    code,
                    detail: format!(
                        "{detail}{separator}everything before revision {next} was delivered"
                    ),
                }
            }
            error => error,
        }
    }
}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let asked = match this.invalid.take() {
            Some(error) => Err(error),
            None => this.ask(),
        };
        let item = match asked {
            Err(error) => Err(error),
            Ok(()) => {
                let (asked, call) = this.calls.front_mut().expect("a window is never empty");
                let asked = *asked;
                let Poll::Ready(outcome) = Pin::new(call).poll(cx) else {
                    return Poll::Pending;
                };
                this.calls.pop_front();
                let answered = this.caller.understand(Verb::Wait, &this.glob, outcome);
                answered
                    .and_then(|response| answer::event(Verb::Wait, &this.glob, response))
                    .and_then(|event| this.accept(asked, &event).map(|()| event))
            }
        };
        if item.is_err() {
            this.ended = true;
            this.calls.clear();
        }
        Poll::Ready(Some(item.map_err(|error| this.explain(error))))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("glob", &self.glob)
            .field("next", &self.next)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
