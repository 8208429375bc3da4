//! The text log of SoundCloud's doozer-journal: entries one after another.
//!
//! Eight decimal digits of payload length, a space, the payload, a newline; the payload is
//! `REV|set|PATH|VALUE` or `REV|del|PATH|`. The value may hold anything, newlines and `|` too.
//! There is no checksum: an altered value cannot be told from a true one.

use std::io;

use bytes::Bytes;
use cairn_journal::{Op, Revision};

use crate::forms::foreign::entry::{Fault, ForeignEntry};
use crate::forms::foreign::window::Window;
use crate::forms::text::Line;

const LENGTH_DIGITS: usize = 8;
/// The digits and the space.
const HEADER_BYTES: usize = LENGTH_DIGITS + 1;

pub(super) fn parse(window: &mut Window, offset: u64) -> io::Result<Result<ForeignEntry, Fault>> {
    let header = window.get(offset, HEADER_BYTES)?;
    let Some(length) = payload_length(header) else {
        let detail = if header.len() < HEADER_BYTES {
            "the file ends inside an entry's length"
        } else {
            "there are no eight decimal digits and a space"
        };
        return Ok(Err(Fault::torn(detail)));
    };
    let rest = window.get(offset + HEADER_BYTES as u64, length + 1)?;
    let Some((payload, newline)) = rest.split_at_checked(length) else {
        let detail = format!(
            "the file ends inside an entry, after {} of {length} bytes of payload",
            rest.len()
        );
        return Ok(Err(Fault::torn(detail)));
    };
    match newline {
        [b'\n'] => {}
        [] => {
            let detail = "the file ends before the newline of an entry";
            return Ok(Err(Fault::torn(detail)));
        }
        _ => {
            let detail = format!("no newline follows the {length} bytes of payload");
            return Ok(Err(Fault::torn(detail)));
        }
    }
    Ok(line(payload)
        .map(|line| ForeignEntry {
            offset,
            length: (HEADER_BYTES + length + 1) as u64,
            line,
            checksum: None,
        })
        .map_err(|detail| Fault {
            detail: detail.to_owned(),
            complete: true,
        }))
}

fn payload_length(header: &[u8]) -> Option<usize> {
    let (digits, rest) = header.split_at_checked(LENGTH_DIGITS)?;
    if rest != b" " || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

fn line(payload: &[u8]) -> Result<Line, &'static str> {
    let mut fields = payload.splitn(4, |byte| *byte == b'|');
    let (Some(revision), Some(verb), Some(path), Some(value)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("the payload has no four fields REV|set|PATH|VALUE");
    };
    let revision = str::from_utf8(revision)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or("the payload does not begin with a revision")?;
    let op = match verb {
        b"set" => Op::Set(Bytes::copy_from_slice(value)),
        b"del" if value.is_empty() => Op::Delete,
        b"del" => return Err("a del has a value"),
        _ => return Err("the second field of the payload is neither set nor del"),
    };
    Ok(Line {
        revision: Revision(revision),
        path: Bytes::copy_from_slice(path),
        op,
    })
}

/// The first offset from `from` on that stands at the beginning of a line and has the digits.
pub(super) fn candidate(window: &mut Window, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while at + (HEADER_BYTES as u64) < window.len() {
        let before = at.saturating_sub(1);
        let bytes = window.get(before, 1 + HEADER_BYTES)?;
        if bytes.first() == Some(&b'\n') && payload_length(&bytes[1..]).is_some() {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}
