//! What is sorted, merged and written in blocks: rows that are kept, and what they say of a state.

use bytes::Bytes;

use crate::{
    format::table::{LeaseRow, Space},
    model::{
        entry::{Change, KeyValue, Op},
        ids::Revision,
        view::ChangeRef,
    },
};

/// A row to keep: the change that leads to what is under a path, or to a lease, with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) space: Space,
    pub(crate) change: Change,
}

impl Item {
    /// Of a path. A copy: what is sorted in memory must not keep what it was read from.
    pub(crate) fn of(change: &Change, revision: Revision) -> Self {
        let revision = change.revision.unwrap_or(revision);
        Self {
            space: Space::Paths,
            change: ChangeRef::from(change).copy().at(revision),
        }
    }

    /// Of a lease.
    pub(crate) fn lease(id: i64, granted_ttl: Option<i64>, revision: Revision) -> Self {
        let row = LeaseRow::new(id, granted_ttl);
        Self {
            space: Space::Leases,
            change: row.row(Some(revision)).copy(),
        }
    }

    /// What rows are sorted by.
    pub(crate) fn key(&self) -> (Space, &Bytes) {
        (self.space, &self.change.path)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.change.op == Op::Delete
    }

    /// What it says of a state.
    pub(crate) fn live(self) -> Result<Live, &'static str> {
        if self.space == Space::Leases {
            let (id, ttl) = LeaseRow::read(&(&self.change).into())?;
            return Ok(Live::Lease(id, ttl.ok_or("a lease has no time to live")?));
        }
        let Change {
            path,
            op: Op::Set(value),
            revision: Some(revision),
            attributes,
            is_control,
        } = self.change
        else {
            return Err("a path has no value");
        };
        Ok(Live::Path(KeyValue {
            path,
            revision,
            value,
            attributes,
            is_control,
        }))
    }
}

impl From<KeyValue> for Item {
    fn from(kv: KeyValue) -> Self {
        Self {
            space: Space::Paths,
            change: kv.into(),
        }
    }
}

/// What a row says of a state.
#[derive(Debug)]
pub(crate) enum Live {
    Path(KeyValue),
    /// A lease's id, and the time to live that it was granted.
    Lease(i64, i64),
}
