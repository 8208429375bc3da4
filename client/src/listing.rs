//! Listings, pinned to one revision.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use crate::{Event, Result};

/// All files whose path matches.
#[derive(Debug)]
pub struct Walk {}

impl Stream for Walk {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

/// All names in a directory.
#[derive(Debug)]
pub struct Listing {}

impl Stream for Listing {
    type Item = Result<String>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
