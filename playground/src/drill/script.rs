//! A drill as its file says it: what it runs on, and its steps.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::drill::deal::Policy;
use crate::drill::options::Shape;
use crate::drill::step::{Group, Step, Which};
use crate::world::decide::Command;

/// How many persisters a drill may have.
const PERSISTERS: RangeInclusive<u32> = 1..=9;

/// How many members a cluster of etcd may have.
pub(crate) const NODES: RangeInclusive<u32> = 1..=9;

/// How many clusters the machines of a drill may serve.
const CLUSTERS: RangeInclusive<u32> = 1..=4;

/// How long a client may wait for an answer, and then for the disks.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// The largest file.
const MOST_BYTES: u64 = 64 << 10;

/// The drills that are built in: name and text.
const BUILT_IN: [(&str, &str); 10] = [
    ("power-cut", include_str!("../../drills/power-cut.toml")),
    (
        "lose-everything",
        include_str!("../../drills/lose-everything.toml"),
    ),
    (
        "planned-shutdown",
        include_str!("../../drills/planned-shutdown.toml"),
    ),
    ("thresholds", include_str!("../../drills/thresholds.toml")),
    (
        "node-failures",
        include_str!("../../drills/node-failures.toml"),
    ),
    ("partition", include_str!("../../drills/partition.toml")),
    ("fire-drill", include_str!("../../drills/fire-drill.toml")),
    ("any-machine", include_str!("../../drills/any-machine.toml")),
    (
        "thresholds-f1",
        include_str!("../../drills/thresholds-f1.toml"),
    ),
    (
        "thresholds-f2",
        include_str!("../../drills/thresholds-f2.toml"),
    ),
];

/// A drill as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What it does, in a sentence.
    pub about: String,
    /// What it can run on; the first is what it does run on, unless told otherwise.
    pub shapes: Vec<Shape>,
    /// How many members a cluster of etcd has.
    #[serde(default = "three")]
    pub nodes: u32,
    /// How many clusters of etcd the machines serve: each machine runs one of everything for each.
    #[serde(default = "one")]
    pub clusters: u32,
    /// How many proxies are before the members of etcd; with any, clients and persisters reach
    /// them by one more, on the machine `app`.
    #[serde(default)]
    pub proxies: u32,
    /// How many persisters are beside a node.
    #[serde(default = "one")]
    pub persisters: u32,
    /// How many of them must confirm a write. Default: all.
    pub require: Option<u32>,
    /// Instead: by which policies clients wait, in turn.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// How long a client waits for its cluster, and then for the disks.
    #[serde(default)]
    pub timeout: Timeout,
    /// How often the warden checks each server; three checks in a row must fail.
    #[serde(default)]
    pub warden: Timeout,
    /// How often `round` is done, unless told otherwise.
    #[serde(default = "one")]
    pub rounds: u32,
    /// Done once, before.
    #[serde(default)]
    pub first: Vec<Step>,
    /// Done again and again.
    pub round: Vec<Step>,
    /// Done once, after.
    #[serde(default)]
    pub last: Vec<Step>,
}

/// A duration such as `1s`, between 100 ms and 1 min; 5 s if nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Timeout(pub Duration);

impl Default for Timeout {
    fn default() -> Self {
        Self(Duration::from_secs(5))
    }
}

impl TryFrom<String> for Timeout {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = humantime::parse_duration(&text).map_err(|error| format!("{text}: {error}"))?;
        match TIMEOUT.contains(&time) {
            true => Ok(Self(time)),
            false => Err(format!("{text} is not between 100ms and 1m")),
        }
    }
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

/// A drill, and what it is called.
#[derive(Clone, Debug)]
pub struct Named {
    /// A built-in one's name, or its file.
    pub name: String,
    /// What it is.
    pub script: Script,
    /// As it is written.
    pub text: String,
}

impl Named {
    /// All that are built in.
    ///
    /// # Errors
    /// None: each is read in a test.
    pub fn built_in() -> Result<Vec<Self>> {
        let read = |(name, text): (&str, &str)| Self::new(name, text.to_owned());
        BUILT_IN.into_iter().map(read).collect()
    }

    /// The one of this name, or in this file.
    ///
    /// # Errors
    /// Neither is there, or the file holds no drill.
    pub fn find(name_or_file: &Path) -> Result<Self> {
        let built_in = BUILT_IN
            .iter()
            .find(|(name, _)| name_or_file == Path::new(name));
        if let Some((name, text)) = built_in {
            return Self::new(name, (*text).to_owned());
        }
        let path = name_or_file.display();
        let names = BUILT_IN.map(|(name, _)| name).join(", ");
        let about = std::fs::metadata(name_or_file).with_context(|| {
            format!("{path} is neither a drill ({names}) nor a file that can be read")
        })?;
        ensure!(about.is_file(), "{path} is not a file");
        ensure!(
            about.len() <= MOST_BYTES,
            "{path} is over {MOST_BYTES} bytes, and no drill is"
        );
        let text = std::fs::read_to_string(name_or_file).with_context(|| path.to_string())?;
        Self::new(&path.to_string(), text)
    }

    fn new(name: &str, text: String) -> Result<Self> {
        let script: Script = toml::from_str(&text).with_context(|| name.to_owned())?;
        script.check().with_context(|| name.to_owned())?;
        Ok(Self {
            name: name.to_owned(),
            script,
            text,
        })
    }
}

impl Script {
    /// What the text of a drill alone tells that it cannot be run.
    fn check(&self) -> Result<()> {
        let Self {
            persisters,
            nodes,
            shapes,
            rounds,
            ..
        } = self;
        ensure!(!shapes.is_empty(), "shapes names none");
        ensure!(
            PERSISTERS.contains(persisters),
            "persisters = {persisters} is not between 1 and 9"
        );
        ensure!(
            NODES.contains(nodes),
            "nodes = {nodes} is not between 1 and 9"
        );
        ensure!(
            self.proxies <= *NODES.end(),
            "proxies = {} is over 9",
            self.proxies
        );
        ensure!(
            self.proxies == 0 || shapes == &[Shape::Etcd],
            "proxies are for members of etcd alone: say shapes = [\"etcd\"]"
        );
        self.check_clusters()?;
        self.check_policies()?;
        ensure!(*rounds > 0, "rounds = 0 shows nothing");
        ensure!(
            self.round.contains(&Step::Audit),
            "a round without an audit shows nothing: add the step \"audit\""
        );
        for step in self.steps() {
            let Some(which) = step.which() else {
                continue;
            };
            ensure!(
                self.has(which),
                "{step}: there is no machine of this name; there are node-1{}, persister-1 to \
                 persister-{persisters}, client-1 and more",
                match self.most_nodes() {
                    1 => String::new(),
                    most => format!(" to node-{most}"),
                }
            );
        }
        let is_for_etcd = |step: &&Step| match step {
            Step::Do(_, which) | Step::Left(which) | Step::Fail(which) => {
                matches!(which.group, Group::Leader | Group::Followers)
            }
            Step::Write(_) | Step::Unconfirmed(_) | Step::Wait(_) => false,
            Step::Restore { .. } | Step::Audit => false,
            _ => true,
        };
        let has_others = shapes.iter().any(|shape| *shape != Shape::Etcd);
        if let (Some(step), true) = (self.steps().find(is_for_etcd), has_others) {
            bail!("{step}: this is for members of etcd alone: say shapes = [\"etcd\"]");
        }
        let starts_clients = |step: &Step| match step {
            Step::Do(Command::Start, which) => matches!(which.group, Group::Clients | Group::All),
            _ => false,
        };
        ensure!(
            self.steps().any(starts_clients),
            "no client is ever started: add the step \"start clients\""
        );
        Ok(())
    }

    fn check_clusters(&self) -> Result<()> {
        let clusters = self.clusters;
        ensure!(
            CLUSTERS.contains(&clusters),
            "clusters = {clusters} is not between 1 and 4"
        );
        if clusters == 1 {
            return Ok(());
        }
        ensure!(
            self.shapes == [Shape::Etcd],
            "clusters = {clusters} is for members of etcd alone: say shapes = [\"etcd\"]"
        );
        let is_of_one = |step: &&Step| match step {
            Step::Listen | Step::Steady | Step::Read => true,
            step => step
                .which()
                .is_some_and(|it| matches!(it.group, Group::Leader | Group::Followers)),
        };
        match self.steps().find(is_of_one) {
            Some(step) => bail!("{step}: of which of {clusters} clusters? Say clusters = 1"),
            None => Ok(()),
        }
    }

    fn check_policies(&self) -> Result<()> {
        let persisters = self.persisters;
        ensure!(
            self.policies.is_empty() || self.require.is_none(),
            "require and policies say the same: leave one out"
        );
        for policy in self.policies() {
            let Policy { require, of } = policy;
            ensure!(
                (1..=persisters).contains(&require) && of <= persisters,
                "{policy}: a write is confirmed by 1 to {persisters} persisters, as many as there \
                 are"
            );
        }
        Ok(())
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        [&self.first, &self.round, &self.last].into_iter().flatten()
    }

    fn has(&self, which: &Which) -> bool {
        let Group::Machine(name) = &which.group else {
            return true;
        };
        let number = |prefix| name.strip_prefix(prefix)?.parse::<u32>().ok();
        number("node-").is_some_and(|n| (1..=self.most_nodes()).contains(&n))
            || number("proxy-").is_some_and(|n| (1..=self.proxies).contains(&n))
            || (name == "app" && self.proxies > 0)
            || number("persister-").is_some_and(|id| (1..=self.persisters).contains(&id))
            || number("client-").is_some()
    }

    /// How many nodes there are on whatever has most.
    fn most_nodes(&self) -> u32 {
        match self.shapes.contains(&Shape::Etcd) {
            true => self.nodes,
            false => 1,
        }
    }

    /// Whether machines are cut off from each other.
    #[must_use]
    pub fn cuts(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Cut(_)))
    }

    /// By which policies clients wait: at least one.
    #[must_use]
    pub fn policies(&self) -> Vec<Policy> {
        match self.policies.is_empty() {
            true => vec![Policy {
                require: self.require.unwrap_or(self.persisters),
                of: self.persisters,
            }],
            false => self.policies.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: &str = "round = [\"start clients\", \"write 1\", \"audit\"]\n";

    #[test]
    fn all_that_are_built_in_can_be_read() -> Result<()> {
        let all = Named::built_in()?;
        assert_eq!(all.len(), BUILT_IN.len());
        for drill in all {
            assert_eq!(Named::find(Path::new(&drill.name))?.text, drill.text);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_drill_is_refused_with_the_place() {
        let head = "about = \"a\"\nshapes = [\"lite\"]\n";
        assert!(Named::new("d", format!("{head}{ROUND}")).is_ok());
        for (text, why) in [
            (String::new(), "about"),
            (format!("{head}round = []"), "without an audit"),
            (format!("{head}round = [\"audit\"]"), "no client is ever"),
            (
                format!("{head}{ROUND}retries = 3"),
                "unknown field `retries`",
            ),
            (format!("{head}{ROUND}persisters = 10"), "between 1 and 9"),
            (format!("{head}{ROUND}require = 2"), "by 1 to 1 persisters"),
            (
                format!("{head}{ROUND}policies = [\"1 of 2\"]"),
                "as many as there are",
            ),
            (
                format!("{head}{ROUND}policies = [\"all\"]"),
                "such as \"2 of 3\"",
            ),
            (
                format!("{head}{ROUND}clusters = 2"),
                "members of etcd alone",
            ),
            (format!("{head}{ROUND}rounds = 0"), "shows nothing"),
            (format!("{head}{ROUND}timeout = \"1h\""), "between 100ms"),
            (
                format!("{head}{ROUND}first = [\"kill persister-2\"]"),
                "no machine of this name",
            ),
            (
                format!("{head}{ROUND}first = [\"explode all\"]"),
                "\"explode all\" is no step",
            ),
            (
                format!("{head}{ROUND}first = [\"kill leader\"]"),
                "kill leader: this is for members of etcd alone",
            ),
            (format!("{head}{ROUND}nodes = 10"), "between 1 and 9"),
            (format!("about = \"a\"\nshapes = []\n{ROUND}"), "names none"),
            (format!("about = \"a\"\nshapes = [\"x\"]\n{ROUND}"), "lite"),
        ] {
            let error = Named::new("d", text.clone()).expect_err(&text);
            let error = format!("{error:#}");
            assert!(
                error.contains(why) && error.contains('d'),
                "{text}: {error}"
            );
        }
    }
}
