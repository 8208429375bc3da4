//! What etcd knows of a key besides path, revision and value, as bytes that a journal keeps.

use cairn_etcd::wire::KeyValue;
use cairn_etcd_snapshot::KeyAttributes;

/// Those of a key as a cluster tells it. Its number within its revision is not among them.
#[must_use]
pub fn attributes_of(key: &KeyValue) -> KeyAttributes {
    KeyAttributes {
        create_revision: key.create_revision,
        version: key.version,
        lease: key.lease,
        sub: None,
    }
}
