//! Keys as the page shows them and sends them back: text, in which what is no text is escaped.
//!
//! Nothing is lost: two keys never look the same. As in `docs/text-form.md`, `\xHH` is a byte, and
//! a backslash is `\\`; but nothing is escaped that a page can show.

use std::fmt::Write as _;

use bytes::Bytes;

/// Any bytes, as text.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // A string takes everything.
            let _ = write!(text, "\\x{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                char if char.is_control() => {
                    escape(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                char => text.push(char),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

/// The bytes that were escaped; `None`: a backslash that begins no escape.
pub(crate) fn unescaped(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match rest {
            [b'\\', behind @ ..] => {
                bytes.push(b'\\');
                rest = behind;
            }
            [b'x', high, low, behind @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)? * 16 + digit(low)?;
                bytes.push(u8::try_from(byte).ok()?);
                rest = behind;
            }
            _ => return None,
        }
    }
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_looks_like_itself_alone_and_comes_back() {
        for (bytes, text) in [
            (&b"/greeting"[..], "/greeting"),
            ("/größe 1".as_bytes(), "/größe 1"),
            (b"/a\xff\x00b", "/a\\xff\\x00b"),
            (b"/a\\xff", "/a\\\\xff"),
            (b"\n", "\\x0a"),
        ] {
            assert_eq!(escaped(bytes), text);
            assert_eq!(unescaped(text).as_deref(), Some(bytes));
        }
        for bad in ["\\", "\\x", "\\xg0", "\\n", "\\x4"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            let back = unescaped(&escaped(&bytes));
            proptest::prop_assert_eq!(back.as_deref(), Some(&bytes[..]));
        }
    }
}
