//! The random number that tells the blocks of one segment from those of any other.

use crate::storage::traits::Storage;

/// A salt that no other segment or file has.
#[allow(clippy::cast_possible_truncation)] // The low half of a random number is a random number.
pub(crate) fn new_salt(storage: &dyn Storage) -> u64 {
    storage.random() as u64
}
