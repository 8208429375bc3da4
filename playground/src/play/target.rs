//! A node or a persister, as somebody at the page sees it: a machine of one service, and what is
//! known of it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::play::looks::{NodeLook, PersisterLook};
use crate::told::feed::Kind;
use crate::told::state::Commands;
use crate::world::decide::{Command, Condition, decide};
use crate::world::machine::{About, Machine};
use crate::world::ports::Port;

/// What the page can do to one node or persister.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verb {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
    /// Start it.
    Start,
    /// SIGKILL, and delete its disk.
    Wipe,
}

impl Verb {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Kill,
        Self::Pause,
        Self::Resume,
        Self::Start,
        Self::Wipe,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Start => "start",
            Self::Wipe => "wipe",
        }
    }

    pub(super) fn command(self) -> Command {
        match self {
            Self::Kill => Command::Kill,
            Self::Pause => Command::Halt,
            Self::Resume => Command::Resume,
            Self::Start => Command::Start,
            Self::Wipe => Command::Wipe,
        }
    }
}

/// A node or a persister.
#[derive(Debug)]
pub(crate) struct Target {
    /// `n1`, `p2`.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) machine: Arc<Machine>,
    /// Where it serves: a node its clients, a persister its health.
    pub(crate) address: Port,
    noted: Mutex<Noted>,
}

/// What is known of it besides what the kernel says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    /// The command that started it last.
    pub(crate) started: Option<String>,
    /// Its disk was deleted, and nothing has run since.
    pub(crate) wiped: bool,
    /// The last look, if it is a node.
    pub(crate) node: NodeLook,
    /// The last look, if it is a persister.
    pub(crate) persister: PersisterLook,
}

impl Target {
    pub(super) fn new(id: String, kind: Kind, machine: Arc<Machine>, address: Port) -> Self {
        Self {
            id,
            kind,
            machine,
            address,
            noted: Mutex::default(),
        }
    }

    pub(crate) fn noted(&self) -> Noted {
        self.note(|noted| noted.clone())
    }

    pub(crate) fn note<T>(&self, note: impl FnOnce(&mut Noted) -> T) -> T {
        note(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the kernel says of its process.
    pub(crate) fn about(&self) -> Option<About> {
        self.machine.about().into_iter().next()
    }

    pub(crate) fn condition(&self) -> Condition {
        self.about()
            .map_or(Condition::Down, |about| about.condition)
    }

    /// Where its data are.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        let about = self.about()?;
        Some(self.machine.directory_of(&about.name)?.to_owned())
    }

    /// Its journal, if it is a persister that has one.
    pub(crate) fn journal(&self) -> Option<PathBuf> {
        let journal = self.directory()?.join("journal");
        journal.is_dir().then_some(journal)
    }

    /// Why this cannot be done now, as far as it alone is concerned.
    pub(super) fn refuses(&self, verb: Verb) -> Option<String> {
        refuses(verb, self.condition())
    }

    /// What a person would type.
    pub(super) fn commands(&self) -> Commands {
        let pid = self.about().and_then(|about| about.pid);
        let mut commands = Commands::new();
        if let Some(pid) = pid {
            commands.insert("kill", format!("kill -9 {pid}"));
            commands.insert("pause", format!("kill -STOP {pid}"));
            commands.insert("resume", format!("kill -CONT {pid}"));
        }
        if let Some(directory) = self.directory() {
            let kill = pid
                .map(|pid| format!("kill -9 {pid}; "))
                .unwrap_or_default();
            let delete = format!("{kill}rm -r {}", directory.display());
            commands.insert("wipe", delete);
        }
        if let Some(started) = self.noted().started {
            commands.insert("start", started);
        }
        commands
    }
}

fn refuses(verb: Verb, condition: Condition) -> Option<String> {
    if verb == Verb::Start && condition == Condition::Halted {
        return Some("it is paused: resume it".to_owned());
    }
    let why = decide(verb.command(), &[condition]).err()?;
    Some(why.replace("halted", "paused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_says_why_in_the_words_of_the_page() {
        use Condition::{Down, Halted, Up};
        for (verb, condition, why) in [
            (Verb::Kill, Up, None),
            (Verb::Kill, Down, Some("it is down already")),
            (Verb::Pause, Halted, Some("nothing of it runs")),
            (Verb::Resume, Up, Some("it is not paused")),
            (Verb::Start, Up, Some("it runs already")),
            (Verb::Start, Halted, Some("it is paused: resume it")),
            (Verb::Start, Down, None),
            (Verb::Wipe, Down, None),
        ] {
            assert_eq!(
                refuses(verb, condition).as_deref(),
                why,
                "{verb:?} {condition:?}"
            );
        }
    }
}
