//! Everything is lost, and comes back; and what writers were told was true.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::program::{Page, Playground};

/// Loses everything, restores it, and gives the proof.
pub(crate) fn lose_and_restore(
    playground: &Playground,
    page: &mut Page,
    how: &str,
) -> Result<Value> {
    let lost = playground.act(&json!({"do": how}))?;
    page.done(lost)?;
    let refused = playground.write("/after", Some("the loss"))?;
    ensure!(refused["outcome"] == "refused", "{refused}");
    let restored = playground.act(&json!({"do": "restore"}))?;
    page.done(restored)?;
    let state = page.until("a proof", |state| {
        !state["proof"].is_null() && state["busy"].is_null()
    })?;
    Ok(state["proof"].clone())
}

pub(crate) fn is_equal(proof: &Value) -> Result<()> {
    let rows = proof["rows"].as_array().context("rows")?;
    ensure!(proof["equal"] == true, "{proof:#}");
    ensure!(rows.iter().all(|row| row["ok"] == true), "{proof:#}");
    let all = rows.iter().any(|row| row["verdict"] == "none lost");
    let keys = rows.iter().filter(|row| row["verdict"] == "equal").count();
    ensure!(all && keys == 2, "{proof:#}");
    Ok(())
}

#[test]
fn what_is_lost_under_load_comes_back_equal() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    let written = playground.write("/greeting", Some("hello"))?;
    ensure!(written["outcome"] == "durable", "{written}");
    ensure!(written["revision"].as_u64() > Some(0), "{written}");
    playground.act(&json!({"do": "load", "rate": 500}))?;
    let enough = |state: &Value| state["writes"]["durable"].as_u64() > Some(100);
    page.until("writes", enough)?;
    is_equal(&lose_and_restore(&playground, &mut page, "lose")?)?;
    let before = page.until("writes", enough)?["writes"]["durable"].as_u64();
    page.until("it goes on", |state| {
        state["writes"]["durable"].as_u64() > before
    })?;
    is_equal(&lose_and_restore(&playground, &mut page, "power-cut")?)?;
    // One journal is enough, whichever it is.
    let wiped = playground.act(&json!({"do": "wipe", "id": "p1"}))?;
    page.done(wiped)?;
    is_equal(&lose_and_restore(&playground, &mut page, "lose")?)?;
    let keys = playground.get("keys?prefix=/greeting")?.good()?;
    ensure!(keys["keys"][0]["value"] == "hello", "{keys}");
    Ok(())
}

#[test]
fn a_write_that_no_disk_confirms_is_not_called_durable() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    for id in ["p1", "p2"] {
        let paused = playground.act(&json!({"do": "pause", "id": id}))?;
        page.done(paused)?;
    }
    let state = page.until("both are paused", |state| {
        let persisters = state["persisters"].as_array();
        persisters.is_some_and(|them| them.iter().all(|it| it["state"] == "paused"))
    })?;
    let says = state["story"]["says"].as_str().unwrap_or_default();
    ensure!(says.contains("No disk takes anything"), "{says}");
    let written = playground.write("/open", Some("1"))?;
    ensure!(written["outcome"] == "applied", "{written}");
    let at_once = json!({"key": "/now", "value": "1", "wait": 0});
    let written = playground.post("write", &at_once)?.good()?;
    ensure!(written["outcome"] == "applied", "{written}");
    // No disk ever had it: it may be gone, and nobody was told otherwise.
    let proof = lose_and_restore(&playground, &mut page, "lose")?;
    let rows = proof["rows"].as_array().context("rows")?;
    let open = rows
        .iter()
        .find(|row| row["what"] == "in effect, not confirmed");
    let open = open.with_context(|| format!("{proof:#}"))?;
    ensure!(
        open["before"] == "2" && open["after"] == "0 there, 2 gone",
        "{open}"
    );
    let told = rows.iter().any(|row| row["verdict"] == "none lost");
    ensure!(told, "{proof:#}");
    Ok(())
}

#[test]
fn a_node_that_somebody_kills_by_hand_is_seen_and_its_start_brings_all_back() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    playground.write("/k", Some("v"))?;
    let before = page.until("it is seen", |state| state["cluster"]["keys"] == 1)?;
    let kill = before["nodes"][0]["commands"]["kill"]
        .as_str()
        .context("a command")?;
    let words: Vec<&str> = kill.split(' ').collect();
    ensure!(Command::new(words[0]).args(&words[1..]).status()?.success());
    let lost = page.until("it is lost", |state| state["story"]["tone"] == "bad")?;
    ensure!(lost["nodes"][0]["state"] == "down", "{lost}");
    ensure!(lost["can"]["restore"].is_null(), "{lost}");
    let started = playground.act(&json!({"do": "start", "id": "n1"}))?;
    page.done(started)?;
    let state = page.until("a proof", |state| !state["proof"].is_null())?;
    is_equal(&state["proof"])?;
    let changes = playground.get("changes")?.good()?;
    let markers = changes["markers"].as_array().context("markers")?;
    let kinds: Vec<_> = markers
        .iter()
        .filter_map(|marker| marker["kind"].as_str())
        .collect();
    for kind in ["node-died", "lost", "restored"] {
        ensure!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    Ok(())
}

#[test]
fn one_target_has_one_command_at_a_time() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    let lose = || playground.post("do", &json!({"do": "lose"}));
    let begun = std::thread::scope(|scope| -> Result<Vec<u16>> {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(lose)).collect();
        let ended = all.into_iter().map(|one| one.join().expect("no panic"));
        ended.map(|answer| Ok(answer?.status)).collect()
    })?;
    let accepted = begun.iter().filter(|status| **status == 202).count();
    let refused = begun.iter().filter(|status| **status == 409).count();
    ensure!((accepted, refused) == (1, 3), "{begun:?}");
    page.until("it is over", |state| {
        state["busy"].is_null() && state["story"]["tone"] == "bad"
    })?;
    Ok(())
}
