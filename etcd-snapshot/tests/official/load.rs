//! Random load for a real member: transactions, range deletes, leases granted and revoked, keys and
//! values of any bytes.

use anyhow::Result;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::member::{Member, text};

/// So many calls, most of which make one revision.
pub(crate) fn run(member: &Member, rng: &mut Rng, calls: usize) -> Result<()> {
    let mut leases: Vec<i64> = Vec::new();
    for _ in 0..calls {
        match rng.u8(..) {
            0..=10 => {
                let id = rng.i64(1..);
                let grant = json!({"ID": id.to_string(), "TTL": rng.i64(600..9_000).to_string()});
                member.call("lease/grant", &grant)?;
                leases.push(id);
            }
            11..=14 if !leases.is_empty() => {
                let id = leases.swap_remove(rng.usize(..leases.len()));
                member.call("lease/revoke", &json!({"ID": id.to_string()}))?;
            }
            15..=30 => {
                let (from, to) = (key(rng), key(rng));
                let range = json!({"key": text(&from), "range_end": text(&to)});
                member.call("kv/deleterange", &range)?;
            }
            31..=80 => {
                let mut keys: Vec<Vec<u8>> = (0..rng.usize(2..10)).map(|_| key(rng)).collect();
                keys.sort();
                keys.dedup();
                rng.shuffle(&mut keys);
                let changes: Vec<Value> = keys
                    .iter()
                    .map(|key| match rng.u8(..) {
                        0..=60 => json!({"request_delete_range": {"key": text(key)}}),
                        _ => json!({"request_put": put(rng, key, &leases)}),
                    })
                    .collect();
                member.call("kv/txn", &json!({"success": changes}))?;
            }
            _ => {
                let key = key(rng);
                member.call("kv/put", &put(rng, &key, &leases))?;
            }
        }
    }
    Ok(())
}

fn put(rng: &mut Rng, key: &[u8], leases: &[i64]) -> Value {
    let lease = rng
        .choice(leases)
        .filter(|_| takes_leases(key))
        .copied()
        .unwrap_or(0);
    let bytes = match rng.u8(..) {
        0 => 1_400_000,
        1..=30 => 0,
        31..=50 => rng.usize(..20_000),
        _ => rng.usize(..200),
    };
    let value = vec![rng.u8(..); bytes];
    json!({"key": text(key), "value": text(&value), "lease": lease.to_string()})
}

/// A third of the keys take leases.
fn takes_leases(key: &[u8]) -> bool {
    key.last().is_some_and(|byte| byte % 3 == 0)
}

fn key(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..) {
        0 => vec![0],
        1 => (0..=255).collect(),
        2 => vec![b'k'; 50_000],
        3..=60 => vec![rng.u8(1..), rng.u8(..2)],
        _ => format!("/registry/{}/{}", rng.u8(..3), rng.u8(..40)).into_bytes(),
    }
}
