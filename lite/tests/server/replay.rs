//! Exchanges recorded from a real server, replayed byte for byte: they are the specification.

use std::collections::HashMap;
use std::time::Duration;

use cairn_lite::Options;
use serde_json::Value;
use tokio::time::timeout;

use crate::node::{Peer, TestNode};

/// For how long a request is watched that is to be left unanswered. Longer proves no more: an
/// answer that is due is sent within microseconds.
const BLOCKS: Duration = Duration::from_millis(100);

fn steps(recording: &str) -> Vec<Value> {
    let path = format!(
        "{}/../client/testdata/wire/{recording}.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn replay(recording: &str, options: Options) {
    let node = TestNode::start(options).await;
    let mut peer = node.connect().await;
    let steps = steps(recording);
    assert!(!steps.is_empty());
    let mut at = 0;
    while at < steps.len() {
        let group = &steps[at]["group"];
        let together = match group {
            Value::Null => 1,
            _ => steps[at..]
                .iter()
                .take_while(|step| step["group"] == *group)
                .count(),
        };
        exchange(&node, &mut peer, &steps[at..at + together]).await;
        at += together;
    }
    node.stop().await;
}

/// Sends the steps without waiting in between, and checks their answers in any order.
async fn exchange(node: &TestNode, peer: &mut Peer, steps: &[Value]) {
    for step in steps {
        peer.send_bytes(&unhex(&step["request_hex"])).await;
    }
    if let [step] = steps
        && step["response"].is_null()
    {
        let answer = timeout(BLOCKS, peer.receive_bytes()).await;
        assert!(answer.is_err(), "{} was answered", step["name"]);
        *peer = node.connect().await;
        return;
    }
    let mut want: HashMap<i64, &Value> = steps
        .iter()
        .map(|step| (step["response"]["tag"].as_i64().unwrap(), step))
        .collect();
    for _ in steps {
        let bytes = timeout(crate::node::PATIENCE, peer.receive_bytes())
            .await
            .unwrap_or_else(|_| panic!("no answer to one of {want:?}"))
            .expect("the node keeps the connection");
        let response: cairn_client::wire::Response = prost::Message::decode(&bytes[..]).unwrap();
        let tag = i64::from(response.tag.unwrap());
        let step = want.remove(&tag).expect("one answer for each request");
        if step["request"]["verb"] == "SELF" {
            // Random on every node, but of this shape.
            let name = response.value.clone().unwrap();
            assert_eq!(
                name.len(),
                step["response"]["value"].as_str().unwrap().len()
            );
            assert_eq!(
                response,
                cairn_client::wire::Response {
                    tag: response.tag,
                    value: Some(name),
                    ..Default::default()
                }
            );
        } else {
            assert_eq!(
                hex(&bytes),
                step["response_hex"].as_str().unwrap(),
                "{step}"
            );
        }
    }
}

#[tokio::test]
async fn basic() {
    replay(
        "basic",
        Options {
            history: 2_000,
            ..Options::default()
        },
    )
    .await;
}

#[tokio::test]
async fn globs() {
    replay("globs", Options::default()).await;
}

#[tokio::test]
async fn history() {
    replay(
        "history",
        Options {
            history: 10,
            ..Options::default()
        },
    )
    .await;
}

#[tokio::test]
async fn secret() {
    let options = Options {
        secret_rw: Some("rw-secret".into()),
        secret_ro: Some("ro-secret".into()),
        ..Options::default()
    };
    replay("secret", options).await;
}
