//! The payloads of records and the context of a file's header: rows for changes and leases,
//! protobuf messages for the rest, and what they mean.
//!
//! A payload is decoded only after its checksum matched, so one that does not decode was written by
//! something else than this version; that is reported, never guessed around.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;

use crate::{
    format::{
        bytes::i64_at,
        context::{reason, reason_number, timeline, timeline_to_wire, wire as shared},
        kind::Kind,
        table::{self, Fault, LeaseRow, Space},
    },
    model::{
        entry::{Change, Entry, GapPhase, IndexPoint},
        ids::{Revision, Sequence},
        time::Timestamp,
        view::{ChangeRef, Changes, EntryRef},
    },
};

mod wire {
    //! The messages, with the field numbers of `docs/format.md`.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Watermark {
        #[prost(int64, tag = "1")]
        pub(super) observed_at: i64,
        #[prost(bool, tag = "2")]
        pub(super) closed: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct IndexPoint {
        #[prost(uint64, tag = "1")]
        pub(super) sequence: u64,
        #[prost(int64, tag = "2")]
        pub(super) covered: i64,
        #[prost(uint64, tag = "3")]
        pub(super) offset: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Seal {
        #[prost(uint64, tag = "1")]
        pub(super) records: u64,
        #[prost(fixed32, tag = "2")]
        pub(super) digest: u32,
        #[prost(message, repeated, tag = "3")]
        pub(super) index: Vec<IndexPoint>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Lost {
        #[prost(int64, tag = "1")]
        pub(super) first: i64,
        #[prost(int64, tag = "2")]
        pub(super) last: i64,
        #[prost(int64, tag = "3")]
        pub(super) observed_at: i64,
    }
}

/// A payload of rows begins with when they were observed.
const OBSERVED_BYTES: usize = 8;

/// An entry in the form in which its length is known and it can be written.
pub(crate) struct Payload<'a> {
    pub(crate) kind: Kind,
    length: usize,
    body: Body<'a>,
}

enum Body<'a> {
    Changes(&'a [Change], Timestamp),
    Lease(LeaseRow, Timestamp),
    Message(Vec<u8>),
}

impl<'a> Payload<'a> {
    pub(crate) fn new(entry: &'a Entry) -> Self {
        let (kind, body) = match entry {
            Entry::Changes {
                changes,
                observed_at,
            } => (Kind::Changes, Body::Changes(changes, *observed_at)),
            Entry::Lease {
                id,
                granted_ttl,
                observed_at,
            } => {
                let row = LeaseRow::new(*id, *granted_ttl);
                (Kind::Lease, Body::Lease(row, *observed_at))
            }
            Entry::Gap {
                first,
                last,
                phase,
                reason,
                observed_at,
            } => {
                let gap = shared::Gap {
                    first: first.0,
                    last: last.0,
                    phase: match phase {
                        GapPhase::Opened => 1,
                        GapPhase::Closed => 2,
                    },
                    reason: reason_number(*reason),
                    observed_at: observed_at.0,
                };
                (Kind::Gap, message(&gap))
            }
            Entry::Timeline(t) => (Kind::Timeline, message(&timeline_to_wire(t))),
            Entry::Watermark {
                observed_at,
                closed,
            } => {
                let watermark = wire::Watermark {
                    observed_at: observed_at.0,
                    closed: *closed,
                };
                (Kind::Watermark, message(&watermark))
            }
            Entry::Seal {
                records,
                digest,
                index,
            } => {
                let point = |p: &IndexPoint| wire::IndexPoint {
                    sequence: p.sequence.0,
                    covered: p.covered.0,
                    offset: p.offset,
                };
                let seal = wire::Seal {
                    records: *records,
                    digest: *digest,
                    index: index.iter().map(point).collect(),
                };
                (Kind::Seal, message(&seal))
            }
            Entry::Lost {
                first,
                last,
                observed_at,
            } => {
                let lost = wire::Lost {
                    first: first.0,
                    last: last.0,
                    observed_at: observed_at.0,
                };
                (Kind::Lost, message(&lost))
            }
        };
        let rows = |rows: usize| OBSERVED_BYTES + rows;
        let length = match &body {
            Body::Changes(changes, _) => {
                rows(changes.iter().map(|c| table::length(&c.into())).sum())
            }
            Body::Lease(lease, _) => rows(table::length(&lease.row(None))),
            Body::Message(message) => message.len(),
        };
        Self { kind, length, body }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Appends exactly `len()` bytes.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Changes(changes, observed_at) => {
                out.extend_from_slice(&observed_at.0.to_le_bytes());
                for change in *changes {
                    table::put(out, Space::Paths, &change.into());
                }
            }
            Body::Lease(lease, observed_at) => {
                out.extend_from_slice(&observed_at.0.to_le_bytes());
                table::put(out, Space::Leases, &lease.row(None));
            }
            Body::Message(message) => out.extend_from_slice(message),
        }
    }
}

fn message<'a>(message: &impl Message) -> Body<'a> {
    Body::Message(message.encode_to_vec())
}

/// Decodes a payload whose checksum matched. Paths and values are parts of it.
#[inline(always)]
pub(crate) fn view(kind: Kind, payload: &[u8]) -> Result<EntryRef<'_>, String> {
    if kind != Kind::Changes {
        return marker(kind, payload).map(|entry| EntryRef::Marker(Cow::Owned(entry)));
    }
    let (observed_at, mut rest) = observed(payload)?;
    let mut changes = Changes::NONE;
    while !rest.is_empty() {
        let (space, change, behind) = table::take(rest)?;
        if space != Space::Paths {
            return Err("a record of changes tells of a lease".to_owned());
        }
        changes.push(change);
        rest = behind;
    }
    Ok(EntryRef::Changes {
        changes,
        observed_at,
    })
}

#[inline(always)]
fn observed(payload: &[u8]) -> Result<(Timestamp, &[u8]), Fault> {
    let split = payload.split_at_checked(OBSERVED_BYTES);
    let (observed_at, rows) = split.ok_or("the payload ends before its first row")?;
    Ok((Timestamp(i64_at(observed_at, 0)), rows))
}

/// Decodes a payload to keep. Paths and values are parts of `whole`, in which the payload lies.
pub(crate) fn decode_within(kind: Kind, payload: &[u8], whole: &Bytes) -> Result<Entry, String> {
    Ok(owned(view(kind, payload)?, |change| change.within(whole)))
}

/// Decodes a payload to keep. Paths and values are copies.
pub(crate) fn decode(kind: Kind, payload: &[u8]) -> Result<Entry, String> {
    view(kind, payload).map(copied)
}

/// An entry to keep. Paths and values are copies.
#[inline]
pub(crate) fn copied(entry: EntryRef<'_>) -> Entry {
    owned(entry, |change| change.copy())
}

#[inline]
fn owned(entry: EntryRef<'_>, change: impl FnMut(&ChangeRef<'_>) -> Change) -> Entry {
    match entry {
        EntryRef::Changes {
            changes,
            observed_at,
        } => Entry::Changes {
            changes: changes.iter().map(change).collect(),
            observed_at,
        },
        EntryRef::Marker(marker) => marker.into_owned(),
    }
}

/// What is not changes.
fn marker(kind: Kind, payload: &[u8]) -> Result<Entry, String> {
    let text = |e: prost::DecodeError| format!("the payload does not decode: {e}");
    Ok(match kind {
        Kind::Changes => unreachable!("the caller decodes them"),
        Kind::Lease => {
            let (observed_at, rows) = observed(payload)?;
            let (space, row, rest) = table::take(rows)?;
            if space != Space::Leases || row.revision.is_some() || !rest.is_empty() {
                return Err("the payload is not one lease".to_owned());
            }
            let (id, granted_ttl) = LeaseRow::read(&row)?;
            Entry::Lease {
                id,
                granted_ttl,
                observed_at,
            }
        }
        Kind::Gap => {
            let m = shared::Gap::decode(payload).map_err(text)?;
            Entry::Gap {
                first: Revision(m.first),
                last: Revision(m.last),
                phase: match m.phase {
                    1 => GapPhase::Opened,
                    2 => GapPhase::Closed,
                    n => return Err(format!("gap phase {n} is unknown")),
                },
                reason: reason(m.reason)?,
                observed_at: Timestamp(m.observed_at),
            }
        }
        Kind::Timeline => {
            Entry::Timeline(timeline(shared::Timeline::decode(payload).map_err(text)?))
        }
        Kind::Watermark => {
            let m = wire::Watermark::decode(payload).map_err(text)?;
            Entry::Watermark {
                observed_at: Timestamp(m.observed_at),
                closed: m.closed,
            }
        }
        Kind::Seal => {
            let m = wire::Seal::decode(payload).map_err(text)?;
            Entry::Seal {
                records: m.records,
                digest: m.digest,
                index: m
                    .index
                    .into_iter()
                    .map(|p| IndexPoint {
                        sequence: Sequence(p.sequence),
                        covered: Revision(p.covered),
                        offset: p.offset,
                    })
                    .collect(),
            }
        }
        Kind::Lost => {
            let m = wire::Lost::decode(payload).map_err(text)?;
            Entry::Lost {
                first: Revision(m.first),
                last: Revision(m.last),
                observed_at: Timestamp(m.observed_at),
            }
        }
    })
}
