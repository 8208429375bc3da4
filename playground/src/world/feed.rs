//! What happened in a world: the newest events, numbered, for people who look later or as it
//! happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::world::decide::Send;

/// How many events are remembered: some hours of a person's clicks, some minutes of a drill.
const REMEMBERED: usize = 1_000;

/// How many events a listener may be behind before it misses some, and is told so.
const BEHIND: usize = 256;

/// An event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Its number; one more than that of the event before.
    pub number: u64,
    /// How long after the world's beginning, in seconds.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// The machine.
    pub machine: String,
    /// Its service.
    pub service: String,
    /// What happened to it.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum What {
    /// A process was started.
    Started {
        /// Its id.
        pid: u32,
        /// As a person would type it.
        command: String,
    },
    /// It is ready.
    Ready {
        /// How long after its start, in seconds.
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// It was sent a signal.
    Signalled {
        /// Which.
        signal: Send,
        /// To whom.
        pid: u32,
    },
    /// Its process ended, asked or not.
    Ended {
        /// How.
        status: String,
    },
    /// Its disk was deleted.
    Deleted,
    /// A step failed.
    Failed {
        /// The sentence.
        why: String,
    },
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// The events of a world. Clones are the same feed.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    newest: Mutex<VecDeque<Event>>,
    listeners: broadcast::Sender<Event>,
}

impl Feed {
    pub(super) fn new() -> Self {
        let inner = Inner {
            begun: Instant::now(),
            newest: Mutex::default(),
            listeners: broadcast::Sender::new(BEHIND),
        };
        Self(Arc::new(inner))
    }

    pub(super) fn tell(&self, machine: String, service: String, what: What) {
        let mut newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let number = newest.back().map_or(0, |event| event.number + 1);
        let event = Event {
            number,
            at: self.0.begun.elapsed(),
            machine,
            service,
            what,
        };
        tracing::debug!(machine = event.machine, service = event.service, what = ?event.what);
        if newest.len() == REMEMBERED {
            newest.pop_front();
        }
        newest.push_back(event.clone());
        // Told under the lock, so that listeners hear in the order of the numbers. Nobody may
        // listen.
        let _ = self.0.listeners.send(event);
    }

    /// The remembered events from this number on.
    #[must_use]
    pub fn since(&self, number: u64) -> Vec<Event> {
        let newest = self.0.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest
            .iter()
            .filter(|event| event.number >= number)
            .cloned()
            .collect()
    }

    /// Events from now on. A listener that is too slow is told how many it missed.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.listeners.subscribe()
    }
}
