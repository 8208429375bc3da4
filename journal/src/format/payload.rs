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
        kind::Kind,
        table::{self, Fault, LeaseRow, Space},
    },
    model::{
        entry::{Change, Entry, Gap, GapPhase, GapReason, IndexPoint, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
        view::{ChangeRef, Changes, EntryRef},
    },
};

mod wire {
    //! The messages, with the field numbers of `docs/format.md`.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Gap {
        #[prost(int64, tag = "1")]
        pub(super) first: i64,
        #[prost(int64, tag = "2")]
        pub(super) last: i64,
        #[prost(uint32, tag = "3")]
        pub(super) phase: u32,
        #[prost(uint32, tag = "4")]
        pub(super) reason: u32,
        #[prost(int64, tag = "5")]
        pub(super) observed_at: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Timeline {
        #[prost(string, tag = "1")]
        pub(super) id: String,
        #[prost(string, optional, tag = "2")]
        pub(super) parent: Option<String>,
        #[prost(int64, tag = "3")]
        pub(super) at: i64,
        #[prost(bool, tag = "4")]
        pub(super) kept: bool,
        #[prost(int64, tag = "5")]
        pub(super) observed_at: i64,
    }

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

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Context {
        #[prost(message, optional, tag = "1")]
        pub(super) timeline: Option<Timeline>,
        #[prost(message, optional, tag = "2")]
        pub(super) open_gap: Option<Gap>,
        #[prost(uint64, tag = "3")]
        pub(super) predecessor_first: u64,
        #[prost(uint64, tag = "4")]
        pub(super) predecessor_end: u64,
        #[prost(uint64, tag = "5")]
        pub(super) predecessor_seal: u64,
        #[prost(fixed64, tag = "6")]
        pub(super) predecessor_salt: u64,
        #[prost(message, optional, tag = "7")]
        pub(super) unhealed: Option<Gap>,
    }
}

/// What a segment's header says beyond its fixed fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Context {
    /// The timeline in force before the segment's first record.
    pub(crate) timeline: Option<Timeline>,
    /// The gap that was open there.
    pub(crate) open_gap: Option<Gap>,
    /// Within its difference: older damage that it does not make good.
    pub(crate) unhealed: Option<Gap>,
    /// First sequence of the predecessor: its name.
    pub(crate) predecessor_first: Sequence,
    /// Where the predecessor's records end, in bytes.
    pub(crate) predecessor_end: u64,
    /// Offset of the predecessor's seal record; `None`: it was not sealed.
    pub(crate) predecessor_seal: Option<u64>,
    /// The predecessor's salt: its records can be verified without its own header.
    pub(crate) predecessor_salt: u64,
}

fn reason_number(reason: GapReason) -> u32 {
    match reason {
        GapReason::HistoryDiscarded => 1,
        GapReason::Baseline => 2,
        GapReason::Damage => 3,
    }
}

fn reason(number: u32) -> Result<GapReason, String> {
    Ok(match number {
        1 => GapReason::HistoryDiscarded,
        2 => GapReason::Baseline,
        3 => GapReason::Damage,
        n => return Err(format!("gap reason {n} is unknown")),
    })
}

fn timeline_to_wire(t: &Timeline) -> wire::Timeline {
    wire::Timeline {
        id: t.id.clone(),
        parent: t.parent.clone(),
        at: t.at.0,
        kept: t.kept,
        observed_at: t.observed_at.0,
    }
}

fn gap_to_wire(g: Gap) -> wire::Gap {
    wire::Gap {
        first: g.first.0,
        last: g.last.0,
        phase: 1,
        reason: reason_number(g.reason),
        observed_at: 0,
    }
}

fn gap(g: wire::Gap) -> Result<Gap, String> {
    Ok(Gap {
        first: Revision(g.first),
        last: Revision(g.last),
        reason: reason(g.reason)?,
    })
}

fn timeline(t: wire::Timeline) -> Timeline {
    Timeline {
        id: t.id,
        parent: t.parent,
        at: Revision(t.at),
        kept: t.kept,
        observed_at: Timestamp(t.observed_at),
    }
}

impl Context {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::Context {
            timeline: self.timeline.as_ref().map(timeline_to_wire),
            open_gap: self.open_gap.map(gap_to_wire),
            unhealed: self.unhealed.map(gap_to_wire),
            predecessor_first: self.predecessor_first.0,
            predecessor_end: self.predecessor_end,
            predecessor_seal: self.predecessor_seal.unwrap_or(0),
            predecessor_salt: self.predecessor_salt,
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let c = wire::Context::decode(bytes).map_err(|e| e.to_string())?;
        Ok(Self {
            timeline: c.timeline.map(timeline),
            open_gap: c.open_gap.map(gap).transpose()?,
            unhealed: c.unhealed.map(gap).transpose()?,
            predecessor_first: Sequence(c.predecessor_first),
            predecessor_end: c.predecessor_end,
            predecessor_seal: (c.predecessor_seal != 0).then_some(c.predecessor_seal),
            predecessor_salt: c.predecessor_salt,
        })
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
                let gap = wire::Gap {
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
#[inline]
pub(crate) fn decode_within(kind: Kind, payload: &[u8], whole: &Bytes) -> Result<Entry, String> {
    owned(view(kind, payload)?, |change| change.within(whole))
}

/// Decodes a payload to keep. Paths and values are copies.
pub(crate) fn decode(kind: Kind, payload: &[u8]) -> Result<Entry, String> {
    owned(view(kind, payload)?, |change| change.copy())
}

#[inline]
fn owned(
    entry: EntryRef<'_>,
    change: impl FnMut(&ChangeRef<'_>) -> Change,
) -> Result<Entry, String> {
    Ok(match entry {
        EntryRef::Changes {
            changes,
            observed_at,
        } => Entry::Changes {
            changes: changes.iter().map(change).collect(),
            observed_at,
        },
        EntryRef::Marker(marker) => marker.into_owned(),
    })
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
            let m = wire::Gap::decode(payload).map_err(text)?;
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
        Kind::Timeline => Entry::Timeline(timeline(wire::Timeline::decode(payload).map_err(text)?)),
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
