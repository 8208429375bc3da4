//! Which records and leases make a store that etcd could have written.
//!
//! Up to the compacted revision only the state is there: puts, in order, with whatever numbers are
//! left of them. Behind it the history is whole: every revision has a record, and the records of a
//! revision are numbered from 0.

use crate::{
    error::{Error, Result},
    format::size::MAX_VALUE_BYTES,
    record::{Change, Lease, Position, Record},
};

/// etcd grants no longer lease, in seconds.
const MAX_TTL: i64 = 9_000_000_000;
/// The revision of a store without any change.
const EMPTY_REVISION: i64 = 1;

/// Follows what was taken, to judge what comes next.
pub(crate) struct Rules {
    compacted: i64,
    last: Option<Position>,
    last_lease: i64,
}

impl Rules {
    /// `compacted` is 0 if the history is whole from the beginning.
    pub(crate) fn new(compacted: i64) -> Self {
        Self {
            compacted,
            last: None,
            last_lease: 0,
        }
    }

    /// The revision at which a member stands that starts from this.
    pub(crate) fn revision(&self) -> i64 {
        let newest = self.last.map_or(0, |last| last.revision);
        newest.max(self.compacted).max(EMPTY_REVISION)
    }

    /// Takes the next record, or says why not.
    pub(crate) fn record(&mut self, record: &Record) -> Result<()> {
        let at = record.at;
        let refused = |detail| Err(Error::Record { at, detail });
        if at.revision < 1 || at.revision == i64::MAX || at.sub < 0 {
            return refused("revisions are from 1 to 2^63 - 2, numbers within one from 0");
        }
        if let Some(previous) = self.last.filter(|last| at <= *last) {
            return Err(Error::OutOfOrder {
                given: at,
                previous,
            });
        }
        let history = at.revision > self.compacted;
        if history {
            self.contiguous(at)?;
        }
        match &record.change {
            Change::Put(put) => {
                if put.key.is_empty() {
                    return refused("a key is never empty");
                }
                if put.create_revision < 1 || put.create_revision > at.revision {
                    return refused("a key is created at the revision of its put, or before");
                }
                if put.version < 1 {
                    return refused("the version of a key that exists is 1 or more");
                }
            }
            Change::Delete { key } if key.is_empty() => return refused("a key is never empty"),
            Change::Delete { .. } if !history => {
                return refused("up to the compacted revision no delete is left");
            }
            Change::Delete { .. } => {}
            Change::Bump => {
                return refused("a bump is not written; the compacted revision says as much");
            }
        }
        self.last = Some(at);
        Ok(())
    }

    /// Every revision behind the compacted one is there, and every record of each.
    fn contiguous(&self, at: Position) -> Result<()> {
        let next = Position {
            revision: self.revision() + 1,
            sub: 0,
        };
        let expected = match self.last {
            Some(last) if last.revision == at.revision => Position {
                sub: last.sub + 1,
                ..last
            },
            _ => next,
        };
        if at == expected {
            Ok(())
        } else {
            Err(Error::Hole {
                given: at,
                expected,
            })
        }
    }

    /// Takes the next lease, or says why not.
    pub(crate) fn lease(&mut self, lease: &Lease) -> Result<()> {
        let id = lease.id;
        let refused = |detail| Err(Error::Lease { id, detail });
        if id < 1 {
            return refused("etcd does not read back ids below 1");
        }
        if id <= self.last_lease {
            return refused("leases are taken in ascending order of their ids");
        }
        if lease.ttl < 1 || lease.ttl > MAX_TTL {
            return refused("a time to live is from 1 to 9,000,000,000 seconds");
        }
        if lease.remaining_ttl < 0 || lease.remaining_ttl > lease.ttl {
            return refused("what remains of a time to live is within it");
        }
        self.last_lease = id;
        Ok(())
    }
}

/// Refuses a record whose encoding bbolt would not take as a value.
pub(crate) fn fits(at: Position, encoded_bytes: usize) -> Result<()> {
    if encoded_bytes as u64 > MAX_VALUE_BYTES {
        let detail = "key and value together have at most 2 GiB";
        return Err(Error::Record { at, detail });
    }
    Ok(())
}
