//! What the control keys are called in a cluster of etcd.
//!
//! They are those of doozer, but for the mirror of paths: keys of etcd are any bytes, so the name
//! of an entry is `/ctl/persistence/ID/m/` followed by the bytes of the key.

use bytes::Bytes;
use cairn_protocol::keys;

use crate::cluster::control::{ControlKey, Id};
use crate::cluster::followed::Touched;
use crate::cluster::rules::KeyRules;
use crate::cluster::write::Key;

/// Keys are any bytes; those that begin so are persisters' own, and no others.
pub const RULES: KeyRules = KeyRules::flat(keys::FLAT_ROOT);

/// The key that fills revisions of which nothing was journaled, in a snapshot file. A control key
/// that no persister writes.
pub const PAD_KEY: &[u8] = b"/ctl/persistence/pad/journal";

/// What a key is called.
#[must_use]
pub fn name(key: &Key) -> Bytes {
    match key {
        Key::Control(key) => control(key),
        Key::Data(key) => key.clone(),
    }
}

/// What a control key is called.
#[must_use]
pub fn control(key: &ControlKey) -> Bytes {
    match key {
        ControlKey::Identity => keys::IDENTITY.into(),
        ControlKey::Owner(id) => keys::owner(*id).into(),
        ControlKey::Watermark(id) => keys::watermark(*id).into(),
        ControlKey::Mirrored(id) => keys::mirror_progress(*id).into(),
        ControlKey::Mirror(id, key) => [keys::flat_mirror(*id).as_bytes(), key].concat().into(),
    }
}

/// The persister in whose directory a control key lies; `None` for what lies in none.
#[must_use]
pub fn id_of(key: &[u8]) -> Option<Id> {
    let rest = key.strip_prefix(keys::FLAT_ROOT.as_bytes())?;
    let digits = rest.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What it means to persister `id` that a key of the control area was written or deleted.
pub(super) fn touched(id: Id, key: &[u8], value: Option<&Bytes>) -> Option<Touched> {
    if key == keys::IDENTITY.as_bytes() {
        return Some(Touched::Identity(value.cloned()));
    }
    let is_owner = key == keys::owner(id).as_bytes();
    is_owner.then(|| Touched::Owner(id, value.cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_control_key_lies_in_the_control_area_and_leads_back_to_its_persister() {
        for (key, id) in [
            (ControlKey::Identity, None),
            (ControlKey::Owner(1), Some(1)),
            (ControlKey::Watermark(12), Some(12)),
            (ControlKey::Mirrored(3), Some(3)),
            (ControlKey::Mirror(4, Bytes::from_static(b"\xff/")), Some(4)),
        ] {
            let name = control(&key);
            assert!(RULES.is_control(&name), "{name:?}");
            assert_eq!(id_of(&name), id, "{name:?}");
        }
    }

    /// An entry of persister 1 for the key `1/a` was one of persister 11 for `/a` where the key's
    /// bytes followed the number at once.
    #[test]
    fn no_two_entries_of_mirrors_have_one_name() {
        let entry = |id, key: &'static [u8]| control(&ControlKey::Mirror(id, Bytes::from(key)));
        assert_eq!(entry(1, b"\0"), &b"/ctl/persistence/1/m/\0"[..]);
        assert_ne!(entry(1, b"1/a"), entry(11, b"/a"));
        assert_ne!(
            entry(1, b"ctl/watermark"),
            control(&ControlKey::Watermark(1))
        );
    }
}
