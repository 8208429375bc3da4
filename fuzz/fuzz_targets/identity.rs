//! What stands in a cluster's `/ctl`: identities, owners, progress. What is read from anything is
//! written and read again as itself.

#![no_main]

use std::fmt::{Debug, Display};

use cairn_persister::identity::lineage::Identity;
use cairn_protocol::owner::Owner;
use cairn_protocol::progress::{MirrorProgress, parse_revision};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    same(Identity::parse, data);
    same(Owner::parse, data);
    same(MirrorProgress::parse, data);
    same(parse_revision, data);
});

fn same<T: Display + Debug + PartialEq, E: Debug>(parse: fn(&[u8]) -> Result<T, E>, data: &[u8]) {
    if let Ok(read) = parse(data) {
        let written = read.to_string();
        assert_eq!(
            parse(written.as_bytes()).as_ref().ok(),
            Some(&read),
            "{written:?}"
        );
    }
}
