//! Segments. What is read from a damaged journal is a beginning of what was written to it; opening
//! it adds nothing to that. A file from anywhere may be refused, and what is read of it can be read
//! again after an opening.

#![no_main]

use arbitrary::{Arbitrary as _, Unstructured};
use cairn_fuzz::{Damage, Sample, Write, append};
use cairn_journal::State;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // A golden file, or what became of it.
    if data.starts_with(b"CAIRN") || data.starts_with(b"cairn") {
        foreign(data);
    } else {
        let _ = written(data);
    }
});

fn foreign(data: &[u8]) {
    let sample = Sample::default();
    sample.put(&format!("{:020}.seg", 1), data);
    let before = sample.records();
    if let Ok(journal) = sample.open() {
        drop(journal);
        assert!(
            sample.records().starts_with(&before),
            "opening took something away"
        );
    }
}

fn written(data: &[u8]) -> arbitrary::Result<()> {
    let mut data = Unstructured::new(data);
    let (damage, writes) = (
        Damage::arbitrary(&mut data)?,
        Vec::<Write>::arbitrary(&mut data)?,
    );
    let sample = Sample::default();
    let journal = sample.open().unwrap();
    append(&journal, &writes, 1, &mut State::default());
    drop(journal);
    let before = sample.records();
    assert!(
        before.len() >= writes.len(),
        "not all that was written is read"
    );

    sample.damage("seg", damage);
    let after = sample.records();
    assert!(before.starts_with(&after), "what is read was never written");
    if let Ok(journal) = sample.open() {
        drop(journal);
        assert!(
            sample.records().starts_with(&after),
            "opening took something away"
        );
    }
    Ok(())
}
