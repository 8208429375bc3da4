//! What control keys, paths and expectations are called in a doozer cluster, over the wire or not.

use bytes::Bytes;
use cairn_client as client;
use cairn_protocol::keys;

use crate::cluster::control::{ControlKey, Id};
use crate::cluster::error::{Error, Result};
use crate::cluster::write::Expect;

/// The name of a control key in a doozer cluster.
pub(in crate::cluster) fn name(key: &ControlKey) -> Result<String> {
    Ok(match key {
        ControlKey::Identity => keys::IDENTITY.to_owned(),
        ControlKey::Owner(id) => keys::owner(*id),
        ControlKey::Watermark(id) => keys::watermark(*id),
        ControlKey::Mirrored(id) => keys::mirror_progress(*id),
        ControlKey::Mirror(id, path) => keys::mirror(*id, text(path)?),
    })
}

/// The persister whose directory a key lies in.
pub(in crate::cluster) fn id_of(path: &str) -> Option<Id> {
    let rest = path.strip_prefix(keys::ROOT)?.strip_prefix('/')?;
    rest.split('/').next()?.parse().ok()
}

pub(in crate::cluster) fn text(path: &Bytes) -> Result<&str> {
    let valid = std::str::from_utf8(path)
        .ok()
        .filter(|path| client::path::is_valid(path));
    valid.ok_or_else(|| {
        Error::Refused(format!(
            "{:?} cannot be a path in a doozer cluster (letters, digits, '.', '-' between slashes)",
            String::from_utf8_lossy(path)
        ))
    })
}

pub(in crate::cluster) fn precondition(expect: Expect) -> client::Revision {
    match expect {
        Expect::Any => client::Revision::ANY,
        Expect::Absent => client::Revision::MISSING,
        Expect::At(revision) => client::Revision(revision.0),
    }
}
