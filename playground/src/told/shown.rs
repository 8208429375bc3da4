//! What every page of a run is told: lines as things happen, and the newest state.

use std::sync::Arc;

use tokio::sync::watch;

use crate::told::feed::Feed;

/// What pages are told. Clones are the same.
#[derive(Clone, Debug)]
pub struct Shown {
    /// What happened.
    pub(crate) feed: Feed,
    /// The newest state, as JSON.
    pub(crate) states: watch::Sender<Arc<str>>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            feed: Feed::default(),
            states: watch::Sender::new("{}".into()),
        }
    }
}
