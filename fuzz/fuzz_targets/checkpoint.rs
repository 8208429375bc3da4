//! Checkpoints. A state that rests on one is the state that was written, also when the segments
//! below it are gone; a damaged one is never taken for another state. A file from anywhere has as
//! many entries as it says, sorted, or is refused.

#![no_main]

use arbitrary::{Arbitrary as _, Unstructured};
use cairn_fuzz::{Damage, Sample, Write, append};
use cairn_journal::{Retention, State};
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
    let path = sample.put("any", data);
    let Ok(checkpoint) = sample.directory().open_checkpoint(&path) else {
        return;
    };
    let checkpoint = checkpoint.with_control();
    let Ok(entries) = checkpoint.entries() else {
        return;
    };
    let mut last = None;
    let mut count = 0;
    for entry in entries {
        let Ok(entry) = entry else {
            return;
        };
        assert!(last < Some(entry.path.clone()), "not sorted");
        last = Some(entry.path);
        count += 1;
    }
    assert_eq!(count, checkpoint.len());
    checkpoint.verify().expect("all of it has just been read");
}

fn written(data: &[u8]) -> arbitrary::Result<()> {
    let mut data = Unstructured::new(data);
    let (damage, is_retired) = (Damage::arbitrary(&mut data)?, bool::arbitrary(&mut data)?);
    let (below, above): (Vec<Write>, Vec<Write>) = <_>::arbitrary(&mut data)?;
    if below.is_empty() {
        return Ok(());
    }
    let sample = Sample::default();
    let mut expected = State::default();
    let journal = sample.open().unwrap();
    append(&journal, &below, 1, &mut expected);
    journal.checkpoint().unwrap();
    if is_retired {
        let nothing = Retention {
            age: None,
            bytes: Some(0),
        };
        journal.retire(&nothing).unwrap();
    }
    let first = i64::try_from(below.len()).unwrap() + 1;
    append(&journal, &above, first, &mut expected);
    drop(journal);
    let state = || sample.directory().reader()?.state(None);
    assert_eq!(state().unwrap(), expected);

    sample.damage("ckpt", damage);
    if let Ok(state) = state() {
        assert_eq!(state, expected, "a damaged checkpoint gave another state");
    }
    Ok(())
}
