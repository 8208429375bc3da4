//! The ledger itself: a write is noted before it is sent, and what became of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ledger::audit::{self, Audit, Revisions};
use crate::ledger::outcome::{Class, Outcome};
use crate::ledger::times::Point;
use crate::ledger::write::{Folded, Found, Key, Write, print};

/// How many writes a ledger takes: about 300 MiB of memory.
const CAPACITY: usize = 2_000_000;

/// How many writes before the last acknowledged one of a key a brief ledger keeps.
const BRIEF: usize = 16;

/// A write that is under way. Given back to [`Ledger::end`] with what the writer was told.
#[derive(Debug)]
#[must_use = "without its end, nobody knows what became of it"]
pub struct Ticket {
    key: String,
    writer: u32,
    begun: Instant,
}

/// Why a write may not be noted. It must not be sent either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Each key has one writer.
    #[error("{key} belongs to writer {owner}")]
    Foreign {
        /// The key.
        key: String,
        /// Its writer.
        owner: u32,
    },
    /// One at a time.
    #[error("a write to {0} is under way")]
    Open(String),
    /// An earlier write may still arrive.
    #[error("nobody knows what became of an earlier write to {0}")]
    InDoubt(String),
    /// There is an end to memory.
    #[error("the ledger holds {CAPACITY} writes, and takes no more")]
    Full,
}

/// Every write of every writer, with what was told about it.
#[derive(Clone, Debug)]
pub struct Ledger {
    begun: Instant,
    keys: BTreeMap<String, Key>,
    count: u64,
    points: Vec<Point>,
    /// Whether it keeps only what an audit needs.
    brief: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            keys: BTreeMap::new(),
            count: 0,
            points: Vec::new(),
            brief: false,
        }
    }
}

impl Ledger {
    /// A ledger that keeps of each key no more than an audit needs, and no points: its memory grows
    /// with keys, and not with the writes that were acknowledged.
    #[must_use]
    pub fn brief() -> Self {
        Self {
            brief: true,
            ..Self::default()
        }
    }

    /// A write begins: of a value, or a delete. To be called before it is sent.
    ///
    /// # Errors
    /// If the audit could not judge it.
    pub fn begin(
        &mut self,
        writer: u32,
        key: &str,
        value: Option<&[u8]>,
    ) -> Result<Ticket, Refusal> {
        if self.points.len() + self.keys.len() >= CAPACITY {
            return Err(Refusal::Full);
        }
        let begun = Instant::now();
        let entry = self.keys.entry(key.to_owned());
        let known = entry.or_insert_with(|| Key {
            writer,
            writes: Vec::new(),
            open: false,
            judged: 0,
            folded: Folded::default(),
        });
        if known.writer != writer {
            return Err(Refusal::Foreign {
                key: key.to_owned(),
                owner: known.writer,
            });
        }
        if known.open {
            return Err(Refusal::Open(key.to_owned()));
        }
        let last = known.writes.last();
        if last.is_some_and(|last| last.outcome == Outcome::Unknown) {
            return Err(Refusal::InDoubt(key.to_owned()));
        }
        self.count += 1;
        known.open = true;
        known.writes.push(Write {
            number: self.count,
            print: value.map(print),
            outcome: Outcome::Unknown,
            ended: begun - self.begun,
        });
        Ok(Ticket {
            key: key.to_owned(),
            writer,
            begun,
        })
    }

    /// What became of it, as the writer was told.
    pub fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let now = Instant::now();
        let Some(key) = self.keys.get_mut(&ticket.key) else {
            return;
        };
        key.open = false;
        let Some(write) = key.writes.last_mut() else {
            return;
        };
        write.outcome = outcome;
        write.ended = now - self.begun;
        let at = write.ended;
        if self.brief {
            key.fold(BRIEF);
            return;
        }
        self.points.push(Point {
            writer: ticket.writer,
            at,
            took: now - ticket.begun,
            class: outcome.class(),
        });
    }

    /// Whether a writer of this ledger has ever written this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Every write that has ended, in the order of their ends.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// How long this ledger has been kept.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The keys whose acknowledged or possible content is not absence.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing was ever begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Judges what was found after a loss or a restore. Changes nothing; see [`Ledger::settle`].
    #[must_use]
    pub fn audit(&self, found: &Found, revisions: Revisions) -> Audit {
        audit::audit(&self.keys, found, revisions)
    }

    /// What writers were told of these writes need not hold any more: a write that was acknowledged
    /// may be gone. `which` is asked with the writer, and with when the write ended. Gives how many
    /// there are.
    pub fn excuse(&mut self, which: impl Fn(u32, Duration) -> bool) -> u64 {
        let mut count = 0;
        for key in self.keys.values_mut() {
            for write in &mut key.writes[key.judged..] {
                let is_told = write.outcome.class() == Class::Durable;
                if is_told && which(key.writer, write.ended) {
                    write.outcome = Outcome::Applied;
                    count += 1;
                }
            }
        }
        count
    }

    /// The keys that an audit would find fault with, whatever their revisions.
    #[must_use]
    pub fn faulty(&self, found: &Found) -> Vec<String> {
        let mine = self
            .keys
            .iter()
            .filter(|(path, key)| audit::is_faulty(path, key, found));
        mine.map(|(path, _)| path.clone()).collect()
    }

    /// Takes what was found for the truth from here on: it must still be there at the next audit.
    ///
    /// For those who know two things: nothing that was sent before is still on its way, and what
    /// was found is on disk.
    pub fn settle(&mut self, found: &Found) {
        self.settle_those(found, |_| true);
    }

    /// As [`Ledger::settle`], for some of the keys: those that somebody else has just written.
    pub fn settle_those(&mut self, found: &Found, those: impl Fn(&str) -> bool) {
        let now = self.age();
        let keys = self.keys.iter_mut().filter(|(path, _)| those(path));
        for (path, key) in keys {
            let is = found.get(path);
            key.open = false;
            key.writes.push(Write {
                number: 0,
                print: is.map(|(_, value)| print(value)),
                outcome: Outcome::Durable {
                    revision: is.map(|(revision, _)| *revision),
                },
                ended: now,
            });
            key.judged = key.writes.len();
            key.folded = Folded::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excused_may_be_gone_and_nothing_else_may() -> Result<(), Refusal> {
        let mut ledger = Ledger::default();
        for writer in 1..=2 {
            let ticket = ledger.begin(writer, &format!("/{writer}"), Some(b"1"))?;
            ledger.end(ticket, Outcome::Durable { revision: Some(7) });
        }
        let is_gone = |ledger: &Ledger| ledger.audit(&Found::new(), Revisions::Kept).faults;
        assert_eq!(is_gone(&ledger), 2);
        let later = ledger.age();
        assert_eq!(ledger.excuse(|_, ended| ended > later), 0);
        assert_eq!(ledger.excuse(|writer, _| writer == 1), 1);
        assert_eq!(is_gone(&ledger), 1);
        Ok(())
    }

    #[test]
    fn what_the_audit_could_not_judge_is_refused_before_it_is_sent() -> Result<(), Refusal> {
        let mut ledger = Ledger::default();
        let ticket = ledger.begin(1, "/a", Some(b"1"))?;
        let open = ledger.begin(1, "/a", Some(b"2")).err();
        assert_eq!(open, Some(Refusal::Open("/a".into())));
        let foreign = ledger.begin(2, "/a", None).err();
        assert_eq!(
            foreign,
            Some(Refusal::Foreign {
                key: "/a".into(),
                owner: 1
            })
        );
        ledger.end(ticket, Outcome::Unknown);
        let doubt = ledger.begin(1, "/a", Some(b"2")).err();
        assert_eq!(doubt, Some(Refusal::InDoubt("/a".into())));
        ledger.settle(&Found::new());
        let ticket = ledger.begin(1, "/a", Some(b"2"))?;
        ledger.end(ticket, Outcome::NotApplied);
        assert_eq!(ledger.points().len(), 2);
        Ok(())
    }
}
