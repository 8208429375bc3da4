//! The present behaviour of a running node, and the handle that changes it.

use std::sync::Arc;
use std::time::Duration;

use cairn_client::Revision;
use tokio::sync::watch;

use crate::hub::{Hub, SharedHub};

/// Every connection reads it before it applies a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mode {
    pub(crate) paused: bool,
    pub(crate) silent: bool,
    pub(crate) readonly: bool,
    pub(crate) refusing: bool,
    pub(crate) delay: Duration,
    /// Connections opened under a lower number close.
    pub(crate) generation: u64,
}

impl Mode {
    /// Whether answers go out as soon as they are due.
    pub(crate) fn is_plain(&self) -> bool {
        !self.paused && !self.silent && self.delay.is_zero()
    }
}

/// Makes a node misbehave, for tests of its clients. Cheap to clone; works from any thread, before,
/// while and after the node runs.
///
/// A change applies to every request that is sent after the method has returned.
#[derive(Clone, Debug)]
pub struct Control {
    mode: Arc<watch::Sender<Mode>>,
    hub: Arc<SharedHub>,
}

impl Control {
    pub(crate) fn new(mode: Arc<watch::Sender<Mode>>, hub: Arc<SharedHub>) -> Self {
        Self { mode, hub }
    }

    /// Stops reading and answering; connections stay open.
    pub fn pause(&self) {
        self.mode.send_modify(|mode| mode.paused = true);
    }

    /// Goes on after [`pause`](Self::pause): what was sent meanwhile is answered now.
    pub fn resume(&self) {
        self.mode.send_modify(|mode| mode.paused = false);
    }

    /// Applies requests, but throws the answers away: clients cannot tell whether their writes
    /// happened.
    pub fn stop_answering(&self) {
        self.mode.send_modify(|mode| mode.silent = true);
    }

    /// Answers again; what was thrown away stays lost.
    pub fn answer_again(&self) {
        self.mode.send_modify(|mode| mode.silent = false);
    }

    /// Holds every answer back for this long; zero ends it. Answers stay in order, so one that
    /// is already held back also holds back those after it.
    pub fn delay(&self, delay: Duration) {
        self.mode.send_modify(|mode| mode.delay = delay);
    }

    /// Refuses writes with READONLY, like a node that has lost its membership, or takes them.
    pub fn set_readonly(&self, readonly: bool) {
        self.mode.send_modify(|mode| mode.readonly = readonly);
    }

    /// Closes every connection; new ones are welcome.
    pub fn drop_connections(&self) {
        self.mode.send_modify(|mode| mode.generation += 1);
        self.hub.with(Hub::wake_feeds);
    }

    /// Closes new connections right after they are accepted, or serves them again. Open ones are
    /// left alone.
    pub fn refuse_connections(&self, refuse: bool) {
        self.mode.send_modify(|mode| mode.refusing = refuse);
    }

    /// Discards all history but the newest revision.
    pub fn forget_history(&self) {
        self.hub.with(|hub| hub.store.forget_history());
    }

    /// Jumps to a later revision, as if everything before it had been discarded; the revision
    /// itself is a NOP.
    ///
    /// # Panics
    /// If the node is at that revision already, or beyond, or it is beyond
    /// [`LAST_REVISION`](crate::store::LAST_REVISION).
    pub fn jump_to(&self, revision: Revision) {
        self.hub.with(|hub| {
            hub.store.jump_to(revision);
            if let Some(event) = hub.store.event(revision).cloned() {
                hub.announce(&event);
            }
        });
    }

    /// The newest revision; 0 before the node runs.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.hub.with(|hub| hub.store.revision())
    }

    /// The oldest revision that can be asked for.
    #[must_use]
    pub fn oldest_revision(&self) -> Revision {
        self.hub.with(|hub| hub.store.oldest())
    }

    /// Connections being served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.hub.with(|hub| hub.sessions())
    }

    /// Requests that wait for an event.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.hub.with(|hub| hub.waiting())
    }

    /// The most names, events and requests that were looked at under one hold of the node's lock:
    /// what everybody else may have had to wait for.
    #[must_use]
    pub fn most_steps(&self) -> usize {
        self.hub.with(|hub| hub.most_steps())
    }
}
