//! The clients of a playground: what the page and the load generator write, and what they are told.
//!
//! Promises: a write is in the ledger before it is sent. Each key has one writer: the page cannot
//! write a key of the load generator, nor two writes to one key at a time, so that after a loss it
//! can be decided what must be there. While the cluster is lost or being judged, nothing is sent,
//! and writers are told so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_protocol::keys;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{Mutex, RwLock, RwLockWriteGuard};

use crate::engine::{Answer, Engine};
use crate::ledger::book::Refusal as Unjudgeable;
use crate::ledger::outcome::Outcome;
use crate::play::latency::Latency;
use crate::told::refusal::Refusal;
use crate::writers::Shared;

/// The page, as a writer.
pub(crate) const PAGE: u32 = 1;

/// The load generator, as a writer.
pub(crate) const LOAD: u32 = 2;

/// How long a write waits for the cluster, and then for the disks.
const LIMIT: Duration = Duration::from_secs(1);

/// How long writes under way are waited for, before the cluster is judged.
const QUIET_LIMIT: Duration = Duration::from_secs(10);

/// The longest key.
const KEY: usize = 1_024;

/// On how many disks a write must be before its writer is told that it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wait {
    /// On every persister's.
    #[default]
    All,
    /// On one, whichever it is.
    One,
    /// On none: it returns when it is in effect.
    None,
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        match (value.as_str(), value.as_u64()) {
            (Some("all"), _) => Ok(Self::All),
            (_, Some(1)) => Ok(Self::One),
            (_, Some(0)) => Ok(Self::None),
            _ => Err(D::Error::custom("wait is \"all\", 1 or 0")),
        }
    }
}

/// `POST write`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteRequest {
    /// The key.
    pub key: String,
    /// The value; none: delete it.
    #[serde(default)]
    pub value: Option<String>,
    /// For which disks to wait.
    #[serde(default)]
    pub wait: Wait,
    /// Through which node; none: any.
    #[serde(default)]
    pub node: Option<String>,
}

/// What became of a write.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// `durable`, `applied`, `refused`, `unknown`.
    pub outcome: &'static str,
    /// Its revision, if it is known.
    pub revision: Option<i64>,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// In a sentence.
    pub says: String,
}

/// The clients.
pub(crate) struct Clients {
    /// Of all nodes, without durability.
    uri: String,
    /// How many persisters there are; their numbers begin with 1.
    persisters: u32,
    pool: Mutex<HashMap<(Wait, Option<String>), Engine>>,
    pub(crate) ledger: Shared,
    pub(crate) latency: Latency,
    /// Held by every write; taken whole by those who judge.
    gate: RwLock<()>,
}

impl Clients {
    pub(crate) fn new(uri: String, persisters: u32, ledger: Shared) -> Self {
        Self {
            uri,
            persisters,
            pool: Mutex::default(),
            ledger,
            latency: Latency::default(),
            gate: RwLock::default(),
        }
    }

    /// Writes. `node`: the URI of the only node to write through. `lost`: why nothing may be sent.
    pub(crate) async fn write(
        &self,
        writer: u32,
        key: &str,
        value: Option<Bytes>,
        wait: Wait,
        node: Option<String>,
        lost: impl Fn() -> Option<String>,
    ) -> Result<(Outcome, Written), Refusal> {
        check(key)?;
        let begun = Instant::now();
        let turn = self.gate.try_read();
        let why = match &turn {
            Ok(_) => lost(),
            Err(_) => Some("the state is being compared".to_owned()),
        };
        if let Some(why) = why {
            let answer = Answer {
                outcome: Outcome::NotApplied,
                says: Some(format!("nothing was sent: {why}")),
            };
            self.latency.end(answer.outcome.class(), begun.elapsed());
            return Ok((
                answer.outcome,
                self.told(key, wait, answer, begun.elapsed()),
            ));
        }
        let value_noted = value.as_deref();
        let ticket = self.ledger.lock().begin(writer, key, value_noted);
        let ticket = ticket.map_err(|why| unjudgeable(&why))?;
        let under_way = self.latency.begin();
        let answer = match self.engine(wait, node).await {
            Ok(engine) if wait == Wait::None => engine.write_at_once(key, value).await,
            Ok(engine) => engine.write(key, value).await,
            Err(error) => Answer {
                outcome: Outcome::NotApplied,
                says: Some(format!("{error:#}")),
            },
        };
        let took = begun.elapsed();
        self.ledger.lock().end(ticket, answer.outcome);
        self.latency.end(answer.outcome.class(), took);
        drop(under_way);
        Ok((answer.outcome, self.told(key, wait, answer, took)))
    }

    fn told(&self, key: &str, wait: Wait, answer: Answer, took: Duration) -> Written {
        let disks = match (wait, self.persisters) {
            (Wait::None, _) => "no disk".to_owned(),
            (Wait::One, _) | (_, 1) => "1 disk".to_owned(),
            (Wait::All, count) => format!("{count} disks"),
        };
        let (outcome, revision, says) = match answer.outcome {
            Outcome::Durable { revision } => ("durable", revision, format!("{key} is on {disks}")),
            Outcome::Applied if answer.says.is_none() => {
                let says = format!("{key} is in effect; no disk was waited for");
                ("applied", None, says)
            }
            Outcome::Applied => (
                "applied",
                None,
                format!("{key} is in effect, not confirmed"),
            ),
            Outcome::NotApplied => ("refused", None, format!("{key} was not written")),
            Outcome::Unknown => ("unknown", None, format!("{key}: nobody can tell")),
        };
        let says = match answer.says {
            Some(why) => format!("{says}: {why}"),
            None => says,
        };
        Written {
            outcome,
            revision,
            ms: (took.as_secs_f64() * 1e5).round() / 1e2,
            says,
        }
    }

    async fn engine(&self, wait: Wait, node: Option<String>) -> anyhow::Result<Engine> {
        let known = (wait, node);
        // Not held while connecting: others may have a connection already.
        if let Some(engine) = self.pool.lock().await.get(&known) {
            return Ok(engine.clone());
        }
        let uri = known.1.clone().unwrap_or_else(|| self.uri.clone());
        let uri = self.with_durability(&uri, wait);
        let engine = tokio::time::timeout(LIMIT, Engine::connect(&uri, LIMIT)).await??;
        self.pool.lock().await.insert(known, engine.clone());
        Ok(engine)
    }

    /// The URI with which a client waits for so many disks.
    pub(crate) fn with_durability(&self, uri: &str, wait: Wait) -> String {
        let ids: Vec<String> = (1..=self.persisters).map(|id| id.to_string()).collect();
        let require = match wait {
            Wait::All => self.persisters,
            Wait::One | Wait::None => 1,
        };
        let begin = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{begin}persist={}&require={require}", ids.join(","))
    }

    /// Nothing is under way and nothing begins while the guard is held; and no connection of
    /// before is used again.
    pub(crate) async fn quiet(&self) -> Result<RwLockWriteGuard<'_, ()>, Refusal> {
        let quiet = tokio::time::timeout(QUIET_LIMIT, self.gate.write()).await;
        let quiet = quiet.map_err(|_| {
            Refusal::Failed(format!(
                "writes under way did not end within {QUIET_LIMIT:?}"
            ))
        })?;
        self.pool.lock().await.clear();
        Ok(quiet)
    }
}

fn check(key: &str) -> Result<(), Refusal> {
    if key.len() > KEY {
        return Err(Refusal::Impossible(format!(
            "a key has at most {KEY} bytes here; this one has {}",
            key.len()
        )));
    }
    if keys::is_internal(key) {
        return Err(Refusal::Impossible(format!(
            "{} belongs to the cluster itself: choose another key",
            keys::INTERNAL
        )));
    }
    Ok(())
}

/// Why the ledger could not judge a write.
fn unjudgeable(why: &Unjudgeable) -> Refusal {
    Refusal::NotNow(match why {
        Unjudgeable::Foreign { key, .. } => {
            format!("{key} belongs to the load generator: write another key")
        }
        Unjudgeable::Open(key) => format!("a write to {key} is under way: wait for its end"),
        Unjudgeable::InDoubt(key) => format!(
            "nobody knows what became of the last write to {key}, and it may still arrive: write \
             another key, or lose everything and restore"
        ),
        full => format!("{full}: start the playground anew"),
    })
}
