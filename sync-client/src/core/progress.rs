//! One persister's disk, as far as it is known, and what that proves. Pure: no clock, no I/O.
//!
//! Two sources prove that a write is on disk. The *watermark* w: everything up to w is. And the
//! *mirror* of a path, for persisters that publish nothing else, where this is what holds:
//!
//! - The mirror shows v: the set of the path at v is on disk, and so is every earlier change of the
//!   path, because a persister handles the changes of a path in order.
//! - A delete carries no revision, neither its own nor that of what it mirrors. An *absent* mirror
//!   therefore proves nothing: an older delete may have removed it. A delete is proven by the
//!   *transition*: let s be the revision of the file that the delete removed. Once the mirror has
//!   shown s or newer and is then seen to go, the delete that made it go is the first one after s,
//!   which is ours or a later one.
//! - If there was no file (s = 0), such a delete changes nothing and neither does its mirror. It is
//!   proven by a deletion of a mirror that was absent already, later than the delete itself.
//!
//! The mirror of a delete never collapses away (that is part of the protocol), so the transition is
//! there to be seen. Where the events of the mirror were missed, nothing is assumed: the write ends
//! unconfirmed rather than confirmed too early.

use std::collections::HashMap;

use crate::core::revision::Revision;
use crate::core::target::Target;

/// The keys by which a persister shows its progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Not read yet.
    #[default]
    Unknown,
    /// By its watermark, which is all that is followed.
    Watermark,
    /// By the mirror; a watermark is followed too, should there be one.
    Mirror,
}

/// One persister, as far as it is known over one connection to the cluster.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The connection over which all of this was learned. Another connection may lead to another
    /// cluster, about which it says nothing.
    pub(crate) connection: u64,
    pub(crate) source: Source,
    pub(crate) watermark: Option<Revision>,
    paths: HashMap<String, Watched>,
}

/// The mirror of one path, while somebody is interested in it.
#[derive(Debug, Default)]
struct Watched {
    interested: usize,
    mirror: Mirror,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Nothing,
    Absent,
    Present(Revision),
}

/// The history of one path's mirror, since it is being watched.
#[derive(Clone, Copy, Debug, Default)]
struct Mirror {
    /// The cluster's revision of the newest observation.
    at: Revision,
    seen: Seen,
    /// The newest revision it has shown.
    reached: Option<Revision>,
    /// The newest revision it showed just before it went.
    gone_after: Option<Revision>,
    /// The cluster's revision at which it was last deleted while absent.
    deleted_absent_at: Option<Revision>,
}

/// Whether an observation is a change, or the state as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observed {
    Change,
    State,
}

impl Progress {
    /// Starts anew over a connection. Knowledge is kept only within one connection, where it cannot
    /// become untrue.
    pub(crate) fn begin(&mut self, connection: u64, source: Source, watermark: Option<Revision>) {
        if connection != self.connection {
            self.watermark = None;
            for watched in self.paths.values_mut() {
                watched.mirror = Mirror::default();
            }
        }
        self.connection = connection;
        self.source = source;
        if let Some(watermark) = watermark {
            self.raise(watermark);
        }
    }

    /// Everything up to `watermark` is on disk. A lower one than before lowers nothing: what is on
    /// disk stays there, and values may come out of order.
    pub(crate) fn raise(&mut self, watermark: Revision) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    pub(crate) fn register(&mut self, path: &str) {
        if let Some(watched) = self.paths.get_mut(path) {
            watched.interested += 1;
        } else {
            let watched = Watched {
                interested: 1,
                mirror: Mirror::default(),
            };
            self.paths.insert(path.to_owned(), watched);
        }
    }

    pub(crate) fn release(&mut self, path: &str) {
        if let Some(watched) = self.paths.get_mut(path) {
            watched.interested -= 1;
            if watched.interested == 0 {
                self.paths.remove(path);
            }
        }
    }

    /// The paths that somebody is interested in.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.paths.keys().cloned().collect()
    }

    /// At the cluster's revision `at`, the mirror of `path` shows `value`. Returns whether anybody
    /// is interested.
    pub(crate) fn observe(
        &mut self,
        path: &str,
        at: Revision,
        value: Option<Revision>,
        how: Observed,
    ) -> bool {
        let Some(Watched { mirror, .. }) = self.paths.get_mut(path) else {
            return false;
        };
        if at <= mirror.at && mirror.seen != Seen::Nothing {
            return false;
        }
        mirror.at = at;
        match (value, mirror.seen) {
            (Some(value), _) => {
                mirror.reached = mirror.reached.max(Some(value));
                mirror.seen = Seen::Present(value);
            }
            (None, Seen::Present(before)) => {
                mirror.gone_after = mirror.gone_after.max(Some(before));
                mirror.seen = Seen::Absent;
            }
            (None, Seen::Absent) if how == Observed::Change => {
                mirror.deleted_absent_at = Some(at);
            }
            (None, _) => mirror.seen = Seen::Absent,
        }
        true
    }

    /// Whether it is proven that the write is on this persister's disk.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        if self.watermark >= Some(target.revision()) {
            return true;
        }
        match target {
            Target::All(_) => false,
            Target::Set { path, revision, .. } => self
                .mirror(path)
                .is_some_and(|mirror| mirror.reached >= Some(*revision)),
            Target::Delete {
                path,
                revision,
                removed,
            } => self.mirror(path).is_some_and(|mirror| {
                let deleted = match removed {
                    None => false,
                    Some(Revision::MISSING) => mirror.deleted_absent_at > Some(*revision),
                    Some(removed) => mirror.gone_after >= Some(*removed),
                };
                deleted || mirror.reached >= Some(*revision)
            }),
        }
    }

    fn mirror(&self, path: &str) -> Option<&Mirror> {
        self.paths.get(path).map(|watched| &watched.mirror)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use Observed::{Change, State};

    fn set(revision: i64) -> Target {
        Target::Set {
            path: "/a".into(),
            revision: Revision(revision),
            value: Bytes::new(),
        }
    }

    fn delete(revision: i64, removed: i64) -> Target {
        Target::Delete {
            path: "/a".into(),
            revision: Revision(revision),
            removed: Some(Revision(removed)),
        }
    }

    fn interested() -> Progress {
        let mut progress = Progress::default();
        progress.begin(1, Source::Mirror, None);
        progress.register("/a");
        progress
    }

    fn see(progress: &mut Progress, at: i64, value: Option<i64>, how: Observed) {
        progress.observe("/a", Revision(at), value.map(Revision), how);
    }

    #[test]
    fn a_watermark_covers_everything_up_to_it_and_never_falls() {
        let mut progress = Progress::default();
        assert!(!progress.covers(&set(1)));
        progress.begin(1, Source::Watermark, Some(Revision(10)));
        progress.raise(Revision(7));
        assert!(progress.covers(&set(10)) && progress.covers(&delete(10, 3)));
        assert!(progress.covers(&Target::All(Revision(10))));
        assert!(!progress.covers(&set(11)));
        progress.begin(1, Source::Watermark, Some(Revision(8)));
        assert!(progress.covers(&set(10)));
    }

    #[test]
    fn another_connection_forgets_what_the_last_one_proved() {
        let mut progress = interested();
        progress.raise(Revision(10));
        see(&mut progress, 12, Some(9), Change);
        progress.begin(2, Source::Watermark, Some(Revision(3)));
        assert!(!progress.covers(&set(9)));
        assert!(progress.covers(&set(3)));
    }

    #[test]
    fn a_mirror_covers_sets_of_its_path_up_to_what_it_shows() {
        let mut progress = interested();
        see(&mut progress, 20, Some(10), Change);
        assert!(progress.covers(&set(10)) && progress.covers(&set(9)));
        assert!(!progress.covers(&set(11)));
        let other = Target::Set {
            path: "/b".into(),
            revision: Revision(1),
            value: Bytes::new(),
        };
        assert!(!progress.covers(&other) && !progress.covers(&Target::All(Revision(1))));
    }

    #[test]
    fn somebody_elses_later_set_covers_an_earlier_delete() {
        let mut progress = interested();
        see(&mut progress, 20, Some(15), Change);
        assert!(progress.covers(&delete(12, 10)));
        assert!(!progress.covers(&delete(16, 15)));
    }

    #[test]
    fn absence_alone_proves_no_delete() {
        let mut progress = interested();
        see(&mut progress, 20, None, State);
        assert!(!progress.covers(&delete(12, 10)));
        assert!(!progress.covers(&delete(12, 0)));
        // Nor does the mirror of an older delete, of the set before the one that was removed.
        see(&mut progress, 21, Some(5), Change);
        see(&mut progress, 22, None, Change);
        assert!(!progress.covers(&delete(12, 10)));
    }

    #[test]
    fn a_mirror_that_showed_the_removed_set_and_goes_proves_the_delete() {
        let mut progress = interested();
        see(&mut progress, 19, Some(10), State);
        assert!(!progress.covers(&delete(12, 10)));
        see(&mut progress, 20, None, Change);
        assert!(progress.covers(&delete(12, 10)));
        assert!(!progress.covers(&delete(30, 25)));
        // The transition may have been missed: the state before and after proves it as well.
        let mut progress = interested();
        see(&mut progress, 19, Some(10), State);
        see(&mut progress, 25, None, State);
        assert!(progress.covers(&delete(12, 10)));
    }

    #[test]
    fn a_delete_of_nothing_is_proven_by_a_later_deletion_of_nothing() {
        let mut progress = interested();
        see(&mut progress, 11, None, State);
        assert!(!progress.covers(&delete(12, 0)));
        see(&mut progress, 12, None, Change);
        assert!(!progress.covers(&delete(12, 0)), "it was before the delete");
        see(&mut progress, 13, None, Change);
        assert!(progress.covers(&delete(12, 0)));
    }

    #[test]
    fn an_unknown_removed_revision_proves_nothing() {
        let mut progress = interested();
        see(&mut progress, 19, Some(10), State);
        see(&mut progress, 20, None, Change);
        let unknown = Target::Delete {
            path: "/a".into(),
            revision: Revision(12),
            removed: None,
        };
        assert!(!progress.covers(&unknown));
    }

    #[test]
    fn old_observations_do_not_undo_newer_ones() {
        let mut progress = interested();
        see(&mut progress, 20, None, State);
        see(&mut progress, 15, Some(10), Change);
        see(&mut progress, 21, None, Change);
        assert!(
            !progress.covers(&delete(12, 10)),
            "10 was seen before the mirror was absent"
        );
    }

    #[test]
    fn the_last_to_lose_interest_ends_the_memory() {
        let mut progress = interested();
        progress.register("/a");
        see(&mut progress, 20, Some(10), Change);
        progress.release("/a");
        assert!(progress.covers(&set(10)));
        progress.release("/a");
        assert!(!progress.covers(&set(10)));
        assert!(progress.paths().is_empty());
    }
}
