//! The workspace's crates as cargo knows them, and the arrows between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::sources::rust_files;

/// One of the workspace's packages.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The root files of its library and its programs.
    pub(crate) roots: Vec<PathBuf>,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The workspace's crates that it depends on, without those that only its tests do.
    dependencies: Vec<String>,
    /// Every crate that it or its tests depend on.
    all_dependencies: Vec<String>,
}

/// The folder that has all crates.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// All packages of the workspace.
pub(crate) fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(read)
}

fn read() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(package).collect()
}

fn package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let array = |value: &Value| value.as_array().unwrap().clone();
    let mut roots = Vec::new();
    for target in array(&package["targets"]) {
        let kinds = array(&target["kind"]);
        if kinds.iter().any(|kind| kind == "lib" || kind == "bin") {
            roots.push(text(&target["src_path"]).into());
        }
    }
    let dependencies = array(&package["dependencies"]);
    let all_dependencies = dependencies
        .iter()
        .map(|dependency| text(&dependency["name"]))
        .collect();
    let dependencies = dependencies
        .iter()
        .filter(|dependency| !dependency["path"].is_null() && dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
        .collect();
    let manifest = PathBuf::from(text(&package["manifest_path"]));
    Package {
        name: text(&package["name"]),
        roots,
        folder: manifest.parent().unwrap().to_owned(),
        dependencies,
        all_dependencies,
    }
}

/// The arrows between crates, as `docs/architecture.md` draws them.
fn drawn() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(workspace().join("docs/architecture.md")).unwrap();
    let (_, drawing) = page.split_once("```text\n").unwrap();
    let (drawing, _) = drawing.split_once("```").unwrap();
    let mut drawn = BTreeMap::new();
    for line in drawing.lines() {
        let (users, used) = line.split_once("──▶").unwrap();
        let (used, _) = used.split_once('(').unwrap_or((used, ""));
        let crates = |names: &str| -> BTreeSet<String> {
            let names = names.split(',').map(str::trim);
            let names = names.filter(|name| *name != "nothing of ours");
            names.map(|name| format!("cairn-{name}")).collect()
        };
        for user in crates(users) {
            drawn.insert(user, crates(used));
        }
    }
    drawn
}

#[test]
fn crates_depend_on_each_other_as_drawn() {
    let drawn = drawn();
    for package in packages().iter().filter(|it| it.name != "cairn-tests") {
        let found: BTreeSet<_> = package.dependencies.iter().cloned().collect();
        let drawn = drawn.get(&package.name);
        assert_eq!(
            Some(&found),
            drawn,
            "what {} depends on, and what docs/architecture.md draws",
            package.name
        );
    }
}

#[test]
fn dependencies_are_used_and_in_order() {
    let mut findings = Vec::new();
    for package in packages() {
        let files = rust_files(&package.folder);
        let code: Vec<_> = files
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        for name in &package.all_dependencies {
            let path = format!("{}::", name.replace('-', "_"));
            if !code.iter().any(|text| text.contains(&path)) && *name != package.name {
                findings.push(format!("{}: nothing names {path}", package.name));
            }
        }
    }
    let manifest = workspace().join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let mut last = "";
    let table = manifest.split("[workspace.dependencies]\n").nth(1).unwrap();
    for line in table.lines().take_while(|line| !line.starts_with('[')) {
        let name = line.split(' ').next().unwrap();
        let is_used = |package: &Package| package.all_dependencies.iter().any(|used| used == name);
        let is_ours = packages().iter().any(|package| package.name == name);
        if !name.is_empty() && !is_ours && !packages().iter().any(is_used) {
            findings.push(format!("Cargo.toml: no crate depends on {name}"));
        }
        if !name.is_empty() && name < last {
            findings.push(format!("Cargo.toml: {name} comes after {last}"));
        }
        last = name;
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}
