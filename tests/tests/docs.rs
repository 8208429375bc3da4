//! The documents speak of what exists: links, files, tests and messages.
//!
//! Each check has a canary: a page that is wrong in one way, which the check must find.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The repository, as far as documents can speak of it.
struct Tree {
    root: PathBuf,
    /// All files, by their path below the root.
    files: BTreeSet<String>,
    /// The Rust sources, as one text, with their continued string literals joined.
    source: String,
}

impl Tree {
    fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = fs::canonicalize(&root).with_context(|| root.display().to_string())?;
        let mut tree = Self {
            files: BTreeSet::new(),
            source: String::new(),
            root,
        };
        tree.walk(&tree.root.clone())?;
        ensure!(tree.files.contains("README.md"), "{}", tree.root.display());
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                // Where builds go. A target directory elsewhere is not below the root.
                if name != "target" && name != ".git" {
                    self.walk(&path)?;
                }
                continue;
            }
            if name.ends_with(".rs") && !path.ends_with("tests/tests/docs.rs") {
                self.source += &joined(&fs::read_to_string(&path)?);
            }
            let below = path.strip_prefix(&self.root)?;
            self.files.insert(below.to_string_lossy().into_owned());
        }
        Ok(())
    }

    /// Every document, by its path below the root, with its text.
    fn pages(&self) -> Result<Vec<(String, String)>> {
        let pages = self.files.iter().filter(|file| file.ends_with(".md"));
        pages
            .map(|page| Ok((page.clone(), fs::read_to_string(self.root.join(page))?)))
            .collect()
    }

    /// Whether a file has this path below the root, or ends with it.
    fn has_file(&self, path: &str) -> bool {
        let end = format!("/{path}");
        self.files.contains(path) || self.files.iter().any(|file| file.ends_with(&end))
    }
}

/// A Rust source in which string literals that go on in the next line are whole.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.trim_start();
    }
    text
}

/// The lines of a page that are no code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// What stands between backticks in the prose of a page.
fn spans(page: &str) -> Vec<String> {
    let text = prose(page).collect::<Vec<_>>().join("\n");
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// The targets of all links on a page.
fn links(page: &str) -> Vec<String> {
    let text = prose(page).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

/// Links of a page that lead nowhere.
fn dead_links(tree: &Tree, page: &str, text: &str) -> Vec<String> {
    let folder = tree.root.join(page);
    let folder = folder.parent().unwrap_or(&tree.root);
    let is_dead = |link: &String| {
        if link.contains("://") {
            return false;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = match file {
            "" => tree.root.join(page),
            file => folder.join(file),
        };
        if !target.exists() {
            return true;
        }
        let text = match file {
            "" => text.to_owned(),
            _ if heading.is_empty() => return false,
            _ => fs::read_to_string(&target).unwrap_or_default(),
        };
        let found = prose(&text).any(|line| line.starts_with('#') && anchor(line) == heading);
        !heading.is_empty() && !found
    };
    links(text).into_iter().filter(is_dead).collect()
}

/// Links of a page whose text is the name of an item, to a source that has no such item.
fn missing_items(tree: &Tree, page: &str, text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let folder = tree.root.join(page);
    let folder = folder.parent().unwrap_or(&tree.root);
    let items = text.split("[`").skip(1).filter_map(|rest| {
        let (item, rest) = rest.split_once("`](")?;
        let (target, _) = rest.split_once(')')?;
        (target.ends_with(".rs") && !item.contains(['/', '.'])).then_some((item, target))
    });
    let is_missing = |(item, target): &(&str, &str)| {
        let source = fs::read_to_string(folder.join(target)).unwrap_or_default();
        let name = item.rsplit("::").next().unwrap_or(item);
        // A file may be called by its module.
        let is_file = target.ends_with(&format!("/{name}.rs"))
            || target.ends_with(&format!("/{name}/mod.rs"))
            || (target.ends_with("/src/lib.rs") && !item.contains("::"));
        let declares = |keyword: &str| {
            let declared = format!("{keyword} {name}");
            source.match_indices(&declared).any(|(at, _)| {
                let next = source[at + declared.len()..].chars().next();
                next.is_some_and(|c| !c.is_alphanumeric() && c != '_')
            })
        };
        !is_file && !["fn", "struct", "enum", "trait"].into_iter().any(declares)
    };
    let missing = items.filter(is_missing);
    missing
        .map(|(item, target)| format!("{item} in {target}"))
        .collect()
}

/// Files and folders that a page names and that do not exist.
fn missing_files(tree: &Tree, text: &str) -> Vec<String> {
    let words = spans(text);
    let words = words.iter().flat_map(|span| span.split(' '));
    let is_missing = |word: &&str| {
        if word.contains(['*', '<', '{', '$']) {
            return false;
        }
        if word.ends_with(".rs") {
            return !tree.has_file(word);
        }
        // A path is meant where its first folder exists here.
        let first = word.split('/').next().unwrap_or_default();
        let ours = word.contains('/')
            && !["", ".", ".."].contains(&first)
            && tree.root.join(first).is_dir();
        ours && !tree.root.join(word).exists()
    };
    words.filter(is_missing).map(str::to_owned).collect()
}

/// Tests that a page names and that do not exist: our tests have sentences for names.
fn missing_tests(tree: &Tree, text: &str) -> Vec<String> {
    let is_sentence = |span: &String| {
        span.matches('_').count() >= 4
            && span
                .chars()
                .all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
            && !span.starts_with("cairn_")
    };
    let sentences = spans(text).into_iter().filter(is_sentence);
    sentences
        .filter(|name| !tree.source.contains(&format!("fn {name}(")))
        .collect()
}

/// Messages that the first column of a page's tables quotes, and that no program of ours writes.
fn missing_messages(tree: &Tree, text: &str) -> Vec<String> {
    let rows = prose(text).filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let quoted = cells.flat_map(spans);
    // Three words in a row are a message; a command or a flag with its value is not.
    let messages = quoted.filter(|span| span.matches(' ').count() >= 2 && !span.contains("--"));
    messages
        .filter(|message| !tree.source.contains(message.as_str()))
        .collect()
}

/// All pages on which `check` finds something.
fn findings(tree: &Tree, check: impl Fn(&str, &str) -> Vec<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (page, text) in tree.pages()? {
        found.extend(check(&page, &text).iter().map(|it| format!("{page}: {it}")));
    }
    Ok(found)
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let tree = Tree::read()?;
    let canary = "[a](README.md) [b](nowhere.md) [c](README.md#no-such-heading)\n";
    let dead = dead_links(&tree, "README.md", canary);
    ensure!(
        dead == ["nowhere.md", "README.md#no-such-heading"],
        "{dead:?}"
    );
    let dead = findings(&tree, |page, text| dead_links(&tree, page, text))?;
    ensure!(dead.is_empty(), "links that lead nowhere: {dead:#?}");
    Ok(())
}

/// The walks through the code name each function beside its file.
#[test]
fn every_item_that_a_document_links_to_is_in_that_file() -> Result<()> {
    let tree = Tree::read()?;
    let canary = "[`main`](persister/src/main.rs) [`nowhere`](persister/src/main.rs)\n";
    let missing = missing_items(&tree, "README.md", canary);
    ensure!(
        missing == ["nowhere in persister/src/main.rs"],
        "{missing:?}"
    );
    let missing = findings(&tree, |page, text| missing_items(&tree, page, text))?;
    ensure!(missing.is_empty(), "items that do not exist: {missing:#?}");
    Ok(())
}

#[test]
fn every_file_that_a_document_names_exists() -> Result<()> {
    let tree = Tree::read()?;
    let canary = "`journal/src/lib.rs`, `lib.rs`, `journal/src/nowhere.rs`, `docs/nowhere/`\n";
    let missing = missing_files(&tree, canary);
    ensure!(
        missing == ["journal/src/nowhere.rs", "docs/nowhere/"],
        "{missing:?}"
    );
    let missing = findings(&tree, |_, text| missing_files(&tree, text))?;
    ensure!(missing.is_empty(), "files that do not exist: {missing:#?}");
    Ok(())
}

#[test]
fn every_test_that_a_document_names_exists() -> Result<()> {
    let tree = Tree::read()?;
    let missing = missing_tests(&tree, "`nobody_has_written_this_test`\n");
    ensure!(missing.len() == 1, "{missing:?}");
    let missing = findings(&tree, |_, text| missing_tests(&tree, text))?;
    ensure!(missing.is_empty(), "tests that do not exist: {missing:#?}");
    Ok(())
}

/// The runbook finds an operator by the message on the screen.
#[test]
fn every_message_that_the_runbook_quotes_is_written_by_a_program() -> Result<()> {
    let tree = Tree::read()?;
    let canary = "| `no program says this` | x |\n| `persister --help` | x |\n";
    let missing = missing_messages(&tree, canary);
    ensure!(missing == ["no program says this"], "{missing:?}");
    let runbook = fs::read_to_string(tree.root.join("docs/operations.md"))?;
    ensure!(runbook.contains("| `not attached; trying again` |"));
    let missing = missing_messages(&tree, &runbook);
    ensure!(missing.is_empty(), "nobody writes these: {missing:#?}");
    Ok(())
}
