//! What happened, in plain words: the newest lines, and whoever listens.
//!
//! Bounded twice: so many lines are remembered for a page that is opened later, and a listener that
//! is further behind than that misses some.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::told::time::now;

/// How many lines are remembered.
const REMEMBERED: usize = 200;

/// How many events a listener may be behind.
const BEHIND: usize = 256;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A node.
    Node,
    /// A persister.
    Persister,
    /// The page's own writes.
    Client,
    /// Losses, restores, proofs.
    Restore,
    /// The load generator.
    Load,
    /// A step of a drill.
    Drill,
}

/// How a line, or the story, is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// All is well.
    Ok,
    /// Something is away.
    Warn,
    /// Something is lost, or failed.
    Bad,
    /// No more than a fact.
    Plain,
    /// About the past.
    Past,
}

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its number, one more than that of the line before.
    pub id: u64,
    /// When, in unix milliseconds.
    pub time: u64,
    /// What it is about.
    pub kind: Kind,
    /// How it is meant.
    pub tone: Tone,
    /// The sentence.
    pub says: String,
    /// What a person would have typed for it.
    pub command: Option<String>,
}

/// The end of a command.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// Its number, which `POST do` gave.
    pub op: u64,
    /// Whether it did what was asked.
    pub ok: bool,
    /// What it did, or why not.
    pub says: String,
}

/// What a listener hears.
#[derive(Clone, Debug)]
pub enum Told {
    /// Something happened.
    Line(Line),
    /// A command has ended.
    Done(Done),
}

/// The feed. Clones are the same.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    newest: Mutex<(u64, VecDeque<Arc<Told>>)>,
    listeners: broadcast::Sender<Arc<Told>>,
}

/// Hears the remembered lines, and then what happens.
#[derive(Debug)]
pub struct Listener {
    remembered: VecDeque<Arc<Told>>,
    next: broadcast::Receiver<Arc<Told>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self(Arc::new(Inner {
            newest: Mutex::default(),
            listeners: broadcast::Sender::new(BEHIND),
        }))
    }
}

impl Feed {
    /// Something happened.
    pub(crate) fn tell(
        &self,
        kind: Kind,
        tone: Tone,
        says: impl Into<String>,
        command: Option<String>,
    ) {
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, lines) = &mut *newest;
        *count += 1;
        let line = Arc::new(Told::Line(Line {
            id: *count,
            time: now(),
            kind,
            tone,
            says: says.into(),
            command,
        }));
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back(Arc::clone(&line));
        // Told under the lock, so that everybody hears in the order of the numbers. Nobody may
        // listen.
        let _ = self.0.listeners.send(line);
    }

    /// A command has ended.
    pub(crate) fn done(&self, done: Done) {
        let _ = self.0.listeners.send(Arc::new(Told::Done(done)));
    }

    /// Everything remembered, and everything from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        Listener {
            remembered: newest.1.clone(),
            next: self.0.listeners.subscribe(),
        }
    }
}

impl Listener {
    /// The next one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If some were missed.
    pub async fn next(&mut self) -> Result<Arc<Told>, RecvError> {
        match self.remembered.pop_front() {
            Some(told) => Ok(told),
            None => self.next.recv().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_page_hears_the_newest_lines_once_and_in_order() {
        let feed = Feed::default();
        for n in 0..REMEMBERED + 7 {
            feed.tell(Kind::Node, Tone::Plain, format!("{n}"), None);
        }
        let mut late = feed.listen();
        feed.tell(Kind::Node, Tone::Plain, "last", None);
        let mut heard = Vec::new();
        for _ in 0..=REMEMBERED {
            if let Ok(told) = late.next().await
                && let Told::Line(line) = &*told
            {
                heard.push(line.id);
            }
        }
        let expected: Vec<u64> = (8..=REMEMBERED as u64 + 8).collect();
        assert_eq!(heard, expected);
    }
}
