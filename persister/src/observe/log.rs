//! Standard error, as far as somebody reads it.
//!
//! Promise: nothing here ever waits for the reader of standard error. A thread of its own writes;
//! what it cannot get rid of is held up to a bound, then dropped and counted. One event is one
//! line, whatever text of strangers it quotes.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use crate::observe::escape::{escaped_line, escaped_lines};

/// How many lines wait for the reader, and how many bytes they have, at most.
const LINES: usize = 4096;
const BYTES: usize = 4 << 20;

/// The longest line; the rest of a longer one is cut.
const LINE_BYTES: usize = 64 << 10;

/// How long an end waits for what was said to be read.
const FLUSH: Duration = Duration::from_secs(1);

enum Message {
    Line(String),
    /// Told once everything before it is written.
    Flush(SyncSender<()>),
}

struct Log {
    to: SyncSender<Message>,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// `None`: there was no thread for it, so lines are written by those who say them.
static LOG: OnceLock<Option<Log>> = OnceLock::new();

fn log() -> Option<&'static Log> {
    let start = || {
        let (to, from) = sync_channel(LINES);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || write_all(&from)).ok()?;
        Some(Log {
            to,
            bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        })
    };
    LOG.get_or_init(start).as_ref()
}

fn write_all(from: &Receiver<Message>) {
    let mut told_lost = 0;
    while let Ok(message) = from.recv() {
        match message {
            Message::Line(line) => {
                // Nothing is left to be done about a closed or full standard error.
                let _ = io::stderr().write_all(line.as_bytes());
                if let Some(Some(log)) = LOG.get() {
                    log.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                }
                let lost = lost_lines();
                if lost > told_lost {
                    let lines = lost - told_lost;
                    let _ = writeln!(
                        io::stderr(),
                        "persister: {lines} lines of the log were lost"
                    );
                    told_lost = lost;
                }
            }
            Message::Flush(done) => {
                let _ = io::stderr().flush();
                let _ = done.try_send(());
            }
        }
    }
}

fn say(line: String) {
    let Some(log) = log() else {
        let _ = io::stderr().write_all(line.as_bytes());
        return;
    };
    let length = line.len();
    let queued = log.bytes.fetch_add(length, Ordering::Relaxed);
    let sent = queued + length <= BYTES && log.to.try_send(Message::Line(line)).is_ok();
    if !sent {
        log.bytes.fetch_sub(length, Ordering::Relaxed);
        log.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many lines were dropped because nobody read them.
#[must_use]
pub fn lost_lines() -> u64 {
    let log = LOG.get().and_then(Option::as_ref);
    log.map_or(0, |log| log.lost.load(Ordering::Relaxed))
}

/// Waits until what was said is read, for a moment at most: before the process ends.
pub fn flush() {
    let Some(Some(log)) = LOG.get() else {
        return;
    };
    let (done, told) = sync_channel(1);
    let begun = std::time::Instant::now();
    let mut message = Message::Flush(done);
    while begun.elapsed() < FLUSH {
        match log.to.try_send(message) {
            Ok(()) => {
                let _ = told.recv_timeout(FLUSH);
                return;
            }
            Err(TrySendError::Full(back)) => message = back,
            Err(TrySendError::Disconnected(_)) => return,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says something that is no event of the log: a reason to end. Its own line breaks stay.
pub fn tell(message: Arguments<'_>) {
    say(format!(
        "{}\n",
        escaped_lines(&format!("persister: {message}"))
    ));
}

/// Sends events of this level and above to standard error: as text for people, or JSON.
pub fn start(level: LevelFilter, json: bool) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Event)
        // A lost line is no reason to end: the layer would panic where it cannot print its errors.
        .log_internal_errors(false)
        .with_ansi(false)
        .with_target(false);
    // A process that logs already goes on as it does.
    let _ = if json {
        log.json().try_init()
    } else {
        log.try_init()
    };
}

/// Takes one event at a time, whole.
struct Event;

impl Write for Event {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = escaped_line(text.trim_end_matches('\n'));
        if line.len() > LINE_BYTES {
            let boundary = (0..=LINE_BYTES).rfind(|at| line.is_char_boundary(*at));
            line.truncate(boundary.unwrap_or(0));
            line.push_str(" (cut)");
        }
        line.push('\n');
        say(line);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
