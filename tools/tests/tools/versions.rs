//! What is carried over in JSON: a journal of the format before this one, and everything that a
//! journal of this one holds.

use std::path::{Path, PathBuf};

use cairn_journal::{Checkpoint, Error, Reader, Revision};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::{DUMP, WRITE, code, command, run, stderr, stdout};

fn golden(name: &str) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../journal/tests/golden");
    golden.join(name)
}

fn dump(arguments: &[&str], path: &Path) -> String {
    let mut dumping = command(DUMP);
    dumping.args(arguments).arg(path);
    let dumped = run(dumping, b"");
    assert_eq!(code(&dumped), 0, "{}", stderr(&dumped));
    stdout(&dumped)
}

fn write(dir: &Path, text: &str) {
    let mut writing = command(WRITE);
    writing.arg("--json").arg(dir);
    let written = run(writing, text.as_bytes());
    assert_eq!(code(&written), 0, "{}", stderr(&written));
}

/// What a dump says of history: not what belongs to the one journal alone.
fn history(text: &str) -> Vec<Value> {
    let records = text.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        fields.remove("sequence");
        fields.remove("synced");
        record
    });
    records
        .filter(|record| record["type"] != "seal" && record["closed"] != true)
        .collect()
}

/// `v2` was written by the last program of format 2, and `v2.json` is what its `dumpjournal --json`
/// printed of it: gaps, snapshot diffs, timelines, times, damage and what healed it, paths and
/// values of any bytes.
#[test]
fn a_journal_of_format_2_is_refused_by_name_and_its_json_gives_the_same_history() {
    let dir = golden("v2");
    for arguments in [&["--json"][..], &["--check"], &["--state"], &["--headers"]] {
        let mut dumping = command(DUMP);
        dumping.args(arguments).arg(&dir);
        let refused = run(dumping, b"");
        assert_ne!(code(&refused), 0, "{arguments:?}");
        assert_eq!(stdout(&refused), "", "{arguments:?}");
        let told = stderr(&refused);
        assert!(told.contains("has format version 2"), "{told}");
        assert!(told.contains("writejournal --json"), "{told}");
    }
    let refused = Checkpoint::open(&golden("v2.ckpt")).unwrap_err();
    assert!(
        matches!(refused, Error::OtherFormat { found: 2, .. }),
        "{refused}"
    );

    let carried = TempDir::new().unwrap();
    let text = std::fs::read_to_string(golden("v2.json")).unwrap();
    let new = carried.path().join("journal");
    write(&new, &text);
    let again = dump(&["--json"], &new);
    assert_eq!(history(&again), history(&text));
    let state = Reader::open(&new).unwrap().state(None).unwrap();
    assert_eq!((state.revision, state.files.len()), (Revision(11), 7));
    assert_eq!(state.files[&b"/bin\xff"[..]].value, &b"\0\xff\n="[..]);
    assert_eq!(state.open_gap, None);
}

/// All that an engine may add: attributes, control writes, leases, among gaps and timelines.
#[test]
fn a_dump_in_json_gives_the_same_journal() {
    let records = [
        json!({"revision": 0, "type": "timeline", "id": "one", "parent": null, "at": 5,
            "kept": false, "observed_at_ms": 1}),
        json!({"revision": 0, "type": "gap", "first": 1, "last": 5, "phase": "opened",
            "reason": "baseline", "observed_at_ms": 2}),
        json!({"revision": 5, "type": "changes", "observed_at_ms": 3, "changes": [
            {"op": "set", "path": "a", "value": "x", "revision": 3, "attributes_base64": "AAH/"},
            {"op": "set", "path": "/ctl/persistence/1", "value": "4", "revision": 4,
                "control": true},
        ]}),
        json!({"revision": 5, "type": "lease", "id": 7587, "granted_ttl": 60, "observed_at_ms": 4}),
        json!({"revision": 5, "type": "gap", "first": 1, "last": 5, "phase": "closed",
            "reason": "baseline", "observed_at_ms": 5}),
        json!({"revision": 6, "type": "changes", "observed_at_ms": 6, "changes": [
            {"op": "set", "path_base64": "/w==", "value_base64": "gA==",
                "attributes_base64": "Bw=="},
            {"op": "delete", "path": "a", "attributes_base64": "Bw=="},
        ]}),
        json!({"revision": 6, "type": "lease", "id": -1, "granted_ttl": 5, "observed_at_ms": 7}),
        json!({"revision": 7, "type": "changes", "observed_at_ms": 8, "changes": [
            {"op": "set", "path": "/ctl/persistence/1", "value": "6", "control": true},
        ]}),
        json!({"revision": 7, "type": "lease", "id": -1, "observed_at_ms": 9}),
        json!({"revision": 8, "type": "watermark", "observed_at_ms": 10, "closed": false}),
    ];
    let dir = TempDir::new().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    write(&one, &text);
    let all = dump(&["--json", "--control"], &one);
    assert_eq!(history(&all), records);
    write(&two, &all);
    assert_eq!(history(&dump(&["--json", "--control"], &two)), records);

    // Control writes are shown to those who ask, whatever is looked at.
    let segment = one.join("00000000000000000001.seg");
    let checkpoint = |dir: &Path| {
        let made = cairn_journal::Directory::at(dir).checkpoint().unwrap();
        made.newest.unwrap().path().to_owned()
    };
    let checkpoint = checkpoint(&one);
    for path in [&one, &segment, &checkpoint] {
        for view in [
            &[][..],
            &["--json"],
            &["--state"],
            &["--state", "--json"],
            &["--stats"],
        ] {
            let hidden = dump(view, path);
            assert!(
                !hidden.contains("/ctl"),
                "{view:?} {}: {hidden}",
                path.display()
            );
            let shown = dump(&[view, &["--control"]].concat(), path);
            assert!(
                shown.contains("/ctl"),
                "{view:?} {}: {shown}",
                path.display()
            );
        }
    }
    for path in [&one, &segment, &checkpoint] {
        let state = dump(&["--state", "--json"], path);
        let lease = r#""type":"lease","id":7587,"granted_ttl":60"#;
        assert_eq!(state.matches("lease").count(), 1, "{state}");
        assert!(state.contains(lease), "{state}");
        assert!(state.contains(r#""attributes_base64":"Bw==""#), "{state}");
    }
}
