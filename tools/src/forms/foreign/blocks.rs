//! The journal of the original Go program: blocks one after another, nothing between them.
//!
//! | size | |
//! |---|---|
//! | 20 | SHA-1 of the data |
//! | 4 | length of the data, signed, little-endian |
//! | | the data: `REV:PATH=BODY` for a set, `REV:PATH` for a delete; nothing is escaped |

use std::io;

use bytes::Bytes;
use cairn_journal::{Op, Revision};
use sha1::{Digest as _, Sha1};

use crate::forms::foreign::entry::{Fault, ForeignEntry};
use crate::forms::foreign::window::Window;
use crate::forms::text::Line;

const CHECKSUM_BYTES: usize = 20;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 4;

/// No block is longer: what a reader allocates on the word of a length that no checksum covers. The
/// original means to refuse more than 2 MiB, and by a slip accepts anything.
const MAX_DATA_BYTES: usize = 256 << 20;

/// The digits of a revision, and its sign.
const REVISION_BYTES: usize = 20;

pub(super) fn parse(window: &mut Window, offset: u64) -> io::Result<Result<ForeignEntry, Fault>> {
    let header = window.get(offset, HEADER_BYTES)?;
    let Some((checksum, length)) = header.split_first_chunk::<CHECKSUM_BYTES>() else {
        return Ok(Err(Fault::torn("the file ends inside a block's header")));
    };
    let Ok(length) = <[u8; 4]>::try_from(length) else {
        return Ok(Err(Fault::torn("the file ends inside a block's header")));
    };
    let checksum = *checksum;
    let claimed = i32::from_le_bytes(length);
    let length = match usize::try_from(claimed) {
        Ok(length) if length <= MAX_DATA_BYTES => length,
        _ => {
            let detail = format!("the block claims a length of {claimed} bytes");
            return Ok(Err(Fault::torn(detail)));
        }
    };
    let data = window.get(offset + HEADER_BYTES as u64, length)?;
    if data.len() < length {
        let detail = format!(
            "the file ends inside a block, after {} of {length} bytes of data",
            data.len()
        );
        return Ok(Err(Fault::torn(detail)));
    }
    if <[u8; CHECKSUM_BYTES]>::from(Sha1::digest(data)) != checksum {
        return Ok(Err(Fault::torn(
            "the block's SHA-1 does not match its data",
        )));
    }
    Ok(line(data)
        .map(|line| ForeignEntry {
            offset,
            length: (HEADER_BYTES + length) as u64,
            line,
            checksum: Some(checksum),
        })
        .ok_or_else(|| Fault {
            detail: "the block is whole, but its data is not REV:PATH or REV:PATH=BODY".to_owned(),
            complete: true,
        }))
}

fn line(data: &[u8]) -> Option<Line> {
    let colon = data.iter().position(|byte| *byte == b':')?;
    let revision = str::from_utf8(&data[..colon]).ok()?.parse().ok()?;
    let rest = &data[colon + 1..];
    let (path, op) = match rest.iter().position(|byte| *byte == b'=') {
        Some(equals) => (
            &rest[..equals],
            Op::Set(Bytes::copy_from_slice(&rest[equals + 1..])),
        ),
        None => (rest, Op::Delete),
    };
    Some(Line {
        revision: Revision(revision),
        path: Bytes::copy_from_slice(path),
        op,
    })
}

/// The first offset from `from` on at which a block could begin, judged without a checksum: its
/// length fits the file and its data begins like a revision.
pub(super) fn candidate(window: &mut Window, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while at + (HEADER_BYTES as u64) < window.len() {
        let rest = window.len() - at - HEADER_BYTES as u64;
        let bytes = window.get(at, HEADER_BYTES + REVISION_BYTES + 1)?;
        let Some((header, data)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let mut length = [0; 4];
        length.copy_from_slice(&header[CHECKSUM_BYTES..]);
        let length = i32::from_le_bytes(length);
        if (1..=rest.min(MAX_DATA_BYTES as u64).cast_signed()).contains(&i64::from(length))
            && begins_like_a_revision(data)
        {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

fn begins_like_a_revision(data: &[u8]) -> bool {
    let unsigned = data.strip_prefix(b"-").unwrap_or(data);
    let digits = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
    digits > 0 && unsigned.get(digits) == Some(&b':')
}
