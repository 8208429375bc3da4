//! What files and folders look like: how long, how wide, and where a folder's module stands.

use std::fs;
use std::path::Path;

use proc_macro2::{Group, TokenStream, TokenTree};
use syn::spanned::Spanned as _;

use crate::manifest::{self, workspace};
use crate::scan;
use crate::sources::rust_files;

/// The most lines of a file, without its tests.
const LINES_MAX: usize = 500;

/// The most columns of a line, of code and of comments.
const COLUMNS_MAX: usize = 100;

/// All Rust files of these folders of every crate: the path within the workspace, and the text.
fn files(folders: &[&str]) -> Vec<(String, String)> {
    let workspace = workspace();
    let mut files = Vec::new();
    for package in manifest::packages() {
        for folder in folders {
            for path in rust_files(&package.folder.join(folder)) {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&workspace).unwrap();
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(
        files.len() > 100,
        "the crates have more files than {}",
        files.len()
    );
    files
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let mut findings = Vec::new();
    for (path, text) in files(&["src"]) {
        let lines = lines_without_tests(&text);
        if lines > LINES_MAX {
            findings.push(format!("{path} has {lines} lines, its tests left out"));
        }
    }
    none(&findings);
}

fn lines_without_tests(text: &str) -> usize {
    let file = syn::parse_file(text).unwrap();
    let tests: usize = file
        .items
        .iter()
        .filter(|item| scan::is_test(scan::attributes(item)))
        .map(|item| item.span().end().line - item.span().start().line + 1)
        .sum();
    text.lines().count() - tests
}

#[test]
fn a_folders_module_is_its_mod_rs() {
    let mut findings = Vec::new();
    for (path, _) in files(&["src", "tests", "benches"]) {
        let beside = Path::new(&path).with_extension("");
        let is_module = !rust_files(&workspace().join(&beside)).is_empty();
        if is_module {
            findings.push(format!("{path}: move it to {}/mod.rs", beside.display()));
        }
    }
    none(&findings);
}

#[test]
fn lines_have_at_most_a_hundred_columns() {
    let mut findings = Vec::new();
    for (path, text) in files(&["src", "tests", "benches", "examples"]) {
        for line in wide_lines(&text) {
            findings.push(format!("{path}:{line} has more than {COLUMNS_MAX} columns"));
        }
    }
    none(&findings);
}

/// Lines that are too wide, without those in which a text stands there.
fn wide_lines(text: &str) -> Vec<usize> {
    let mut wide: Vec<usize> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.chars().count() > COLUMNS_MAX && !is_table_row(line))
        .map(|(number, _)| number)
        .collect();
    if !wide.is_empty() {
        let mut spans = Vec::new();
        literals(text.parse().unwrap(), &mut spans);
        wide.retain(|line| {
            !spans
                .iter()
                .any(|(first, last)| (first..=last).contains(&line))
        });
    }
    wide
}

/// A row of a table in a comment cannot be broken.
fn is_table_row(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!', ' ']);
    text.starts_with('|') && line.ends_with('|')
}

/// The first and the last line of texts that go beyond the last column, or over several lines.
fn literals(tokens: TokenStream, spans: &mut Vec<(usize, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if is_doc(&group) => {}
            TokenTree::Group(group) => literals(group.stream(), spans),
            TokenTree::Literal(literal) => {
                let (start, end) = (literal.span().start(), literal.span().end());
                let is_text = literal.to_string().contains('"');
                if is_text && (end.line > start.line || end.column > COLUMNS_MAX) {
                    spans.push((start.line, end.line));
                }
            }
            _ => {}
        }
    }
}

/// A doc comment, which is an attribute with a literal for the compiler.
fn is_doc(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

#[test]
fn these_tests_can_fail() {
    let wide = "x".repeat(COLUMNS_MAX);
    assert_eq!(
        wide_lines(&format!("// {wide}\n//! {wide}\nfn a() {{}}\n")),
        [1, 2]
    );
    assert_eq!(wide_lines(&format!("fn a() {{ b({wide}) }}")), [1]);
    assert!(wide_lines(&format!("const A: &str = \"{wide}\";")).is_empty());
    let test = "#[cfg(test)]\nmod tests {\n\n}\n";
    assert_eq!(lines_without_tests(&format!("fn a() {{}}\n{test}")), 1);
}
