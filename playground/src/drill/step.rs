//! A step of a drill, as a person writes it: `kill 1 of persisters`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::world::decide::Command;

/// The most writes that a step may wait for.
const MOST_WRITES: usize = 1_000_000;

/// The longest time that a step may let pass.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A step of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Step {
    /// Something is done to machines, to all of them in the same moment.
    Do(Command, Which),
    /// Each of these is killed; in every second round it is halted.
    Fail(Which),
    /// So many more writes are acknowledged.
    Write(usize),
    /// So many more writes end, and none that began meanwhile is acknowledged.
    Unconfirmed(usize),
    /// Time passes: a random one from a range.
    Wait(RangeInclusive<Duration>),
    /// These have ended with the exit status 0.
    Left(Which),
    /// These are cut off: they reach nobody, and nobody reaches them.
    Cut(Which),
    /// These reach others again.
    Heal(Which),
    /// The warden watches these, and replaces those that fail.
    Guard(Which),
    /// It watches nothing any more.
    Unguard,
    /// The warden has replaced everything that steps took from it.
    Recovered,
    /// A client begins to watch everything.
    Listen,
    /// It has seen everything.
    Heard,
    /// Since the last such step no write has failed, but those of clients of a node that was lost.
    Steady,
    /// All members of etcd that run have the same hash at the newest revision. Without clients:
    /// keys and values are those of before, if no client has run since.
    Agree,
    /// Of etcd: what can be read is read, and is as clients were told.
    Read,
    /// A lost cluster of etcd is made anew from one journal; with `seamless`, of which nothing was
    /// written after the journal's end.
    Restore {
        /// Whether clients may go on as if nothing had happened.
        seamless: bool,
    },
    /// Everything that the cluster holds is compared with what clients were told.
    Audit,
}

/// Some machines of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Only so many of them, at random.
    pub some: Option<usize>,
    /// Out of which.
    pub group: Group,
}

/// Machines that are named together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// Nodes, persisters and clients.
    All,
    /// Nodes and persisters.
    Servers,
    /// What holds the cluster, if no persister does.
    Nodes,
    /// The member of etcd that leads when it is asked.
    Leader,
    /// The other members.
    Followers,
    /// What stands before the members of etcd.
    Proxies,
    /// Persisters, with or without a cluster inside.
    Persisters,
    /// Clients.
    Clients,
    /// The machine of this name.
    Machine(String),
}

/// What is wrong with the text of a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{step}\" is no step: {why}")]
pub struct StepError {
    step: String,
    why: String,
}

impl TryFrom<String> for Step {
    type Error = StepError;

    fn try_from(text: String) -> Result<Self, StepError> {
        text.parse()
    }
}

impl Step {
    /// The machines that it names, if any.
    pub(crate) fn which(&self) -> Option<&Which> {
        match self {
            Self::Do(_, which) | Self::Left(which) | Self::Guard(which) => Some(which),
            Self::Cut(which) | Self::Heal(which) | Self::Fail(which) => Some(which),
            _ => None,
        }
    }
}

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        parse(&words).map_err(|why| StepError {
            step: text.to_owned(),
            why,
        })
    }
}

fn parse(words: &[&str]) -> Result<Step, String> {
    match words {
        ["audit"] => Ok(Step::Audit),
        ["guard", which @ ..] => Ok(Step::Guard(self::which(which)?)),
        ["unguard"] => Ok(Step::Unguard),
        ["recovered"] => Ok(Step::Recovered),
        ["listen"] => Ok(Step::Listen),
        ["heard"] => Ok(Step::Heard),
        ["steady"] => Ok(Step::Steady),
        ["agree"] => Ok(Step::Agree),
        ["read"] => Ok(Step::Read),
        ["cut", which @ ..] => Ok(Step::Cut(self::which(which)?)),
        ["heal", which @ ..] => Ok(Step::Heal(self::which(which)?)),
        ["restore"] => Ok(Step::Restore { seamless: false }),
        ["restore", "seamless"] => Ok(Step::Restore { seamless: true }),
        ["write", count] => Ok(Step::Write(number(count, MOST_WRITES)?)),
        ["unconfirmed", count] => Ok(Step::Unconfirmed(number(count, MOST_WRITES)?)),
        ["wait", time] => Ok(Step::Wait(times(time)?)),
        ["fail", which @ ..] => Ok(Step::Fail(self::which(which)?)),
        ["left", which @ ..] => Ok(Step::Left(self::which(which)?)),
        [verb, which @ ..] => {
            let mut commands = Command::ALL.into_iter();
            let command = commands.find(|command| command.to_string() == *verb);
            Ok(Step::Do(
                command.ok_or_else(unknown_verb)?,
                self::which(which)?,
            ))
        }
        [] => Err("it is empty".to_owned()),
    }
}

fn unknown_verb() -> String {
    let commands: Vec<String> = Command::ALL.iter().map(ToString::to_string).collect();
    format!(
        "a step begins with fail, write, unconfirmed, wait, left, cut, heal, guard, unguard, \
         recovered, listen, heard, steady, agree, read, restore, audit, {}",
        commands.join(", ")
    )
}

fn which(words: &[&str]) -> Result<Which, String> {
    let (some, group) = match words {
        [group] => (None, group),
        [some, "of", group] => (Some(number(some, usize::MAX)?), group),
        _ => {
            return Err(
                "behind the verb stands all, servers, nodes, leader, followers, proxies, \
                 persisters, clients, or the name of a machine (persister-1); before those, as in \
                 \"1 of persisters\", how many of them"
                    .to_owned(),
            );
        }
    };
    let group = match *group {
        "all" => Group::All,
        "servers" => Group::Servers,
        "nodes" => Group::Nodes,
        "leader" => Group::Leader,
        "followers" => Group::Followers,
        "proxies" => Group::Proxies,
        "persisters" => Group::Persisters,
        "clients" => Group::Clients,
        name => Group::Machine(name.to_owned()),
    };
    Ok(Which { some, group })
}

fn number(word: &str, most: usize) -> Result<usize, String> {
    let number = word.parse().ok();
    number
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| match most {
            usize::MAX => format!("{word} is no number from 1 on"),
            most => format!("{word} is no number from 1 to {most}"),
        })
}

/// `1s`, or `0ms..700ms`.
fn times(word: &str) -> Result<RangeInclusive<Duration>, String> {
    let time = |word: &str| {
        let time = humantime::parse_duration(word).map_err(|error| format!("{word}: {error}"))?;
        match time <= LONGEST_WAIT {
            true => Ok(time),
            false => Err(format!(
                "{word} is over {}",
                humantime::format_duration(LONGEST_WAIT)
            )),
        }
    };
    let (from, to) = word.split_once("..").unwrap_or((word, word));
    let (from, to) = (time(from)?, time(to)?);
    match from <= to {
        true => Ok(from..=to),
        false => Err(format!("{word} ends before it begins")),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(command, which) => write!(f, "{command} {which}"),
            Self::Write(count) => write!(f, "write {count}"),
            Self::Unconfirmed(count) => write!(f, "unconfirmed {count}"),
            Self::Wait(times) => {
                let time = humantime::format_duration;
                write!(f, "wait {}", time(*times.start()))?;
                match times.start() == times.end() {
                    true => Ok(()),
                    false => write!(f, "..{}", time(*times.end())),
                }
            }
            Self::Fail(which) => write!(f, "fail {which}"),
            Self::Left(which) => write!(f, "left {which}"),
            Self::Cut(which) => write!(f, "cut {which}"),
            Self::Heal(which) => write!(f, "heal {which}"),
            Self::Guard(which) => write!(f, "guard {which}"),
            Self::Unguard => f.write_str("unguard"),
            Self::Recovered => f.write_str("recovered"),
            Self::Listen => f.write_str("listen"),
            Self::Heard => f.write_str("heard"),
            Self::Steady => f.write_str("steady"),
            Self::Agree => f.write_str("agree"),
            Self::Read => f.write_str("read"),
            Self::Restore { seamless: false } => f.write_str("restore"),
            Self::Restore { seamless: true } => f.write_str("restore seamless"),
            Self::Audit => f.write_str("audit"),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(some) = self.some {
            write!(f, "{some} of ")?;
        }
        f.write_str(match &self.group {
            Group::All => "all",
            Group::Servers => "servers",
            Group::Nodes => "nodes",
            Group::Leader => "leader",
            Group::Followers => "followers",
            Group::Proxies => "proxies",
            Group::Persisters => "persisters",
            Group::Clients => "clients",
            Group::Machine(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_said_as_it_was_written() {
        let mut steps: Vec<String> = ["audit", "write 20", "unconfirmed 4", "left persisters"]
            .map(str::to_owned)
            .to_vec();
        steps.extend(["wait 1s", "wait 0s..700ms", "restore", "agree", "read"].map(str::to_owned));
        steps.extend(["restore seamless", "cut 1 of followers"].map(str::to_owned));
        steps.extend(["heal all", "fail proxies", "guard nodes", "unguard"].map(str::to_owned));
        steps.extend(["recovered", "listen", "heard", "steady"].map(str::to_owned));
        for which in ["all", "servers", "nodes", "clients", "persister-2"] {
            let commands = Command::ALL.iter();
            steps.extend(commands.map(|command| format!("{command} {which}")));
        }
        steps.push("kill 2 of persisters".to_owned());
        for step in steps {
            let said = step.parse::<Step>().map(|step| step.to_string());
            assert_eq!(said.as_deref(), Ok(step.as_str()));
        }
    }

    #[test]
    fn what_is_no_step_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "it is empty"),
            ("explode all", "begins with fail, write"),
            ("kill", "behind the verb stands"),
            ("kill 0 of persisters", "0 is no number from 1 on"),
            ("kill two of persisters", "two is no number"),
            ("kill 1 persisters", "behind the verb stands"),
            ("write", "begins with fail, write"),
            ("write -1", "-1 is no number from 1 to 1000000"),
            ("write 1000001", "no number"),
            ("wait soon", "soon: "),
            ("wait 2s..1s", "ends before it begins"),
            ("wait 11m", "over 10m"),
            ("audit all", "begins with fail, write"),
        ] {
            let error = text.parse::<Step>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
