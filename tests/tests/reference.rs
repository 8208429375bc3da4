//! The operator's reference is complete: every flag, exit status and metric of the persister has
//! its row in `docs/operations.md`, and no row speaks of what is not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_persister::config::CommandLine;
use cairn_persister::observe::vitals::Vitals;
use clap::CommandFactory;

type Names = BTreeSet<String>;

fn operations() -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    std::fs::read_to_string(&page).with_context(|| page.display().to_string())
}

/// The first cells of the table rows below a heading, up to the next heading.
fn first_cells<'a>(page: &'a str, heading: &str) -> Result<Vec<&'a str>> {
    let section = page.split_once(&format!("\n{heading}\n"));
    let (_, section) = section.with_context(|| format!("no section {heading:?}"))?;
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells: Vec<_> = rows.filter_map(|row| row.split(" | ").next()).collect();
    ensure!(cells.len() > 1, "no table below {heading:?}");
    Ok(cells)
}

/// What of one is not in the other, either way.
fn compare(what: &str, documented: &Names, real: &Names) -> Result<()> {
    let missing: Vec<_> = real.difference(documented).collect();
    let invented: Vec<_> = documented.difference(real).collect();
    ensure!(
        missing.is_empty() && invented.is_empty(),
        "{what}: without a row in docs/operations.md {missing:?}; with a row, and not there {invented:?}"
    );
    Ok(())
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_row_too_many_and_one_too_few_are_found() {
    let (real, ours) = (names(["a", "b"]), names(["b", "c"]));
    let found = compare("letters", &ours, &real).map_err(|error| error.to_string());
    let found = found.err().unwrap_or_default();
    assert!(
        found.contains(r#"["a"]"#) && found.contains(r#"["c"]"#),
        "{found}"
    );
}

#[test]
fn every_setting_has_its_row() -> Result<()> {
    let page = operations()?;
    let documented = first_cells(&page, "## Settings")?
        .into_iter()
        .flat_map(|cell| cell.split('`').filter(|part| part.starts_with("--")))
        .filter_map(|flag| flag.split(' ').next())
        .map(|flag| flag.trim_start_matches('-').to_owned())
        .collect();
    let command = CommandLine::command();
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    compare("flags", &documented, &names(flags))?;

    // An environment variable stands in the row of its flag.
    for (flag, variable) in command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg.get_env()?.to_str()?)))
    {
        let is_its_row = |line: &&str| {
            let cell = line.split(" | ").next().unwrap_or_default();
            line.starts_with("| `-") && cell.contains(&format!("--{flag} "))
        };
        let row = page.lines().find(is_its_row);
        let row = row.with_context(|| format!("no row of --{flag}"))?;
        ensure!(row.contains(&format!("`{variable}`")), "{row}");
    }
    Ok(())
}

#[test]
fn every_exit_status_has_its_row() -> Result<()> {
    let page = operations()?;
    let documented = first_cells(&page, "## Exit status")?;
    let documented = documented.into_iter().filter(|cell| *cell != "status");
    let help = CommandLine::command()
        .get_after_help()
        .map(ToString::to_string);
    let help = help.unwrap_or_default();
    let (_, statuses) = help
        .split_once("Exit status:")
        .context("the help lists them")?;
    let statuses = statuses.split([' ', '\n', ',']);
    let real = statuses.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()));
    compare("exit statuses", &names(documented), &names(real))
}

#[test]
fn every_metric_has_its_row() -> Result<()> {
    let page = operations()?;
    let cells = first_cells(&page, "## Watching it")?;
    let documented = cells
        .into_iter()
        .filter_map(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
    let vitals = Vitals::new(1, PathBuf::from("nowhere"), Duration::ZERO);
    let text = vitals.prometheus();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let real = types.map(|line| {
        // Samples of these kinds have a name with an ending.
        let (name, kind) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    });
    compare("metrics", &names(documented), &real.collect())
}
