//! An ordered stream of events without gaps.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::{Event, Result};

/// All events from a revision on whose path matches.
#[derive(Debug)]
pub struct Watch {}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
