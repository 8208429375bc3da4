//! The files of one state that match a glob, read a part at a time: a state may be large, and
//! others run on the same thread.

use std::sync::Arc;

use cairn_lite::store::{Dir, Event, Pattern, Walk};
use futures::stream::{self, BoxStream, StreamExt};

use crate::cluster::error::Result;

/// How many files are read before others get their turn.
const AT_ONCE: usize = 1_024;

/// A listing under way.
struct Listing {
    state: Dir,
    glob: Pattern,
    after: Option<Arc<str>>,
}

impl Listing {
    fn some(&mut self) -> Vec<Arc<Event>> {
        let walk = Walk::new(&self.state, &self.glob, self.after.as_deref());
        let some: Vec<Arc<Event>> = walk.take(AT_ONCE).cloned().collect();
        self.after = some.last().map(|last| Arc::clone(&last.path));
        some
    }
}

/// Every file of `state` that matches `glob`, once, or the error that there is instead of a state.
pub(super) fn list(state: Result<Dir>, glob: Pattern) -> BoxStream<'static, Result<Arc<Event>>> {
    let state = match state {
        Ok(state) => state,
        Err(error) => return stream::once(async { Err(error) }).boxed(),
    };
    let listing = Listing {
        state,
        glob,
        after: None,
    };
    let parts = stream::unfold(listing, |mut listing| async move {
        let some = listing.some();
        tokio::task::yield_now().await;
        (!some.is_empty()).then(|| (stream::iter(some.into_iter().map(Ok)), listing))
    });
    parts.flatten().boxed()
}
