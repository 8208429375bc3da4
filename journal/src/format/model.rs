//! The payloads of records against a model: any entry, any change of bytes, any bytes.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use crate::{
    format::{
        kind::Kind,
        payload::{Payload, decode, decode_within},
        table::ROW_HEADER_BYTES,
    },
    model::{
        entry::{Change, Entry, Op},
        ids::Revision,
        time::Timestamp,
    },
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn change() -> impl Strategy<Value = Change> {
    let revision = prop::option::of(any::<i64>());
    let value = prop::option::of(bytes());
    (bytes(), value, revision, bytes(), any::<bool>()).prop_map(
        |(path, value, revision, attributes, is_control)| Change {
            path,
            op: value.map_or(Op::Delete, Op::Set),
            revision: revision.map(Revision),
            attributes,
            is_control,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let observed_at = || any::<i64>().prop_map(Timestamp);
    prop_oneof![
        4 => (vec(change(), 0..6), observed_at()).prop_map(|(changes, observed_at)| {
            Entry::Changes { changes, observed_at }
        }),
        1 => (any::<i64>(), prop::option::of(any::<i64>()), observed_at()).prop_map(
            |(id, granted_ttl, observed_at)| Entry::Lease { id, granted_ttl, observed_at }
        ),
        1 => (any::<i64>(), any::<i64>(), observed_at()).prop_map(
            |(first, last, observed_at)| Entry::Lost {
                first: Revision(first),
                last: Revision(last),
                observed_at,
            }
        ),
        1 => (any::<bool>(), observed_at()).prop_map(|(closed, observed_at)| {
            Entry::Watermark { observed_at, closed }
        }),
    ]
}

fn written(entry: &Entry) -> (Kind, Vec<u8>) {
    let payload = Payload::new(entry);
    let mut out = Vec::new();
    payload.write_to(&mut out);
    assert_eq!(out.len(), payload.len(), "a payload is as long as it says");
    (payload.kind, out)
}

/// The rows of changes as `docs/format.md` tables them, by the plainest code there is.
fn model(bytes: &[u8]) -> Option<Vec<Change>> {
    let number = |at: usize, n: usize| {
        let part = bytes.get(at..at.checked_add(n)?)?;
        Some(
            part.iter()
                .rev()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    };
    let mut changes = Vec::new();
    let mut at = 8;
    number(0, 8)?;
    while at < bytes.len() {
        let lengths = [number(at, 4)?, number(at + 4, 4)?, number(at + 8, 2)?];
        let flags = number(at + 10, 2)?;
        at += 12;
        let revision = (flags & 2 != 0).then(|| number(at, 8));
        at += if revision.is_some() { 8 } else { 0 };
        let revision = match revision {
            Some(revision) => Some(Revision(revision?.cast_signed())),
            None => None,
        };
        let mut parts = Vec::new();
        for length in lengths {
            let end = at.checked_add(usize::try_from(length).ok()?)?;
            parts.push(Bytes::copy_from_slice(bytes.get(at..end)?));
            at = end;
        }
        let [path, value, attributes] = parts.try_into().ok()?;
        if flags & !7 != 0 || flags & 1 != 0 && !value.is_empty() {
            return None;
        }
        changes.push(Change {
            path,
            op: if flags & 1 != 0 {
                Op::Delete
            } else {
                Op::Set(value)
            },
            revision,
            attributes,
            is_control: flags & 4 != 0,
        });
    }
    Some(changes)
}

/// All ways to decode these bytes agree, and with the model.
fn agree(kind: Kind, bytes: &[u8]) -> Result<Entry, String> {
    let whole = Bytes::from([b"before", bytes, b"behind"].concat());
    let payload = whole.slice(6..6 + bytes.len());
    let decoded = decode(kind, &payload);
    assert_eq!(decoded, decode_within(kind, &payload, &whole));
    if kind == Kind::Changes {
        let changes = decoded.as_ref().ok().map(|entry| entry.changes().to_vec());
        assert_eq!(changes, model(bytes));
        // So much is allocated, and no more.
        let most = bytes.len() / ROW_HEADER_BYTES;
        assert!(changes.is_none_or(|changes| changes.len() <= most));
    }
    decoded
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_decoded_and_what_is_decoded_is_written(
        entry in entry(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let (kind, mut bytes) = written(&entry);
        prop_assert_eq!(agree(kind, &bytes), Ok(entry));
        for (at, byte) in edits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        // There is one way to write rows.
        if let Ok(other) = agree(kind, &bytes)
            && matches!(kind, Kind::Changes | Kind::Lease)
        {
            prop_assert_eq!(written(&other), (kind, bytes));
        }
    }

    #[test]
    fn any_bytes_are_decoded_alike(
        kind in 1..8_u8,
        bytes in vec(prop::sample::select(&[0, 0, 0, 1, 2, 3, 4, 8, 0xff][..]), 0..64),
    ) {
        let kind = Kind::from_byte(kind).expect("there are seven");
        let _ = agree(kind, &bytes);
    }
}
