//! Text of strangers on its way to a terminal or a log: keys, values of control keys, what servers
//! say. It may hold anything, escape sequences and line breaks among it.

use std::fmt::Write as _;

/// `text` without control characters: each is shown as `\n`, `\u{1b}` and so on.
#[must_use]
pub fn escaped_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_control(c) {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `text` with its line breaks, each followed by a space, so that no line of it passes for one
/// that somebody else wrote. All other control characters are shown as [`escaped_line`] does.
#[must_use]
pub fn escaped_lines(text: &str) -> String {
    let lines = text.split('\n').map(escaped_line);
    let mut whole = String::with_capacity(text.len());
    for (number, line) in lines.enumerate() {
        if number > 0 {
            whole.push('\n');
        }
        if number > 0 && !line.is_empty() && !line.starts_with(' ') {
            whole.push(' ');
        }
        whole.push_str(&line);
    }
    whole
}

/// `text` with its line breaks; all other control characters are shown as [`escaped_line`] does.
/// For what is built line by line of parts that have none.
#[must_use]
pub fn escaped_text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escaped_line).collect();
    lines.join("\n")
}

/// Control characters, and those that reorder the text around them.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story: whoever may write an owner key wrote escape sequences and whole lines into the
    /// logs of others.
    #[test]
    fn no_text_of_a_stranger_moves_a_cursor_or_begins_a_line() {
        let text = "\x1b[31mred\x07\r\nERROR all is lost\u{202e}\u{9b}2J";
        let line = escaped_line(text);
        assert_eq!(
            line,
            r"\u{1b}[31mred\u{7}\r\nERROR all is lost\u{202e}\u{9b}2J"
        );
        let lines = escaped_lines(text);
        assert_eq!(
            lines,
            "\\u{1b}[31mred\\u{7}\\r\n ERROR all is lost\\u{202e}\\u{9b}2J"
        );
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let text = "/größe/日本 \"quoted\" back\\slash 🦀";
        assert_eq!(escaped_line(text), text);
        let ours = "refused.\n  If the cluster was lost, run with -r";
        assert_eq!(escaped_lines(ours), ours);
        let table = "ID\n1\n";
        assert_eq!(escaped_text(table), table);
    }
}
