//! The context of a file's header, and the messages that it has in common with records.

use prost::Message;

use crate::model::{
    entry::{Gap, GapReason, Timeline},
    ids::{Revision, Sequence},
    time::Timestamp,
};

pub(crate) mod wire {
    //! The messages, with the field numbers of `docs/format.md`.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Gap {
        #[prost(int64, tag = "1")]
        pub(crate) first: i64,
        #[prost(int64, tag = "2")]
        pub(crate) last: i64,
        #[prost(uint32, tag = "3")]
        pub(crate) phase: u32,
        #[prost(uint32, tag = "4")]
        pub(crate) reason: u32,
        #[prost(int64, tag = "5")]
        pub(crate) observed_at: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Timeline {
        #[prost(string, tag = "1")]
        pub(crate) id: String,
        #[prost(string, optional, tag = "2")]
        pub(crate) parent: Option<String>,
        #[prost(int64, tag = "3")]
        pub(crate) at: i64,
        #[prost(bool, tag = "4")]
        pub(crate) kept: bool,
        #[prost(int64, tag = "5")]
        pub(crate) observed_at: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Context {
        #[prost(message, optional, tag = "1")]
        pub(crate) timeline: Option<Timeline>,
        #[prost(message, optional, tag = "2")]
        pub(crate) open_gap: Option<Gap>,
        #[prost(uint64, tag = "3")]
        pub(crate) predecessor_first: u64,
        #[prost(uint64, tag = "4")]
        pub(crate) predecessor_end: u64,
        #[prost(uint64, tag = "5")]
        pub(crate) predecessor_seal: u64,
        #[prost(fixed64, tag = "6")]
        pub(crate) predecessor_salt: u64,
        #[prost(message, optional, tag = "7")]
        pub(crate) unhealed: Option<Gap>,
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

pub(crate) fn reason_number(reason: GapReason) -> u32 {
    match reason {
        GapReason::HistoryDiscarded => 1,
        GapReason::Baseline => 2,
        GapReason::Damage => 3,
    }
}

pub(crate) fn reason(number: u32) -> Result<GapReason, String> {
    Ok(match number {
        1 => GapReason::HistoryDiscarded,
        2 => GapReason::Baseline,
        3 => GapReason::Damage,
        n => return Err(format!("gap reason {n} is unknown")),
    })
}

pub(crate) fn timeline_to_wire(t: &Timeline) -> wire::Timeline {
    wire::Timeline {
        id: t.id.clone(),
        parent: t.parent.clone(),
        at: t.at.0,
        kept: t.kept,
        observed_at: t.observed_at.0,
    }
}

pub(crate) fn timeline(t: wire::Timeline) -> Timeline {
    Timeline {
        id: t.id,
        parent: t.parent,
        at: Revision(t.at),
        kept: t.kept,
        observed_at: Timestamp(t.observed_at),
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
