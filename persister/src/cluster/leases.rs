//! Which lease a key stood under, whichever engine a journal followed.

use cairn_etcd_snapshot::KeyAttributes;

/// The lease that a key's attributes name; `None`: none.
#[must_use]
pub fn lease_of(attributes: &[u8]) -> Option<i64> {
    let lease = KeyAttributes::from_bytes(attributes)?.lease;
    (lease != 0).then_some(lease)
}
