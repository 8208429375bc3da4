//! Records and leases out of their buckets, each checked to be one that etcd could have written.

use prost::Message;

use super::cursor::{Cursor, Entry};
use crate::{
    error::Result,
    format::{bucket, key, message},
    record::{Change, Lease, Put, Record},
};

/// An iterator over the records of a snapshot, in ascending order. After an error it ends.
pub struct Records(pub(crate) Cursor);

/// An iterator over the leases of a snapshot. After an error it ends.
pub struct Leases(pub(crate) Cursor);

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, record)
    }
}

impl Iterator for Leases {
    type Item = Result<Lease>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, lease)
    }
}

/// The next entry, decoded; an entry that does not decode is damage, and the last.
fn next<T>(
    cursor: &mut Cursor,
    decode: fn(Entry<'_>) -> Result<T, &'static str>,
) -> Option<Result<T>> {
    let (page, offset, decoded) = match cursor.next() {
        Ok(entry) => {
            let entry = entry?;
            (entry.page, entry.offset, decode(entry))
        }
        Err(error) => return Some(Err(error)),
    };
    Some(decoded.map_err(|detail| {
        cursor.end();
        cursor.pages().damaged(page, offset, detail)
    }))
}

pub(crate) fn record(entry: Entry<'_>) -> Result<Record, &'static str> {
    let (at, delete) = key::decode(entry.key).ok_or("the key of a record is no revision")?;
    let message = message::KeyValue::decode(entry.value)
        .map_err(|_| "the value of a record is no mvccpb.KeyValue")?;
    // What is not understood cannot be carried over, and must not be lost in silence.
    if message.encoded_len() != entry.value.len() {
        return Err("the value of a record has fields that this version does not know");
    }
    let change = if delete {
        let only_key = message::KeyValue {
            key: message.key.clone(),
            ..message::KeyValue::default()
        };
        if message != only_key || message.key.is_empty() {
            return Err("a delete has a key and nothing else");
        }
        Change::Delete { key: message.key }
    } else if entry.value.is_empty() {
        Change::Bump
    } else {
        if message.key.is_empty() {
            return Err("a key is never empty");
        }
        if message.mod_revision != at.revision {
            return Err("the revision in a record is not the one that it is kept under");
        }
        if message.version < 1 || !(1..=at.revision).contains(&message.create_revision) {
            return Err("a version below 1, or a create revision behind the record's own");
        }
        Change::Put(Put {
            key: message.key,
            value: message.value,
            create_revision: message.create_revision,
            version: message.version,
            lease: message.lease,
        })
    };
    Ok(Record { at, change })
}

fn lease(entry: Entry<'_>) -> Result<Lease, &'static str> {
    let message = message::Lease::decode(entry.value)
        .map_err(|_| "the value of a lease is no leasepb.Lease")?;
    if message.encoded_len() != entry.value.len() {
        return Err("the value of a lease has fields that this version does not know");
    }
    let id = bucket::decode_u64(entry.key).map(u64::cast_signed);
    if id != Some(message.id) {
        return Err("the id in a lease is not the one that it is kept under");
    }
    Ok(Lease {
        id: message.id,
        ttl: message.ttl,
        remaining_ttl: message.remaining_ttl,
    })
}
