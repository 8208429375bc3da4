//! The past by its changes: as it was, what differs, and what is brought back.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::program::Playground;

fn kinds(diff: &Value) -> Vec<(String, String)> {
    let rows = diff["rows"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| (text(&row["kind"]), text(&row["key"]));
    rows.iter().map(row).collect()
}

#[test]
fn the_past_is_seen_compared_rehearsed_and_brought_back() -> Result<()> {
    let (playground, mut page) = Playground::ready()?;
    for (key, value) in [
        ("/app/a", Some("1")),
        ("/app/b", Some("1")),
        ("/app/a", Some("2")),
        ("/app/b", None),
        ("/other", Some("x")),
    ] {
        let written = playground.write(key, value)?;
        ensure!(written["outcome"] == "durable", "{written}");
    }
    let changes = playground.get("changes?from=2&count=3")?.good()?;
    ensure!(changes["count"] == 5, "{changes}");
    let told = changes["changes"].as_array().context("changes")?;
    let told: Vec<_> = told
        .iter()
        .map(|it| (&it["index"], &it["op"], &it["key"]))
        .collect();
    let expected = [
        (json!(2), json!("set"), json!("/app/b")),
        (json!(3), json!("set"), json!("/app/a")),
        (json!(4), json!("delete"), json!("/app/b")),
    ];
    ensure!(
        told == expected
            .iter()
            .map(|(a, b, c)| (a, b, c))
            .collect::<Vec<_>>(),
        "{changes}"
    );
    let then = playground.get("keys?at=2&prefix=/app/")?.good()?;
    ensure!(
        then["total"] == 2 && then["keys"][0]["value"] == "1",
        "{then}"
    );
    let none = playground.get("keys?at=0")?.good()?;
    ensure!(none["total"] == 0, "{none}");
    ensure!(playground.get("keys?at=6")?.status == 400);
    let diff = playground.get("diff?from=2&to=now")?.good()?;
    let pair = |kind: &str, key: &str| (kind.to_owned(), key.to_owned());
    let expected = [
        pair("changed", "/app/a"),
        pair("removed", "/app/b"),
        pair("added", "/other"),
    ];
    ensure!(kinds(&diff) == expected, "{diff}");

    let restore = |mode: &str, prefix: Option<&str>| {
        let body = json!({"at": 2, "mode": mode, "prefix": prefix});
        playground.post("restore", &body)
    };
    let forecast = restore("forecast", None)?.good()?;
    ensure!(
        forecast["report"]["outcome"] == "nothing",
        "it has keys: {forecast}"
    );
    let rehearsed = restore("rehearse", None)?.good()?;
    ensure!(rehearsed["report"]["outcome"] == "restored", "{rehearsed}");
    ensure!(rehearsed["report"]["state"]["keys"] == 2, "{rehearsed}");
    let forecast = restore("merge-forecast", Some("/app/b"))?.good()?;
    ensure!(forecast["report"]["merge"]["created"] == 1, "{forecast}");
    let preview = restore("as-new-revision-forecast", None)?.good()?;
    ensure!(preview["report"]["outcome"] == "would-merge", "{preview}");
    ensure!(
        preview["report"]["merge"]["deleted"][0]["path"] == "/other",
        "{preview}"
    );
    ensure!(
        restore("as-new-revision", Some("/app/"))?.status == 400,
        "a part is no state"
    );
    // Nothing has been written by any of these.
    let count = playground.get("changes?count=0")?.good()?;
    ensure!(count["count"] == 5, "{count}");
    let merged = restore("merge", Some("/app/b"))?.good()?;
    ensure!(merged["report"]["outcome"] == "merged", "{merged}");
    let command = merged["command"].as_str().unwrap_or_default();
    ensure!(
        command.contains("--merge") && command.contains("--prefix '/app/b'"),
        "{command}"
    );
    let now = playground.get("keys?prefix=/app/")?.good()?;
    ensure!(now["total"] == 2 && now["keys"][0]["value"] == "2", "{now}");

    // The whole state of then, and nothing else.
    let given = json!({"at": 2, "mode": "as-new-revision", "seen": preview["report"]["counter"]});
    let given = playground.post("restore", &given)?.good()?;
    // /app/b was brought back since, and is as it was then.
    ensure!(given["report"]["status"] == 0, "{given}");
    ensure!(given["report"]["merge"]["left"] == json!([]), "{given}");
    let state = page.until("a proof", |state| !state["proof"].is_null())?;
    ensure!(state["proof"]["equal"] == true, "{state:#}");
    ensure!(
        state["proof"]["heads"] == json!(["At change 2", "Now"]),
        "{state:#}"
    );
    let keys = playground.get("keys")?.good()?;
    ensure!(
        keys["total"] == 2 && keys["keys"][0]["value"] == "1",
        "{keys}"
    );

    // What was brought back must stay, as anything else that is there.
    let op = playground.act(&json!({"do": "lose"}))?;
    page.done(op)?;
    let op = playground.act(&json!({"do": "restore"}))?;
    page.done(op)?;
    let state = page.until("a proof", |state| !state["proof"].is_null())?;
    ensure!(state["proof"]["equal"] == true, "{state:#}");
    let then = playground.get("keys?at=2&prefix=/app/")?.good()?;
    ensure!(then["total"] == 2, "the past is still there: {then}");
    Ok(())
}
