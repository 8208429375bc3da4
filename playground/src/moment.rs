//! What a cluster held at a moment, as far as it is compared later.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use bytes::Bytes;
use cairn_journal::State;
use cairn_persister::restore::digest::Digest;

/// Keys, each with its revision and its value.
pub(crate) type Keys = Vec<(Bytes, i64, Bytes)>;

/// Count and hash of all keys, and of their revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The cluster's revision.
    pub(crate) revision: i64,
    /// How many keys there were.
    pub(crate) keys: u64,
    /// The hash of keys and values.
    pub(crate) hash: String,
    /// A hash of keys and revisions, for comparisons within this process.
    pub(crate) revisions: u64,
}

impl Moment {
    pub(crate) fn of(keys: &Keys, revision: i64) -> Self {
        let keys = keys.iter();
        let keys = keys.map(|(path, revision, value)| (&path[..], *revision, &value[..]));
        Self::of_keys(keys, revision)
    }

    /// Of what a journal tells.
    pub(crate) fn of_state(state: &State) -> Self {
        let keys = state.files.values();
        let keys = keys.map(|key| (&key.path[..], key.revision.0, &key.value[..]));
        Self::of_keys(keys, state.revision.0)
    }

    /// Of keys in any order: path, revision, value.
    fn of_keys<'a>(keys: impl IntoIterator<Item = (&'a [u8], i64, &'a [u8])>, at: i64) -> Self {
        let (mut digest, mut revisions) = (Digest::default(), 0_u64);
        for (path, revision, value) in keys {
            digest.add(path, value);
            let mut hasher = DefaultHasher::new();
            (path, revision).hash(&mut hasher);
            revisions = revisions.wrapping_add(hasher.finish());
        }
        Self {
            revision: at,
            keys: digest.keys,
            hash: digest.to_string(),
            revisions,
        }
    }

    pub(crate) fn same_state(&self, other: &Self) -> bool {
        (self.keys, &self.hash) == (other.keys, &other.hash)
    }
}
