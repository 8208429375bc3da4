//! The machine against a model that interprets each record by itself, without steps.
//!
//! The model keeps what each of the former interpreters kept: the state with its held-back diff,
//! the mirror's flag, and the revisions that a state can be told at.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    model::{
        entry::{Change, Entry, Gap, GapPhase, GapReason, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    replay::{
        machine::{Effect, Replay, Unseen},
        tracker::Tracker,
    },
};

type Files = BTreeMap<bytes::Bytes, Revision>;
type Said = (Revision, Entry);

/// A lease counts as a path of its own, with the time to live in place of a revision.
fn apply(files: &mut Files, (revision, entry): &Said) {
    if let Entry::Lease {
        id, granted_ttl, ..
    } = entry
    {
        let path = format!("lease {id}").into();
        match granted_ttl {
            Some(ttl) => files.insert(path, Revision(*ttl)),
            None => files.remove(&path),
        };
    }
    for change in entry.changes() {
        files.insert(change.path.clone(), change.revision.unwrap_or(*revision));
    }
}

#[derive(Default)]
struct Model {
    tracker: Tracker,
    before: Tracker,
    files: Files,
    difference: Vec<Said>,
    /// The mirror's: whether it holds back, and how often it was to read the state as a whole.
    mirror_holds: bool,
    resyncs: usize,
    from: Sequence,
    oldest: Revision,
    unknown: Vec<Gap>,
}

impl Model {
    fn take(&mut self, sequence: Sequence, revision: Revision, entry: &Entry) {
        self.know(sequence, revision, entry);
        self.mirror(entry);
        if matches!(entry, Entry::Gap { .. }) && !self.tracker.in_snapshot_diff() {
            self.before = self.tracker.clone();
        }
        self.tracker.apply(revision, entry);
        let in_snapshot_diff = self.tracker.in_snapshot_diff();
        let own = (revision, entry.clone());
        match entry {
            Entry::Lost { .. } if in_snapshot_diff => {}
            Entry::Lost { .. }
            | Entry::Gap {
                phase: GapPhase::Closed,
                ..
            } => {
                apply(&mut self.files, &own);
                for part in std::mem::take(&mut self.difference) {
                    apply(&mut self.files, &part);
                }
            }
            Entry::Gap { .. } => self.difference.clear(),
            Entry::Changes { .. } | Entry::Lease { .. } if in_snapshot_diff => {
                self.difference.push(own);
            }
            _ => apply(&mut self.files, &own),
        }
    }

    fn mirror(&mut self, entry: &Entry) {
        match entry {
            Entry::Gap {
                phase: GapPhase::Opened,
                reason,
                ..
            } => self.mirror_holds = *reason != GapReason::Damage,
            Entry::Lost { first, last, .. } if first > last => {}
            Entry::Gap { .. } | Entry::Lost { .. } if self.mirror_holds => {
                self.mirror_holds = false;
                self.resyncs += 1;
            }
            _ => {}
        }
    }

    fn know(&mut self, sequence: Sequence, revision: Revision, entry: &Entry) {
        let falls = revision < self.tracker.covered;
        let (turn, oldest) = match entry {
            Entry::Timeline(timeline) => {
                let oldest = if falls { revision.next() } else { revision };
                (falls || !timeline.kept, oldest)
            }
            Entry::Lost { .. } => (falls, revision.next()),
            _ => (false, revision),
        };
        if turn {
            self.from = sequence;
            self.oldest = oldest;
            self.unknown.clear();
        }
        match entry {
            Entry::Gap {
                first,
                last,
                reason,
                phase: GapPhase::Closed,
                ..
            } => self.unknown.push(Gap {
                first: *first,
                last: last.previous(),
                reason: *reason,
            }),
            Entry::Lost { first, last, .. } => self.unknown.push(Gap {
                first: *first,
                last: *last,
                reason: GapReason::Damage,
            }),
            _ => {}
        }
    }

    fn settled(&self) -> &Tracker {
        if self.tracker.in_snapshot_diff() {
            &self.before
        } else {
            &self.tracker
        }
    }
}

/// What somebody holds who does what the steps say.
#[derive(Default)]
struct Follower {
    replay: Replay,
    files: Files,
    held: Vec<Said>,
    resyncs: usize,
    unknown: Vec<Gap>,
}

impl Follower {
    fn take(&mut self, sequence: Sequence, revision: Revision, entry: &Entry) {
        let covered = self.replay.covered();
        let consistent = !self.replay.in_snapshot_diff();
        let files = self.files.clone();
        let step = self.replay.take(sequence, revision, entry.marker());
        let own = (revision, entry.clone());
        match step.effect {
            Effect::Apply => apply(&mut self.files, &own),
            Effect::Hold => self.held.push(own),
            Effect::Discard => self.held.clear(),
            Effect::Resync => {
                self.resyncs += 1;
                apply(&mut self.files, &own);
                for part in std::mem::take(&mut self.held) {
                    apply(&mut self.files, &part);
                }
            }
        }
        if step.switch.is_some() {
            self.unknown.clear();
        }
        match step.unseen {
            Some(Unseen::Bridged(gap)) => self.unknown.push(Gap {
                last: gap.last.previous(),
                ..gap
            }),
            Some(Unseen::Lost(gap)) => self.unknown.push(gap),
            Some(Unseen::Opened(_)) | None => {}
        }
        // The invariants of the machine.
        let falls = self.replay.covered() < covered;
        assert!(!falls || step.switch.is_some(), "covered fell");
        let is_over = step.effect == Effect::Resync;
        assert!(
            consistent || is_over || self.files == files,
            "a diff leaked"
        );
        assert!(
            self.replay.in_snapshot_diff() || self.held.is_empty(),
            "changes are held back without a diff"
        );
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let at = Timestamp(0);
    let change = (0..4_u8, prop::option::of(0..9_i64)).prop_map(|(path, revision)| {
        let change = Change::set(vec![path], "x");
        match revision {
            Some(revision) => change.at(Revision(revision)),
            None => change,
        }
    });
    let changes = prop::collection::vec(change, 0..3);
    let range = || (0..9_i64, 0..9_i64);
    let reason = prop::sample::select(vec![
        GapReason::HistoryDiscarded,
        GapReason::Baseline,
        GapReason::Damage,
    ]);
    let phase = prop::sample::select(vec![GapPhase::Opened, GapPhase::Closed]);
    prop_oneof![
        4 => changes.clone().prop_map(move |changes| Entry::Changes { changes, observed_at: at }),
        3 => (range(), phase, reason).prop_map(move |((first, last), phase, reason)| Entry::Gap {
            first: Revision(first),
            last: Revision(last),
            phase,
            reason,
            observed_at: at,
        }),
        1 => any::<bool>().prop_map(move |kept| Entry::Timeline(Timeline {
            id: "t".to_owned(),
            parent: None,
            at: Revision(0),
            kept,
            observed_at: at,
        })),
        1 => Just(Entry::Watermark { observed_at: at, closed: false }),
        1 => (0..3_i64, prop::option::of(1..9_i64)).prop_map(move |(id, granted_ttl)| {
            Entry::Lease { id, granted_ttl, observed_at: at }
        }),
        2 => range().prop_map(move |(first, last)| Entry::Lost {
            first: Revision(first),
            last: Revision(last),
            observed_at: at,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn who_does_what_the_steps_say_holds_what_the_model_holds(
        records in prop::collection::vec((0..9_i64, entry()), 0..24),
    ) {
        let (mut model, mut follower) = (Model::default(), Follower::default());
        for (n, (revision, entry)) in records.iter().enumerate() {
            let sequence = Sequence(n as u64 + 1);
            model.take(sequence, Revision(*revision), entry);
            follower.take(sequence, Revision(*revision), entry);
            let replay = &follower.replay;
            prop_assert_eq!(&model.files, &follower.files);
            prop_assert_eq!(model.resyncs, follower.resyncs);
            prop_assert_eq!(model.mirror_holds, replay.in_snapshot_diff());
            prop_assert_eq!(&model.unknown, &follower.unknown);
            prop_assert_eq!(model.from, replay.counted_from());
            prop_assert_eq!(model.oldest, replay.first_told());
            prop_assert_eq!(model.tracker.covered, replay.covered());
            prop_assert_eq!(model.tracker.open_gap, replay.open_gap());
            prop_assert_eq!(model.settled(), replay.consistent());
        }
    }
}
