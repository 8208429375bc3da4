//! axe-core looks at the page as a screen reader's user would have to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::browser::Browser;

const NEEDS: &str = "axe-core is fetched with npm, from its registry: ./test installs npm, or: \
                     apt-get install npm";

const RUN: &str = "const [source, done] = arguments; if (!window.axe) (0, eval)(source); \
    axe.run(document, {resultTypes: ['violations']}) \
        .then(({violations}) => done(violations), (error) => done([{impact: 'serious', \
            help: String(error), nodes: []}]));";

static SOURCE: OnceCell<String> = OnceCell::const_new();

/// Fails if anything on the page is a serious obstacle, and says what.
pub(crate) async fn finds_nothing(browser: &Browser, state: &str) -> Result<()> {
    let source = SOURCE.get_or_try_init(async || source()).await?;
    let found = browser.later(RUN, vec![json!(source)]).await?;
    let found = found.as_array().context("a list")?;
    let serious: Vec<String> = found
        .iter()
        .filter(|one| is_serious(one))
        .map(tell)
        .collect();
    ensure!(serious.is_empty(), "{state}:\n{}", serious.join("\n"));
    Ok(())
}

fn is_serious(violation: &Value) -> bool {
    matches!(violation["impact"].as_str(), Some("serious" | "critical"))
}

fn tell(violation: &Value) -> String {
    let nodes = violation["nodes"].as_array().cloned().unwrap_or_default();
    let places = nodes.iter().map(|node| format!("\n    {}", node["html"]));
    format!("{}{}", violation["help"], places.collect::<String>())
}

/// The script, fetched once into the target directory.
fn source() -> Result<String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let script: PathBuf = home.join("node_modules/axe-core/axe.min.js");
    if !script.exists() {
        fs::create_dir_all(&home)?;
        let done = Command::new("npm")
            .args([
                "install",
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--prefix",
            ])
            .arg(&home)
            .arg("axe-core@4")
            .output()
            .context(NEEDS)?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{NEEDS}\n{said}");
    }
    fs::read_to_string(&script).with_context(|| script.display().to_string())
}
