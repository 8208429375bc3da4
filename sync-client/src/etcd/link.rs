//! One connection, and what it has told: the cluster's name, and who holds the persisters' ids.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cairn_etcd::Session;

/// One connection to one member.
#[derive(Debug)]
pub(crate) struct Link {
    /// Counts the connections of a client.
    pub(crate) generation: u64,
    pub(crate) session: Session,
    told: Mutex<Told>,
}

/// Changes with what the cluster tells over this connection.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The identity of the cluster.
    pub(crate) name: Option<Bytes>,
    /// The leases of the owner keys that are there, by persister.
    pub(crate) owners: HashMap<u32, i64>,
}

impl Link {
    pub(crate) fn new(generation: u64, session: Session, told: Told) -> Self {
        Self {
            generation,
            session,
            told: Mutex::new(told),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of the cluster, as far as it has been told.
    pub(crate) fn name(&self) -> Option<Bytes> {
        self.told().name.clone()
    }

    /// The identity became this. Whether it is the same cluster, in the same history: if not, this
    /// connection says no more of the writes that wait.
    #[must_use]
    pub(crate) fn is_still_called(&self, name: Option<&Bytes>) -> bool {
        let mut told = self.told();
        let same = is_same(told.name.as_deref(), name.map(|name| &**name));
        if same {
            told.name = name.cloned();
        }
        same
    }

    /// The owner key of a persister was written under this lease.
    pub(crate) fn held(&self, persister: u32, lease: i64) {
        self.told().owners.insert(persister, lease);
    }

    /// The owner key of a persister is gone.
    pub(crate) fn released(&self, persister: u32) {
        self.told().owners.remove(&persister);
    }

    /// The lease of the owner key of a persister, if there is one.
    pub(crate) fn owner_lease(&self, persister: u32) -> Option<i64> {
        self.told().owners.get(&persister).copied()
    }
}

/// Whether a cluster that was called `was` and now `is` goes on as before. That is so if the first
/// persister ever names it. A name that says more than that is of a restore, or of a loss that was
/// accepted.
fn is_same(was: Option<&[u8]>, is: Option<&[u8]>) -> bool {
    match (was, is) {
        (None, Some(named)) => !named.contains(&b' '),
        (was, is) => was == is,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_name_changes_nothing() {
        for (was, is, same) in [
            (None, None, true),
            (None, Some("u"), true),
            (Some("u"), Some("u"), true),
            (None, Some("v from u at 7 bidding j"), false),
            (None, Some("v from u at 7 kept"), false),
            (Some("u"), None, false),
            (Some("u"), Some("v"), false),
            (Some("u"), Some("v from u at 7 shifted"), false),
            (
                Some("v from u at 7 restoring j"),
                Some("v from u at 7 kept"),
                false,
            ),
        ] {
            let (was, is) = (was.map(str::as_bytes), is.map(str::as_bytes));
            assert_eq!(is_same(was, is), same, "{was:?} {is:?}");
        }
    }
}
