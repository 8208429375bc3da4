//! The store against the simplest thing that could be right: every state kept as a sorted map,
//! every event in a list, every question answered by looking at all of it.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_client::Revision;
use cairn_client::glob::Glob;
use cairn_lite::store::{
    Dir, ERROR_PATH, EventKind, Found, LAST_REVISION, NoState, Node, Pattern, Refusal, Step, Store,
    Walk,
};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Set(String, Expected, u8),
    Del(String, Expected),
    Nop,
    Forget,
}

/// The revision a write expects, relative to what is there.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    Current,
    Stale,
    Missing,
    Future,
}

type State = BTreeMap<Vec<String>, (i64, Vec<u8>)>;

#[derive(Debug, PartialEq, Eq, Clone)]
struct ModelEvent {
    path: String,
    value: Vec<u8>,
    kind: EventKind,
}

/// Index 0 of both lists is the empty store before revision 1.
struct Model {
    states: Vec<State>,
    events: Vec<ModelEvent>,
    limit: i64,
    oldest: i64,
}

fn split(path: &str) -> Vec<String> {
    path[1..].split('/').map(str::to_owned).collect()
}

fn join(names: &[String]) -> String {
    format!("/{}", names.join("/"))
}

impl Model {
    fn new(limit: i64) -> Self {
        let nothing = ModelEvent {
            path: String::new(),
            value: Vec::new(),
            kind: EventKind::Nop,
        };
        Self {
            states: vec![State::new()],
            events: vec![nothing],
            limit,
            oldest: 1,
        }
    }

    fn state(&self) -> &State {
        self.states.last().unwrap()
    }

    fn revision(&self) -> i64 {
        i64::try_from(self.states.len()).unwrap() - 1
    }

    fn is_dir(state: &State, names: &[String]) -> bool {
        state
            .keys()
            .any(|file| file.len() > names.len() && file.starts_with(names))
    }

    fn found(&self, path: &str) -> i64 {
        let names = split(path);
        match self.state().get(&names) {
            Some((revision, _)) => *revision,
            None if Self::is_dir(self.state(), &names) => -2,
            None => 0,
        }
    }

    fn below_file(&self, path: &str) -> bool {
        let names = split(path);
        (1..names.len()).any(|depth| self.state().contains_key(&names[..depth]))
    }

    fn push(&mut self, path: &str, value: &[u8], kind: EventKind) {
        let mut state = self.state().clone();
        let revision = self.revision() + 1;
        match kind {
            EventKind::Set => drop(state.insert(split(path), (revision, value.to_vec()))),
            EventKind::Delete => drop(state.remove(&split(path))),
            EventKind::Nop => {}
        }
        self.states.push(state);
        self.events.push(ModelEvent {
            path: path.into(),
            value: value.to_vec(),
            kind,
        });
        self.oldest = self.oldest.max(revision - self.limit + 1);
    }

    fn write(&mut self, path: &str, expected: i64, value: Option<&[u8]>) -> Option<Refusal> {
        let found = self.found(path);
        let refusal = if value.is_some() && self.below_file(path) {
            Some(Refusal::NotDir)
        } else if expected != -1 && expected < found {
            Some(Refusal::RevMismatch)
        } else if found == -2 {
            Some(Refusal::IsDir)
        } else {
            None
        };
        match (refusal, value) {
            (None, Some(value)) => self.push(path, value, EventKind::Set),
            (None, None) => self.push(path, &[], EventKind::Delete),
            (Some(_), _) if self.found(ERROR_PATH) == -2 || self.below_file(ERROR_PATH) => {
                self.push("/", &[], EventKind::Nop);
            }
            (Some(refusal), _) => {
                self.push(ERROR_PATH, refusal.to_string().as_bytes(), EventKind::Set);
            }
        }
        refusal
    }

    fn expected(&self, path: &str, expected: Expected) -> i64 {
        match expected {
            Expected::Any => -1,
            Expected::Current => self.found(path),
            Expected::Stale => self.found(path) - 1,
            Expected::Missing => 0,
            Expected::Future => self.revision() + 10,
        }
    }
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "a-b", "a.b", "ab"]);
    let ordinary =
        prop::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")));
    prop_oneof![
        20 => ordinary,
        1 => prop::sample::select(vec!["/ctl", "/ctl/err", "/ctl/err/x", "/ctl/x"])
            .prop_map(str::to_owned),
    ]
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Any),
        2 => Just(Expected::Current),
        1 => Just(Expected::Stale),
        1 => Just(Expected::Missing),
        1 => Just(Expected::Future),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        60 => (path(), expected(), any::<u8>())
            .prop_map(|(path, rev, value)| Op::Set(path, rev, value)),
        30 => (path(), expected()).prop_map(|(path, rev)| Op::Del(path, rev)),
        6 => Just(Op::Nop),
        1 => Just(Op::Forget),
    ]
}

fn globs() -> Vec<Pattern> {
    [
        "/**", "/", "/*", "/a", "/a/b", "/a/**", "/a/*", "/*/b", "/*/*", "/**/b", "/a**", "/?",
        "/a/*/**", "/a?b/*", "/b/a/*b", "/ctl/err", "/*/**", "/zz/**",
    ]
    .into_iter()
    .map(|glob| Pattern::parse(glob).unwrap())
    .collect()
}

fn same_state(state: &Dir, want: &State) {
    for (names, (revision, value)) in want {
        match state.find(&join(names)) {
            Some(Node::File(event)) => {
                assert_eq!(
                    (event.revision.0, &event.value[..]),
                    (*revision, &value[..])
                );
            }
            other => panic!("{names:?}: {other:?}"),
        }
    }
    assert_eq!(state.files(), want.len());
    let mut dirs: BTreeMap<Vec<String>, BTreeSet<String>> = BTreeMap::new();
    for names in want.keys() {
        for depth in 0..names.len() {
            dirs.entry(names[..depth].to_vec())
                .or_default()
                .insert(names[depth].clone());
        }
    }
    for (names, entries) in dirs {
        let dir = match state.find(&join(&names)) {
            Some(Node::Dir(dir)) => dir,
            None if names.is_empty() => state,
            other => panic!("{names:?}: {other:?}"),
        };
        assert_eq!(dir.len(), entries.len());
        let listed: Vec<String> = dir.names(None).map(|name| name.to_string()).collect();
        assert_eq!(listed, entries.iter().cloned().collect::<Vec<_>>());
        for entry in &entries {
            let after = dir.names(Some(entry)).next().map(|name| name.to_string());
            assert_eq!(after.as_ref(), entries.range(entry.clone()..).nth(1));
        }
    }
}

/// By the short way to one file of the past.
fn same_files(store: &Store, at: Revision, want: &State) {
    for path in [
        "/", "/a", "/b", "/a/b", "/a/a-b", "/b/a/b", "/ctl/err", "/ctl", "/zz", "bad",
    ] {
        let want = path.strip_prefix('/').and_then(|_| want.get(&split(path)));
        let got = store.file_at(path, at);
        assert_eq!(
            got.map(|event| event.revision.0),
            want.map(|(revision, _)| *revision),
            "{path}"
        );
    }
}

fn same_walks(state: &Dir, want: &State, patterns: &[Pattern]) {
    for pattern in patterns {
        let glob = Glob::parse(pattern.as_str()).unwrap();
        let want: Vec<String> = want
            .keys()
            .map(|names| join(names))
            .filter(|path| glob.matches(path))
            .collect();
        let got: Vec<&str> = Walk::new(state, pattern, None)
            .map(|event| &*event.path)
            .collect();
        assert_eq!(got, want, "{}", pattern.as_str());
        for (offset, path) in want.iter().enumerate() {
            // From the start by offset, with a budget of one step at a time.
            let mut walk = Walk::new(state, pattern, None);
            let mut skip = offset;
            let event = loop {
                match walk.step(skip, 1) {
                    Step::At(event) => break event,
                    Step::Unfinished(left) => skip = left,
                    Step::End => panic!("{} ends before {offset}", pattern.as_str()),
                }
            };
            assert_eq!(&*event.path, path);
            // And on from each entry.
            let next = Walk::new(state, pattern, Some(path))
                .next()
                .map(|event| event.path.to_string());
            assert_eq!(
                next.as_ref(),
                want.get(offset + 1),
                "{} after {path}",
                pattern.as_str()
            );
        }
        assert!(matches!(
            Walk::new(state, pattern, None).step(want.len(), usize::MAX),
            Step::End
        ));
    }
}

fn same_waits(store: &Store, model: &Model, patterns: &[Pattern]) {
    for pattern in patterns {
        let glob = Glob::parse(pattern.as_str()).unwrap();
        for from in [
            -3,
            0,
            1,
            model.oldest - 1,
            model.oldest,
            model.revision() - 3,
        ]
        .into_iter()
        .chain([model.revision(), model.revision() + 1])
        {
            let begin = from.max(1);
            let got = store.first_match(pattern, Revision(from));
            if begin < model.oldest {
                assert_eq!(got, Found::TooLate);
                continue;
            }
            let want = (begin..=model.revision())
                .find(|&at| glob.matches(&model.events[usize::try_from(at).unwrap()].path));
            match (got, want) {
                (Found::Event(event), Some(want)) => assert_eq!(event.revision.0, want),
                (Found::NotYet, None) => {}
                (got, want) => panic!("{} from {from}: {got:?}, not {want:?}", pattern.as_str()),
            }
        }
    }
}

/// `PROPTEST_CASES` sets how many.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(40, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_what_the_model_is(
        ops in prop::collection::vec(op(), 1..700),
        limit in prop::sample::select(vec![1_i64, 5, 65, 255, 256, 257, 300, 10_000]),
    ) {
        let patterns = globs();
        let mut store = Store::new(limit.cast_unsigned());
        let mut model = Model::new(limit);
        let mut kept = Vec::new();
        for op in ops {
            match op {
                Op::Set(path, rev, value) => {
                    let rev = model.expected(&path, rev);
                    let refusal = model.write(&path, rev, Some(&[value]));
                    let value = Bytes::from(vec![value]);
                    let written = store.set(&path, Revision(rev), value).unwrap();
                    prop_assert_eq!(written.refused, refusal);
                }
                Op::Del(path, rev) => {
                    let rev = model.expected(&path, rev);
                    let refusal = model.write(&path, rev, None);
                    let written = store.del(&path, Revision(rev)).unwrap();
                    prop_assert_eq!(written.refused, refusal);
                }
                Op::Nop => {
                    model.push("/", &[], EventKind::Nop);
                    store.nop().unwrap();
                }
                Op::Forget => {
                    model.oldest = model.oldest.max(model.revision());
                    store.forget_history();
                }
            }
            prop_assert_eq!(store.revision().0, model.revision());
            if model.revision() > 0 {
                let event = store.event(store.revision()).unwrap();
                let want = model.events.last().unwrap();
                prop_assert_eq!(&*event.path, &want.path);
                prop_assert_eq!(&event.value[..], &want.value[..]);
                prop_assert_eq!(event.kind, want.kind);
            }
            if model.revision() % 50 == 0 {
                // A state that someone holds must not be changed by what follows.
                kept.push((store.state(), model.state().clone()));
            }
        }
        for (state, want) in &kept {
            same_state(state, want);
        }
        same_walks(&store.state(), model.state(), &patterns);
        same_waits(&store, &model, &patterns);
        prop_assert_eq!(store.oldest().0, model.oldest);
        for revision in 1..=model.revision() + 1 {
            match store.state_at(Revision(revision)) {
                Ok(state) => {
                    prop_assert!(revision >= model.oldest && revision <= model.revision());
                    let want = &model.states[usize::try_from(revision).unwrap()];
                    same_state(&state, want);
                    same_files(&store, Revision(revision), want);
                }
                Err(NoState::TooLate) => prop_assert!(revision < model.oldest),
                Err(NoState::NotYet) => prop_assert!(revision > model.revision()),
            }
        }
    }
}

#[test]
fn what_cannot_be_a_path_consumes_no_revision() {
    let mut store = Store::new(10);
    for path in ["", "a", "/a/", "//", "/a_b", "/ä"] {
        let refusal = store.set(path, Revision::ANY, Bytes::new()).unwrap_err();
        assert_eq!(refusal, Refusal::BadPath);
        assert_eq!(
            store.del(path, Revision::ANY).unwrap_err(),
            Refusal::BadPath
        );
    }
    assert_eq!(store.revision(), Revision(0));
}

/// The sum overflowed: a panic, or a revision below zero.
#[test]
fn nothing_is_written_after_the_last_revision() {
    let mut store = Store::new(10);
    store.set("/a", Revision::ANY, Bytes::new()).unwrap();
    store.jump_to(Revision(LAST_REVISION.0 - 1));
    store.set("/a", Revision::ANY, "last".into()).unwrap();
    let refused = Refusal::NoRevisionLeft;
    let set = store.set("/a", Revision::ANY, Bytes::new());
    assert_eq!(set.unwrap_err(), refused);
    // Nor does a write that is refused for another reason leave that reason.
    let mismatch = store.set("/a", Revision::MISSING, Bytes::new());
    assert_eq!(mismatch.unwrap_err(), refused);
    assert_eq!(store.del("/a", Revision::ANY).unwrap_err(), refused);
    assert_eq!(store.nop().unwrap_err(), refused);
    let load = store.load([], Revision(1));
    assert_eq!(load, Err(("/".to_owned(), refused)));
    assert_eq!(store.revision(), LAST_REVISION);
    assert_eq!(store.event(LAST_REVISION).unwrap().value, "last");

    let mut fresh = Store::new(10);
    assert_eq!(
        fresh.load([], LAST_REVISION.next()),
        Err(("/".to_owned(), refused))
    );
    fresh.load([], LAST_REVISION).unwrap();
    assert_eq!(fresh.revision(), LAST_REVISION);
}

#[test]
fn a_refused_write_leaves_its_reason_where_everyone_can_see_it() {
    let mut store = Store::new(10);
    store.set("/d/f", Revision::ANY, Bytes::new()).unwrap();
    let mut reason = |path: &str, rev| {
        let written = store.set(path, Revision(rev), Bytes::new()).unwrap();
        assert_eq!(&*written.event.path, ERROR_PATH);
        written.event.value.clone()
    };
    assert_eq!(reason("/d/f", 0), "rev mismatch");
    assert_eq!(reason("/d", -1), "is a directory");
    assert_eq!(reason("/", -1), "is a directory");
    assert_eq!(reason("/d/f/x", -1), "not a directory");
}
