//! The names of the keys through which persisters and their clients agree.
//!
//! Everything lives below `/ctl/persistence`. A persister writes there, sync clients and restores
//! read there, and a program in any other language may do either: the names are the protocol.
//!
//! | key | value |
//! |---|---|
//! | [`mirror`]`(id, path)` | the revision of `path` that persister `id` has on disk |
//! | [`watermark`]`(id)` | the newest revision up to which persister `id` has everything on disk |
//! | [`mirror_progress`]`(id)` | up to which revision the mirror of persister `id` is complete |
//! | [`owner`]`(id)` | who holds persister `id` |
//! | [`IDENTITY`] | which cluster this is |
//!
//! No two of them can be the same key: persisters are integers, so `cluster` is none of them, and
//! nothing at or below `/ctl` is ever mirrored, so what is below `/ctl` in a persister's
//! directory cannot be the mirror of anything.

/// The cluster's own subtree: never journaled, never mirrored, never restored.
pub const INTERNAL: &str = "/ctl";

/// The directory that holds every key of this module.
pub const ROOT: &str = "/ctl/persistence";

/// Which cluster this is: a UUID, and after a restore its lineage.
pub const IDENTITY: &str = "/ctl/persistence/cluster";

/// The directory of persister `id`: below it, the mirror of everything outside `/ctl`.
#[must_use]
pub fn directory(id: u32) -> String {
    format!("{ROOT}/{id}")
}

/// The newest revision up to which persister `id` has everything on disk.
#[must_use]
pub fn watermark(id: u32) -> String {
    format!("{ROOT}/{id}/ctl/watermark")
}

/// How far the mirror of persister `id` has come: a
/// [`MirrorProgress`](crate::progress::MirrorProgress). Noted now and then, so that a restarted
/// persister knows where to go on; clients need not look at it.
#[must_use]
pub fn mirror_progress(id: u32) -> String {
    format!("{ROOT}/{id}/ctl/mirrored")
}

/// Who holds persister `id`: an [`Owner`](crate::owner::Owner). Written again every
/// [`HEARTBEAT`](crate::owner::HEARTBEAT), and deleted at an orderly end.
#[must_use]
pub fn owner(id: u32) -> String {
    format!("{ROOT}/{id}/ctl/owner")
}

/// A glob for what persister `id` says about itself: [`watermark`], [`owner`] and
/// [`mirror_progress`].
#[must_use]
pub fn about(id: u32) -> String {
    format!("{ROOT}/{id}/ctl/*")
}

/// The revision of the newest set of `path` that persister `id` has on disk; absent once the
/// path's delete is on disk. `path` is absolute.
#[must_use]
pub fn mirror(id: u32, path: &str) -> String {
    debug_assert!(path.starts_with('/'), "paths are absolute: {path:?}");
    debug_assert!(!is_internal(path), "never mirrored: {path:?}");
    format!("{ROOT}/{id}{path}")
}

/// The path whose mirror in persister `id` is `key`: the inverse of [`mirror`].
///
/// `None` for keys that are no mirror of that persister, its watermark and owner among them.
#[must_use]
pub fn mirrored(id: u32, key: &str) -> Option<&str> {
    let path = key.strip_prefix(&directory(id))?;
    (path.len() > 1 && path.starts_with('/') && !is_internal(path)).then_some(path)
}

/// What every key of this module begins with. Where keys are bytes and not paths, this and nothing
/// else is the persisters' own: the rest of `/ctl` is data like any other.
pub const FLAT_ROOT: &str = "/ctl/persistence/";

/// A key that is written for the sake of its revision alone, where keys are bytes.
pub const FLAT_PAD: &str = "/ctl/persistence/pad";

/// What the names of the mirror entries of persister `id` begin with where keys are bytes: the
/// key's bytes follow.
#[must_use]
pub fn flat_mirror(id: u32) -> String {
    format!("{ROOT}/{id}/m/")
}

/// Whether `path` belongs to the cluster itself: `/ctl` or anything below it.
///
/// Such paths are never journaled; `/ctlfoo` is an ordinary path.
#[must_use]
pub fn is_internal(path: &str) -> bool {
    path.strip_prefix(INTERNAL)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_published_ones() {
        assert_eq!(watermark(1), "/ctl/persistence/1/ctl/watermark");
        assert_eq!(owner(2), "/ctl/persistence/2/ctl/owner");
        assert_eq!(mirror(1, "/app/db"), "/ctl/persistence/1/app/db");
        assert_eq!(IDENTITY, "/ctl/persistence/cluster");
    }

    #[test]
    fn internal_is_ctl_and_below_and_nothing_else() {
        for path in ["/ctl", "/ctl/", "/ctl/err", "/ctl/node/x/applied", IDENTITY] {
            assert!(is_internal(path), "{path}");
        }
        for path in [
            "/", "", "/ct", "/ctlfoo", "/ctl.", "/ctl-x/y", "/a/ctl", "ctl",
        ] {
            assert!(!is_internal(path), "{path}");
        }
        for key in [watermark(7), owner(7), mirror(7, "/ctlfoo")] {
            assert!(is_internal(&key), "{key}");
        }
    }

    #[test]
    fn a_mirror_key_leads_back_to_its_path() {
        for path in ["/a", "/a/b", "/ctlfoo", "/1", "/a/ctl/watermark"] {
            assert_eq!(mirrored(12, &mirror(12, path)), Some(path));
            assert_eq!(mirrored(1, &mirror(12, path)), None);
        }
        assert_eq!(mirrored(1, &watermark(1)), None);
        assert_eq!(mirrored(1, &owner(1)), None);
        assert_eq!(mirrored(1, &directory(1)), None);
        assert_eq!(mirrored(1, IDENTITY), None);
    }
}
