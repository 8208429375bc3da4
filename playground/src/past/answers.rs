//! The past as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_journal::State;
use serde::Serialize;

use crate::past::text::escaped;

/// How many changes, or keys, one call gives at most.
pub(super) const PAGE: u64 = 1_000;

/// How much of a value is shown.
const SHOWN: usize = 64 << 10;

/// `GET changes`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Changes {
    /// How many there are in all.
    pub(crate) count: u64,
    /// Those that were asked for.
    pub(crate) changes: Vec<Change>,
    /// What happened besides, at most 500.
    pub(crate) markers: Vec<Marker>,
}

/// A change.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    /// Its number, from 1 on.
    pub(crate) index: u64,
    /// The revision at which it happened.
    pub(crate) revision: i64,
    /// When, in unix milliseconds.
    pub(crate) time: Option<u64>,
    /// `set` or `delete`.
    pub(crate) op: &'static str,
    /// The key.
    pub(crate) key: String,
    /// The length of the value.
    pub(crate) bytes: usize,
}

/// Something that happened besides changes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Marker {
    /// After so many changes.
    pub(crate) index: u64,
    /// `lost`, `restored`, `gap`, `retired`, `timeline`, `node-died`, `leader`.
    pub(crate) kind: &'static str,
    /// In a sentence.
    pub(crate) says: String,
    /// When, in unix milliseconds.
    pub(crate) time: Option<u64>,
}

/// `GET keys`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Keys {
    /// How many begin with the prefix.
    pub(crate) total: u64,
    /// Those that were asked for, sorted.
    pub(crate) keys: Vec<Key>,
    /// The last of them, if there are more.
    pub(crate) next: Option<String>,
}

/// A key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Key {
    /// The key, as [text](crate::past::text).
    pub(crate) key: String,
    /// Its value.
    #[serde(flatten)]
    pub(crate) value: Value,
    /// The value's length.
    pub(crate) bytes: usize,
    /// The revision at which it was set.
    pub(crate) revision: i64,
}

/// A value, or as much of it as is shown.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Value {
    /// As text, if it is text.
    pub(crate) value: Option<String>,
    /// Otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
    /// Whether there is more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cut: bool,
}

/// `GET diff`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Diff {
    /// At most 1,000.
    pub(crate) rows: Vec<Row>,
    /// How many there are.
    pub(crate) total: u64,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// `added`, `changed`, `removed`.
    pub(crate) kind: &'static str,
    /// The key.
    pub(crate) key: String,
    /// What it was.
    pub(crate) before: Option<String>,
    /// What it is.
    pub(crate) after: Option<String>,
}

impl Value {
    fn of(bytes: &[u8]) -> Self {
        let cut = bytes.len() > SHOWN;
        let shown = &bytes[..bytes.len().min(SHOWN)];
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // Only the last character was cut in two.
            Err(error) if cut && error.error_len().is_none() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        Self {
            value: text.map(str::to_owned),
            base64: text.is_none().then(|| STANDARD.encode(shown)),
            cut,
        }
    }
}

pub(super) fn keys(state: &State, prefix: &[u8], after: &[u8], count: u64) -> Keys {
    let those = state.files.values();
    let those = those.filter(|key| key.path.starts_with(prefix));
    let total = those.clone().count() as u64;
    let mut those = those.filter(|key| &key.path[..] > after || after.is_empty());
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let page = those.by_ref().take(count);
    let keys: Vec<Key> = page
        .map(|key| Key {
            key: escaped(&key.path),
            value: Value::of(&key.value),
            bytes: key.value.len(),
            revision: key.revision.0,
        })
        .collect();
    let more = those.next().is_some();
    Keys {
        total,
        next: keys.last().filter(|_| more).map(|last| last.key.clone()),
        keys,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Change, Revision};

    #[test]
    fn keys_come_in_pages_and_values_as_what_they_are() {
        let mut state = State::default();
        for n in 0..5 {
            state.apply(Revision(n), &Change::set(format!("/a/{n}"), "v"));
        }
        state.apply(Revision(9), &Change::set("/b", &[0xff, 0][..]));
        let first = keys(&state, b"/a/", b"", 2);
        assert_eq!((first.total, first.next.as_deref()), (5, Some("/a/1")));
        let last = keys(&state, b"/a/", b"/a/1", 3);
        assert_eq!((last.keys.len(), last.next), (3, None));
        let bytes = keys(&state, b"/b", b"", 1);
        assert_eq!(bytes.keys[0].value.base64.as_deref(), Some("/wA="));
        let long = "ä".repeat(SHOWN);
        let cut = Value::of(&long.as_bytes()[1..]);
        assert!(
            cut.cut && cut.value.is_none(),
            "it does not begin with a character"
        );
        let cut = Value::of(format!("x{long}").as_bytes());
        assert!(cut.cut && cut.value.is_some_and(|text| text.len() == SHOWN - 1));
    }
}
