//! The entries of a bucket as they are, for buckets that this crate gives no meaning.

use bytes::Bytes;

use super::cursor::Cursor;
use crate::error::Result;

/// An iterator over the keys and values of a bucket, in ascending order. After an error it ends.
pub struct Entries(pub(crate) Cursor);

impl Iterator for Entries {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let copied = |bytes| Bytes::copy_from_slice(bytes);
        self.0
            .next()
            .map(|entry| entry.map(|entry| (copied(entry.key), copied(entry.value))))
            .transpose()
    }
}
