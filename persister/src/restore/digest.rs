//! One line by which two people can tell whether they hold the same state.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Count and hash of a set of keys.
///
/// Each key has a hash of its own: the first 8 bytes of the SHA-256 over the length of its path (8
/// bytes, little-endian), its path, the length of its value, and its value. The sum of these
/// (modulo 2^64) is the hash of the set, so that keys may come in any order and none has to be
/// kept. Revisions are no part of it: a restore that had to shift them is still a restore of the
/// same values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many keys there are.
    pub keys: u64,
    /// How many bytes their values have.
    pub bytes: u64,
    hash: u64,
}

impl Digest {
    /// Takes in one more key.
    pub fn add(&mut self, path: &[u8], value: &[u8]) {
        let mut hasher = Sha256::new();
        for part in [path, value] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize()[..8]);
        self.hash = self.hash.wrapping_add(u64::from_be_bytes(first));
        self.keys += 1;
        self.bytes += value.len() as u64;
    }

    /// The digest of `files`.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut digest = Self::default();
        for (path, value) in files {
            digest.add(path, value);
        }
        digest
    }

    /// Both, for people: `1204 keys, hash 9f3c0a...`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} keys, hash {self}", self.keys)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_path_ends_and_a_value_begins_matters() {
        let one = Digest::of([(&b"/a"[..], &b"bc"[..])]);
        let other = Digest::of([(&b"/ab"[..], &b"c"[..])]);
        assert_eq!(one.keys, other.keys);
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 16);
    }

    #[test]
    fn the_order_does_not_matter_and_every_key_does() {
        let keys = [(&b"/a"[..], &b"1"[..]), (b"/b", b"2"), (b"/c", b"")];
        let all = Digest::of(keys);
        assert_eq!(all, Digest::of(keys.into_iter().rev()));
        assert_ne!(all, Digest::of(keys[..2].iter().copied()));
        assert_ne!(all, Digest::of([keys[0], keys[1], (b"/c", b"3")]));
        assert_eq!((all.keys, all.bytes), (3, 2));
    }
}
