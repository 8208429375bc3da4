//! The file that was written against the journal that it was made from.

use std::path::Path;

use cairn_etcd_snapshot::{Change, ReadOptions, Snapshot, Window, hash_kv, history};
use cairn_journal::Revision;

use crate::cluster::control::ControlKey;
use crate::cluster::etcd::names::{RULES, control};
use crate::file_error::FileError;
use crate::identity::lineage::Identity;
use crate::restore::digest::Digest;

/// What every member must show that starts from the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verified {
    /// HashKV at its newest revision.
    pub(super) hash: u32,
    /// HashKV at the journal's newest revision, if it is not compacted there.
    pub(super) hash_at_newest: Option<u32>,
}

/// Reads the file and compares its newest state with `expected`, key by key as far as their sum
/// tells.
pub(super) fn verify(
    path: &Path,
    newest: Revision,
    expected: &Digest,
    identity: &Identity,
) -> Result<Verified, FileError> {
    let snapshot = Snapshot::open(path, ReadOptions::default())?;
    let window = snapshot.window();
    let mut digest = Digest::default();
    let mut found_identity = false;
    let at_end = Window {
        compacted: window.revision,
        revision: window.revision,
    };
    for record in history(&snapshot, at_end)? {
        let Change::Put(put) = record?.change else {
            continue;
        };
        if !RULES.is_control(&put.key) {
            digest.add(&put.key, &put.value);
        } else if put.key == control(&ControlKey::Identity) {
            found_identity = put.value == identity.to_string();
        }
    }
    if digest != *expected || !found_identity {
        return Err(FileError::Differs {
            expected: expected.describe(),
            found: format!(
                "{}{}",
                digest.describe(),
                if found_identity { "" } else { ", no identity" }
            ),
        });
    }
    let at_newest = Window {
        revision: newest.0,
        ..window
    };
    let is_told = newest.0 > window.compacted;
    Ok(Verified {
        hash: hash_kv(&snapshot, window)?,
        hash_at_newest: is_told.then(|| hash_kv(&snapshot, at_newest)).transpose()?,
    })
}
