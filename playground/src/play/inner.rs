//! What all parts of a playground work on.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::load::Load;
use crate::past::reading::Past;
use crate::play::actions::{Busy, Turn, Whole};
use crate::play::clients::Clients;
use crate::play::etcd::Etcd;
use crate::play::kind::Engine;
use crate::play::looks::NodeEye;
use crate::play::loss::Loss;
use crate::play::target::Target;
use crate::told::feed::Feed;
use crate::told::refusal::Refusal;
use crate::told::shown::Shown;
use crate::told::state::{About, Proof};

/// What can be seen and done. Clones are the same.
#[derive(Clone)]
pub struct Play(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) about: About,
    pub(super) engine: Engine,
    /// Of nodes that are members of etcd.
    pub(super) etcd: Option<Etcd>,
    pub(super) nodes: Vec<Target>,
    /// Of each node.
    pub(super) eyes: Vec<NodeEye>,
    pub(super) persisters: Vec<Target>,
    /// Where rehearsals are.
    pub(super) scratch: Target,
    pub(super) clients: Clients,
    pub(super) load: Load,
    pub(super) past: Past,
    pub(super) busy: Busy,
    pub(super) loss: Mutex<Option<Loss>>,
    pub(super) proof: Mutex<Option<Proof>>,
    /// The node that led when it was looked last.
    pub(super) leader: Mutex<Option<String>>,
    pub(super) shown: Shown,
    pub(super) ops: AtomicU64,
}

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Play")
            .field("run", &self.0.about)
            .finish_non_exhaustive()
    }
}

impl Play {
    /// What happened.
    pub(crate) fn feed(&self) -> &Feed {
        &self.0.shown.feed
    }

    /// What pages are told.
    #[must_use]
    pub fn shown(&self) -> &Shown {
        &self.0.shown
    }

    /// What was journaled.
    pub(crate) fn past(&self) -> &Past {
        &self.0.past
    }

    /// Where clients find the cluster.
    pub(crate) fn uri(&self) -> String {
        self.0.about.uri.clone()
    }

    /// The machine on which restores are rehearsed.
    pub(crate) fn scratch(&self) -> &Target {
        &self.0.scratch
    }

    /// Begins something that excludes all other commands.
    pub(crate) fn begin(&self, whole: Whole) -> Result<Turn, Refusal> {
        self.0.busy.begin(whole)
    }

    /// Where clients find this node alone.
    pub(super) fn uri_of(&self, node: &str) -> Result<String, Refusal> {
        let nodes = &self.0.nodes;
        let found = nodes.iter().find(|target| target.id == node);
        let unknown = || Refusal::Unknown(format!("there is no node {node}"));
        Ok(self.uri_at(found.ok_or_else(unknown)?))
    }

    /// Where clients find this node alone.
    pub(crate) fn uri_at(&self, node: &Target) -> String {
        self.0.engine.cluster(&[&node.address]).uri()
    }

    pub(super) fn target(&self, id: &str) -> Result<&Target, Refusal> {
        let unknown = || Refusal::Unknown(format!("there is no node or persister {id}"));
        self.targets()
            .find(|target| target.id == id)
            .ok_or_else(unknown)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.0.nodes.iter().chain(&self.0.persisters)
    }
}

/// Every value behind these locks is whole between any two statements, so a panic elsewhere spoils
/// none.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
