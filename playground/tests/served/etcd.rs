//! Members of etcd: one dies, one loses its disk, all are lost.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::losses::{is_equal, lose_and_restore};
use crate::program::{Page, Playground};

/// The id of the node that leads.
fn leader(state: &Value) -> Option<String> {
    let nodes = state["nodes"].as_array()?;
    let leads = nodes.iter().find(|node| node["state"] == "leader")?;
    Some(leads["id"].as_str()?.to_owned())
}

/// Needs `etcd` and `etcdctl`: `apt install etcd-server etcd-client`.
#[test]
fn a_cluster_of_etcd_outlives_a_member_and_comes_back_from_a_journal() -> Result<()> {
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--engine",
        "etcd",
        "--nodes",
        "3",
    ];
    let (playground, mut page) = Playground::start_with(&args)?.when_ready()?;
    let state = page.until("a leader", |state| leader(state).is_some())?;
    let missing = &state["run"]["missing"];
    ensure!(
        missing.is_null(),
        "install etcd-server and etcd-client: {missing}"
    );
    let dead = leader(&state).context("a leader")?;
    let written = playground.write("/greeting", Some("hello"))?;
    ensure!(written["outcome"] == "durable", "{written}");
    let wiped = playground.act(&json!({"do": "wipe", "id": dead}))?;
    page.done(wiped)?;
    let state = page.until("another leads", |state| {
        leader(state).is_some_and(|leads| leads != dead)
    })?;
    ensure!(state["cluster"]["majority"] == true, "{state:#}");
    let started = playground.act(&json!({"do": "start", "id": dead}))?;
    page.done(started)?;
    page.until("all members have the same", |state| {
        let nodes = state["nodes"].as_array().cloned().unwrap_or_default();
        nodes
            .iter()
            .all(|node| node["keys"] == 1 && node["hash"] == nodes[0]["hash"])
    })?;
    let written = playground.write("/after", Some("the member"))?;
    ensure!(written["outcome"] == "durable", "{written}");
    let proof = lose_and_restore(&playground, &mut page, "lose")?;
    is_equal(&proof)?;
    // The journal tells the lost members' whole history, and the new members hold the file.
    ensure!(
        hashes(&proof) == ["HashKV at revision", "HashKV, file and new members"],
        "{proof:#}"
    );
    let rehearsed = playground
        .post("restore", &json!({"at": 1, "mode": "rehearse"}))?
        .good()?;
    ensure!(rehearsed["report"]["state"]["keys"] == 1, "{rehearsed}");
    a_stranger(&playground, &mut page)?;
    an_older_state(&playground, &mut page)
}

/// The HashKV rows of a proof that say that they are equal, without their numbers.
fn hashes(proof: &Value) -> Vec<String> {
    let rows = proof["rows"].as_array().cloned().unwrap_or_default();
    let equal = rows.iter().filter(|row| row["ok"] == true);
    let what = equal.filter_map(|row| row["what"].as_str());
    let ours = what.filter(|what| what.starts_with("HashKV"));
    let words = ours.map(|what| what.trim_end_matches(|it: char| !it.is_alphabetic()));
    words
        .map(|what| what.trim_end_matches(", at").to_owned())
        .collect()
}

/// Another program writes, also what is no text: nothing fails, and the proof says what it was.
fn a_stranger(playground: &Playground, page: &mut Page) -> Result<()> {
    let state = page.until("an address", |state| {
        state["nodes"][0]["address"].is_string()
    })?;
    let address = state["nodes"][0]["address"]
        .as_str()
        .context("an address")?;
    for (key, value) in [(&b"/greeting"[..], "by a stranger"), (b"k\xff", "no text")] {
        let put = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", address, "put"])
            .args([OsStr::from_bytes(key), OsStr::new(value)])
            .output()
            .context("etcdctl: apt-get install etcd-client")?;
        ensure!(put.status.success(), "{put:?}");
    }
    page.until("it is seen", |state| state["cluster"]["keys"] == 3)?;
    let proof = lose_and_restore(playground, page, "lose")?;
    is_equal(&proof)?;
    let says = proof["says"].as_str().unwrap_or_default();
    ensure!(
        says.contains("Somebody else had written /greeting"),
        "{proof:#}"
    );
    let keys = playground.get("keys?after=%2Fgreeting")?.good()?;
    ensure!(
        keys["keys"][0]["key"] == "k\\xff" && keys["next"].is_null(),
        "{keys}"
    );
    Ok(())
}

/// What differs is written and what was not there is deleted; the proof is that state's hash.
fn an_older_state(playground: &Playground, page: &mut Page) -> Result<()> {
    let ask = |mode: &str, seen: &Value| {
        let body = json!({"at": 1, "mode": mode, "seen": seen});
        playground.post("restore", &body)?.good()
    };
    let preview = ask("as-new-revision-forecast", &Value::Null)?;
    let merge = &preview["report"]["merge"];
    ensure!(preview["report"]["outcome"] == "would-merge", "{preview}");
    ensure!(
        merge["deleted"].as_array().map(Vec::len) == Some(2),
        "{preview}"
    );
    ensure!(
        merge["overwritten"].as_array().map(Vec::len) == Some(1),
        "{preview}"
    );
    // Written since that look, so it stays.
    let written = playground.write("/news", Some("since"))?;
    ensure!(written["outcome"] == "durable", "{written}");
    let given = ask("as-new-revision", &preview["report"]["counter"])?;
    ensure!(
        given["report"]["merge"]["left"] == json!(["/news"]),
        "{given}"
    );
    let state = page.until("a proof", |state| state["proof"]["heads"][1] == "Now")?;
    ensure!(state["proof"]["equal"] == false, "{state:#}");
    let preview = ask("as-new-revision-forecast", &Value::Null)?;
    ask("as-new-revision", &preview["report"]["counter"])?;
    let state = page.until("an equal proof", |state| state["proof"]["equal"] == true)?;
    ensure!(state["proof"]["rows"][0]["after"] == "1", "{state:#}");
    let keys = playground.get("keys")?.good()?;
    ensure!(
        keys["total"] == 1 && keys["keys"][0]["value"] == "hello",
        "{keys}"
    );

    let proof = lose_and_restore(playground, page, "power-cut")?;
    is_equal(&proof)?;
    ensure!(
        hashes(&proof) == ["HashKV at revision"],
        "disks stay: {proof:#}"
    );
    Ok(())
}
