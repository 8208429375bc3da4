//! Followers in the node's own process, and how they hold it back.
//!
//! A follower has no queue of its own: the node's history is the queue, and the events in it are
//! shared, not copied. A write waits while a follower has too much before it, so the events that
//! it has not taken are neither discarded nor without a bound. Nothing is dropped: the node answers
//! slower. Only writes wait, and what their connection has sent behind them; reads on other
//! connections are answered.
//!
//! Writes of the own process do not wait, because some of them are what a follower makes room with.

use std::sync::Arc;
use std::task::Waker;

use cairn_client::Revision;
use slab::Slab;
use tokio::sync::Notify;

use crate::store::Store;
use crate::store::history::Keep;

/// The most revisions that a follower may have before it. Enough for the disk to pause for a second
/// under load.
const AHEAD_REVISIONS: u64 = 65_536;

/// The most bytes of paths and values that a follower may have before it; the last write may exceed
/// it.
const AHEAD_BYTES: u64 = 64 << 20;

/// All followers.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    places: Slab<Place>,
    /// Connections whose writes wait until followers have room.
    pub(crate) held: Vec<Arc<Notify>>,
}

/// One follower.
#[derive(Debug)]
struct Place {
    /// It has taken everything up to here.
    taken: Revision,
    /// Set while it waits for something to happen.
    waker: Option<Waker>,
}

/// Names a follower.
pub(crate) type FeedId = usize;

impl Feeds {
    /// Adds one that has taken everything up to `taken`.
    pub(crate) fn add(&mut self, taken: Revision) -> FeedId {
        self.places.insert(Place { taken, waker: None })
    }

    /// It does not follow any more.
    pub(crate) fn remove(&mut self, id: FeedId) {
        self.places.remove(id);
    }

    /// It has taken everything up to `taken`.
    pub(crate) fn took(&mut self, id: FeedId, taken: Revision) {
        self.places[id].taken = taken;
    }

    /// Has it woken when something happens.
    pub(crate) fn park(&mut self, id: FeedId, waker: &Waker) {
        self.places[id].waker = Some(waker.clone());
    }

    /// Moves the wakers of those that wait into `to_wake`.
    pub(crate) fn wake(&mut self, to_wake: &mut Vec<Waker>) {
        let wakers = self.places.iter_mut().map(|(_, place)| &mut place.waker);
        to_wake.extend(wakers.filter_map(Option::take));
    }

    /// Whether one more write leaves every follower with no more before it than it may have.
    pub(crate) fn have_room(&self, store: &Store) -> bool {
        let most = ahead(store.keep());
        self.places.iter().all(|(_, place)| {
            let revisions = store.revision().0.saturating_sub(place.taken.0);
            u64::try_from(revisions).unwrap_or(0) < most.revisions
                && store.bytes_after(place.taken) < most.bytes
        })
    }
}

/// What a follower may have before it: never more than the history holds, so that nothing which it
/// has not taken is discarded.
fn ahead(keep: Keep) -> Keep {
    Keep {
        revisions: keep.revisions.min(AHEAD_REVISIONS),
        bytes: (keep.bytes / 2).clamp(1, AHEAD_BYTES),
    }
}
