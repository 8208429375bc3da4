//! The JSON form of a journal: one object a record, one record a line.
//!
//! Unlike the text form it holds everything that a record says, times, gaps and timelines included,
//! so a dump in it can be written again without a loss. `docs/text-form.md` is its description.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cairn_journal::{
    Change, ChangeRef, Entry, EntryRef, GapPhase, GapReason, Op, RecordRef, Revision, Timeline,
    Timestamp,
};
use serde::{Deserialize, Serialize};

/// A record, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct JsonRecord<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synced: Option<u64>,
    revision: i64,
    #[serde(flatten)]
    entry: JsonEntry<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum JsonEntry<'a> {
    Changes {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        observed_at_ms: Option<i64>,
        changes: Vec<JsonChange<'a>>,
    },
    Gap {
        first: i64,
        last: i64,
        phase: JsonPhase,
        reason: JsonReason,
        observed_at_ms: i64,
    },
    Timeline {
        id: String,
        parent: Option<String>,
        at: i64,
        kept: bool,
        observed_at_ms: i64,
    },
    Watermark {
        observed_at_ms: i64,
        closed: bool,
    },
    Seal {
        records: u64,
        digest: u32,
    },
    Lost {
        first: i64,
        last: i64,
        observed_at_ms: i64,
        /// Written by no version that was released.
        #[serde(default, skip_serializing)]
        changes: Vec<serde::de::IgnoredAny>,
    },
    Lease {
        id: i64,
        /// In seconds; absent: the lease is gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        granted_ttl: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        observed_at_ms: Option<i64>,
    },
    /// A type that the journal has learnt and this form has not.
    #[serde(skip_deserializing)]
    Unknown {},
}

#[derive(Debug, Serialize, Deserialize)]
struct JsonChange<'a> {
    #[serde(flatten)]
    op: JsonOp<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes_base64: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    control: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum JsonOp<'a> {
    Set {
        #[serde(flatten)]
        path: JsonPath<'a>,
        #[serde(flatten)]
        value: JsonValue<'a>,
    },
    Delete {
        #[serde(flatten)]
        path: JsonPath<'a>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum JsonPath<'a> {
    #[serde(rename = "path")]
    Text(Cow<'a, str>),
    #[serde(rename = "path_base64")]
    Base64(Cow<'a, str>),
}

#[derive(Debug, Serialize, Deserialize)]
enum JsonValue<'a> {
    #[serde(rename = "value")]
    Text(Cow<'a, str>),
    #[serde(rename = "value_base64")]
    Base64(Cow<'a, str>),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonPhase {
    Opened,
    Closed,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonReason {
    HistoryDiscarded,
    Baseline,
    Damage,
    /// A reason that the journal has learnt and this form has not.
    #[serde(skip_deserializing)]
    Unknown,
}

/// Appends the object of one record, its newline included.
pub fn write_record(out: &mut Vec<u8>, record: &RecordRef<'_>) {
    let entry = entry_to_json(&record.entry);
    let json = JsonRecord {
        sequence: Some(record.sequence.0),
        synced: Some(record.synced.0),
        revision: record.revision.0,
        entry,
    };
    write_object(out, &json);
}

/// Appends a change that is no record of its own, as one of a state, in the form of one.
pub fn write_change(out: &mut Vec<u8>, revision: Revision, mut change: ChangeRef<'_>) {
    change.revision = None;
    let entry = JsonEntry::Changes {
        observed_at_ms: None,
        changes: vec![change_to_json(change)],
    };
    write_alone(out, revision, entry);
}

/// Appends a lease that is no record of its own, but part of the state at a revision.
pub fn write_lease(out: &mut Vec<u8>, revision: Revision, id: i64, granted_ttl: i64) {
    let entry = JsonEntry::Lease {
        id,
        granted_ttl: Some(granted_ttl),
        observed_at_ms: None,
    };
    write_alone(out, revision, entry);
}

fn write_alone(out: &mut Vec<u8>, revision: Revision, entry: JsonEntry<'_>) {
    let json = JsonRecord {
        sequence: None,
        synced: None,
        revision: revision.0,
        entry,
    };
    write_object(out, &json);
}

/// Appends any object, its newline included.
pub fn write_object(out: &mut Vec<u8>, object: &impl Serialize) {
    serde_json::to_writer(&mut *out, object).expect("memory takes everything, and keys are text");
    out.push(b'\n');
}

/// Reads a line: a record's revision and entry. Seals and sequences belong to one journal and are
/// made anew by the next.
pub fn parse_record(line: &[u8]) -> Result<(Revision, Entry), String> {
    let record: JsonRecord<'_> =
        serde_json::from_slice(line).map_err(|error| format!("no record in JSON: {error}"))?;
    Ok((Revision(record.revision), entry_from_json(record.entry)?))
}

fn path_to_json(path: &[u8]) -> JsonPath<'_> {
    match str::from_utf8(path) {
        Ok(text) => JsonPath::Text(text.into()),
        Err(_) => JsonPath::Base64(BASE64.encode(path).into()),
    }
}

fn value_to_json(value: &[u8]) -> JsonValue<'_> {
    match str::from_utf8(value) {
        Ok(text) => JsonValue::Text(text.into()),
        Err(_) => JsonValue::Base64(BASE64.encode(value).into()),
    }
}

fn entry_to_json<'a>(entry: &'a EntryRef<'a>) -> JsonEntry<'a> {
    match entry {
        EntryRef::Changes {
            changes,
            observed_at,
        } => JsonEntry::Changes {
            observed_at_ms: Some(observed_at.0),
            changes: changes.iter().copied().map(change_to_json).collect(),
        },
        EntryRef::Marker(marker) => marker_to_json(marker),
    }
}

fn marker_to_json(marker: &Entry) -> JsonEntry<'_> {
    match marker {
        Entry::Gap {
            first,
            last,
            phase,
            reason,
            observed_at,
        } => JsonEntry::Gap {
            first: first.0,
            last: last.0,
            phase: match phase {
                GapPhase::Opened => JsonPhase::Opened,
                GapPhase::Closed => JsonPhase::Closed,
            },
            reason: match reason {
                GapReason::HistoryDiscarded => JsonReason::HistoryDiscarded,
                GapReason::Baseline => JsonReason::Baseline,
                GapReason::Damage => JsonReason::Damage,
                _ => JsonReason::Unknown,
            },
            observed_at_ms: observed_at.0,
        },
        Entry::Timeline(timeline) => JsonEntry::Timeline {
            id: timeline.id.clone(),
            parent: timeline.parent.clone(),
            at: timeline.at.0,
            kept: timeline.kept,
            observed_at_ms: timeline.observed_at.0,
        },
        Entry::Watermark {
            observed_at,
            closed,
        } => JsonEntry::Watermark {
            observed_at_ms: observed_at.0,
            closed: *closed,
        },
        Entry::Seal {
            records, digest, ..
        } => JsonEntry::Seal {
            records: *records,
            digest: *digest,
        },
        Entry::Lost {
            first,
            last,
            observed_at,
        } => JsonEntry::Lost {
            first: first.0,
            last: last.0,
            observed_at_ms: observed_at.0,
            changes: Vec::new(),
        },
        Entry::Lease {
            id,
            granted_ttl,
            observed_at,
        } => JsonEntry::Lease {
            id: *id,
            granted_ttl: *granted_ttl,
            observed_at_ms: Some(observed_at.0),
        },
        _ => JsonEntry::Unknown {},
    }
}

fn change_to_json<'a>(change: ChangeRef<'a>) -> JsonChange<'a> {
    let path = path_to_json(change.path);
    let attributes = (!change.attributes.is_empty()).then(|| BASE64.encode(change.attributes));
    JsonChange {
        op: match change.value {
            Some(value) => JsonOp::Set {
                path,
                value: value_to_json(value),
            },
            None => JsonOp::Delete { path },
        },
        revision: change.revision.map(|revision| revision.0),
        attributes_base64: attributes.map(Cow::Owned),
        control: change.is_control,
    }
}

fn entry_from_json(entry: JsonEntry<'_>) -> Result<Entry, String> {
    Ok(match entry {
        JsonEntry::Changes {
            observed_at_ms,
            changes,
        } => Entry::Changes {
            changes: changes
                .into_iter()
                .map(change_from_json)
                .collect::<Result<_, _>>()?,
            observed_at: observed_at_ms.map_or_else(Timestamp::now, Timestamp),
        },
        JsonEntry::Gap {
            first,
            last,
            phase,
            reason,
            observed_at_ms,
        } => Entry::Gap {
            first: Revision(first),
            last: Revision(last),
            phase: match phase {
                JsonPhase::Opened => GapPhase::Opened,
                JsonPhase::Closed => GapPhase::Closed,
            },
            reason: match reason {
                JsonReason::HistoryDiscarded => GapReason::HistoryDiscarded,
                JsonReason::Baseline => GapReason::Baseline,
                JsonReason::Damage => GapReason::Damage,
                JsonReason::Unknown => {
                    return Err("this version does not know the gap's reason".to_owned());
                }
            },
            observed_at: Timestamp(observed_at_ms),
        },
        JsonEntry::Timeline {
            id,
            parent,
            at,
            kept,
            observed_at_ms,
        } => Entry::Timeline(Timeline {
            id,
            parent,
            at: Revision(at),
            kept,
            observed_at: Timestamp(observed_at_ms),
        }),
        JsonEntry::Watermark {
            observed_at_ms,
            closed,
        } => Entry::Watermark {
            observed_at: Timestamp(observed_at_ms),
            closed,
        },
        JsonEntry::Seal { records, digest } => Entry::Seal {
            records,
            digest,
            index: Vec::new(),
        },
        JsonEntry::Lost { changes, .. } if !changes.is_empty() => {
            return Err(
                "a loss that tells changes is of a version that was not released".to_owned(),
            );
        }
        JsonEntry::Lost {
            first,
            last,
            observed_at_ms,
            ..
        } => Entry::Lost {
            first: Revision(first),
            last: Revision(last),
            observed_at: Timestamp(observed_at_ms),
        },
        JsonEntry::Lease {
            id,
            granted_ttl,
            observed_at_ms,
        } => Entry::Lease {
            id,
            granted_ttl,
            observed_at: observed_at_ms.map_or_else(Timestamp::now, Timestamp),
        },
        JsonEntry::Unknown {} => {
            return Err("this version does not know the record's type".to_owned());
        }
    })
}

fn change_from_json(change: JsonChange<'_>) -> Result<Change, String> {
    let (path, op) = match change.op {
        JsonOp::Set { path, value } => {
            let value = match value {
                JsonValue::Text(text) => text.into_owned().into_bytes(),
                JsonValue::Base64(text) => decode("value_base64", &text)?,
            };
            (path, Op::Set(value.into()))
        }
        JsonOp::Delete { path } => (path, Op::Delete),
    };
    let path = match path {
        JsonPath::Text(text) => text.into_owned().into_bytes(),
        JsonPath::Base64(text) => decode("path_base64", &text)?,
    };
    Ok(Change {
        path: path.into(),
        op,
        revision: change.revision.map(Revision),
        attributes: match change.attributes_base64 {
            Some(text) => decode("attributes_base64", &text)?.into(),
            None => Bytes::new(),
        },
        is_control: change.control,
    })
}

fn decode(field: &str, text: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(text)
        .map_err(|error| format!("{field}: {error}"))
}
