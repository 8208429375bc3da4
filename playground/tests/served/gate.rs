//! Nobody but the page of this very run gets an answer.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::program::Playground;

#[test]
fn a_stranger_gets_nothing() -> Result<()> {
    let playground = Playground::start()?;
    let key = format!("Bearer {}", playground.key);
    let host = ("host", playground.address.as_str());
    let bearer = ("authorization", key.as_str());
    let json = ("content-type", "application/json");
    let origin = format!("http://{}", playground.address);
    let long = "x".repeat(70_000);
    let (get, act) = ("GET /api/keys", "POST /api/do");
    let load = r#"{"do":"load","rate":5}"#;
    let refused = [
        (421, "GET /", vec![("host", "evil.example")], ""),
        (421, get, vec![("host", "evil.example:8047"), bearer], ""),
        (421, get, vec![host, host, bearer], ""),
        (421, get, vec![bearer], ""),
        (
            403,
            get,
            vec![host, bearer, ("origin", "http://evil.example")],
            "",
        ),
        (403, act, vec![host, bearer, json, ("origin", "null")], load),
        (
            403,
            act,
            vec![host, bearer, json, ("sec-fetch-site", "cross-site")],
            load,
        ),
        (
            403,
            "GET /",
            vec![host, ("sec-fetch-site", "same-site")],
            "",
        ),
        (401, get, vec![host], ""),
        (401, act, vec![host, json], load),
        (401, get, vec![host, ("authorization", "Bearer wrong")], ""),
        (
            415,
            act,
            vec![host, bearer, ("content-type", "text/plain")],
            load,
        ),
        (413, "POST /api/write", vec![host, bearer, json], &long),
        (405, "GET /api/do", vec![host, bearer], ""),
        (404, "GET /../etc/passwd", vec![host], ""),
    ];
    for (status, line, headers, body) in &refused {
        let answer = playground.raw(line, headers, body)?;
        ensure!(answer.status == *status, "{line} {headers:?}: {answer:?}");
        let says = answer.json()?["error"].as_str().map(str::len);
        ensure!(says > Some(10), "it says why: {answer:?}");
        for header in [
            "content-security-policy: default-src 'none'",
            "no-store",
            "nosniff",
        ] {
            ensure!(answer.head.contains(header), "{line}: {answer:?}");
        }
        ensure!(!answer.head.contains("access-control"), "{answer:?}");
    }
    let own = [
        host,
        bearer,
        json,
        ("origin", &origin),
        ("sec-fetch-site", "same-origin"),
    ];
    let done = playground.raw(act, &own, load)?;
    ensure!(done.status == 202, "{done:?}");
    let page = playground.raw("GET /", &[host, ("sec-fetch-site", "none")], "")?;
    ensure!(
        page.status == 200 && page.body.contains("<!doctype html>"),
        "{page:?}"
    );
    ensure!(
        !page.body.contains(&playground.key),
        "the key is nowhere but in the link"
    );
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() -> Result<()> {
    let (playground, _page) = Playground::ready()?;
    for (status, action) in [
        (409, json!({"do": "resume", "id": "n1"})),
        (409, json!({"do": "start", "id": "p1"})),
        (409, json!({"do": "restore"})),
        (404, json!({"do": "kill", "id": "scratch"})),
        (404, json!({"do": "kill", "id": "../n1"})),
        (400, json!({"do": "load", "rate": 7})),
        (422, json!({"do": "exec", "id": "n1"})),
        (422, json!({"do": "kill", "id": "n1", "signal": 15})),
    ] {
        let answer = playground.post("do", &action)?;
        ensure!(answer.status == status, "{action}: {answer:?}");
        let says = answer.json()?["error"].as_str().map(str::len);
        ensure!(says > Some(10), "{answer:?}");
    }
    for (status, call) in [
        (404, "log/n9"),
        (400, "keys?at=x"),
        (400, "keys?prefix=%ff"),
        (404, "nothing"),
    ] {
        let answer = playground.get(call)?;
        ensure!(answer.status == status, "{call}: {answer:?}");
    }
    let write = |body| playground.post("write", &body);
    ensure!(write(json!({"key": "/ctl/persistence/cluster", "value": "x"}))?.status == 400);
    ensure!(write(json!({"key": "/a", "value": "x", "wait": 9}))?.status == 422);
    ensure!(write(json!({"key": "/a", "value": "x", "node": "n7"}))?.status == 404);
    let bad_path = write(json!({"key": "no slash", "value": "x"}))?.good()?;
    ensure!(bad_path["outcome"] == "refused", "{bad_path}");
    let log = playground.get("log/p1")?.good()?;
    let text = log["text"].as_str().unwrap_or_default();
    ensure!(text.contains("INFO"), "{log}");
    Ok(())
}
