//! Writes as one transaction, which is one revision.
//!
//! Promise: nothing is applied unless everything holds that was asked for: each key's own
//! expectation, the identity if the session is fenced, and, for what only the holder of an id may
//! write, that the owner's key still stands under the lease of this very session.

use std::collections::HashSet;

use bytes::Bytes;
use cairn_etcd::wire::{
    Compare, CompareResult, DeleteRangeRequest, Operand, PutRequest, RangeRequest, RequestOp,
    TxnRequest, TxnResponse, response_op,
};
use cairn_journal::Revision;

use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Conflict, Error, Result};
use crate::cluster::etcd::names::{RULES, control, name};
use crate::cluster::write::{Expect, Key, Write};

/// The longest value: what a member takes of a request by default (`--max-request-bytes`, 1.5 MiB),
/// less what the key, the conditions and the message itself may need.
pub(super) const VALUE_BYTES: usize = (3 << 19) - (64 << 10);

/// How many keys one transaction may change. A member takes 128 operations and 128 conditions by
/// default (`--max-txn-ops`), and two of the conditions are the fence and the owner.
pub(super) const WRITES: usize = 126;

/// What the writes of a session are bound to besides their own keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'a> {
    /// The value that the identity must have.
    pub(super) identity: Option<&'a Bytes>,
    /// The id that the session holds, and the lease under which it does.
    pub(super) owner: Option<(Id, i64)>,
}

/// Why these writes can be no revision.
pub(super) fn refuse(writes: &[Write]) -> Result<()> {
    let no = |why: String| Err(Error::Refused(why));
    if writes.is_empty() || writes.len() > WRITES {
        let count = writes.len();
        return no(format!("{count} writes are not one to {WRITES}"));
    }
    let mut keys = HashSet::new();
    for write in writes {
        if let Key::Data(key) = &write.key {
            if let Some(why) = RULES.why_not(key) {
                return no(format!("a key {why}"));
            }
            if RULES.is_control(key) {
                let area = RULES.control_area();
                return no(format!(
                    "what begins with {area} is written by persisters only"
                ));
            }
        }
        let length = write.value.as_ref().map_or(0, Bytes::len);
        if length > VALUE_BYTES {
            return no(format!(
                "a value of {length} bytes is over {VALUE_BYTES} bytes"
            ));
        }
        if !keys.insert(&write.key) {
            return no("a key is written twice in one revision".to_owned());
        }
    }
    Ok(())
}

/// The transaction. `lease` is that of owner keys.
pub(super) fn transaction(writes: &[Write], bound: Bound<'_>, lease: Option<i64>) -> TxnRequest {
    let mut compare = bound.conditions(writes);
    compare.extend(writes.iter().filter_map(condition));
    TxnRequest {
        compare,
        success: writes.iter().map(|write| operation(write, lease)).collect(),
        failure: bound.question(),
    }
}

/// A transaction that puts one key, whatever is there.
pub(super) fn pad(key: &'static str, bound: Bound<'_>) -> TxnRequest {
    TxnRequest {
        compare: bound.conditions(&[]),
        success: vec![PutRequest::new(key, Bytes::new()).into()],
        failure: bound.question(),
    }
}

impl Bound<'_> {
    fn conditions(&self, writes: &[Write]) -> Vec<Compare> {
        let identity = self
            .identity
            .map(|identity| Compare::value(control(&ControlKey::Identity), identity.clone()));
        let owner = self
            .owner
            .filter(|(id, _)| writes.iter().any(|write| is_held_by(*id, write)));
        let owner = owner.map(|(id, lease)| {
            let key = control(&ControlKey::Owner(id));
            Compare::new(key, CompareResult::Equal, Operand::Lease(lease))
        });
        identity.into_iter().chain(owner).collect()
    }

    /// What is asked if a condition fails: which it was.
    fn question(&self) -> Vec<RequestOp> {
        let ask = |_| RangeRequest::key(control(&ControlKey::Identity)).into();
        self.identity.map(ask).into_iter().collect()
    }

    /// The revision at which a transaction has written, if it has.
    pub(super) fn judge(&self, answer: &TxnResponse) -> Result<Option<Revision>> {
        if answer.succeeded {
            let at = answer.header.map(|header| Revision(header.revision));
            return Ok(at.filter(|_| answer.changed()));
        }
        let found = match answer
            .responses
            .first()
            .and_then(|answer| answer.response.as_ref())
        {
            Some(response_op::Response::Range(range)) => range.kvs.first().map(|key| &key.value),
            _ => None,
        };
        Err(Error::Conflict(match self.identity {
            Some(identity) if found != Some(identity) => Conflict::Identity,
            _ => Conflict::Key,
        }))
    }
}

/// Whether only the holder of `id` may write this. Its owner key is how it becomes the holder.
fn is_held_by(id: Id, write: &Write) -> bool {
    match &write.key {
        Key::Control(ControlKey::Watermark(of) | ControlKey::Mirrored(of)) => *of == id,
        Key::Control(ControlKey::Mirror(of, _)) => *of == id,
        Key::Control(ControlKey::Owner(_) | ControlKey::Identity) | Key::Data(_) => false,
    }
}

fn condition(write: &Write) -> Option<Compare> {
    let key = name(&write.key);
    match write.expect {
        Expect::Any => None,
        Expect::Absent => Some(Compare::absent(key)),
        Expect::At(revision) => Some(Compare::unchanged(key, revision.0)),
    }
}

fn operation(write: &Write, lease: Option<i64>) -> RequestOp {
    let key = name(&write.key);
    let is_owner = matches!(write.key, Key::Control(ControlKey::Owner(_)));
    match &write.value {
        Some(value) => PutRequest {
            lease: lease.filter(|_| is_owner).unwrap_or(write.lease),
            ..PutRequest::new(key, value.clone())
        }
        .into(),
        None => DeleteRangeRequest::key(key).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_etcd::wire::request_op;

    fn watermark(id: Id) -> Write {
        Write {
            key: Key::Control(ControlKey::Watermark(id)),
            expect: Expect::At(Revision(7)),
            value: Some("9".into()),
            lease: 0,
        }
    }

    /// A watermark of a process that was thought dead, and was not, said what its successor's
    /// journal did not have.
    #[test]
    fn a_watermark_compares_identity_owner_and_its_own_last_revision() {
        let identity = Bytes::from("a");
        let bound = Bound {
            identity: Some(&identity),
            owner: Some((1, 42)),
        };
        let txn = transaction(&[watermark(1)], bound, Some(42));
        let expected = [
            Compare::value("/ctl/persistence/cluster", "a"),
            Compare::new(
                "/ctl/persistence/1/ctl/owner",
                CompareResult::Equal,
                Operand::Lease(42),
            ),
            Compare::unchanged("/ctl/persistence/1/ctl/watermark", 7),
        ];
        assert_eq!(txn.compare, expected);
        // Somebody else's is no affair of the lease.
        assert_eq!(
            transaction(&[watermark(2)], bound, Some(42)).compare.len(),
            2
        );
    }

    #[test]
    fn owner_keys_stand_under_the_lease_and_nothing_else_does() {
        let write = |key| Write {
            key,
            expect: Expect::Any,
            value: Some("v".into()),
            lease: 0,
        };
        let bound = Bound {
            identity: None,
            owner: None,
        };
        let writes = [
            write(Key::Control(ControlKey::Owner(1))),
            write(Key::Control(ControlKey::Watermark(1))),
            write(Key::Data("k".into())),
        ];
        let txn = transaction(&writes, bound, Some(42));
        let leases = txn
            .success
            .iter()
            .map(|operation| match &operation.request {
                Some(request_op::Request::Put(put)) => put.lease,
                other => panic!("{other:?}"),
            });
        assert_eq!(leases.collect::<Vec<_>>(), [42, 0, 0]);
    }
}
