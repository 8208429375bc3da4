//! What a page asks for, begun, and its end told.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::load::RATES;
use crate::play::actions::{Action, Turn, Whole};
use crate::play::clients::{PAGE, WriteRequest, Written};
use crate::play::inner::Play;
use crate::play::target::Verb;
use crate::told::feed::{Done, Kind, Tone};
use crate::told::refusal::Refusal;

/// How much of a log one call gives.
const LOG: u64 = 64 << 10;

/// `GET log`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LogPart {
    /// What is there from the place that was asked for, or from the last 64 KiB.
    pub(crate) text: String,
    /// Where to go on.
    pub(crate) next: u64,
}

impl Play {
    /// Begins a command, and gives its number. Its end is told to all listeners.
    pub(crate) fn act(&self, action: Action) -> Result<u64, Refusal> {
        let on = |id: String, verb| self.begin_on(&id, verb);
        match action {
            Action::Kill { id } => on(id, Verb::Kill),
            Action::Pause { id } => on(id, Verb::Pause),
            Action::Resume { id } => on(id, Verb::Resume),
            Action::Start { id } => on(id, Verb::Start),
            Action::Wipe { id } => on(id, Verb::Wipe),
            Action::PowerCut => self.begin_whole(Whole::PowerCut),
            Action::Lose => self.begin_whole(Whole::Lose),
            Action::Restore => self.begin_whole(Whole::Restore),
            Action::Load { rate } => self.set_load(rate),
        }
    }

    fn begin_on(&self, id: &str, verb: Verb) -> Result<u64, Refusal> {
        let target = self.target(id)?;
        let turn = self.0.busy.begin_on(id, verb)?;
        if let Some(why) = self.refuses(target, verb) {
            return Err(Refusal::NotNow(format!("{id}: {why}")));
        }
        let (play, id) = (self.clone(), id.to_owned());
        Ok(self.spawn(turn, async move { play.single(&id, verb).await }))
    }

    fn begin_whole(&self, whole: Whole) -> Result<u64, Refusal> {
        let turn = self.0.busy.begin(whole)?;
        if let Some(why) = self.refuses_whole(whole) {
            return Err(Refusal::NotNow(why));
        }
        let play = self.clone();
        Ok(self.spawn(turn, async move {
            match whole {
                Whole::PowerCut => play.power_cut().await,
                Whole::Lose => play.lose().await,
                _ => play.restore_all().await,
            }
        }))
    }

    fn set_load(&self, rate: u32) -> Result<u64, Refusal> {
        if !RATES.contains(&rate) {
            let rates = RATES.map(|rate| rate.to_string()).join(", ");
            return Err(Refusal::Impossible(format!("the rate is one of {rates}")));
        }
        self.0.load.set(rate);
        let says = match rate {
            0 => "the load generator is off".to_owned(),
            rate => format!("the load generator writes {rate} times a second, for 10 minutes"),
        };
        self.feed()
            .tell(Kind::Load, Tone::Plain, says.clone(), None);
        let op = self.number();
        self.feed().done(Done { op, ok: true, says });
        Ok(op)
    }

    fn number(&self) -> u64 {
        self.0.ops.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Does it while the turn is held, and tells of its end.
    pub(super) fn spawn<W>(&self, turn: Turn, work: W) -> u64
    where
        W: Future<Output = Result<String, Refusal>> + Send + 'static,
    {
        let (play, op) = (self.clone(), self.number());
        tokio::spawn(async move {
            let done = work.await;
            // The turn is over before anybody hears of its end, and may begin the next.
            drop(turn);
            let (ok, says) = match done {
                Ok(says) => (true, says),
                Err(why) => {
                    let says = why.to_string();
                    play.feed()
                        .tell(Kind::Restore, Tone::Bad, says.clone(), None);
                    (false, says)
                }
            };
            play.feed().done(Done { op, ok, says });
        });
        op
    }

    /// Writes what the page asks for.
    pub(crate) async fn write(&self, request: WriteRequest) -> Result<Written, Refusal> {
        let WriteRequest {
            key,
            value,
            wait,
            node,
        } = request;
        let node = match node {
            Some(id) => Some(self.uri_of(&id)?),
            None => None,
        };
        let value = value.map(Into::into);
        let lost = || self.why_nothing_is_sent();
        let clients = &self.0.clients;
        let (_, written) = clients.write(PAGE, &key, value, wait, node, lost).await?;
        let tone = match written.outcome {
            "durable" => Tone::Ok,
            "applied" => Tone::Warn,
            _ => Tone::Bad,
        };
        self.feed()
            .tell(Kind::Client, tone, written.says.clone(), None);
        Ok(written)
    }

    /// A part of a process's log.
    pub(crate) fn log(&self, id: &str, from: u64) -> Result<LogPart, Refusal> {
        let about = self.target(id)?.about();
        let log = about.map(|about| about.log).unwrap_or_default();
        let failed = |error| Refusal::Failed(format!("the log of {id}: {error}"));
        part(&log, from).map_err(failed)
    }
}

/// What is there from this place on, or at the end if it is 0.
fn part(log: &Path, from: u64) -> io::Result<LogPart> {
    let mut file = match File::open(log) {
        Ok(file) => file,
        // Nothing was ever started.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(LogPart {
                text: String::new(),
                next: 0,
            });
        }
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let from = match from {
        0 => length.saturating_sub(LOG),
        from => from.min(length),
    };
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG).read_to_end(&mut bytes)?;
    Ok(LogPart {
        next: from + bytes.len() as u64,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}
