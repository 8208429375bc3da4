//! What the page can ask for, one command per target at a time.
//!
//! A command on everything excludes all others; one on a target excludes those on this target and
//! on everything. What is refused is refused at once, with a sentence; nothing is queued: what it
//! would do may make no sense by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::play::target::Verb;
use crate::told::refusal::Refusal;

/// `POST do`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// SIGKILL to a node or persister.
    Kill {
        /// Which.
        id: String,
    },
    /// SIGSTOP.
    Pause {
        /// To which.
        id: String,
    },
    /// SIGCONT.
    Resume {
        /// To which.
        id: String,
    },
    /// Start one that is down.
    Start {
        /// Which.
        id: String,
    },
    /// SIGKILL, and its disk is deleted.
    Wipe {
        /// Whose.
        id: String,
    },
    /// SIGKILL to all. Disks stay.
    PowerCut,
    /// SIGKILL to all, and the nodes' disks are deleted. Journals stay.
    Lose,
    /// Start everything, bring the keys back, compare.
    Restore,
    /// So many writes a second.
    Load {
        /// How many.
        rate: u32,
    },
}

/// What can be done to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whole {
    /// The beginning.
    Start,
    /// All processes are killed.
    PowerCut,
    /// The nodes' disks are deleted, too.
    Lose,
    /// Everything comes back.
    Restore,
    /// A part of the past is written into the cluster.
    Merge,
    /// An older state becomes the newest.
    GiveBack,
    /// A restore is tried in another cluster.
    Rehearse,
}

impl Whole {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::PowerCut => "power-cut",
            Self::Lose => "lose",
            Self::Restore => "restore",
            Self::Merge => "merge",
            Self::GiveBack => "give back",
            Self::Rehearse => "rehearse",
        }
    }
}

/// What is being done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<Mutex<Doing>>);

#[derive(Debug, Default)]
struct Doing {
    whole: Option<Whole>,
    targets: BTreeMap<String, Verb>,
}

/// A command's turn. It ends when this is dropped, with the command's task however that ends.
#[derive(Debug)]
pub(crate) struct Turn {
    busy: Busy,
    target: Option<String>,
}

impl Busy {
    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn whole(&self) -> Option<Whole> {
        self.doing().whole
    }

    pub(super) fn target(&self, id: &str) -> Option<Verb> {
        self.doing().targets.get(id).copied()
    }

    pub(super) fn is_idle(&self) -> bool {
        let doing = self.doing();
        doing.whole.is_none() && doing.targets.is_empty()
    }

    /// Begins a command on everything.
    pub(crate) fn begin(&self, whole: Whole) -> Result<Turn, Refusal> {
        let mut doing = self.doing();
        doing.refuses_all()?;
        if let Some((id, verb)) = doing.targets.first_key_value() {
            let says = format!("{id} is busy ({}); try again in a moment", verb.name());
            return Err(Refusal::NotNow(says));
        }
        doing.whole = Some(whole);
        Ok(Turn {
            busy: self.clone(),
            target: None,
        })
    }

    /// Begins a command on a target.
    pub(super) fn begin_on(&self, id: &str, verb: Verb) -> Result<Turn, Refusal> {
        let mut doing = self.doing();
        doing.refuses_all()?;
        if let Some(other) = doing.targets.get(id) {
            let says = format!("{id} is busy ({}); try again in a moment", other.name());
            return Err(Refusal::NotNow(says));
        }
        doing.targets.insert(id.to_owned(), verb);
        Ok(Turn {
            busy: self.clone(),
            target: Some(id.to_owned()),
        })
    }
}

impl Doing {
    fn refuses_all(&self) -> Result<(), Refusal> {
        let Some(whole) = self.whole else {
            return Ok(());
        };
        let says = format!(
            "everything is busy ({}); try again in a moment",
            whole.name()
        );
        Err(Refusal::NotNow(says))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut doing = self.busy.doing();
        match &self.target {
            Some(id) => drop(doing.targets.remove(id)),
            None => doing.whole = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_per_target_and_everything_excludes_all() -> Result<(), Refusal> {
        let busy = Busy::default();
        let first = busy.begin_on("n1", Verb::Kill)?;
        assert!(busy.begin_on("n1", Verb::Pause).is_err());
        assert!(busy.begin(Whole::Lose).is_err());
        let other = busy.begin_on("p1", Verb::Kill)?;
        drop(first);
        assert!(busy.begin(Whole::Lose).is_err(), "p1 is still busy");
        drop(other);
        assert!(busy.is_idle());
        let whole = busy.begin(Whole::Lose)?;
        let refused = busy.begin_on("n1", Verb::Kill).err();
        assert_eq!(
            refused.map(|why| why.to_string()).as_deref(),
            Some("everything is busy (lose); try again in a moment")
        );
        drop(whole);
        assert!(busy.begin_on("n1", Verb::Kill).is_ok());
        Ok(())
    }

    #[test]
    fn a_command_is_one_of_a_fixed_set() {
        let read = |text: &str| serde_json::from_str::<Action>(text);
        let kill = read(r#"{"do":"kill","id":"n1"}"#).ok();
        assert_eq!(kill, Some(Action::Kill { id: "n1".into() }));
        assert_eq!(read(r#"{"do":"power-cut"}"#).ok(), Some(Action::PowerCut));
        for wrong in [
            r#"{"do":"exec","id":"n1"}"#,
            r#"{"do":"kill"}"#,
            r#"{"do":"kill","id":"n1","signal":9}"#,
            r#"{"do":"load","rate":-1}"#,
            r#"{}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
