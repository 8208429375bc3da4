//! HashKV without a server: the number by which members of a cluster are compared.
//!
//! CRC-32C over the bucket's name and over key and value of the records up to R, in order. Of those
//! up to the compacted revision C only the ones that are live at R count. That R decides, and not
//! C, is etcd's own rule, as is its exception: if no key at all is live at R, every record counts
//! that is there.

use crate::{
    error::Result,
    format::{bucket, key},
    live::{KEYS_IN_MEMORY, live},
    read::snapshot::Snapshot,
    window::Window,
};

/// The answer of `Maintenance.HashKV`, as every member with this history gives it.
///
/// `window.compacted` is the member's compacted revision, `window.revision` the one asked for.
/// Memory: a bit a record, what reading takes, and a table of keys that has 25 MiB, or 75 for a
/// moment while it is made anew. More than 900,000 keys take more passes over the file.
///
/// # Errors
///
/// [`Error::Revision`](crate::Error::Revision) if the snapshot does not tell the window, and what
/// reading can meet.
pub fn hash_kv(snapshot: &Snapshot, window: Window) -> Result<u32> {
    hash_kv_in(snapshot, window, KEYS_IN_MEMORY)
}

fn hash_kv_in(snapshot: &Snapshot, window: Window, keys_in_memory: usize) -> Result<u32> {
    window.check(snapshot.window())?;
    let Window {
        compacted,
        revision,
    } = window;
    let counted = if compacted > 0 {
        let counted = live(snapshot, compacted, revision, keys_in_memory)?;
        let none =
            counted.is_empty() && live(snapshot, revision, revision, keys_in_memory)?.is_empty();
        (!none).then_some(counted)
    } else {
        None
    };
    let mut hash = crc32c::crc32c(bucket::KEY);
    let mut cursor = snapshot.cursor(bucket::KEY)?;
    for record in 0.. {
        let Some(entry) = cursor.next()? else { break };
        let (page, offset) = (entry.page, entry.offset);
        let Some((at, _)) = key::decode(entry.key) else {
            let detail = "the key of a record is no revision";
            return Err(cursor.pages().damaged(page, offset, detail));
        };
        if at.revision > revision {
            break;
        }
        let left_out = |counted: &crate::live::Live| !counted.contains(record);
        if at.revision <= compacted && counted.as_ref().is_some_and(left_out) {
            continue;
        }
        hash = crc32c::crc32c_append(hash, entry.key);
        hash = crc32c::crc32c_append(hash, entry.value);
    }
    Ok(hash)
}
