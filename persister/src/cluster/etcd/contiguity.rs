//! Every revision of etcd has an event in a watch of everything, so that the next one is provable.
//!
//! Promise: what is passed on is one revision after the other, whole. A jump is lost history, not
//! something to step over: several versions of etcd lose events in silence. A revision that comes
//! again is left out if it is the same as before, and is an error if it is not. Pure.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cairn_etcd::wire::{Event, KeyValue};
use cairn_journal::Revision;

/// How many revisions are remembered, to be compared with what comes again.
const REMEMBERED: usize = 4096;

/// Why a revision cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The revisions from `due` to before `got` were not told.
    Jump { due: Revision, got: Revision },
    /// A revision was told again, and with another content than before, or so late that it cannot
    /// be compared.
    Again(Revision),
    /// An event without a key.
    Nonsense,
}

/// Judges the events of one watch.
#[derive(Debug)]
pub(super) struct Contiguity {
    due: Revision,
    /// Digests of the newest revisions that were passed on.
    told: VecDeque<u64>,
}

impl Contiguity {
    /// `due` comes first.
    pub(super) fn from(due: Revision) -> Self {
        Self {
            due,
            told: VecDeque::new(),
        }
    }

    /// The revision that comes next.
    pub(super) fn due(&self) -> Revision {
        self.due
    }

    /// The revision to ask from: the newest that was passed on, where there is one.
    pub(super) fn repeatable(&self) -> Revision {
        match self.told.is_empty() {
            true => self.due,
            false => self.due.previous(),
        }
    }

    /// Passes on whole revisions, in order, each once.
    pub(super) fn pass(
        &mut self,
        events: Vec<Event>,
        mut to: impl FnMut(Revision, Vec<Event>),
    ) -> Result<(), Broken> {
        let mut events = events.into_iter().peekable();
        while let Some(first) = events.next() {
            let revision = revision_of(&first).ok_or(Broken::Nonsense)?;
            let mut whole = vec![first];
            while let Some(next) = events.next_if(|next| revision_of(next) == Some(revision)) {
                whole.push(next);
            }
            let digest = digest(&whole);
            if revision == self.due {
                self.told.push_back(digest);
                if self.told.len() > REMEMBERED {
                    self.told.pop_front();
                }
                self.due = revision.next();
                to(revision, whole);
            } else if revision > self.due {
                let (due, got) = (self.due, revision);
                return Err(Broken::Jump { due, got });
            } else if self.digest_of(revision) != Some(digest) {
                return Err(Broken::Again(revision));
            }
        }
        Ok(())
    }

    fn digest_of(&self, revision: Revision) -> Option<u64> {
        let back = usize::try_from(self.due.0 - revision.0).ok()?;
        self.told.get(self.told.len().checked_sub(back)?).copied()
    }
}

/// The revision that an event tells of.
pub(super) fn revision_of(event: &Event) -> Option<Revision> {
    let key = event.kv.as_ref()?;
    (key.mod_revision > 0).then_some(Revision(key.mod_revision))
}

fn digest(events: &[Event]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for event in events {
        let KeyValue {
            key,
            create_revision,
            mod_revision,
            version,
            value,
            lease,
        } = event.kv.clone().unwrap_or_default();
        (event.r#type, key, value).hash(&mut hasher);
        (create_revision, mod_revision, version, lease).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: i64, key: &'static str, value: &'static str) -> Event {
        Event {
            kv: Some(KeyValue {
                key: key.into(),
                value: value.into(),
                mod_revision: revision,
                ..KeyValue::default()
            }),
            ..Event::default()
        }
    }

    /// What is passed on of several answers, and how it ends.
    fn passed(first: i64, answers: &[&[Event]]) -> (Vec<(i64, usize)>, Result<(), Broken>) {
        let mut contiguity = Contiguity::from(Revision(first));
        let mut all = Vec::new();
        let mut passed = Ok(());
        for answer in answers {
            passed = passed.and_then(|()| {
                contiguity.pass(answer.to_vec(), |revision, events| {
                    all.push((revision.0, events.len()));
                })
            });
        }
        (all, passed)
    }

    #[test]
    fn revisions_come_whole_and_in_order() {
        let (all, end) = passed(
            5,
            &[
                &[event(5, "a", "1"), event(5, "b", "1"), event(6, "a", "2")],
                &[],
                &[event(7, "a", "3")],
            ],
        );
        assert_eq!((all, end), (vec![(5, 2), (6, 1), (7, 1)], Ok(())));
    }

    /// Four faults of etcd look like this: #17529, #18089, #19179, and a member that went back.
    #[test]
    fn a_jump_is_lost_history() {
        let jump = |due, got| Broken::Jump {
            due: Revision(due),
            got: Revision(got),
        };
        let (all, end) = passed(5, &[&[event(5, "a", "1"), event(7, "a", "2")]]);
        assert_eq!((all, end), (vec![(5, 1)], Err(jump(6, 7))));
        // The delete at the compacted revision is missing at the very beginning.
        let (all, end) = passed(5, &[&[event(6, "a", "1")]]);
        assert_eq!((all, end), (vec![], Err(jump(5, 6))));
    }

    /// Two faults look like this: duplicates (#15274), and a member that replays older revisions to
    /// a living watch after it got a snapshot (#15271).
    #[test]
    fn what_comes_again_must_be_what_came_before() {
        let same = [event(5, "a", "1"), event(6, "b", "2")];
        let (all, end) = passed(5, &[&same, &same, &[event(7, "a", "3")]]);
        assert_eq!((all, end), (vec![(5, 1), (6, 1), (7, 1)], Ok(())));
        for other in [
            event(5, "a", "2"),
            event(6, "b", "1"),
            event(4, "a", "1"), // of before this watch: nothing to compare it with
        ] {
            let again = Broken::Again(revision_of(&other).expect("it has one"));
            let (_, end) = passed(5, &[&same, &[other]]);
            assert_eq!(end, Err(again));
        }
    }

    #[test]
    fn so_much_is_remembered_and_no_more() {
        let mut contiguity = Contiguity::from(Revision(2));
        let last = 2 + i64::try_from(REMEMBERED).expect("it is small");
        for revision in 2..=last {
            let told = contiguity.pass(vec![event(revision, "a", "x")], |_, _| {});
            assert_eq!(told, Ok(()));
        }
        assert_eq!(contiguity.told.len(), REMEMBERED);
        let again = |contiguity: &mut Contiguity, at| {
            contiguity.pass(vec![event(at, "a", "x")], |_, _| panic!("told again"))
        };
        assert_eq!(again(&mut contiguity, 3), Ok(()));
        assert_eq!(again(&mut contiguity, last), Ok(()));
        assert_eq!(again(&mut contiguity, 2), Err(Broken::Again(Revision(2))));
        assert_eq!(contiguity.due(), Revision(last + 1));
    }

    #[test]
    fn an_event_without_a_key_is_nonsense() {
        let (all, end) = passed(5, &[&[Event::default()]]);
        assert_eq!((all, end), (vec![], Err(Broken::Nonsense)));
    }
}
