//! What differs between two states: one walk over both, in the order of the keys. Pure.

use cairn_journal::{KeyValue, State};

use crate::past::answers::{Diff, PAGE, Row};
use crate::past::text::escaped;

/// How much of a value a row shows.
const SHOWN: usize = 4 << 10;

pub(super) fn diff(before: &State, after: &State) -> Diff {
    let mut diff = Diff {
        rows: Vec::new(),
        total: 0,
    };
    let (mut old, mut new) = (
        before.files.values().peekable(),
        after.files.values().peekable(),
    );
    loop {
        let (was, is) = match (old.peek(), new.peek()) {
            (None, None) => return diff,
            (Some(was), Some(is)) if was.path == is.path => (old.next(), new.next()),
            (Some(was), Some(is)) if was.path < is.path => (old.next(), None),
            (Some(_), None) => (old.next(), None),
            _ => (None, new.next()),
        };
        let kind = match (was, is) {
            (Some(was), Some(is)) if was.value == is.value => continue,
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
            _ => "added",
        };
        diff.total += 1;
        if diff.total <= PAGE
            && let Some(key) = is.or(was)
        {
            diff.rows.push(Row {
                kind,
                key: escaped(&key.path),
                before: was.map(shown),
                after: is.map(shown),
            });
        }
    }
}

fn shown(key: &KeyValue) -> String {
    let cut = key.value.len().min(SHOWN);
    let more = if cut < key.value.len() { "…" } else { "" };
    String::from_utf8_lossy(&key.value[..cut]).into_owned() + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_journal::{Change, Revision};

    fn state(keys: &[(&'static str, &'static str)]) -> State {
        let mut state = State::default();
        for (path, value) in keys {
            state.apply(Revision(1), &Change::set(*path, *value));
        }
        state
    }

    #[test]
    fn a_diff_is_what_was_added_changed_and_removed() {
        let before = state(&[("/a", "1"), ("/b", "1"), ("/d", "1"), ("/e", "1")]);
        let after = state(&[
            ("/a", "1"),
            ("/b", "2"),
            ("/c", "1"),
            ("/d", "1"),
            ("/f", "1"),
        ]);
        let told = diff(&before, &after);
        let kinds: Vec<_> = told
            .rows
            .iter()
            .map(|row| (row.kind, row.key.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("changed", "/b"),
                ("added", "/c"),
                ("removed", "/e"),
                ("added", "/f")
            ]
        );
        assert_eq!(told.total, 4);
        assert_eq!(told.rows[0].before.as_deref(), Some("1"));
        assert_eq!(diff(&before, &before).total, 0);
        assert_eq!(diff(&State::default(), &after).total, 5);
    }
}
