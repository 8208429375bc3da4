//! How old history is, for retention: by the times in the segments' headers, of which none is
//! believed on its own.
//!
//! The story: a clock that was ahead by 30 days, or 10 years, made history old that was minutes
//! old, and it was removed. So a step between two times counts
//!
//! * within the run of this journal, as much as a steady clock says has passed. What the wall clock
//!   does meanwhile makes nothing older;
//! * in an earlier run, or across a restart, at most a quarter of the age that is kept. One wrong
//!   time, in whatever direction, costs no more than that; several steps in a row are needed to
//!   make anything old enough to go.
//!
//! A segment that took longer than that quarter to fill counts as a quarter. So history may stay
//! longer than asked for, by four segments at most. It never goes sooner.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    checkpoint::retention::Retention,
    model::{ids::Sequence, time::Timestamp},
};

/// A segment that has a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Its first sequence.
    pub(crate) first: Sequence,
    /// When its successor was begun, as the header of that says.
    pub(crate) until: Timestamp,
}

/// What one run of a journal knows of the ages of its segments.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// The longest step that counts across a restart, and the steady clock at the last look.
    looked: Option<(Duration, Duration)>,
    known: BTreeMap<Sequence, Duration>,
}

impl Ages {
    /// Looks at all segments that have a successor, oldest first, at this moment of the wall clock
    /// and of a steady one. Returns the age of each: how long ago its newest record was written.
    pub(crate) fn look(
        &mut self,
        closed: &[Closed],
        retention: &Retention,
        now: Timestamp,
        steady: Duration,
    ) -> Vec<Duration> {
        let longest_step = retention.age.unwrap_or(Duration::MAX).div_up(4);
        let before = self.looked.replace((longest_step, steady));
        let before = before.filter(|(step, _)| *step == longest_step);
        let known = std::mem::take(&mut self.known);
        // What lies between two times, if the clock went back: nothing.
        let between = |from: Timestamp, to: Timestamp| {
            Duration::from_millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
        };
        let mut ages = vec![Duration::ZERO; closed.len()];
        let (mut later, mut since) = (Duration::ZERO, now);
        for (age, segment) in ages.iter_mut().zip(closed).rev() {
            *age = match before {
                Some((_, looked)) => {
                    let passed = steady.saturating_sub(looked);
                    match known.get(&segment.first) {
                        Some(age) => age.saturating_add(passed),
                        // It got its successor since the last look.
                        None => between(segment.until, now).min(passed),
                    }
                }
                None => later.saturating_add(between(segment.until, since).min(longest_step)),
            };
            (later, since) = (*age, segment.until);
        }
        let firsts = closed.iter().map(|segment| segment.first);
        self.known = firsts.zip(ages.iter().copied()).collect();
        ages
    }
}

trait DivideUp {
    /// A part of which so many are at least the whole.
    fn div_up(self, parts: u32) -> Self;
}

impl DivideUp for Duration {
    fn div_up(self, parts: u32) -> Self {
        let part = self / parts;
        if part * parts < self {
            part.saturating_add(Self::from_nanos(1))
        } else {
            part
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const BEGUN: Timestamp = Timestamp(1_700_000_000_000);

    fn kept(age: Duration) -> Retention {
        Retention {
            age: Some(age),
            bytes: None,
        }
    }

    fn at(offset: Duration) -> Timestamp {
        Timestamp(BEGUN.0 + i64::try_from(offset.as_millis()).unwrap())
    }

    /// Segments that ended at these times.
    fn ended(times: &[Timestamp]) -> Vec<Closed> {
        let closed = |(n, until): (usize, &Timestamp)| Closed {
            first: Sequence(10 * n as u64 + 1),
            until: *until,
        };
        times.iter().enumerate().map(closed).collect()
    }

    #[test]
    fn with_a_true_clock_an_age_is_the_time_that_has_passed() {
        let times: Vec<_> = (0..8).map(|n| at(DAY * n)).collect();
        let closed = ended(&times);
        let mut ages = Ages::default();
        let found = ages.look(&closed, &kept(7 * DAY), at(8 * DAY), Duration::ZERO);
        assert_eq!(found[0], 8 * DAY);
        assert_eq!(found[7], DAY);
        // And an hour later, with one more that ended half an hour ago.
        let more = [&times[..], &[at(8 * DAY + HOUR / 2)]].concat();
        let now = at(8 * DAY + HOUR);
        let found = ages.look(&ended(&more), &kept(7 * DAY), now, HOUR);
        assert_eq!(found[7], DAY + HOUR);
        assert_eq!(found[8], HOUR / 2);
    }

    #[test]
    fn within_a_run_no_jump_of_the_clock_makes_anything_older() {
        for jump in [30 * DAY, 3650 * DAY] {
            let mut ages = Ages::default();
            let mut times = vec![at(HOUR), at(2 * HOUR)];
            ages.look(&ended(&times), &kept(7 * DAY), at(3 * HOUR), Duration::ZERO);
            // The clock jumps; one more segment ends by it; a minute has passed.
            times.push(at(jump));
            let minute = Duration::from_secs(60);
            let now = at(jump + 3 * HOUR);
            let found = ages.look(&ended(&times), &kept(7 * DAY), now, minute);
            assert_eq!(found, [2 * HOUR + minute, HOUR + minute, minute]);
            // It is put right again.
            let found = ages.look(&ended(&times), &kept(7 * DAY), at(4 * HOUR), HOUR);
            assert_eq!(found, [3 * HOUR, 2 * HOUR, HOUR]);
        }
    }

    #[test]
    fn across_a_restart_a_step_counts_a_quarter_at_most() {
        for ahead in [2 * DAY, 30 * DAY, 3650 * DAY] {
            // Hours of history, then a start with the clock ahead, in which one segment ends.
            let times = [at(HOUR), at(2 * HOUR), at(ahead), at(ahead + HOUR)];
            for now in [at(ahead + HOUR), at(3 * HOUR), at(2 * ahead)] {
                let found =
                    Ages::default().look(&ended(&times), &kept(7 * DAY), now, Duration::ZERO);
                // The wrong time, and what lies between it and now: two steps.
                let most = 2 * HOUR + 2 * (7 * DAY / 4);
                assert!(found.iter().all(|age| *age <= most), "{found:?}");
            }
        }
    }

    /// However long the steps, what is older by as many as five of them goes.
    #[test]
    fn slow_segments_do_go() {
        let times: Vec<_> = (0..6).map(|n| at(30 * DAY * n)).collect();
        let retention = kept(7 * DAY);
        let now = at(180 * DAY);
        let found = Ages::default().look(&ended(&times), &retention, now, Duration::ZERO);
        assert!(found[2] >= 7 * DAY, "{found:?}");
        assert!(found[3] < 7 * DAY, "{found:?}");
    }
}
