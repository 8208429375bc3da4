//! Tags of unanswered requests.
//!
//! A tag is never given out again while its answer is outstanding, even if nobody waits for that
//! answer any more. Tags count upwards, so that a second answer to an old request meets a tag that
//! nobody has, instead of a later request that happens to have got the same one.

use std::collections::HashMap;

const FIRST: i32 = 1;

/// The unanswered requests of one connection. Its bound is the caller's.
#[derive(Debug)]
pub(crate) struct TagTable<T> {
    next: i32,
    outstanding: HashMap<i32, T>,
}

impl<T> TagTable<T> {
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST,
            outstanding: HashMap::new(),
        }
    }

    /// The next tag to be given out.
    pub(crate) fn next_free(&mut self) -> i32 {
        while self.outstanding.contains_key(&self.next) {
            self.next = after(self.next);
        }
        self.next
    }

    /// Notes a request, and returns its tag.
    pub(crate) fn insert(&mut self, request: T) -> i32 {
        let tag = self.next_free();
        self.insert_at(tag, request);
        tag
    }

    /// Notes a request under [`TagTable::next_free`].
    pub(crate) fn insert_at(&mut self, tag: i32, request: T) {
        let before = self.outstanding.insert(tag, request);
        assert!(before.is_none(), "a free tag is in use");
        self.next = after(tag);
    }

    /// Takes the request that an answer belongs to; `None`: nobody asked, or it was answered
    /// before.
    pub(crate) fn remove(&mut self, tag: i32) -> Option<T> {
        self.outstanding.remove(&tag)
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.outstanding.drain().map(|(_, request)| request)
    }
}

fn after(tag: i32) -> i32 {
    tag.checked_add(1).unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outstanding_tag_is_not_reused_when_the_counter_wraps() {
        let mut tags = TagTable::new();
        assert_eq!(tags.insert("first"), 1);
        assert_eq!(tags.insert("second"), 2);
        tags.next = i32::MAX;
        assert_eq!(tags.insert("last"), i32::MAX);
        assert_eq!(tags.insert("wrapped"), 3);
        assert_eq!(tags.remove(1), Some("first"));
        assert_eq!(tags.remove(1), None);
    }

    #[test]
    fn an_answered_tag_rests_until_the_counter_comes_around() {
        let mut tags = TagTable::new();
        let tag = tags.insert(());
        assert_eq!(tags.remove(tag), Some(()));
        assert_ne!(tags.insert(()), tag);
    }
}
