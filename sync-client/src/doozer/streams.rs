//! The regular client's streams, with this client's error.

use std::pin::Pin;
use std::task::{Context, Poll};

use cairn_client::{Event, Revision};
use futures::{Stream, StreamExt};

use crate::doozer::error::Result;

macro_rules! stream_of {
    ($(#[$doc:meta])* $name:ident, $item:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(pub(crate) cairn_client::$name);

        impl Stream for $name {
            type Item = Result<$item>;

            fn poll_next(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.0.poll_next_unpin(cx).map(|item| item.map(|item| item.map_err(Into::into)))
            }
        }
    };
}

stream_of!(
    /// All events from a revision on whose path matches: [`cairn_client::Watch`].
    Watch,
    Event
);
stream_of!(
    /// All files whose path matches: [`cairn_client::Walk`].
    Walk,
    Event
);
stream_of!(
    /// All names in a directory: [`cairn_client::Listing`].
    Listing,
    String
);

impl Watch {
    /// The first revision whose event, if it matches, was not delivered yet.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        self.0.next_revision()
    }
}
