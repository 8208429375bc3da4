//! Globs against a model that is too simple to be wrong, and against what a real server answered.

use std::collections::BTreeMap;

use cairn_client::glob::Glob;
use cairn_client::path;
use proptest::prelude::*;

use crate::recordings::exchanges;

/// The definition, word for word: `?` is one character of a name, `*` any number of them, `**`
/// any number of any characters.
fn model(glob: &[u8], text: &[u8]) -> bool {
    let in_name = |byte: &u8| *byte != b'/';
    match (glob, text) {
        ([], text) => text.is_empty(),
        ([b'*', b'*', glob @ ..], text) => (0..=text.len()).any(|n| model(glob, &text[n..])),
        ([b'*', glob @ ..], text) => (0..=text.len())
            .take_while(|n| text[..*n].iter().all(in_name))
            .any(|n| model(glob, &text[n..])),
        ([b'?', glob @ ..], [byte, text @ ..]) => in_name(byte) && model(glob, text),
        ([same, glob @ ..], [byte, text @ ..]) => same == byte && model(glob, text),
        (_, []) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(20_000)
    })]

    /// Few letters, so that there are many ways to almost match.
    #[test]
    fn matches_like_the_model(
        glob in "/([ab*?]{1,4}(/[ab*?]{1,4}){0,4})?",
        path in "/([ab]{1,3}(/[ab]{1,3}){0,5})?",
    ) {
        let parsed = Glob::parse(&glob).unwrap();
        prop_assert_eq!(parsed.matches(&path), model(glob.as_bytes(), path.as_bytes()));
        prop_assert!(!parsed.matches(&path) || path.starts_with(parsed.literal_prefix()));
        prop_assert!(!parsed.matches_everything() || parsed.matches(&path));
    }

    /// Whatever the text, parsing says the same as the rule, and nothing panics.
    #[test]
    fn accepts_exactly_what_the_rule_allows(text in "[/a.*?_ü-]{0,8}") {
        let name = |name: &str, extra: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        let rule = |extra: &str| {
            let valid = |names: &str| names.split('/').all(|n| name(n, extra));
            text == "/" || text.strip_prefix('/').is_some_and(valid)
        };
        prop_assert_eq!(path::is_valid(&text), rule(".-"));
        prop_assert_eq!(path::validate(&text).is_ok(), rule(".-"));
        prop_assert_eq!(Glob::parse(&text).is_ok(), rule(".-*?"));
    }
}

#[test]
fn long_runs_of_stars_take_no_time() {
    let glob = Glob::parse(&format!("/**{}b", "a*".repeat(50))).unwrap();
    let path = format!("/{}", "a".repeat(1_000));
    assert!(!glob.matches(&path));
}

#[test]
fn everything_is_matched_by_stars_only() {
    for (glob, everything) in [
        ("/**", true),
        ("/***", true),
        ("/*", false),
        ("/", false),
        ("/**/*", false),
    ] {
        assert_eq!(
            Glob::parse(glob).unwrap().matches_everything(),
            everything,
            "{glob}"
        );
    }
}

#[test]
fn a_faulty_path_is_told_what_is_wrong_with_it() {
    let told = |text| path::validate(text).unwrap_err().to_string();
    assert_eq!(told(""), "path \"\" must start with '/'");
    assert_eq!(
        told("/a//b"),
        "path \"/a//b\" has an empty name before byte 3"
    );
    assert_eq!(told("/a/"), "path \"/a/\" has an empty name before byte 3");
    assert_eq!(
        told("/aü"),
        "path \"/aü\" has 'ü' at byte 2; names are made of A-Z a-z 0-9 '.' '-'"
    );
}

/// Walks of a real server over known files: our globs pick the same ones, in the same order.
#[test]
fn picks_what_a_real_server_picked() {
    let mut files: Vec<String> = Vec::new();
    let mut walks: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for exchange in exchanges() {
        let Some((answer, _)) = &exchange.response else {
            continue;
        };
        let path = exchange.fields["path"].as_str().unwrap_or_default();
        let is_fixture =
            |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if exchange.name.strip_prefix('s').is_some_and(is_fixture) {
            files.push(path.to_owned());
        } else if exchange.name.starts_with("walk bad ") {
            let refused = answer["err_code"].as_str() == Some("OTHER");
            assert_eq!(Glob::parse(path).is_err(), refused, "{path}");
        } else if exchange.name.starts_with("walk /") {
            let entry = answer["path"].as_str().map(str::to_owned);
            walks.entry(path.to_owned()).or_default().push(entry);
        }
    }
    assert_eq!((files.len(), walks.len()), (12, 14));
    files.push("/ctl/name".to_owned());
    files.sort_by(|a, b| path::compare(a, b));
    for (glob, seen) in walks {
        let parsed = Glob::parse(&glob).unwrap();
        let ours = files.iter().filter(|file| parsed.matches(file)).map(Some);
        let ours = ours.chain(std::iter::repeat(None));
        for (ours, theirs) in ours.zip(&seen) {
            assert_eq!(ours, theirs.as_ref(), "{glob}");
        }
    }
}
