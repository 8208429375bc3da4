//! What may be removed: a pure function of what there is, what is to be kept, and the time.
//!
//! Guarantee: whatever the arguments, what stays begins with a checkpoint from which every record
//! of the window can be reached, or is everything. That checkpoint and the newest always stay; of
//! those in between so many that a state is told without reading much, and no more: each is a whole
//! state on disk.

use std::time::Duration;

use crate::model::ids::{Revision, Sequence};

/// So many checkpoints stay: to tell the state at any revision, about an eighth of history has to
/// be read.
const MOST_CHECKPOINTS: usize = 9;

/// What is to be kept: history inside the window is never removed, so that every revision in it can
/// be reconstructed. A segment is outside only if it is outside by both measures; with neither, all
/// history is kept, which is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// A segment whose newest record is younger than this is inside. How old it is, no single
    /// reading of a clock decides. `None`, or zero: age keeps nothing.
    pub age: Option<Duration>,
    /// The newest segments that make up so many bytes are inside. `None`: size keeps nothing.
    pub bytes: Option<u64>,
}

/// A segment, as far as retention is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSpan {
    /// Its first sequence.
    pub first: Sequence,
    /// Its length on disk, in bytes.
    pub bytes: u64,
    /// How long ago its newest record was written; `None`: it has no successor, and is being
    /// written.
    pub age: Option<Duration>,
}

/// A checkpoint, as far as retention is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointSpan {
    /// Its revision: its name.
    pub revision: Revision,
    /// The last sequence that it covers.
    pub sequence: Sequence,
}

/// What may be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retired {
    /// The checkpoint that history begins with then. `None`: nothing may be removed.
    pub base: Option<Revision>,
    /// Segments, by first sequence, oldest first: the order in which they have to go.
    pub segments: Vec<Sequence>,
    /// Checkpoints, oldest first: to be removed after the segments.
    pub checkpoints: Vec<Revision>,
    /// Checkpoints that the older ones which stay make superfluous, oldest first: to be removed
    /// last. They are at the cost of time only, as long as the oldest one that stays is sound.
    pub thinned: Vec<Revision>,
}

impl Retired {
    /// Whether nothing may be removed.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.checkpoints.is_empty() && self.thinned.is_empty()
    }
}

/// Decides what may be removed. `segments`: all of them, oldest first, without holes;
/// `checkpoints`: those that are usable, in any order.
#[must_use]
pub(crate) fn decide(
    segments: &[SegmentSpan],
    checkpoints: &[CheckpointSpan],
    retention: &Retention,
) -> Retired {
    let mut sorted = checkpoints.to_vec();
    sorted.sort_by_key(|c| c.sequence);
    // The state before the window's first record must be there: every revision in it is that state
    // and what follows.
    let window = window_begin(segments, retention);
    let before = |c: &&CheckpointSpan| window.is_some_and(|window| c.sequence < window);
    let Some(base) = sorted.iter().rfind(before) else {
        return Retired {
            thinned: thin(&sorted),
            ..Retired::default()
        };
    };
    // A segment's last sequence is the one before its successor's first.
    let covered = segments.windows(2).filter(|pair| {
        let last = pair[1].first.previous();
        last <= base.sequence
    });
    let older = sorted.partition_point(|c| c.sequence < base.sequence);
    let (older, kept) = sorted.split_at(older);
    Retired {
        base: Some(base.revision),
        segments: covered.map(|pair| pair[0].first).collect(),
        checkpoints: older.iter().map(|c| c.revision).collect(),
        thinned: thin(kept),
    }
}

/// Of these, sorted, the ones that are too many: each time the one that leaves the smallest hole,
/// so that what stays lies about evenly. Never the oldest or the newest.
fn thin(checkpoints: &[CheckpointSpan]) -> Vec<Revision> {
    let mut kept = checkpoints.to_vec();
    let mut thinned = Vec::new();
    while kept.len() > MOST_CHECKPOINTS {
        let hole = |i: &usize| kept[i + 1].sequence.0 - kept[i - 1].sequence.0;
        let least = (1..kept.len() - 1).min_by_key(hole);
        thinned.push(kept.remove(least.expect("there are more than two")));
    }
    thinned.sort_by_key(|c| c.sequence);
    thinned.into_iter().map(|c| c.revision).collect()
}

/// The first sequence of the window; `None`: it holds everything.
fn window_begin(segments: &[SegmentSpan], retention: &Retention) -> Option<Sequence> {
    if retention.age.is_none() && retention.bytes.is_none() {
        return None;
    }
    let mut newer_bytes = 0_u64;
    let mut begin = None;
    for segment in segments.iter().rev() {
        let Some(age) = segment.age else {
            newer_bytes += segment.bytes;
            begin = Some(segment.first);
            continue;
        };
        let is_young = retention
            .age
            .is_some_and(|kept| !kept.is_zero() && age <= kept);
        let is_among_newest = retention.bytes.is_some_and(|bytes| newer_bytes < bytes);
        if !is_young && !is_among_newest {
            break;
        }
        newer_bytes = newer_bytes.saturating_add(segment.bytes);
        begin = Some(segment.first);
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 10 sequences and 100 bytes each, ended at 1000, 2000, ... of 10,000
    /// milliseconds; the last one is open.
    fn segments(n: u64) -> Vec<SegmentSpan> {
        (0..n)
            .map(|i| SegmentSpan {
                first: Sequence(1 + 10 * i),
                bytes: 100,
                age: (i + 1 < n)
                    .then(|| Duration::from_millis(10_000_u64.saturating_sub(1000 * (i + 1)))),
            })
            .collect()
    }

    fn checkpoint(sequence: u64) -> CheckpointSpan {
        CheckpointSpan {
            revision: Revision(i64::try_from(sequence).unwrap()),
            sequence: Sequence(sequence),
        }
    }

    fn firsts(n: u64) -> Vec<Sequence> {
        segments(n + 1)[..usize::try_from(n).unwrap()]
            .iter()
            .map(|s| s.first)
            .collect()
    }

    #[test]
    fn everything_is_kept_unless_something_else_is_said() {
        let all = decide(&segments(10), &[checkpoint(95)], &Retention::default());
        assert_eq!(all, Retired::default());
    }

    #[test]
    fn without_a_checkpoint_before_the_window_nothing_goes() {
        let retention = Retention {
            age: Some(Duration::from_secs(3)),
            bytes: None,
        };
        // The window begins with the segment that ended at 7000: sequence 61.
        assert!(decide(&segments(10), &[], &retention).is_empty());
        assert!(decide(&segments(10), &[checkpoint(61)], &retention).is_empty());
        let d = decide(&segments(10), &[checkpoint(60)], &retention);
        assert_eq!(d.segments, firsts(6));
        assert_eq!(d.base, Some(Revision(60)));
    }

    #[test]
    fn a_segment_that_the_checkpoint_covers_in_part_stays() {
        let retention = Retention {
            age: Some(Duration::ZERO),
            bytes: None,
        };
        let d = decide(&segments(10), &[checkpoint(59), checkpoint(12)], &retention);
        assert_eq!(d.segments, firsts(5));
        assert_eq!(d.checkpoints, [Revision(12)]);
    }

    /// For as long as the window is the same, one goes for each that comes; what stays lies evenly,
    /// the oldest and the newest among it.
    #[test]
    fn checkpoints_within_the_window_are_thinned() {
        for keep_all in [true, false] {
            let retention = Retention {
                age: (!keep_all).then_some(Duration::from_secs(3600)),
                bytes: None,
            };
            let mut kept: Vec<CheckpointSpan> = Vec::new();
            for n in 1..=1_000 {
                kept.push(checkpoint(10 * n));
                let d = decide(&segments(1_001), &kept, &retention);
                assert_eq!((d.base, d.segments.len()), (None, 0));
                kept.retain(|c| !d.thinned.contains(&c.revision));
                assert_eq!(
                    kept.len(),
                    usize::try_from(n).unwrap().min(MOST_CHECKPOINTS)
                );
                assert_eq!(
                    (kept[0], kept[kept.len() - 1]),
                    (checkpoint(10), checkpoint(10 * n))
                );
                let holes = kept.windows(2).map(|c| c[1].sequence.0 - c[0].sequence.0);
                let widest = holes.max().unwrap_or(0);
                assert!(n < 30 || widest <= 10 * n / 3, "{widest} of {}", 10 * n);
            }
        }
        // The base is the oldest that stays.
        let retention = Retention {
            age: None,
            bytes: Some(5_000),
        };
        let all: Vec<_> = (1..=100).map(|n| checkpoint(10 * n)).collect();
        let d = decide(&segments(101), &all, &retention);
        assert_eq!(d.base, Some(Revision(510)));
        assert_eq!(d.checkpoints.len(), 50);
        assert_eq!(d.thinned.len(), 50 - MOST_CHECKPOINTS);
        assert!(!d.thinned.contains(&Revision(510)) && !d.thinned.contains(&Revision(1_000)));
    }

    #[test]
    fn a_segment_is_outside_only_by_both_measures() {
        let by = |age: u64, bytes: u64| {
            let retention = Retention {
                age: Some(Duration::from_secs(age)),
                bytes: Some(bytes),
            };
            let checkpoints: Vec<_> = (1..10).map(|i| checkpoint(i * 10)).collect();
            decide(&segments(10), &checkpoints, &retention)
                .segments
                .len()
        };
        assert_eq!(by(0, 0), 9);
        assert_eq!(by(0, 300), 7);
        assert_eq!(by(5, 300), 4);
        assert_eq!(by(5, 800), 2);
        assert_eq!(by(3600, 0), 0);
    }
}
