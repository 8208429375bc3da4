//! Where the listings of one connection have got to.
//!
//! WALK and GETDIR ask for one entry by offset. A client that lists asks for offset 0, 1, 2 and
//! so on; going on after the entry before makes the whole listing linear instead of quadratic.
//! Only a revision, a name and an offset are kept, never a state: a forgotten listing holds
//! nothing back.

use std::collections::VecDeque;
use std::sync::Arc;

use cairn_client::Revision;

/// Listings under way on one connection. A client that follows more than this many at once, or
/// asks for offsets in falling order, gets its entries counted from the start.
const MAX_CURSORS: usize = 8;

/// The listing: verb, path or glob, and revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) revision: Revision,
    pub(crate) verb: ListVerb,
    /// The glob of a WALK, the directory of a GETDIR.
    pub(crate) what: Arc<str>,
}

/// The listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListVerb {
    Walk,
    Getdir,
}

#[derive(Debug)]
struct Cursor {
    listing: Listing,
    next: usize,
    after: Arc<str>,
}

/// The cursors of one connection, most recently used last.
#[derive(Debug, Default)]
pub(crate) struct Cursors(VecDeque<Cursor>);

impl Cursors {
    /// The nearest known place at or before `offset`: how many entries are still to be skipped,
    /// after which entry. The caller comes back with [`keep`](Self::keep).
    pub(crate) fn take(&mut self, listing: &Listing, offset: usize) -> (usize, Option<Arc<str>>) {
        let nearest = (0..self.0.len())
            .filter(|&at| self.0[at].next <= offset && self.0[at].listing == *listing)
            .max_by_key(|&at| self.0[at].next);
        let Some(at) = nearest else {
            return (offset, None);
        };
        let (next, after) = (self.0[at].next, Arc::clone(&self.0[at].after));
        if next == offset {
            // This listing goes on; a jump ahead may be another one of the same thing.
            self.0.remove(at);
        }
        (offset - next, Some(after))
    }

    /// Remembers that the entry at `offset` was `entry`.
    pub(crate) fn keep(&mut self, listing: Listing, offset: usize, entry: Arc<str>) {
        if self.0.len() == MAX_CURSORS {
            self.0.pop_front();
        }
        self.0.push_back(Cursor {
            listing,
            next: offset + 1,
            after: entry,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(revision: i64) -> Listing {
        Listing {
            revision: Revision(revision),
            verb: ListVerb::Walk,
            what: "/**".into(),
        }
    }

    #[test]
    fn two_listings_of_the_same_thing_do_not_disturb_each_other() {
        let mut cursors = Cursors::default();
        for step in 0..100 {
            for start in [0, 1_000] {
                let (skip, after) = cursors.take(&listing(7), start + step);
                if step > 0 {
                    assert_eq!(skip, 0);
                    assert_eq!(after.as_deref(), Some(&*(start + step - 1).to_string()));
                }
                cursors.keep(listing(7), start + step, (start + step).to_string().into());
            }
        }
    }

    #[test]
    fn another_revision_starts_over_and_old_cursors_go() {
        let mut cursors = Cursors::default();
        cursors.keep(listing(1), 5, "/a".into());
        assert_eq!(cursors.take(&listing(2), 6), (6, None));
        for revision in 10..30 {
            cursors.keep(listing(revision), 0, "/a".into());
        }
        assert_eq!(cursors.0.len(), MAX_CURSORS);
        assert_eq!(cursors.take(&listing(1), 6), (6, None));
    }
}
