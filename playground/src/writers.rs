//! Writers: each is a client process that is told what to write, and a task here that notes in the
//! ledger what the client was told.
//!
//! A write stands in the ledger before its order is in the pipe, and a client's word counts when it
//! has come out of the other pipe. So a client may be killed at any moment, and the ledger claims
//! nothing that nobody was told.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::ledger::book::Ledger;
use crate::ledger::outcome::Outcome;
use crate::world::error::Result;
use crate::world::ports::Port;
use crate::world::process::{Launch, Process};
use crate::world::services::program::Program;
use crate::world::services::service::{Look, Place, Service};

/// The hidden subcommand of a client process: `cairn __client URI TIMEOUT`.
pub const CLIENT: &str = "__client";

/// The pause after a write that was not done for sure: the cluster is away, and need not be asked
/// more often.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest answer of a client.
const ANSWER: usize = 64 << 10;

/// One in so many writes is a delete.
const DELETES: u8 = 8;

/// What a client is told to do. One line of JSON on its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The key.
    pub key: String,
    /// The value; none: delete it.
    pub value: Option<String>,
}

/// What a client was told by its cluster. One line of JSON on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// What became of the write.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The library's words, if it is no good news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
}

/// A ledger that several writers keep.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Ledger>>);

impl From<Ledger> for Shared {
    fn from(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(ledger)))
    }
}

impl Shared {
    /// The ledger, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Pipes = (pipe::Sender, pipe::Receiver);

/// A client process as a service of a machine.
pub struct Client {
    program: Program,
    uri: Box<dyn Fn() -> String + Send + Sync>,
    timeout: Duration,
    pipes: mpsc::Sender<Pipes>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("uri", &(self.uri)())
            .finish_non_exhaustive()
    }
}

impl Service for Client {
    fn name(&self) -> &'static str {
        "client"
    }

    fn launch(&self, place: &Place) -> Result<Launch> {
        let launch = Launch::new("client", &self.program.path, &place.log);
        let launch = launch
            .args(self.program.args.iter().cloned())
            .args([(self.uri)()])
            .args([humantime::format_duration(self.timeout).to_string()]);
        Ok(Launch {
            pipe_stdin: true,
            pipe_stdout: true,
            ..launch
        })
    }

    fn launched(&self, process: &Process) {
        let pipes = process.take_stdin().zip(process.take_stdout());
        let Some((orders, answers)) = pipes else {
            return;
        };
        let orders = pipe::Sender::from_owned_fd(orders.into());
        let answers = pipe::Receiver::from_owned_fd(answers.into());
        if let (Ok(orders), Ok(answers)) = (orders, answers) {
            // Full only if a client was started several times while its writer looked elsewhere;
            // the writer notices that it gets no answers.
            let _ = self.pipes.try_send((orders, answers));
        }
    }

    fn is_ready(&self) -> Look<'_> {
        Box::pin(async { true })
    }

    fn ports(&self) -> Vec<&Port> {
        Vec::new()
    }
}

/// The task behind a client.
#[derive(Debug)]
pub struct Writer {
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Writer {
    /// Which keys it has and how it chooses among them; how long it waits for the cluster, and then
    /// for the disks.
    ///
    /// Gives the service that belongs on a machine, and the task that writes whenever that runs.
    pub fn new(
        program: Program,
        uri: impl Fn() -> String + Send + Sync + 'static,
        keys: Keys,
        timeout: Duration,
        ledger: Shared,
    ) -> (Client, Self) {
        let (pipes, next) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(write(keys, ledger, next, stopped));
        (
            Client {
                program,
                uri: Box::new(uri),
                timeout,
                pipes,
            },
            Self { stop, task },
        )
    }

    /// Whether it has given up by itself, which it does only when it cannot go on.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.task.is_finished()
    }

    /// Tells it to begin no more writes, and waits for the one that is under way.
    ///
    /// # Errors
    /// If it had given up, or does not end.
    pub async fn end(mut self, limit: Duration) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(limit, &mut self.task).await;
        ended.context("a writer does not end")??
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The keys of a writer.
#[derive(Clone, Debug)]
pub struct Keys {
    writer: u32,
    slots: Vec<Slot>,
    random: fastrand::Rng,
    written: u64,
}

/// A key, which is another one after it was given up.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// How often it was given up in doubt.
    generation: u32,
    /// Whether its writer was told that it holds something.
    is_set: bool,
}

impl Keys {
    /// So many keys, below `/wWRITER`.
    #[must_use]
    pub fn new(writer: u32, keys: usize, random: fastrand::Rng) -> Self {
        Self {
            writer,
            slots: vec![Slot::default(); keys.max(1)],
            random,
            written: 0,
        }
    }

    /// A slot, and what to write to its key.
    fn next(&mut self) -> (usize, Order) {
        let slot = self.random.usize(..self.slots.len());
        self.written += 1;
        let Slot { generation, is_set } = self.slots[slot];
        let key = format!("/w{}/{slot}-{generation}", self.writer);
        // A delete of nothing says nothing of disks: what had deleted it may be on none.
        let is_delete = is_set && self.random.u8(..DELETES) == 0;
        let value = (!is_delete).then(|| {
            let padding = self.random.usize(..200);
            format!("{}.{} {}", self.writer, self.written, "x".repeat(padding))
        });
        (slot, Order { key, value })
    }

    /// What its writer was told of a write to this slot. If that is nothing, its key is never
    /// written again.
    fn told(&mut self, slot: usize, outcome: Outcome) {
        let slot = &mut self.slots[slot];
        match outcome {
            Outcome::Durable { revision } => slot.is_set = revision.is_some(),
            Outcome::Applied => slot.is_set = false,
            Outcome::NotApplied => {}
            Outcome::Unknown => {
                *slot = Slot {
                    generation: slot.generation + 1,
                    is_set: false,
                }
            }
        }
    }
}

async fn write(
    mut keys: Keys,
    ledger: Shared,
    mut clients: mpsc::Receiver<Pipes>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    loop {
        let client = tokio::select! {
            client = clients.recv() => client,
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        let Some((mut orders, answers)) = client else {
            return Ok(());
        };
        let mut answers = BufReader::new(answers);
        while !*stopped.borrow() {
            let (slot, order) = keys.next();
            let value = order.value.as_deref().map(str::as_bytes);
            let ticket = ledger.lock().begin(keys.writer, &order.key, value)?;
            let told = ask(&mut orders, &mut answers, &order).await;
            let outcome = told.as_ref().map_or(Outcome::Unknown, |told| told.outcome);
            ledger.lock().end(ticket, outcome);
            keys.told(slot, outcome);
            if matches!(outcome, Outcome::NotApplied | Outcome::Unknown) {
                tokio::time::sleep(PAUSE).await;
            }
            if let Err(error) = told {
                // It was killed, most likely; another will take its place.
                tracing::debug!("client of writer {}: {error:#}", keys.writer);
                break;
            }
        }
    }
}

async fn ask(
    orders: &mut pipe::Sender,
    answers: &mut BufReader<pipe::Receiver>,
    order: &Order,
) -> anyhow::Result<Told> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    orders.write_all(&line).await?;
    line.clear();
    // Bounded by what a client ever says; more would be none of ours.
    answers.read_until(b'\n', &mut line).await?;
    ensure!(
        line.len() < ANSWER && line.ends_with(b"\n"),
        "it ended in the middle of an answer"
    );
    Ok(serde_json::from_slice(&line)?)
}
