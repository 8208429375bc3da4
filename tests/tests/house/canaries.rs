//! The test of arrows can fail: small crates with one fault each, and back-imports added to ours.

use std::path::Path;

use crate::arrows::Arrows;
use crate::manifest;
use crate::sources::Sources;

/// What is found in a crate of two modules, `low` and `deep/mod.rs`, when these are added.
fn found(lib: &str, low: &str, deep: &str, file: &str) -> String {
    let lib = format!("mod low; mod deep; {lib}");
    let low = format!("pub struct Low; pub fn make() -> Low {{ Low }} {low}");
    let deep = format!("mod file; use crate::low::Low; pub struct Deep(Low); {deep}");
    let sources = Sources::made_up(&[
        ("lib.rs", &lib),
        ("low.rs", &low),
        ("deep/mod.rs", &deep),
        ("deep/file.rs", file),
    ]);
    Arrows::of(&sources).findings().join("\n")
}

#[test]
fn what_is_in_order_passes() {
    for (lib, low, deep, file) in [
        ("", "", "", ""),
        (
            "pub use deep::Deep;",
            "",
            "",
            "use super::Deep; use crate::low::{self, Low};",
        ),
        (
            "",
            "",
            "use self::file::Kind; use Kind::*;",
            "pub enum Kind { A }",
        ),
        (
            "",
            "#[cfg(test)] mod tests { use crate::deep::Deep; }",
            "",
            "",
        ),
        (
            "",
            "",
            "",
            "use crate::low; fn f() { low::make(); low::Low::new(); Vec::<u8>::new(); }",
        ),
        (
            "",
            "macro_rules! id { () => {} } id!();",
            "use crate::low::MadeByMacro;",
            "",
        ),
        (
            "",
            "",
            "",
            "pub(in crate::deep) struct Hidden; /// [`crate::deep::Deep`]\n fn f() {}",
        ),
    ] {
        let found = found(lib, low, deep, file);
        assert!(found.is_empty(), "{lib} {low} {deep} {file}: {found}");
    }
}

#[test]
fn a_back_import_is_found_however_it_is_written() {
    for low in [
        "use crate::deep::Deep;",
        "use super::deep::Deep;",
        "use crate::{deep::{Deep as Shallow}};",
        "pub use crate::deep::Deep as _;",
        "use crate::deep; fn f(_: deep::Deep) {}",
        "fn f() { let _ = crate::deep::Deep::new(); }",
        "fn f() { use crate::deep::Deep; }",
        "fn f(_: impl Into<crate::deep::Deep>) {}",
        "impl Low { const D: Option<super::deep::Deep> = None; }",
        "mod inner { use super::super::deep::Deep; }",
        "macro_rules! m { () => { $crate::deep::Deep::new() } }",
        "fn f() { println!(\"{}\", crate::deep::Deep::new()); }",
        "fn f() { tokio::select! { x = super::deep::Deep::new() => {} } }",
        "#[derive(Serialize)] struct S { #[serde(with = \"crate::deep::Deep\")] field: u8 }",
        "#[arg(value_parser = crate::deep::Deep::parse)] struct S;",
        "#[cfg(any(test, feature = \"x\"))] use crate::deep::Deep;",
    ] {
        let found = found("", low, "", "");
        assert!(found.contains("circle in src"), "{low}: {found}");
        assert!(
            found.contains("low.rs -> deep  (low.rs:1 `"),
            "{low}: {found}"
        );
        assert!(
            found.contains("deep -> low.rs  (deep/mod.rs:1 `"),
            "{low}: {found}"
        );
    }
}

#[test]
fn a_child_that_uses_its_parent_that_uses_it_is_a_circle() {
    let back = "use super::Deep; pub struct Child;";
    let found = found("", "", "use file::Child;", back);
    assert!(found.contains("circle in src/deep"), "{found}");
}

#[test]
fn an_import_through_a_re_export_is_an_error_and_its_circle_is_seen() {
    for (lib, deep, low) in [
        ("pub use deep::Deep;", "", "use crate::Deep;"),
        ("pub use deep::*;", "", "use crate::Deep;"),
        ("use deep::Deep as Other;", "", "use super::Other;"),
        ("pub use deep as shallow;", "", "use crate::shallow::Deep;"),
        ("", "pub use file::Deepest;", "use crate::deep::Deepest;"),
        (
            "",
            "pub use file::Deepest;",
            "use crate::deep; fn f(_: deep::Deepest) {}",
        ),
        (
            "",
            "pub use file as other;",
            "use crate::deep::other::Deepest;",
        ),
        (
            "mod face { pub use crate::deep::Deep; }",
            "",
            "use crate::face::Deep;",
        ),
    ] {
        let found = found(lib, low, deep, "pub struct Deepest;");
        assert!(found.contains("low.rs:1 `"), "{lib} {deep} {low}: {found}");
        assert!(
            found.contains("goes through `use` of"),
            "{lib} {deep} {low}: {found}"
        );
        assert!(
            found.contains("circle in src"),
            "{lib} {deep} {low}: {found}"
        );
    }
}

#[test]
fn what_would_hide_an_arrow_is_an_error() {
    for (low, expected) in [
        ("use crate::deep::*;", "imports all of a module"),
        ("use crate::deep::Nobody;", "no Nobody there"),
        ("mod gone;", "mod low::gone has no file"),
        ("fn (", "low.rs: line 1"),
    ] {
        let found = found("", low, "", "");
        assert!(found.contains(expected), "{low}: {found}");
    }
    let lib = "pub use deep::low; ";
    let both = found(
        lib,
        "",
        "pub fn low() {}",
        "use crate::low; fn f() { low() }",
    );
    assert!(
        both.contains("a module and a re-export of one name"),
        "{both}"
    );
    let undeclared = Sources::made_up(&[("lib.rs", ""), ("low.rs", "")]);
    let undeclared = Arrows::of(&undeclared).findings().join("\n");
    assert!(undeclared.contains("no module declares it"), "{undeclared}");
}

/// One back-import in each crate of ours, in memory: plain, through a re-export, by
/// `super::super::`.
#[test]
fn a_back_import_added_to_our_crates_is_found() {
    let mut tried = [0; 3];
    for package in manifest::packages() {
        for root in package
            .roots
            .iter()
            .filter(|root| root.ends_with("src/lib.rs"))
        {
            let sources = Sources::read(root);
            let before = Arrows::of(&sources).findings();
            let arrows = Arrows::of(&sources);
            // Some arrows are enough: each is a crate to be read three times.
            for arrow in arrows.files().iter().step_by(arrows.files().len() / 4 + 1) {
                // From what is used, back to who uses it.
                let (user, used) = (&arrow.0, &arrow.1);
                let (Some(module), Some(depth)) = (module(user), depth(used)) else {
                    continue;
                };
                let mut added = sources.clone();
                added.add(user, "pub struct Canary;");
                let mut ways = vec![(0, format!("use crate::{module}::Canary;"))];
                added.add(&sources.root, &format!("pub use {module}::Canary;"));
                ways.push((1, "use crate::Canary;".to_owned()));
                if depth > 1 {
                    let up = "super::".repeat(depth);
                    ways.push((2, format!("use {up}{module}::Canary;")));
                }
                for (way, import) in ways {
                    let mut added = added.clone();
                    added.add(used, &import);
                    let after = Arrows::of(&added).findings();
                    let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
                    let told = new.iter().any(|line| line.contains("circle in"));
                    assert!(
                        told,
                        "{}: {import} in {}: {new:?}",
                        package.name,
                        used.display()
                    );
                    if way == 1 {
                        assert!(
                            new.iter().any(|line| line.contains("goes through")),
                            "{new:?}"
                        );
                    }
                    tried[way] += 1;
                }
            }
        }
    }
    assert!(tried.iter().all(|&tried| tried > 3), "{tried:?}");
}

/// `a::b` of `a/b.rs` or `a/b/mod.rs`; `None` for the root.
fn module(file: &Path) -> Option<String> {
    let path = if file.ends_with("mod.rs") {
        file.parent()?.into()
    } else {
        file.with_extension("")
    };
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    (parts != ["lib"]).then(|| parts.join("::"))
}

/// How many `super::` lead to the root.
fn depth(file: &Path) -> Option<usize> {
    module(file).map(|module| module.split("::").count())
}
