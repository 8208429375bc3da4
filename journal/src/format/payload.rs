//! The payloads of records and the context of a segment header: protobuf messages, and what they
//! mean.
//!
//! A payload is decoded only after its checksum matched, so a message that does not decode was
//! written by something else than this version; that is reported, never guessed around.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;

use crate::{
    format::kind::Kind,
    model::{
        entry::{Change, Entry, Gap, GapPhase, GapReason, IndexPoint, Op, Timeline},
        ids::{Revision, Sequence},
        span::Span,
        time::Timestamp,
        view::{ChangeRef, EntryRef},
    },
};

mod wire {
    //! The messages, with the field numbers of `docs/format.md`.

    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Change {
        #[prost(bytes = "bytes", tag = "1")]
        pub(super) path: Bytes,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) value: Bytes,
        #[prost(bool, tag = "3")]
        pub(super) delete: bool,
        #[prost(int64, optional, tag = "4")]
        pub(super) revision: Option<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Changes {
        #[prost(message, repeated, tag = "1")]
        pub(super) changes: Vec<Change>,
        #[prost(int64, tag = "2")]
        pub(super) observed_at: i64,
    }

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
    pub(super) struct Span {
        #[prost(int64, tag = "1")]
        pub(super) first: i64,
        #[prost(int64, tag = "2")]
        pub(super) last: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Lost {
        #[prost(uint64, tag = "1")]
        pub(super) first_sequence: u64,
        #[prost(int64, tag = "2")]
        pub(super) first: i64,
        #[prost(int64, tag = "3")]
        pub(super) last: i64,
        #[prost(int64, tag = "4")]
        pub(super) observed_at: i64,
        #[prost(message, repeated, tag = "5")]
        pub(super) known: Vec<Span>,
        #[prost(message, repeated, tag = "6")]
        pub(super) changes: Vec<Change>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Repaired {
        #[prost(fixed32, optional, tag = "1")]
        pub(super) stands_for: Option<u32>,
        #[prost(fixed32, tag = "2")]
        pub(super) digest: u32,
        #[prost(uint64, tag = "3")]
        pub(super) last: u64,
        #[prost(uint64, tag = "4")]
        pub(super) end: u64,
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
        pub(super) repaired: Option<Repaired>,
        #[prost(message, optional, tag = "8")]
        pub(super) unhealed: Option<Gap>,
    }
}

mod changes {
    //! The messages `Changes` and `Change` in a single pass that copies nothing: they are nearly
    //! all of a journal. Groups apart, which no version has written, this takes what prost takes,
    //! and as prost takes it; a test holds the two together.

    use crate::model::{
        ids::Revision,
        time::Timestamp,
        view::{ChangeRef, Changes},
    };

    /// Bytes that are not read yet.
    struct Rest<'a>(&'a [u8]);

    impl<'a> Rest<'a> {
        #[inline(always)]
        fn varint(&mut self) -> Option<u64> {
            let mut value = 0;
            for shift in (0..70).step_by(7) {
                let (&byte, rest) = self.0.split_first()?;
                self.0 = rest;
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    // Of the tenth only one bit is left.
                    return (shift < 63 || byte < 2).then_some(value);
                }
            }
            None
        }

        #[inline(always)]
        fn take(&mut self, length: usize) -> Option<&'a [u8]> {
            let (part, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            Some(part)
        }

        /// What a length in front of it delimits.
        #[inline(always)]
        fn part(&mut self) -> Option<&'a [u8]> {
            let length = usize::try_from(self.varint()?).ok()?;
            self.take(length)
        }

        /// Passes over the field that begins with this key, if it is none of the first `known`,
        /// which are of other types.
        #[cold]
        fn skip(&mut self, key: u64, known: u32) -> Option<()> {
            let key = u32::try_from(key).ok()?;
            let (field, wire_type) = (key >> 3, key & 7);
            if field <= known {
                return None;
            }
            match wire_type {
                0 => self.varint().map(drop),
                1 => self.take(8).map(drop),
                2 => self.part().map(drop),
                5 => self.take(4).map(drop),
                _ => None,
            }
        }
    }

    // Moving what is decoded from one function to the next costs more than decoding it: hence the
    // inlining.
    #[inline]
    pub(super) fn decode(payload: &[u8]) -> Option<(Changes<'_>, Timestamp)> {
        let mut rest = Rest(payload);
        let mut changes = Changes::NONE;
        let mut observed_at = 0;
        while !rest.0.is_empty() {
            match rest.varint()? {
                0x0a => changes.push(change(rest.part()?)?),
                0x10 => observed_at = rest.varint()?,
                other => rest.skip(other, 2)?,
            }
        }
        Some((changes, Timestamp(observed_at.cast_signed())))
    }

    #[inline(always)]
    fn change(bytes: &[u8]) -> Option<ChangeRef<'_>> {
        let mut rest = Rest(bytes);
        let (mut path, mut value) = (&bytes[..0], &bytes[..0]);
        let mut delete = false;
        let mut revision = None;
        while !rest.0.is_empty() {
            match rest.varint()? {
                0x0a => path = rest.part()?,
                0x12 => value = rest.part()?,
                0x18 => delete = rest.varint()? != 0,
                0x20 => revision = Some(Revision(rest.varint()?.cast_signed())),
                other => rest.skip(other, 4)?,
            }
        }
        Some(ChangeRef {
            path,
            value: (!delete).then_some(value),
            revision,
        })
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
    /// Set if a repair wrote this segment.
    pub(crate) repaired: Option<Repaired>,
}

/// What a repair knew of the segment it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// The digest by which the successor knows the segment that was replaced.
    pub(crate) stands_for: Option<u32>,
    /// The digest that this segment really has.
    pub(crate) digest: u32,
    /// Its last sequence.
    pub(crate) last: Sequence,
    /// Where its records end, in bytes.
    pub(crate) end: u64,
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
            repaired: self.repaired.map(|r| wire::Repaired {
                stands_for: r.stands_for,
                digest: r.digest,
                last: r.last.0,
                end: r.end,
            }),
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
            repaired: c.repaired.map(|r| Repaired {
                stands_for: r.stands_for,
                digest: r.digest,
                last: Sequence(r.last),
                end: r.end,
            }),
        })
    }
}

/// An entry in the form in which its length is known and it can be written.
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    body: Body,
}

enum Body {
    Changes(wire::Changes),
    Gap(wire::Gap),
    Timeline(wire::Timeline),
    Watermark(wire::Watermark),
    Seal(wire::Seal),
    Lost(wire::Lost),
}

impl Payload {
    pub(crate) fn new(entry: &Entry) -> Self {
        let (kind, body) = match entry {
            Entry::Changes {
                changes,
                observed_at,
            } => (
                Kind::Changes,
                Body::Changes(wire::Changes {
                    changes: changes.iter().map(change_to_wire).collect(),
                    observed_at: observed_at.0,
                }),
            ),
            Entry::Gap {
                first,
                last,
                phase,
                reason,
                observed_at,
            } => (
                Kind::Gap,
                Body::Gap(wire::Gap {
                    first: first.0,
                    last: last.0,
                    phase: match phase {
                        GapPhase::Opened => 1,
                        GapPhase::Closed => 2,
                    },
                    reason: reason_number(*reason),
                    observed_at: observed_at.0,
                }),
            ),
            Entry::Timeline(t) => (Kind::Timeline, Body::Timeline(timeline_to_wire(t))),
            Entry::Watermark {
                observed_at,
                closed,
            } => (
                Kind::Watermark,
                Body::Watermark(wire::Watermark {
                    observed_at: observed_at.0,
                    closed: *closed,
                }),
            ),
            Entry::Seal {
                records,
                digest,
                index,
            } => (
                Kind::Seal,
                Body::Seal(wire::Seal {
                    records: *records,
                    digest: *digest,
                    index: index
                        .iter()
                        .map(|p| wire::IndexPoint {
                            sequence: p.sequence.0,
                            covered: p.covered.0,
                            offset: p.offset,
                        })
                        .collect(),
                }),
            ),
            Entry::Lost {
                first_sequence,
                first,
                last,
                known,
                changes,
                observed_at,
            } => (
                Kind::Lost,
                Body::Lost(wire::Lost {
                    first_sequence: first_sequence.0,
                    first: first.0,
                    last: last.0,
                    observed_at: observed_at.0,
                    known: known
                        .iter()
                        .map(|span| wire::Span {
                            first: span.first.0,
                            last: span.last.0,
                        })
                        .collect(),
                    changes: changes.iter().map(change_to_wire).collect(),
                }),
            ),
        };
        Self { kind, body }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.body {
            Body::Changes(m) => m.encoded_len(),
            Body::Gap(m) => m.encoded_len(),
            Body::Timeline(m) => m.encoded_len(),
            Body::Watermark(m) => m.encoded_len(),
            Body::Seal(m) => m.encoded_len(),
            Body::Lost(m) => m.encoded_len(),
        }
    }

    /// Appends exactly `len()` bytes.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        match &self.body {
            Body::Changes(m) => m.encode_raw(out),
            Body::Gap(m) => m.encode_raw(out),
            Body::Timeline(m) => m.encode_raw(out),
            Body::Watermark(m) => m.encode_raw(out),
            Body::Seal(m) => m.encode_raw(out),
            Body::Lost(m) => m.encode_raw(out),
        }
    }
}

fn change_to_wire(c: &Change) -> wire::Change {
    let (value, delete) = match &c.op {
        Op::Set(value) => (value.clone(), false),
        Op::Delete => (Bytes::new(), true),
    };
    wire::Change {
        path: c.path.clone(),
        value,
        delete,
        revision: c.revision.map(|r| r.0),
    }
}

fn change_from_wire(c: wire::Change) -> Change {
    Change {
        path: c.path,
        op: if c.delete {
            Op::Delete
        } else {
            Op::Set(c.value)
        },
        revision: c.revision.map(Revision),
    }
}

/// Decodes a payload whose checksum matched. Paths and values are parts of it.
#[inline(always)]
pub(crate) fn view(kind: Kind, payload: &[u8]) -> Result<EntryRef<'_>, String> {
    if kind != Kind::Changes {
        return marker(kind, payload).map(|entry| EntryRef::Marker(Cow::Owned(entry)));
    }
    let (changes, observed_at) =
        changes::decode(payload).ok_or("the payload does not decode: it is no list of changes")?;
    Ok(EntryRef::Changes {
        changes,
        observed_at,
    })
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
                first_sequence: Sequence(m.first_sequence),
                first: Revision(m.first),
                last: Revision(m.last),
                known: m
                    .known
                    .into_iter()
                    .filter_map(|s| Span::new(Revision(s.first), Revision(s.last)))
                    .collect(),
                changes: m.changes.into_iter().map(change_from_wire).collect(),
                observed_at: Timestamp(m.observed_at),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_change() -> impl Strategy<Value = Change> {
        let value = prop::option::of(any::<Vec<u8>>());
        let revision = prop::option::of(any::<i64>());
        (any::<Vec<u8>>(), value, revision).prop_map(|(path, value, revision)| Change {
            path: path.into(),
            op: value.map_or(Op::Delete, |value| Op::Set(value.into())),
            revision: revision.map(Revision),
        })
    }

    fn payload_of(changes: Vec<Change>, observed_at: i64) -> Vec<u8> {
        let mut out = Vec::new();
        let observed_at = Timestamp(observed_at);
        Payload::new(&Entry::Changes {
            changes,
            observed_at,
        })
        .write_to(&mut out);
        out
    }

    fn by_prost(payload: &[u8]) -> Option<Entry> {
        let m = wire::Changes::decode(payload).ok()?;
        let changes = m.changes.into_iter().map(|c| Change {
            path: c.path,
            op: if c.delete {
                Op::Delete
            } else {
                Op::Set(c.value)
            },
            revision: c.revision.map(Revision),
        });
        Some(Entry::Changes {
            changes: changes.collect(),
            observed_at: Timestamp(m.observed_at),
        })
    }

    /// All ways to decode on the same bytes; whether they are changes.
    fn agree(bytes: &[u8]) -> bool {
        let whole = Bytes::from([b"before", bytes, b"behind"].concat());
        let payload = whole.slice(6..6 + bytes.len());
        let ours = decode(Kind::Changes, &payload);
        assert_eq!(ours, decode_within(Kind::Changes, &payload, &whole));
        let prost = by_prost(bytes);
        // Only of groups prost knows more. They begin with a key of this wire type.
        let may_have_group = bytes.iter().any(|byte| byte & 7 == 3);
        if ours.is_ok() || !may_have_group {
            assert_eq!(ours.clone().ok(), prost);
        }
        ours.is_ok()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 5_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn what_is_written_is_decoded_alike(
            changes in prop::collection::vec(any_change(), 0..6),
            observed_at in any::<i64>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = payload_of(changes.clone(), observed_at);
            prop_assert!(agree(&bytes));
            let observed_at = Timestamp(observed_at);
            prop_assert_eq!(
                decode(Kind::Changes, &bytes),
                Ok(Entry::Changes { changes, observed_at })
            );
            for (at, byte) in edits {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            agree(&bytes);
        }

        #[test]
        fn any_bytes_are_decoded_alike(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            agree(&bytes);
        }

        /// Keys, lengths and numbers as they are and as they are not to be.
        #[test]
        fn any_fields_are_decoded_alike(
            bytes in prop::collection::vec(
                prop::sample::select(&[
                    0x0a, 0x10, 0x12, 0x18, 0x20, 0x28, 0x29, 0x2a, 0x2d, 0x08, 0x15, 0x00,
                    0x01, 0x02, 0x04, 0x06, 0x80, 0x8a, 0xff, 0x7f,
                ][..]),
                0..24,
            ),
        ) {
            agree(&bytes);
        }
    }

    #[test]
    fn what_a_later_version_may_add_is_passed_over() {
        let sound = payload_of(vec![Change::set("/a", "x").at(Revision(5))], -1);
        for field in [
            &[0x28, 1][..],
            &[0x2a, 2, 7, 7],
            &[0x2d, 1, 2, 3, 4],
            &[0x29, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xa8, 0x06, 0xff, 0x01],
        ] {
            let bytes = [field, &sound].concat();
            assert!(agree(&bytes));
            assert_eq!(decode(Kind::Changes, &bytes), decode(Kind::Changes, &sound));
        }
        // A bool that is any other number; a known field of another type; a number of ten bytes,
        // and of eleven.
        assert!(agree(&[0x0a, 2, 0x18, 7]));
        assert!(!agree(&[0x15, 0, 0, 0, 0]));
        assert!(agree(&[&[0x10][..], &[0xff; 9], &[1]].concat()));
        assert!(!agree(&[&[0x10][..], &[0xff; 10], &[1]].concat()));
        assert!(!agree(&[&[0x10][..], &[0xff; 9], &[2]].concat()));
    }
}
