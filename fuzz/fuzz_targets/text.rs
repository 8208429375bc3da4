//! The text form of a journal. A line that is read is written and read again as itself, and a
//! written line is one line without control characters; a line of JSON is a record or is refused.

#![no_main]

use cairn_journal::Op;
use cairn_tools::forms::json::parse_record;
use cairn_tools::forms::text::{parse_line, write_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| data.split(|&byte| byte == b'\n').for_each(line));

fn line(data: &[u8]) {
    if let Ok(line) = parse_line(data) {
        let body = match &line.op {
            Op::Set(value) => Some(&value[..]),
            Op::Delete => None,
        };
        let mut written = Vec::new();
        write_line(&mut written, line.revision, &line.path, body);
        let text = std::str::from_utf8(&written).expect("the form is text");
        let text = text.strip_suffix('\n').expect("a line ends");
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\t'),
            "{text:?}"
        );
        assert_eq!(parse_line(text.as_bytes()), Ok(line));
    }
    let _ = parse_record(data);
}
