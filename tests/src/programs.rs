//! Where the programs under test are. Built if need be, in the profile of the tests themselves.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

/// The executable of one of the workspace's programs.
///
/// A test of this package does not make cargo build the programs of other packages, so this does,
/// once per test process; with nothing changed that takes a moment. `./test` sets `CAIRN_BUILT`
/// instead: there cargo has built them for the tests of their own packages.
pub fn program(name: &str) -> Result<PathBuf> {
    if std::env::var_os("CAIRN_BUILT").is_some() {
        return built(name);
    }
    static PROGRAMS: OnceLock<Result<HashMap<String, PathBuf>, String>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let programs = programs
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    programs
        .get(name)
        .cloned()
        .with_context(|| format!("the workspace has no program {name}"))
}

/// A program beside the directory in which this test itself lies.
fn built(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test.parent().and_then(std::path::Path::parent);
    let program = directory.context("a test lies in a directory")?.join(name);
    ensure!(
        program.is_file(),
        "{} is not there: run all tests, or unset CAIRN_BUILT",
        program.display()
    );
    Ok(program)
}

fn build() -> Result<HashMap<String, PathBuf>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--workspace",
            "--bins",
            "--all-features",
            "--message-format=json",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "cargo build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut programs = HashMap::new();
    for line in output.stdout.split(|&byte| byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue;
        };
        if let (Some(name), Some(path)) = (
            message["target"]["name"].as_str(),
            message["executable"].as_str(),
        ) {
            programs.insert(name.to_owned(), path.into());
        }
    }
    Ok(programs)
}
