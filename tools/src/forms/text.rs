//! The text form of a journal: one change a line, made for people, `grep` and pipes.
//!
//! ```text
//! REV:PATH=BODY      a set
//! REV:PATH           a delete
//! ```
//!
//! Ordinary text stays as it is. Bytes that would break a line, or would be taken for a part of the
//! form, are escaped with a backslash, so that the form is **total** (every path and body of bytes
//! has one) and **reversible** (reading a line gives back exactly the bytes it was made of).
//! `docs/text-form.md` is its description for people; this file is the only code that knows it.
//!
//! Two consequences that other programs may rely on: the first `:` of a line ends the revision
//! and the first `=` ends the path, because neither occurs in an escaped path; and a written line
//! holds no control character but tabs, so showing it cannot disturb a terminal.

use bytes::Bytes;
use cairn_journal::{Op, Revision};

/// One line: a change and the revision it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The revision of the change.
    pub revision: Revision,
    /// What was changed. Bytes, because a journal does not ask for UTF-8.
    pub path: Bytes,
    /// To what.
    pub op: Op,
}

/// Why a line is not in the text form. Columns count bytes from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The part before the first `:` is no revision, or there is no `:`.
    #[error("no revision: a line is REV:PATH=BODY for a set, REV:PATH for a delete")]
    Revision,
    /// A backslash that starts nothing known.
    #[error(
        "column {column}: unknown escape; \\\\ \\n \\r \\t and \\xHH (two hex digits) are known, \
         a backslash itself is written \\\\"
    )]
    Escape {
        /// Where the backslash stands.
        column: usize,
    },
}

/// Appends the line of one change, its newline included. `body`: `None` for a delete.
pub fn write_line(out: &mut Vec<u8>, revision: Revision, path: &[u8], body: Option<&[u8]>) {
    // Nearly always all that the line takes.
    out.reserve(path.len() + body.map_or(0, <[u8]>::len) + 32);
    write_revision(out, revision);
    escape(out, path, &IN_PATH);
    if let Some(body) = body {
        out.push(b'=');
        escape(out, body, &IN_BODY);
    }
    out.push(b'\n');
}

/// Appends the revision with which a line begins, and its colon.
pub(crate) fn write_revision(out: &mut Vec<u8>, revision: Revision) {
    out.extend_from_slice(itoa::Buffer::new().format(revision.0).as_bytes());
    out.push(b':');
}

/// A path as it stands in a line.
#[must_use]
pub fn escaped_path(path: &[u8]) -> String {
    let mut out = Vec::new();
    escape(&mut out, path, &IN_PATH);
    String::from_utf8(out).expect("the form is text, whatever the bytes")
}

/// Reads one line, given without its newline.
///
/// More is accepted than is ever written: bytes that need no escape to be understood may come
/// with or without one.
pub fn parse_line(line: &[u8]) -> Result<Line, LineError> {
    let colon = find(line, b':').ok_or(LineError::Revision)?;
    let revision = parse_revision(&line[..colon]).ok_or(LineError::Revision)?;
    let rest = &line[colon + 1..];
    let equals = find(rest, b'=');
    let path = unescape(&rest[..equals.unwrap_or(rest.len())], colon + 1)?;
    let op = match equals {
        Some(equals) => Op::Set(unescape(&rest[equals + 1..], colon + equals + 2)?),
        None => Op::Delete,
    };
    Ok(Line { revision, path, op })
}

fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

fn parse_revision(digits: &[u8]) -> Option<Revision> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok().map(Revision)
}

/// What to do with a byte of valid UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Plain,
    /// Is written as an escape.
    Escaped,
    /// May start one of the characters that some programs take for the end of a line or for a
    /// command to the terminal: U+0080 to U+009F, U+2028, U+2029.
    Lead,
}

const fn classes(in_path: bool) -> [Class; 256] {
    let mut table = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = Class::Escaped;
        byte += 1;
    }
    table[0x7f] = Class::Escaped;
    table[b'\\' as usize] = Class::Escaped;
    table[0xc2] = Class::Lead;
    table[0xe2] = Class::Lead;
    if in_path {
        table[b':' as usize] = Class::Escaped;
        table[b'=' as usize] = Class::Escaped;
    } else {
        table[b'\t' as usize] = Class::Plain;
    }
    table
}

static IN_PATH: [Class; 256] = classes(true);
static IN_BODY: [Class; 256] = classes(false);

fn escape(out: &mut Vec<u8>, bytes: &[u8], table: &[Class; 256]) {
    // Nearly everything is plain ASCII: found out and moved in one go, which is all that the speed
    // of a dump needs. What follows may be anything.
    let (plain, rest) = bytes.split_at(plain_ascii(bytes, table));
    out.extend_from_slice(plain);
    if rest.is_empty() {
        return;
    }
    if str::from_utf8(rest).is_ok() {
        return escape_valid(out, rest, table);
    }
    for chunk in rest.utf8_chunks() {
        escape_valid(out, chunk.valid().as_bytes(), table);
        for byte in chunk.invalid() {
            push_hex(out, *byte);
        }
    }
}

/// Bytes looked at together: one or two vector registers, whatever the machine has.
const BLOCK: usize = 32;
const WORD: usize = 8;

/// How many bytes at the beginning are ASCII that stands for itself.
fn plain_ascii(bytes: &[u8], table: &[Class; 256]) -> usize {
    let in_path = table[usize::from(b'=')] == Class::Escaped;
    // Without a branch for each byte, so that the compiler makes vector instructions of it.
    let is_special = |byte: u8| {
        !(0x20..0x7f).contains(&byte)
            | (byte == b'\\')
            | (in_path & ((byte == b':') | (byte == b'=')))
    };
    let is_plain = |block: &[u8]| !block.iter().fold(false, |any, b| any | is_special(*b));
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let mut plain = blocks.iter().take_while(|b| is_plain(*b)).count() * BLOCK;
    // Paths are short: the rest is looked at in words, and the last of it in bytes.
    let (words, _) = bytes[plain..].as_chunks::<WORD>();
    plain += words.iter().take_while(|w| is_plain(*w)).count() * WORD;
    let is_plain = |byte: &u8| byte.is_ascii() && table[usize::from(*byte)] == Class::Plain;
    plain + bytes[plain..].iter().take_while(|b| is_plain(b)).count()
}

fn escape_valid(out: &mut Vec<u8>, text: &[u8], table: &[Class; 256]) {
    // What lies between `copied` and `at` is plain and not yet in `out`: ordinary text is moved
    // in long pieces.
    let mut copied = 0;
    let mut at = 0;
    let mut look_at = 0;
    while let Some(&byte) = text.get(at) {
        if at >= look_at {
            let plain = plain_ascii(&text[at..], table);
            // After a short piece, byte after byte for a while: looking ahead has a price.
            look_at = at + plain + BLOCK;
            if plain > 0 {
                at += plain;
                continue;
            }
        }
        let length = match table[usize::from(byte)] {
            Class::Plain => 0,
            Class::Escaped => 1,
            Class::Lead => match (byte, &text[at + 1..]) {
                (0xc2, [0x80..=0x9f, ..]) => 2,
                (0xe2, [0x80, 0xa8 | 0xa9, ..]) => 3,
                _ => 0,
            },
        };
        if length == 0 {
            at += 1;
            continue;
        }
        out.extend_from_slice(&text[copied..at]);
        for &byte in &text[at..at + length] {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                other => push_hex(out, other),
            }
        }
        at += length;
        copied = at;
    }
    out.extend_from_slice(&text[copied..]);
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[
        b'\\',
        b'x',
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]);
}

/// `before`: how many bytes of the line come before these, for the column of an error.
fn unescape(escaped: &[u8], before: usize) -> Result<Bytes, LineError> {
    let mut out = Vec::with_capacity(escaped.len());
    let mut at = 0;
    while let Some(plain) = find(&escaped[at..], b'\\') {
        out.extend_from_slice(&escaped[at..at + plain]);
        at += plain;
        let (byte, length) = match escaped[at + 1..] {
            [b'\\', ..] => (b'\\', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b't', ..] => (b'\t', 2),
            [b'x', high, low, ..] => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => {
                    return Err(LineError::Escape {
                        column: before + at + 1,
                    });
                }
            },
            _ => {
                return Err(LineError::Escape {
                    column: before + at + 1,
                });
            }
        };
        out.push(byte);
        at += length;
    }
    out.extend_from_slice(&escaped[at..]);
    Ok(out.into())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(revision: i64, path: &[u8], body: Option<&[u8]>) -> Line {
        Line {
            revision: Revision(revision),
            path: Bytes::copy_from_slice(path),
            op: body.map_or(Op::Delete, |body| Op::Set(Bytes::copy_from_slice(body))),
        }
    }

    fn written(line: &Line) -> Vec<u8> {
        let mut out = Vec::new();
        let body = match &line.op {
            Op::Set(body) => Some(&body[..]),
            Op::Delete => None,
        };
        write_line(&mut out, line.revision, &line.path, body);
        out
    }

    #[test]
    fn ordinary_text_looks_like_the_original() {
        for (line, text) in [
            (line(59, b"/a", Some(b"one")), "59:/a=one\n"),
            (line(60, b"/a", None), "60:/a\n"),
            (line(61, b"/a", Some(b"")), "61:/a=\n"),
            (
                line(62, b"/a/b.c-d", Some(b"k=v:w, \"x\"\t#")),
                "62:/a/b.c-d=k=v:w, \"x\"\t#\n",
            ),
            (
                line(63, "/ä".as_bytes(), Some("grüß € 日本".as_bytes())),
                "63:/ä=grüß € 日本\n",
            ),
        ] {
            assert_eq!(String::from_utf8(written(&line)).unwrap(), text);
            assert_eq!(parse_line(text.trim_end_matches('\n').as_bytes()), Ok(line));
        }
    }

    #[test]
    fn what_would_break_a_line_is_escaped() {
        for (line, text) in [
            (line(1, b"/a", Some(b"x\ny\\n\r\0")), r"1:/a=x\ny\\n\r\x00"),
            (line(2, b"/a=b:c\n\t", Some(b"=")), r"2:/a\x3db\x3ac\n\t=="),
            (line(3, b"/a=", None), r"3:/a\x3d"),
            (line(4, b"/\xff", Some(b"\xfe\xc3")), r"4:/\xff=\xfe\xc3"),
            (
                line(5, b"/a", Some("\u{85}\u{2028}\u{a0}\x1b[2J".as_bytes())),
                "5:/a=\\xc2\\x85\\xe2\\x80\\xa8\u{a0}\\x1b[2J",
            ),
            (line(-6, b"", Some(b"")), "-6:="),
        ] {
            let out = written(&line);
            assert_eq!(str::from_utf8(&out).unwrap(), format!("{text}\n"));
            assert_eq!(parse_line(text.as_bytes()), Ok(line));
        }
    }

    #[test]
    fn bytes_that_need_no_escape_are_taken_either_way() {
        assert_eq!(
            parse_line(b"7:/\\x61=\\x41\\t\\x3D:"),
            Ok(line(7, b"/a", Some(b"A\t=:")))
        );
        assert_eq!(
            parse_line(b"7:/a:b=\xff\r"),
            Ok(line(7, b"/a:b", Some(b"\xff\r")))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for text in [
            "",
            "59",
            "/a=b",
            ":/a",
            "5x:/a",
            "+5:/a",
            "-:/a",
            "99999999999999999999:/a",
        ] {
            assert_eq!(
                parse_line(text.as_bytes()),
                Err(LineError::Revision),
                "{text:?}"
            );
        }
        for (text, column) in [
            ("1:/a=\\", 6),
            ("1:/a=x\\q", 7),
            ("1:/\\x4", 4),
            ("1:/a=\\xzz", 6),
        ] {
            assert_eq!(
                parse_line(text.as_bytes()),
                Err(LineError::Escape { column }),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_change_comes_back(
            revision in any::<i64>(),
            path in prop::collection::vec(any::<u8>(), 0..40),
            body in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        ) {
            let change = line(revision, &path, body.as_deref());
            let out = written(&change);
            let (end, text) = out.split_last().expect("a line is never empty");
            prop_assert_eq!(*end, b'\n');
            let shown = str::from_utf8(text).expect("the form is text");
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\t'));
            prop_assert_eq!(parse_line(text), Ok(change));
        }

        #[test]
        fn text_full_of_specials_comes_back(
            path in "[/a:=\\\\\n\r\t\u{85}\u{2028}x0-9é]{0,30}",
            body in "[/a:=\\\\\n\r\t\u{85}\u{2028}x0-9é]{0,60}",
        ) {
            let change = line(1, path.as_bytes(), Some(body.as_bytes()));
            let out = written(&change);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(parse_line(&out[..out.len() - 1]), Ok(change));
        }

        #[test]
        fn reading_never_panics_and_is_stable(text in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(change) = parse_line(&text) {
                let out = written(&change);
                prop_assert_eq!(parse_line(&out[..out.len() - 1]), Ok(change));
            }
        }
    }
}
