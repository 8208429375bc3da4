//! Everything that can be seen at this moment, as the page shows it.

use crate::play::actions::Whole;
use crate::play::inner::{Play, lock};
use crate::play::kind::Engine;
use crate::play::looks::Status;
use crate::play::story::{Facts, story};
use crate::play::target::{Noted, Target, Verb};
use crate::told::state::{
    About, Can, Cluster, Commands, Doing, Load, Node, Persister, State, Story,
};
use crate::world::decide::Condition;
use crate::world::machine;

/// A persister that is behind for so long is called so, in seconds. A commit takes milliseconds.
const BEHIND: f64 = 0.5;

impl Play {
    /// Everything, as it is known now.
    pub(super) fn snapshot(&self) -> State {
        let nodes: Vec<Node> = self.0.nodes.iter().map(|node| self.node(node)).collect();
        let persisters = self.0.persisters.iter();
        let persisters: Vec<Persister> = persisters.map(|it| self.persister(it)).collect();
        let loss = lock(&self.0.loss).clone();
        let story = self.story(&nodes, &persisters);
        let serving = nodes.iter().filter(|node| node.state.is_well());
        let majority = serving.clone().count() * 2 > nodes.len();
        let shown = serving.max_by_key(|node| node.revision);
        let cluster = Cluster {
            keys: shown.and_then(|node| node.keys),
            hash: shown.and_then(|node| node.hash.clone()),
            revision: shown.and_then(|node| node.revision),
            agreed: self.0.etcd.as_ref().and_then(|etcd| *lock(&etcd.agreed)),
            majority: majority && loss.is_none(),
        };
        let rate = self.0.load.rate();
        let whole = self.0.busy.whole();
        State {
            run: About {
                engine_version: self.version(),
                ..self.0.about.clone()
            },
            story,
            nodes,
            persisters,
            cluster,
            can: self.can_whole(),
            busy: whole.map(Whole::name),
            commands: self.commands(),
            load: Load {
                rate: rate.per_second,
                until: rate.until,
            },
            writes: self.0.clients.latency.sums(),
            latency: self.0.clients.latency.seconds(),
            proof: lock(&self.0.proof).clone(),
            history: self.0.past.history(),
        }
    }

    /// The engine's version, as a node says.
    fn version(&self) -> Option<String> {
        let mut said = self
            .0
            .nodes
            .iter()
            .filter_map(|node| node.noted().node.said);
        said.find_map(|said| said.version)
    }

    fn story(&self, nodes: &[Node], persisters: &[Persister]) -> Story {
        let restoring = self.0.busy.whole() == Some(Whole::Restore);
        story(&Facts {
            restoring,
            lost: lock(&self.0.loss).as_ref().map(|loss| loss.kind),
            nodes: nodes.iter().map(|it| (it.id.as_str(), it.state)).collect(),
            persisters: persisters
                .iter()
                .map(|it| (it.id.as_str(), it.state))
                .collect(),
        })
    }

    fn busy_with(&self, target: &Target) -> Option<&'static str> {
        let verb = self.0.busy.target(&target.id);
        let whole = self.0.busy.whole();
        verb.map(|verb| verb.name()).or(whole.map(Whole::name))
    }

    fn node(&self, target: &Target) -> Node {
        let (noted, about) = (target.noted(), target.about());
        let (state, says) = match doing(about.as_ref(), &noted) {
            Err((Doing::Ended, says)) => (Doing::Down, says),
            Err(known) => known,
            Ok(_) if self.0.busy.whole() == Some(Whole::Restore) => (Doing::Restoring, None),
            Ok(()) => match &noted.node.said {
                Some(said) if said.leads == Some(true) => (Doing::Leader, None),
                Some(said) if !said.is_whole && said.leads.is_some() => {
                    (Doing::Starting, Some("it has no leader".to_owned()))
                }
                Some(said) if said.leads.is_some() => (Doing::Follower, None),
                Some(_) => (Doing::Serving, None),
                None if noted.node.moment.is_none() && self.0.engine == Engine::Etcd => {
                    (Doing::Rejoining, None)
                }
                None => (Doing::Starting, None),
            },
        };
        let look = noted.node.moment.filter(|_| noted.node.said.is_some());
        let busy = self.busy_with(target);
        Node {
            id: target.id.clone(),
            state,
            says,
            revision: noted.node.revision,
            keys: look.as_ref().map(|look| look.keys),
            hash: look.map(|look| look.hash),
            address: target.address.address(),
            pid: about.and_then(|about| about.pid),
            busy,
            can: self.can(target, busy),
            commands: target.commands(),
        }
    }

    fn persister(&self, target: &Target) -> Persister {
        let (noted, about) = (target.noted(), target.about());
        let status = noted.persister.status.clone();
        let (state, says) = match (doing(about.as_ref(), &noted), &status) {
            (Err((Doing::Ended, says)), _) => {
                let code = about.as_ref().and_then(|about| about.ended?.code());
                let says = code.map(ended).or(says);
                (Doing::Ended, says)
            }
            (Err(known), _) => known,
            (Ok(_), _) if self.0.busy.whole() == Some(Whole::Restore) => (Doing::Restoring, None),
            (Ok(_), Some(status)) if status.connected && status.lag_seconds > BEHIND => {
                (Doing::Behind, None)
            }
            (Ok(_), Some(status)) if status.connected => (Doing::Following, None),
            (Ok(_), _) => (Doing::Starting, Some("it waits for the cluster".to_owned())),
        };
        let busy = self.busy_with(target);
        Persister {
            id: target.id.clone(),
            state,
            says,
            on_disk_up_to: status.as_ref().map(Status::on_disk_up_to),
            lag_revisions: status.as_ref().map(|status| status.lag_revisions),
            lag_seconds: status.as_ref().map(|status| status.lag_seconds),
            journal_bytes: status.as_ref().map(|status| status.journal_bytes),
            fsync_ms: noted.persister.fsync_ms,
            address: target.address.address(),
            pid: about.and_then(|about| about.pid),
            busy,
            can: self.can(target, busy),
            commands: target.commands(),
        }
    }

    fn can(&self, target: &Target, busy: Option<&str>) -> Can {
        let why = |verb| match busy {
            Some(busy) => Some(format!("it is busy ({busy})")),
            None => self.refuses(target, verb),
        };
        Verb::ALL.map(|verb| (verb.name(), why(verb))).into()
    }

    fn can_whole(&self) -> Can {
        let is_idle = self.0.busy.is_idle();
        let why = |whole| match is_idle {
            true => self.refuses_whole(whole),
            false => Some("something is being done: in a moment".to_owned()),
        };
        [Whole::PowerCut, Whole::Lose, Whole::Restore]
            .map(|whole| (whole.name(), why(whole)))
            .into()
    }

    fn commands(&self) -> Commands {
        let pids = self.targets().filter_map(|target| target.about()?.pid);
        let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
        let kill = match pids.len() {
            0 => String::new(),
            _ => format!("kill -9 {}", pids.join(" ")),
        };
        let disks = self.0.nodes.iter().filter_map(Target::directory);
        let disks: Vec<String> = disks.map(|disk| disk.display().to_string()).collect();
        let starts = self.targets().filter_map(|target| target.noted().started);
        let starts: Vec<String> = starts.map(|start| format!("{start} &")).collect();
        let lose = format!("{kill}\nrm -r {}", disks.join(" "));
        Commands::from([
            ("power-cut", kill),
            ("lose", lose.trim_start().to_owned()),
            ("restore", starts.join("\n")),
        ])
    }
}

/// What a target does and why, if that is known without asking it.
fn doing(about: Option<&machine::About>, noted: &Noted) -> Result<(), (Doing, Option<String>)> {
    let Some(about) = about else {
        return Err((Doing::Down, None));
    };
    match about.condition {
        Condition::Up => Ok(()),
        Condition::Halted => Err((Doing::Paused, None)),
        Condition::Down if noted.wiped => Err((Doing::Wiped, None)),
        Condition::Down => {
            let says = about.ended.map(|status| format!("ended by {status}"));
            let code = about.ended.and_then(|status| status.code());
            let by_itself = code.is_some_and(|code| code != 0);
            Err((if by_itself { Doing::Ended } else { Doing::Down }, says))
        }
    }
}

/// What an exit status of a persister means, in short; `docs/operations.md` has the whole table.
fn ended(code: i32) -> String {
    let says = match code {
        0 => "it ended in good order",
        2 => "wrong usage",
        10 => "its journal is damaged",
        11 => "its journal is in use by another process",
        12 => "its journal cannot be used",
        13 => "its disk failed or is full",
        20 => "this is not the cluster that its journal followed",
        21 => "its id is held by another living persister",
        22 => "it cannot reach the cluster",
        23 => "the computer is short of descriptors, memory or threads",
        24 => "after the restore the cluster differs from the journal",
        25 => "going on would let go of changes that its journal has",
        26 => "this is not a cluster to restore into",
        27 => "the cluster cannot take some of the values",
        28 => "its journal cannot tell the state at that revision",
        29 => "the cluster went back",
        _ => "see its log",
    };
    format!("status {code}: {says}")
}
