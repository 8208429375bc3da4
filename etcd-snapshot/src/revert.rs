//! An older state as new revisions: what has to change so that a cluster has it again.
//!
//! The counter goes on, so a client that resumes its watch receives the way back as events.

use std::cmp::Ordering;

use bytes::Bytes;
use itertools::{EitherOrBoth, Itertools};

use crate::{
    error::{Error, Result},
    record::{Put, Record},
};

/// Bytes that a change takes besides its key and value: numbers and field tags, at most.
const OVERHEAD_BYTES: usize = 64;

/// The changes that lead from the `newest` state back to an `older` one, in order of keys.
///
/// Both states come in ascending order of keys. The first change is at `revision`, which is the
/// newest of the history and one more. A revision that would have more than `max_bytes` is followed
/// by another, so that no message of a watch is large; a single change may still exceed them.
///
/// A key that exists keeps its create revision and takes the next version. One that has the same
/// value and lease already is left alone. Leases are taken from the older state as they are there;
/// the caller detaches keys whose lease is gone.
///
/// # Errors
///
/// [`Error::UnsortedKeys`], after which nothing follows.
pub fn revert(
    older: impl IntoIterator<Item = Put>,
    newest: impl IntoIterator<Item = Put>,
    revision: i64,
    max_bytes: usize,
) -> impl Iterator<Item = Result<Record>> {
    let mut place = Place {
        revision,
        sub: 0,
        bytes: 0,
        max_bytes,
    };
    ascending(older)
        .merge_join_by(ascending(newest), |older, newest| match (older, newest) {
            // An error comes first, from whichever side.
            (Err(_), _) => Ordering::Less,
            (_, Err(_)) => Ordering::Greater,
            (Ok(older), Ok(newest)) => older.key.cmp(&newest.key),
        })
        .filter_map(move |pair| match pair {
            EitherOrBoth::Left(older) => Some(older.map(|older| place.put(older, None))),
            EitherOrBoth::Right(newest) => Some(newest.map(|newest| place.delete(newest.key))),
            EitherOrBoth::Both(Ok(older), Ok(newest)) => {
                let same = older.value == newest.value && older.lease == newest.lease;
                (!same).then(|| Ok(place.put(older, Some(&newest))))
            }
            EitherOrBoth::Both(Err(error), _) | EitherOrBoth::Both(_, Err(error)) => {
                Some(Err(error))
            }
        })
        .scan(false, |failed, record| {
            let ended = std::mem::replace(failed, record.is_err());
            (!ended).then_some(record)
        })
}

/// Where the next change stands.
struct Place {
    revision: i64,
    sub: i64,
    bytes: usize,
    max_bytes: usize,
}

impl Place {
    fn put(&mut self, older: Put, newest: Option<&Put>) -> Record {
        self.advance(older.key.len() + older.value.len());
        let put = Put {
            create_revision: newest.map_or(self.revision, |newest| newest.create_revision),
            version: newest.map_or(1, |newest| newest.version + 1),
            ..older
        };
        Record::put(self.revision, self.sub, put)
    }

    fn delete(&mut self, key: Bytes) -> Record {
        self.advance(key.len());
        Record::delete(self.revision, self.sub, key)
    }

    /// Goes on to the next number, or to the next revision.
    fn advance(&mut self, bytes: usize) {
        let bytes = bytes + OVERHEAD_BYTES;
        let first = self.bytes == 0;
        if !first && self.bytes + bytes > self.max_bytes {
            (self.revision, self.sub, self.bytes) = (self.revision + 1, 0, bytes);
        } else {
            self.sub += i64::from(!first);
            self.bytes += bytes;
        }
    }
}

/// The keys as they come, and an error at the first that is not above the one before.
fn ascending(puts: impl IntoIterator<Item = Put>) -> impl Iterator<Item = Result<Put>> {
    let mut last: Option<Bytes> = None;
    puts.into_iter().map(move |put| {
        if last.as_ref().is_some_and(|last| *last >= put.key) {
            let key = put.key.escape_ascii().to_string();
            return Err(Error::UnsortedKeys { key });
        }
        last = Some(put.key.clone());
        Ok(put)
    })
}
