//! etcd v3 as an engine.
//!
//! | module | promise |
//! |---|---|
//! | `follow` | every revision once, whole and in order, each proven to follow the one before |
//! | `contiguity` | the proof: which revision may come next, and what a repeated one must be |
//! | `catch_up` | when a watch that is behind is given up for a snapshot |
//! | `granted` | how long the leases last that keys stand under |
//! | `listing` | keys in pages of one revision |
//! | `publish` | writes as one transaction, fenced by the identity and by the owner's lease |
//! | `lease` | the owner's lease: it lasts as long as its session |
//! | [`attributes`] | create revision, version and lease of a key, as bytes that a journal keeps |
//! | `spool` | a member's database, fetched to the journal's disk: what is many is read from it |
//! | `term` | when a write that has no answer is given up, because its leader is gone |
//! | [`names`] | what the control keys are called |
//! | `versions` | which servers have faults that matter here |
//! | [`session`] | all of it as a [`Session`](crate::cluster::session::Session) |

pub mod attributes;
mod catch_up;
mod contiguity;
mod error;
mod follow;
mod granted;
mod lease;
mod listing;
pub mod names;
mod publish;
pub mod session;
mod spool;
mod term;
mod versions;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_etcd::{Options, Target};

use crate::cluster::control::Id;
use crate::cluster::error::Result;
use crate::cluster::etcd::catch_up::PATIENCE;
use crate::cluster::etcd::session::EtcdSession;
use crate::cluster::etcd::spool::{Spool, WORTH_A_SNAPSHOT};
use crate::cluster::etcd::versions::fault_of;
use crate::cluster::session::Cluster;

/// A cluster of etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    cluster: cairn_etcd::Cluster,
    id: Id,
    spool: Option<Spool>,
    /// Whether the faults of its servers were told.
    told: Arc<AtomicBool>,
}

impl Etcd {
    /// The cluster at `target`, for the persister `id`: whose owner key a follower reports. Where
    /// there is a directory to `spool` to, what is many is read from a snapshot.
    #[must_use]
    pub fn new(target: Target, id: Id, spool: Option<PathBuf>) -> Self {
        Self {
            cluster: cairn_etcd::Cluster::new(target, Options::default()),
            id,
            spool: spool.map(|directory| Spool {
                directory,
                worth: WORTH_A_SNAPSHOT,
                patience: PATIENCE,
            }),
            told: Arc::default(),
        }
    }

    /// Thinks so few revisions, or keys, many, and does not wait for a watch to catch up.
    #[cfg(test)]
    pub(super) fn thinking_many(mut self, worth: i64) -> Self {
        if let Some(spool) = &mut self.spool {
            spool.worth = worth;
            spool.patience = std::time::Duration::ZERO;
        }
        self
    }
}

impl Cluster for Etcd {
    type Session = EtcdSession;

    async fn open(&self) -> Result<EtcdSession> {
        let session = self.cluster.open().await?;
        if let Some(version) = session.version()
            && let Some(fault) = fault_of(version)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(version, "this version of etcd {fault}");
        }
        Ok(EtcdSession::new(session, self.id, self.spool.clone()))
    }
}
