//! The workspace's crates as cargo knows them, and the arrows between them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// What each crate may depend on among the others; nothing else. Tests and benches may use anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("cairn-protocol", &[]),
    ("cairn-journal", &[]),
    ("cairn-etcd", &[]),
    ("cairn-etcd-snapshot", &[]),
    ("cairn-client", &[]),
    ("cairn-lite", &["cairn-client"]),
    ("cairn-sync-client", &["cairn-client", "cairn-protocol"]),
    (
        "cairn-persister",
        &[
            "cairn-client",
            "cairn-journal",
            "cairn-lite",
            "cairn-protocol",
        ],
    ),
    (
        "cairn-tools",
        &["cairn-client", "cairn-journal", "cairn-sync-client"],
    ),
];

/// Crates that run and test the others, and may depend on any; nothing is built upon them.
const ABOVE_ALL: &[&str] = &["cairn-playground", "cairn-tests"];

/// One of the workspace's packages.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The root files of its library and its programs.
    pub(crate) roots: Vec<PathBuf>,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The workspace's crates that it depends on, without those that only its tests do.
    dependencies: Vec<String>,
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
    let dependencies = array(&package["dependencies"])
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
    }
}

#[test]
fn crates_depend_on_each_other_as_agreed() {
    let agreed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for package in packages() {
        let name = &*package.name;
        if ABOVE_ALL.contains(&name) {
            continue;
        }
        let allowed = agreed
            .get(name)
            .unwrap_or_else(|| panic!("say in ARROWS what {name} may depend on"));
        for dependency in &package.dependencies {
            assert!(
                allowed.contains(&&**dependency),
                "{name} depends on {dependency}, which ARROWS in tests/tests/house does not have"
            );
        }
        for dependency in *allowed {
            assert!(
                package.dependencies.iter().any(|d| d == dependency),
                "{name} does not depend on {dependency} any more: take the arrow out of ARROWS"
            );
        }
    }
}
