//! One line by which two people can tell whether they hold the same state.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Count and hash of a set of keys.
///
/// The hash is the beginning of a SHA-256 over every key in bytewise order of their paths: length
/// of the path (8 bytes, little-endian), path, length of the value, value. Revisions are not part
/// of it: a restore that had to shift them is still a restore of the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// How many keys there are.
    pub keys: u64,
    hash: [u8; 8],
}

impl Digest {
    /// The digest of `files`, which come in bytewise order of their paths.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a Bytes, &'a Bytes)>) -> Self {
        let mut keys = 0;
        let mut hasher = Sha256::new();
        for (path, value) in files {
            keys += 1;
            for part in [path, value] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let mut hash = [0; 8];
        hash.copy_from_slice(&hasher.finalize()[..8]);
        Self { keys, hash }
    }

    /// Both, for people: `1204 keys, hash 9f3c0a...`.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} keys, hash {self}", self.keys)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_path_ends_and_a_value_begins_matters() {
        let bytes = Bytes::from_static;
        let one = Digest::of([(&bytes(b"/a"), &bytes(b"bc"))]);
        let other = Digest::of([(&bytes(b"/ab"), &bytes(b"c"))]);
        assert_eq!(one.keys, other.keys);
        assert_ne!(one, other);
        assert_eq!(one.to_string().len(), 16);
    }
}
