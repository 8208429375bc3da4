//! What an event of the protocol means to a persister.

use bytes::Bytes;
use cairn_client::{self as client, EventKind};
use cairn_journal::{Change, Revision};
use cairn_protocol::keys;

use crate::cluster::control::Id;
use crate::cluster::followed::{Followed, Touched};

/// What one revision does to its path.
pub(in crate::cluster) enum Effect {
    Set(Bytes),
    Delete,
    Nothing,
}

/// One event of the wire is one revision.
pub(super) fn followed(id: Id, event: client::Event) -> Followed {
    let effect = match event.kind {
        EventKind::Set => Effect::Set(event.value),
        EventKind::Delete => Effect::Delete,
        EventKind::Nop => Effect::Nothing,
    };
    revision_of(id, Revision(event.revision.0), event.path, effect)
}

/// A revision that sets or deletes a path, or does nothing.
pub(in crate::cluster) fn revision_of(
    id: Id,
    revision: Revision,
    path: impl AsRef<str> + Into<Bytes>,
    effect: Effect,
) -> Followed {
    let mut followed = Followed {
        revision,
        ..Followed::default()
    };
    let value = match effect {
        Effect::Set(value) => Some(value),
        Effect::Delete => None,
        Effect::Nothing => return followed,
    };
    let name = path.as_ref();
    if keys::is_internal(name) {
        if name == keys::IDENTITY {
            followed.touched.push(Touched::Identity(value));
        } else if name == keys::owner(id) {
            followed.touched.push(Touched::Owner(id, value));
        }
    } else {
        followed.changes.push(match value {
            Some(value) => Change::set(path, value),
            None => Change::delete(path),
        });
    }
    followed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(path: &str, kind: EventKind) -> client::Event {
        client::Event {
            revision: client::Revision(7),
            path: path.to_owned(),
            value: Bytes::from_static(b"v"),
            kind,
        }
    }

    #[test]
    fn only_what_is_outside_the_control_area_is_a_change() {
        for (path, kind, changes) in [
            ("/a", EventKind::Set, 1),
            ("/a", EventKind::Delete, 1),
            ("/ctlfoo", EventKind::Set, 1),
            ("/ctl/err", EventKind::Set, 0),
            ("/ctl", EventKind::Delete, 0),
            ("/ctl/persistence/1/a", EventKind::Set, 0),
            ("/", EventKind::Nop, 0),
        ] {
            let followed = followed(1, event(path, kind));
            assert_eq!(followed.changes.len(), changes, "{path} {kind:?}");
            assert_eq!(followed.touched, []);
            assert_eq!(followed.revision, Revision(7));
        }
    }

    #[test]
    fn the_keys_that_decide_over_our_life_are_reported() {
        let v = || Some(Bytes::from_static(b"v"));
        for (path, kind, touched) in [
            (
                keys::IDENTITY.to_owned(),
                EventKind::Set,
                Some(Touched::Identity(v())),
            ),
            (
                keys::IDENTITY.to_owned(),
                EventKind::Delete,
                Some(Touched::Identity(None)),
            ),
            (keys::owner(3), EventKind::Set, Some(Touched::Owner(3, v()))),
            (keys::owner(4), EventKind::Set, None),
            (keys::watermark(3), EventKind::Set, None),
        ] {
            let found = followed(3, event(&path, kind)).touched;
            assert_eq!(found, Vec::from_iter(touched), "{path}");
        }
    }
}
