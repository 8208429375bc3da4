//! Nothing above the seam knows which engine it talks to.

use std::path::{Path, PathBuf};

/// The words of an engine that may occur in `src/cluster/` only: as code, and within literals.
const IN_CODE: [&str; 4] = ["cairn_client", "cairn_lite", "Doozer", "Uri"];
const IN_LITERALS: [&str; 1] = ["/ctl"];

#[test]
fn nothing_above_the_seam_names_an_engine() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut leaks = Vec::new();
    let mut files = 0;
    for path in sources(&src) {
        if path.starts_with(src.join("cluster")) {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        for leak in leaks_of(&text) {
            leaks.push(format!("{}: {leak}", path.display()));
        }
    }
    assert!(files > 40, "only {files} files were looked at");
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}

/// The test can fail: each kind of leak is found, and what only looks like one is not.
#[test]
fn a_leak_is_found() {
    for leak in [
        "use cairn_client::Client;",
        "use cairn_lite::Server;",
        "fn open(cluster: Doozer) {}",
        "let doozer = DoozerSession::new();",
        "fn look(uri: &Uri) {}",
        r#"let key = format!("/ctl/persistence/{id}");"#,
        r##"let key = r#"/ctl/"persistence"#;"##,
        "/* outside */ fn f(_: Uri) {} // Uri",
        r"let quote = '\''; fn f(_: Uri) {}",
    ] {
        assert_eq!(leaks_of(leak).len(), 1, "{leak}");
    }
    for sound in [
        "/// The keys below /ctl are those of a Doozer at some Uri.",
        "/* use cairn_client::Uri; */",
        r#"#[arg(env = "DOOZER_URI", help = "the Uri of the Doozer")]"#,
        "let security = Security::<'a>::new();",
        r#"let text = "\"/control";"#,
    ] {
        assert_eq!(leaks_of(sound), Vec::<String>::new(), "{sound}");
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the sources can be listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The engine's words in a source text, each with its line.
fn leaks_of(text: &str) -> Vec<String> {
    let mut leaks = Vec::new();
    for (line, token) in tokens(text) {
        let leak = match &token {
            Token::Word(word) => IN_CODE
                .iter()
                .any(|name| word == name || *name == "Doozer" && word.starts_with(name)),
            Token::Literal(literal) => IN_LITERALS.iter().any(|name| {
                let mut places = literal.match_indices(name);
                places.any(|(at, _)| !literal[at + name.len()..].starts_with(char::is_alphanumeric))
            }),
        };
        if leak {
            leaks.push(format!("line {line}: {token:?}"));
        }
    }
    leaks
}

#[derive(Debug)]
enum Token {
    Word(String),
    Literal(String),
}

/// The words and the string literals of a source text, without its comments.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| {
        chars[at..]
            .iter()
            .copied()
            .take(what.len())
            .eq(what.chars())
    };
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let begun = at;
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            tokens.push((line, Token::Literal(slice(&chars, begun, at))));
        } else if chars[at] == 'r' && (starts(at + 1, "\"") || starts(at + 1, "#")) {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            tokens.push((line, Token::Literal(slice(&chars, begun, at))));
        } else if starts(at, "'\\") {
            // An escaped character; a lifetime has no backslash.
            at += 3;
        } else if starts(at, "'\"'") {
            at += 3;
        } else if chars[at].is_alphanumeric() || chars[at] == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            tokens.push((line, Token::Word(slice(&chars, begun, at))));
        } else {
            at += 1;
        }
        let end = at.min(chars.len());
        line += chars[begun..end].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn slice(chars: &[char], from: usize, to: usize) -> String {
    chars[from..to.min(chars.len())].iter().collect()
}
