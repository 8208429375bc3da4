//! The load generator: so many writes a second over a fixed set of keys, for a while.
//!
//! One write a key at a time, so that there are never more under way than keys. Where the cluster
//! is too slow for the rate, writes are left out and not queued. It ends by itself: a page that was
//! forgotten writes nothing the next day.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::ledger::outcome::Outcome;
use crate::told::time::now;

/// How many keys it writes.
const KEYS: usize = 200;

/// After how long it ends.
const LASTS: Duration = Duration::from_secs(600);

/// Rates that it can write at.
pub const RATES: [u32; 4] = [0, 5, 50, 500];

/// The shortest pause between two looks at the clock.
const TICK: Duration = Duration::from_millis(10);

/// One in so many writes is a delete.
const DELETES: u8 = 16;

/// What is written now, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Writes a second.
    pub(crate) per_second: u32,
    /// The end, in unix milliseconds.
    pub(crate) until: Option<u64>,
}

/// The switch of the load generator.
#[derive(Debug)]
pub(crate) struct Load(watch::Sender<Rate>);

impl Default for Load {
    fn default() -> Self {
        Self(watch::Sender::new(Rate::default()))
    }
}

impl Load {
    /// Writes at this rate from now on.
    pub(crate) fn set(&self, per_second: u32) {
        let lasts = u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX);
        let until = (per_second > 0).then(|| now() + lasts);
        self.0.send_replace(Rate { per_second, until });
    }

    pub(crate) fn rate(&self) -> Rate {
        *self.0.borrow()
    }

    /// Writes for ever, by calling `write` with a key and a value (none: a delete).
    pub(crate) async fn run<W, F>(&self, write: W)
    where
        W: Fn(String, Option<String>) -> F,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let mut rate = self.0.subscribe();
        let mut keys = Keys::default();
        let mut writes: JoinSet<(usize, Outcome)> = JoinSet::new();
        loop {
            // None can be left over here: waiting for a rate takes in what ends.
            let now = *rate.borrow_and_update();
            if now.per_second == 0 {
                tokio::select! {
                    _ = rate.changed() => {}
                    Some(ended) = writes.join_next() => keys.ended(ended.ok()),
                }
                continue;
            }
            let period = (Duration::from_secs(1) / now.per_second).max(TICK);
            let each = f64::from(now.per_second) * period.as_secs_f64();
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let (end, mut owed) = (Instant::now() + LASTS, 0.0);
            loop {
                tokio::select! {
                    _ = rate.changed() => break,
                    () = tokio::time::sleep_until(end) => {
                        self.set(0);
                        break;
                    }
                    Some(ended) = writes.join_next() => keys.ended(ended.ok()),
                    _ = ticks.tick() => {
                        owed += each;
                        while owed >= 1.0 {
                            owed -= 1.0;
                            if let Some((slot, key, value)) = keys.next() {
                                let writing = write(key, value);
                                writes.spawn(async move { (slot, writing.await) });
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The keys, and which of them are being written.
struct Keys {
    free: Vec<usize>,
    /// By slot: how often its key was given up in doubt.
    generations: Vec<u32>,
    /// By slot: whether its key has a value.
    is_there: Vec<bool>,
    written: u64,
    random: fastrand::Rng,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            free: (0..KEYS).collect(),
            generations: vec![0; KEYS],
            is_there: vec![false; KEYS],
            written: 0,
            random: fastrand::Rng::new(),
        }
    }
}

impl Keys {
    /// A slot that is free, its key, and what to write; none while all are being written.
    fn next(&mut self) -> Option<(usize, String, Option<String>)> {
        let chosen = self.free.len();
        let chosen = (chosen > 0).then(|| self.random.usize(..chosen))?;
        let slot = self.free.swap_remove(chosen);
        self.written += 1;
        let key = match self.generations[slot] {
            0 => format!("/load/{slot}"),
            generation => format!("/load/{slot}-{generation}"),
        };
        let deletes = self.is_there[slot] && self.random.u8(..DELETES) == 0;
        self.is_there[slot] = !deletes;
        let value = (!deletes).then(|| {
            let padding = self.random.usize(..40);
            format!("{} {}", self.written, "x".repeat(padding))
        });
        Some((slot, key, value))
    }

    /// A write has ended. A key in doubt is never written again: the write may still arrive.
    fn ended(&mut self, ended: Option<(usize, Outcome)>) {
        if let Some((slot, outcome)) = ended {
            self.generations[slot] += u32::from(outcome == Outcome::Unknown);
            self.is_there[slot] &= matches!(outcome, Outcome::Durable { .. } | Outcome::Applied);
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_writes_at_the_rate_and_ends_by_itself() {
        let load = Load::default();
        let count = Arc::new(Mutex::new(0_u32));
        let counted = Arc::clone(&count);
        let write = move |_key: String, _value| {
            *counted.lock().expect("no panic") += 1;
            async { Outcome::Durable { revision: None } }
        };
        load.set(50);
        let for_ever = load.run(write);
        let a_while = tokio::time::timeout(Duration::from_secs(10), for_ever);
        assert!(a_while.await.is_err());
        let written = *count.lock().expect("no panic");
        assert!((490..=510).contains(&written), "{written}");
        let again = tokio::time::timeout(LASTS * 2, load.run(|_, _| async { Outcome::Applied }));
        assert!(again.await.is_err());
        assert_eq!(load.rate(), Rate::default(), "it has ended");
    }

    #[test]
    fn a_key_has_one_write_at_a_time_and_none_once_it_is_in_doubt() {
        let mut keys = Keys::default();
        let mut seen = HashSet::new();
        while let Some((slot, key, _)) = keys.next() {
            assert!(seen.insert((slot, key)));
        }
        assert_eq!(seen.len(), KEYS);
        keys.ended(Some((7, Outcome::Unknown)));
        let next = keys.next().map(|(_, key, _)| key);
        assert_eq!(next.as_deref(), Some("/load/7-1"));
    }
}
