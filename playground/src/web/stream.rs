//! The event stream: the newest state, lines, and the ends of commands.
//!
//! A reader takes what is newest when it comes to it. One that is slow skips states, and misses
//! lines once it is more than the feed's bound behind; nothing is kept for it.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use tokio::sync::broadcast::error::RecvError;

use crate::told::feed::{Listener, Told};
use crate::web::answer::Refused;
use crate::web::shared::Shared;

/// How often a stream says that it lives.
const ALIVE: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = shared.streams.try_acquire_owned() else {
        let says = "too many pages are open: close some of them";
        return Refused::new(StatusCode::SERVICE_UNAVAILABLE, says).into_response();
    };
    let (shown, end) = (shared.shown, shared.end);
    let listener = shown.feed.listen();
    let mut states = shown.states.subscribe();
    states.mark_changed();
    let begin = (listener, states, end, place);
    let events = stream::unfold(begin, |(mut listener, mut states, end, place)| async move {
        let event = tokio::select! {
            biased;
            () = end.cancelled() => return None,
            told = next(&mut listener) => told?,
            changed = states.changed() => {
                changed.ok()?;
                let state = states.borrow_and_update().clone();
                Event::default().event("state").data(&*state)
            }
        };
        Some((Ok::<_, Infallible>(event), (listener, states, end, place)))
    });
    let alive = KeepAlive::new().interval(ALIVE);
    Sse::new(events).keep_alive(alive).into_response()
}

async fn next(listener: &mut Listener) -> Option<Event> {
    loop {
        match listener.next().await {
            Ok(told) => {
                let (name, data) = match &*told {
                    Told::Line(line) => ("line", serde_json::to_string(line)),
                    Told::Done(done) => ("done", serde_json::to_string(done)),
                };
                return Some(Event::default().event(name).data(data.unwrap_or_default()));
            }
            // It was too slow, and goes on with what there is now.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
