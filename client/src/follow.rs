//! A stream of all events, many to an answer: for servers that offer it.
//!
//! A [`Watch`](crate::Watch) asks for each revision. `doozer-lite` and the embedded node also know
//! FOLLOW(n): all events from n on, as many as there are and fit, or the next one as soon as it is
//! there. One request is in flight, so it costs one answer for all that has happened meanwhile.
//!
//! The verb is an extension. A real node answers that it does not know it; ask it only after the
//! server has said who it is.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::Stream;
use prost::Message as _;

use crate::answer::{self, Event, broken};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::frame::HEADER_LEN;
use crate::queue::Call;
use crate::revision::Revision;
use crate::wire::{Response, Verb};

/// All events at or after a revision, from [`Client::follow`](crate::Client::follow).
///
/// It ends after its first error, as a [`Watch`](crate::Watch) does. It keeps one answer in memory,
/// which the server bounds, and asks for the next one meanwhile. Values of one answer share its
/// memory: who keeps a value keeps the answer.
pub struct Follow {
    caller: Caller,
    /// The history that the revisions are of.
    history: u64,
    /// The first revision that was not answered.
    next: Revision,
    call: Option<Call>,
    events: std::vec::IntoIter<Event>,
    ended: bool,
}

impl Follow {
    pub(crate) fn new(caller: Caller, from: Revision) -> Self {
        Self {
            history: caller.history(),
            caller,
            next: from.max(Revision(1)),
            call: None,
            events: Vec::new().into_iter(),
            ended: false,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        loop {
            if self.call.is_none() {
                self.call = Some(self.caller.submit_follow(self.history, self.next)?);
            }
            if let Some(event) = self.events.next() {
                return Poll::Ready(Ok(event));
            }
            let call = self.call.as_mut().expect("it was just made");
            let outcome = std::task::ready!(Pin::new(call).poll(cx));
            self.call = None;
            let response = self.caller.understand(Verb::Follow, "", outcome)?;
            self.events = self.take(response)?.into_iter();
        }
    }

    /// Takes an answer apart: frames of WAIT's answers, for the next revisions without a gap.
    fn take(&mut self, response: Response) -> Result<Vec<Event>> {
        let mut frames = response.value.unwrap_or_default();
        let mut events = Vec::new();
        while !frames.is_empty() {
            let frame = split_frame(&mut frames).map_err(|detail| wrong(detail.to_owned()))?;
            let one = Response::decode(frame).map_err(|error| wrong(error.to_string()))?;
            let event = answer::event(Verb::Follow, "", one)?;
            if event.revision != self.next {
                let (next, got) = (self.next, event.revision);
                return Err(wrong(format!("revision {next} is due, it answered {got}")));
            }
            self.next = event.revision.next();
            events.push(event);
        }
        if events.is_empty() {
            return Err(wrong("the answer has no event".to_owned()));
        }
        Ok(events)
    }
}

fn split_frame(frames: &mut Bytes) -> Result<Bytes, &'static str> {
    let cut = "the answer ends within an event";
    if frames.len() < HEADER_LEN {
        return Err(cut);
    }
    let length = usize::try_from(frames.get_u32()).unwrap_or(usize::MAX);
    if length > frames.len() {
        return Err(cut);
    }
    Ok(frames.split_to(length))
}

fn wrong(detail: String) -> Error {
    broken(Verb::Follow, "", detail)
}

impl Stream for Follow {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.poll_event(cx));
        if item.is_err() {
            self.ended = true;
            self.call = None;
        }
        Poll::Ready(Some(item))
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
