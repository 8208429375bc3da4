//! Members of etcd: one dies, one loses its disk, all are lost.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::losses::{is_equal, lose_and_restore};
use crate::program::Playground;

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
    is_equal(&lose_and_restore(&playground, &mut page, "lose")?)?;
    let rehearsed = playground
        .post("restore", &json!({"at": 1, "mode": "rehearse"}))?
        .good()?;
    ensure!(rehearsed["report"]["state"]["keys"] == 1, "{rehearsed}");
    Ok(())
}
