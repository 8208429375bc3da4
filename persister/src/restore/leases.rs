//! The leases of the keys that come back.
//!
//! Promise: no key comes back under a lease that has ended, nor without one that lives. Where that
//! cannot be, it is counted and named: a lease whose time the journal does not know gets
//! [`ASSUMED_TTL`] seconds; a cluster without leases gets the key alone, and it stays.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_journal::State;

use crate::cluster::leases::lease_of;
use crate::restore::snapshot_file::ASSUMED_TTL;
use crate::restore::target::Files;

/// How many keys are named.
const NAMED: usize = 10;

/// The leases that were alive when the journal ended.
pub(super) struct Granted {
    /// What each was granted, in seconds, as far as the journal knows it.
    known: BTreeMap<i64, i64>,
    /// Those that a key of an application stood under.
    used: BTreeSet<i64>,
    /// Those that only control keys stood under: of persisters of the cluster that was.
    control: BTreeSet<i64>,
}

/// What is to be granted, and what cannot be.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// The ids with the seconds that each lasts.
    pub granted: Vec<(i64, i64)>,
    /// Those of them whose time the journal does not know.
    pub assumed: Vec<i64>,
    /// How many keys come back without the lease that they had, and the first of them.
    pub detached: u64,
    /// The first of them.
    pub named: Vec<Bytes>,
}

impl Granted {
    /// Those of the newest state.
    pub(super) fn of(newest: &State) -> Self {
        let under = |is_control| {
            let keys = newest.files.values();
            let keys = keys.filter(move |key| key.is_control == is_control);
            keys.filter_map(|key| lease_of(&key.attributes))
        };
        let used: BTreeSet<i64> = under(false).collect();
        Self {
            known: newest.leases.clone(),
            control: under(true).filter(|id| !used.contains(id)).collect(),
            used,
        }
    }

    /// The leases of `files`, and if they are all keys those without keys, too. A key whose lease
    /// cannot come back loses it.
    pub(super) fn leases_for(&self, files: &mut Files, has_leases: bool, is_whole: bool) -> Leases {
        let mut leases = Leases::default();
        let mut wanted: BTreeSet<i64> = BTreeSet::new();
        if has_leases && is_whole {
            wanted.extend(self.known.keys().filter(|id| !self.control.contains(id)));
        }
        for (path, key) in files.iter_mut() {
            let Some(id) = lease_of(&key.attributes) else {
                continue;
            };
            if has_leases && (self.known.contains_key(&id) || self.used.contains(&id)) {
                wanted.insert(id);
                continue;
            }
            key.attributes = Bytes::new();
            leases.detached += 1;
            if leases.named.len() < NAMED {
                leases.named.push(path.clone());
            }
        }
        for id in wanted {
            let known = self.known.get(&id).copied();
            if known.is_none() {
                leases.assumed.push(id);
            }
            leases.granted.push((id, known.unwrap_or(ASSUMED_TTL)));
        }
        leases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_etcd_snapshot::KeyAttributes;
    use cairn_journal::{KeyValue, Revision};

    fn key(path: &'static str, lease: i64) -> KeyValue {
        let attributes = KeyAttributes {
            create_revision: 2,
            version: 1,
            lease,
            sub: None,
        };
        KeyValue::new(path, Revision(2), "x").with_attributes(attributes.to_bytes())
    }

    fn files(keys: Vec<KeyValue>) -> Files {
        let named = keys.into_iter().map(|key| (key.path.clone(), key));
        named.collect()
    }

    #[test]
    fn leases_come_back_but_for_those_that_ended_and_those_of_persisters() {
        let mut newest = State::default();
        newest.files = files(vec![
            key("known", 1),
            key("unknown", 2),
            key("owner", 3).control(),
        ]);
        newest.leases = BTreeMap::from([(1, 10), (3, 9), (4, 40)]);
        let granted = Granted::of(&newest);
        let mut wanted = files(vec![key("known", 1), key("unknown", 2), key("ended", 5)]);
        let leases = granted.leases_for(&mut wanted, true, true);
        assert_eq!(leases.granted, [(1, 10), (2, ASSUMED_TTL), (4, 40)]);
        assert_eq!((leases.assumed, leases.detached), (vec![2], 1));
        assert_eq!(leases.named, ["ended"]);
        assert_eq!(lease_of(&wanted[&b"ended"[..]].attributes), None);
        assert_eq!(lease_of(&wanted[&b"known"[..]].attributes), Some(1));
        // Of a part, only those that it needs.
        let mut part = files(vec![key("known", 1)]);
        assert_eq!(
            granted.leases_for(&mut part, true, false).granted,
            [(1, 10)]
        );
        // Another engine has none.
        let leases = granted.leases_for(&mut part, false, true);
        assert_eq!((leases.granted.len(), leases.detached), (0, 1));
    }
}
