//! Where a time lies in a journal whose records were written by clocks that may have been wrong.
//!
//! Records are in the order in which things happened; their times need not be. So a time is a place
//! between two records: the one that the fewest records contradict, by being later before it or
//! earlier behind it. A record that claims to be of a time that has not come yet contradicts
//! nothing: it happened before the next one that does not claim so. Where some record contradicts
//! the place, the time is in doubt, and that is said.

use crate::{
    checkpoint::history::History,
    error::{Error, Result},
    model::{
        entry::Entry,
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    read::reader::Reader,
    replay::machine::{Effect, Replay},
};

/// Looks for the place of a time among places in order, each with the time that its record claims.
#[derive(Clone, Debug)]
pub struct TimeSearch<P> {
    time: Timestamp,
    now: Timestamp,
    here: P,
    /// Records so far that are not later than the time, less those that are; the most that this
    /// was, and where it first was.
    votes: i64,
    most: i64,
    split: P,
    /// The end of the records behind `split` that do not say when they were.
    undated: P,
    has_later: bool,
    /// Before the first record that is later, and behind the last that is not.
    later: Option<P>,
    earlier: P,
}

/// The place of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFound<P> {
    /// The newest place that is not later.
    pub place: P,
    /// It may as well be any place from this one, if some clock was wrong.
    pub earliest: P,
    /// Up to this one. The same as `earliest`, if nothing is in doubt.
    pub latest: P,
}

impl<P: Copy + Ord> TimeSearch<P> {
    /// Looks for `time`. `begin`: the place before the first record; `now` by the clock of whoever
    /// asks.
    #[must_use]
    pub fn new(time: Timestamp, begin: P, now: Timestamp) -> Self {
        Self {
            time,
            now,
            here: begin,
            votes: 0,
            most: 0,
            split: begin,
            undated: begin,
            has_later: false,
            later: None,
            earlier: begin,
        }
    }

    /// Takes in the next record: the place behind it, and the time that it claims. `happened`: it
    /// says that something happened then; otherwise, that nothing had happened until then.
    pub fn see(&mut self, place: P, observed: Option<Timestamp>, happened: bool) {
        let before = std::mem::replace(&mut self.here, place);
        match observed {
            Some(observed) if observed <= self.time => {
                self.votes += 1;
                self.earlier = place;
                if self.votes > self.most {
                    self.most = self.votes;
                    self.split = place;
                    self.undated = place;
                    self.has_later = false;
                } else {
                    self.has_later = true;
                }
            }
            // Nothing happened until later: that may be before the time or behind it.
            Some(observed) if observed <= self.now && !happened => self.has_later = true,
            Some(observed) if observed <= self.now => {
                self.votes -= 1;
                self.later = self.later.or(Some(before));
                self.has_later = true;
            }
            _ if !self.has_later => self.undated = place,
            _ => {}
        }
    }

    /// The newest place so far that is not later than the time.
    #[must_use]
    pub fn place(&self) -> P {
        // All that there is was written before now.
        if self.time >= self.now {
            self.here
        } else {
            self.split
        }
    }

    /// The place, after the last record.
    #[must_use]
    pub fn finish(&self) -> TimeFound<P> {
        let place = self.place();
        if self.time >= self.now {
            return TimeFound {
                place,
                earliest: place,
                latest: place,
            };
        }
        TimeFound {
            place,
            earliest: self.later.map_or(place, |later| later.min(place)),
            latest: self.earlier.max(self.undated).max(place),
        }
    }
}

/// What a journal covered at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AtTime {
    /// The newest revision that was covered: [`Reader::state`] there is the state at that time.
    pub revision: Revision,
    /// The oldest that it may have been, if a clock was wrong.
    pub earliest: Revision,
    /// The newest that it may have been.
    pub latest: Revision,
}

impl AtTime {
    /// Why the revision is in doubt, if it is.
    #[must_use]
    pub fn doubt(&self) -> Option<String> {
        (self.earliest < self.latest).then(|| {
            format!(
                "a clock was wrong when records of this journal were written: at that time its \
                 newest revision was one from {} to {}, and {} is taken, which most records agree \
                 with. Give the revision instead, if you know better",
                self.earliest, self.latest, self.revision
            )
        })
    }
}

/// A place in a journal: the last record before it, and what is covered there, if that is known.
type Place = (Sequence, Option<Revision>);

impl Reader {
    /// The newest revision that was covered at `time`. Reads all records.
    ///
    /// # Errors
    /// [`Error::TimeNotInHistory`] if the journal, or what retention has left of it, begins later,
    /// or if revisions have begun anew since, so that the state can no longer be asked for by a
    /// revision.
    pub fn revision_at(&self, time: Timestamp) -> Result<AtTime> {
        let storage = self.directory().storage();
        let history = History::read(storage, self.dir())?;
        let is_complete = history.is_complete();
        // What is before the oldest checkpoint may be gone.
        let base = history.checkpoints.usable.last();
        let base = base.filter(|_| !is_complete);
        let mut here: Place = (Sequence::NONE, None);
        let mut search = TimeSearch::new(time, here, storage.now());
        let (mut records, mut replay) = match base {
            Some(base) => {
                here = (base.sequence(), Some(base.revision()));
                search.see(here, Some(base.observed_at()), true);
                let records = self.records_from(base.sequence().next());
                (records, Replay::at_checkpoint(&base.header))
            }
            None => (self.records(), Replay::default()),
        };
        let mut anew = None;
        records.try_for_each(|record| {
            let record = record?;
            let observed = record.entry.observed_at();
            let step = replay.record(&record);
            let covers = matches!(
                record.entry,
                Entry::Changes { .. }
                    | Entry::Lease { .. }
                    | Entry::Watermark { .. }
                    | Entry::Gap { .. }
            );
            if covers && step.effect != Effect::Hold {
                here.1 = Some(record.revision);
            }
            here.0 = record.sequence;
            if step.switch.is_some() {
                anew = Some((record.sequence, observed.unwrap_or_default()));
            }
            let happened = !matches!(record.entry, Entry::Watermark { .. });
            search.see(here, observed, happened);
            Ok::<(), Error>(())
        })?;
        let refuse = |detail: String| Error::TimeNotInHistory { time, detail };
        let found = search.finish();
        let (sequence, revision) = found.place;
        let revision = revision.ok_or_else(|| refuse("the journal begins later".to_owned()))?;
        if let Some((at, observed)) = anew
            && sequence < at
        {
            return Err(refuse(format!(
                "another cluster was followed then, at its revision {revision}; revisions began \
                 anew at {}. Its history is still there (dumpjournal --to), its state cannot be \
                 asked for",
                observed.show(),
            )));
        }
        Ok(AtTime {
            revision,
            earliest: found.earliest.1.unwrap_or_default().min(revision),
            latest: found.latest.1.unwrap_or(revision).max(revision),
        })
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    /// The place, and the places that it may be, by the number of records before them.
    fn found(times: &[i64], time: i64) -> (usize, usize, usize) {
        let mut search = TimeSearch::new(Timestamp(time), 0, NOW);
        for (i, observed) in times.iter().enumerate() {
            let observed = (*observed != 0).then_some(Timestamp(*observed));
            search.see(i + 1, observed, true);
        }
        let found = search.finish();
        (found.place, found.earliest, found.latest)
    }

    fn certain(times: &[i64], time: i64) -> usize {
        let (place, earliest, latest) = found(times, time);
        assert_eq!((earliest, latest), (place, place), "{times:?} at {time}");
        place
    }

    #[test]
    fn a_clock_that_was_right_is_believed() {
        let times = [10, 20, 20, 30, 40];
        for (time, place) in [(9, 0), (10, 1), (19, 1), (20, 3), (25, 3), (39, 4), (40, 5)] {
            assert_eq!(certain(&times, time), place, "{time}");
        }
        // A record that does not say when it was may be on either side.
        assert_eq!(found(&[10, 0, 20], 15), (1, 1, 2));
    }

    /// The story: a restart with the clock a year ahead, and every later time was answered with
    /// the state before it, for a year.
    #[test]
    fn a_clock_that_was_ahead_of_now_changes_nothing() {
        let times = [100, 9_000, 800, 990];
        assert_eq!(certain(&times, 1_000), 4);
        assert_eq!(certain(&times, 995), 4);
        assert_eq!(certain(&times, 900), 3);
        // When it was is known less exactly.
        assert_eq!(found(&times, 500), (1, 1, 2));
        // At the end nothing is known but that it was before now.
        assert_eq!(found(&[100, 9_000], 500), (1, 1, 2));
        assert_eq!(certain(&[100, 9_000], 1_000), 2);
    }

    #[test]
    fn one_moment_of_a_wrong_clock_outvotes_nobody() {
        // Ahead, and now long past.
        let ahead = [100, 110, 700, 120, 130, 140];
        assert_eq!(found(&ahead, 115), (2, 2, 2));
        assert_eq!(found(&ahead, 135), (5, 2, 5));
        assert_eq!(found(&ahead, 600), (6, 2, 6));
        assert_eq!(certain(&ahead, 700), 6);
        // Behind, as of a machine that has no clock of its own.
        let behind = [100, 110, 1, 120, 130];
        assert_eq!(found(&behind, 50), (0, 0, 3));
        assert_eq!(found(&behind, 105), (1, 1, 3));
        assert_eq!(certain(&behind, 110), 3);
        assert_eq!(certain(&behind, 125), 4);
    }

    /// The place is one that no other place contradicts less, and nothing is in doubt exactly
    /// where nothing contradicts it.
    #[test]
    fn the_place_is_the_least_contradicted() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..2_000 {
            let times: Vec<i64> = (0..rng.usize(0..12)).map(|_| rng.i64(1..900)).collect();
            let time = rng.i64(0..950);
            let against = |place: usize| {
                let before = times[..place].iter().filter(|t| **t > time).count();
                before + times[place..].iter().filter(|t| **t <= time).count()
            };
            let (place, earliest, latest) = found(&times, time);
            let least = (0..=times.len()).map(against).min();
            assert_eq!(Some(against(place)), least, "{times:?} at {time}: {place}");
            assert_eq!(earliest == latest, least == Some(0), "{times:?} at {time}");
        }
    }
}
