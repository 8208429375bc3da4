//! FOLLOW: all events from a revision on, many to an answer. An extension, for followers that
//! would otherwise ask for every revision.
//!
//! The answer has the newest of its revisions, and as its value one frame after the other, each
//! with what a WAIT for that very revision would have answered, but without a tag. There is at
//! least one event in it. Under the lock events are shared; they are encoded without it.

use std::sync::Arc;

use bytes::BytesMut;
use cairn_client::wire::Response;
use cairn_client::{Revision, frame};

use crate::answer;
use crate::hub::Hub;
use crate::store::event::Event;

/// Events in one answer.
const MOST_EVENTS: usize = 512;

/// Bytes of paths and values after which an answer takes no further event.
const MOST_BYTES: u64 = 256 << 10;

/// The events from a revision on that fit into one answer. There is one if the revision has
/// happened; `None` if it is discarded.
pub(crate) fn events(hub: &mut Hub, from: Revision) -> Option<Vec<Arc<Event>>> {
    if from < hub.store.oldest() {
        return None;
    }
    let mut bytes = 0;
    let some = hub.store.events_from(from).take_while(|event| {
        let more = bytes < MOST_BYTES;
        bytes += event.bytes();
        more
    });
    let events: Vec<Arc<Event>> = some.take(MOST_EVENTS).cloned().collect();
    hub.steps += events.len();
    Some(events)
}

/// The answer that has them.
pub(crate) fn answer(tag: Option<i32>, events: &[Arc<Event>]) -> Response {
    let mut value = BytesMut::new();
    for event in events {
        frame::encode(&answer::event(None, event), usize::MAX, &mut value)
            .expect("an event is a value and a path, far below 4 GiB");
    }
    Response {
        rev: events.last().map(|event| event.revision.0),
        value: Some(value.freeze()),
        ..answer::done(tag)
    }
}

/// The bytes of the answer, about.
pub(crate) fn size(events: &[Arc<Event>]) -> usize {
    const EACH: usize = 32;
    let each = events
        .iter()
        .map(|event| event.path.len() + event.value.len() + EACH);
    each.sum()
}
