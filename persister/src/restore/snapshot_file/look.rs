//! What the newest state says besides its keys: who owned an id, which identity the cluster had,
//! and which leases its keys stand under.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_etcd_snapshot::{Lease, Put};
use cairn_journal::maintain::ConsistentState;

use crate::cluster::control::ControlKey;
use crate::cluster::etcd::names::PAD_KEY;
use crate::cluster::etcd::names::{RULES, control, id_of};
use crate::error::Error;
use crate::restore::digest::Digest;
use crate::restore::snapshot_file::ASSUMED_TTL;
use crate::restore::snapshot_file::records::put_of;

/// What the newest state says.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Control keys that end with the old cluster, in order.
    pub(super) ended: Vec<Bytes>,
    /// The identity key, if the state has it.
    pub(super) identity: Option<Put>,
    /// The leases to write, by their ids.
    pub(super) leases: Vec<Lease>,
    /// The ids of those whose granted time the journal does not know.
    pub(super) assumed: Vec<i64>,
    /// How many keys stand under leases that no member of etcd reads back.
    pub(super) never_expire: u64,
    /// The keys of applications.
    pub(super) digest: Digest,
}

/// Goes through the state once.
pub(super) fn look(state: ConsistentState) -> Result<Look, Error> {
    let mut look = Look::default();
    let (mut owners, mut used) = (BTreeSet::new(), BTreeSet::new());
    for entry in state.entries.with_control() {
        let (put, at) = put_of(entry?)?;
        let path = &put.key;
        if *path == control(&ControlKey::Identity) {
            look.identity = Some(put);
        } else if is_owner(path) {
            owners.insert(put.lease);
            look.ended.push(put.key);
        } else if path == PAD_KEY {
            look.ended.push(put.key);
        } else {
            if !RULES.is_control(path) {
                look.digest.add(path, &put.value);
            }
            if put.lease < 0 {
                look.never_expire += 1;
            } else if put.lease > 0 {
                used.insert(put.lease);
            }
        }
        debug_assert!(at.revision > 0, "a key has a revision");
    }
    let is_owners = |id: &i64| owners.contains(id) && !used.contains(id);
    let mut granted = state.leases;
    granted.retain(|id, _| *id > 0 && !is_owners(id));
    look.assumed = used
        .iter()
        .filter(|id| !granted.contains_key(id))
        .copied()
        .collect();
    granted.extend(look.assumed.iter().map(|id| (*id, ASSUMED_TTL)));
    let lease = |(id, ttl)| Lease {
        id,
        ttl,
        remaining_ttl: 0,
    };
    look.leases = granted.into_iter().map(lease).collect();
    Ok(look)
}

fn is_owner(path: &[u8]) -> bool {
    id_of(path).is_some_and(|id| path == control(&ControlKey::Owner(id)))
}
