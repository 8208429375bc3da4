//! The keys of the bucket `key`: a position, big-endian so that bytes sort as revisions do.

use super::array_at;
use crate::record::Position;

/// A position's bytes.
pub(crate) const POSITION_BYTES: usize = 17;
/// A position's bytes and the mark of a delete.
pub(crate) const DELETE_BYTES: usize = POSITION_BYTES + 1;

const REVISION: usize = 0;
const SEPARATOR: usize = 8;
const SUB: usize = 9;
const MARK: usize = 17;
const _: () = assert!(SUB == SEPARATOR + 1 && MARK == POSITION_BYTES && MARK == SUB + 8);

/// The key of a record; the second value says how many of the bytes count.
pub(crate) fn encode(at: Position, delete: bool) -> ([u8; DELETE_BYTES], usize) {
    let mut bytes = [0; DELETE_BYTES];
    bytes[REVISION..SEPARATOR].copy_from_slice(&at.revision.to_be_bytes());
    bytes[SEPARATOR] = b'_';
    bytes[SUB..MARK].copy_from_slice(&at.sub.to_be_bytes());
    bytes[MARK] = b't';
    (bytes, if delete { DELETE_BYTES } else { POSITION_BYTES })
}

/// A position as the bucket `meta` holds it.
pub(crate) fn encode_position(at: Position) -> [u8; POSITION_BYTES] {
    array_at(&encode(at, false).0, 0)
}

/// The position, and whether the record is a delete; `None` for any other key.
pub(crate) fn decode(key: &[u8]) -> Option<(Position, bool)> {
    let delete = match key.len() {
        POSITION_BYTES => false,
        DELETE_BYTES if key[MARK] == b't' => true,
        _ => return None,
    };
    let at = Position {
        revision: i64::from_be_bytes(array_at(key, REVISION)),
        sub: i64::from_be_bytes(array_at(key, SUB)),
    };
    (key[SEPARATOR] == b'_' && at.revision >= 1 && at.sub >= 0).then_some((at, delete))
}
