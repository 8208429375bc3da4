//! One key that comes back by a write.

use bytes::Bytes;
use cairn_journal::{KeyValue, Revision};

use crate::cluster::leases::lease_of;
use crate::cluster::write::{Expect, Key, Write};

/// A key to write.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) path: Bytes,
    /// The revision that it had.
    pub(super) revision: Revision,
    pub(super) value: Bytes,
    /// The lease that it stood under, if the cluster has it.
    pub(super) lease: Option<i64>,
}

impl Item {
    pub(super) fn of(key: KeyValue) -> Self {
        Self {
            lease: lease_of(&key.attributes),
            path: key.path,
            revision: key.revision,
            value: key.value,
        }
    }

    /// The write that makes it.
    pub(super) fn write(&self, expect: Expect) -> Write {
        Write {
            key: Key::Data(self.path.clone()),
            expect,
            value: Some(self.value.clone()),
            lease: self.lease.unwrap_or_default(),
        }
    }
}
