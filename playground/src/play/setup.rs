//! The machines of a playground: nodes, persisters, and a scratch cluster for rehearsals.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::ledger::book::Ledger;
use crate::load::Load;
use crate::members::{Members, Seat};
use crate::past::reading::Past;
use crate::play::actions::Busy;
use crate::play::clients::Clients;
use crate::play::etcd::Etcd;
use crate::play::inner::Inner;
use crate::play::kind::Engine;
use crate::play::looks::NodeEye;
use crate::play::target::Target;
use crate::programs::Programs;
use crate::told::feed::Kind;
use crate::told::shown::Shown;
use crate::told::state::About;
use crate::world::World;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::error::Error;
use crate::world::ports::Port;
use crate::world::services::etcd::{EtcdCluster, EtcdMember};
use crate::world::services::node::Lite;
use crate::world::services::persister::{Cluster, Persister};
use crate::world::services::program::Program;
use crate::writers::Shared;
use anyhow::{Context as _, Result, ensure};

/// How long a persister that restores waits for the others, of which one may have more and one may
/// not run. Mostly all are there at once, and nobody waits.
const RESTORE_WAIT: &str = "3s";

/// How much room a playground asks for, in bytes.
const ROOM: u64 = 500 << 20;

/// What a playground is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// What its nodes are. Where that is not installed, they are `doozer-lite`.
    pub engine: Engine,
    /// How many members of etcd.
    pub nodes: u32,
    /// How many persisters.
    pub persisters: u32,
    /// The directory, if it is to be kept.
    pub keep: Option<PathBuf>,
}

/// Makes everything; nothing of it runs yet.
pub(super) fn make(options: &Options, programs: &Programs) -> Result<(Inner, World)> {
    let directory = match &options.keep {
        Some(path) => RunDirectory::keep(path)?,
        None => RunDirectory::create(&default_parent())?,
    };
    has_room(directory.path())?;
    let mut world = World::new(programs.guard.clone(), directory);
    let installed = match options.engine {
        Engine::DoozerLite => None,
        Engine::Etcd => Some(etcd_programs()),
    };
    let (made, engine, missing) = match installed {
        None => (lite(&mut world, programs)?, Engine::DoozerLite, None),
        Some(Ok((server, tool))) => {
            let made = etcd(&mut world, options.nodes, &server, tool, programs)?;
            (made, Engine::Etcd, None)
        }
        Some(Err(error)) => {
            let missing = format!("{error}. Going on with doozer-lite.");
            (
                lite(&mut world, programs)?,
                Engine::DoozerLite,
                Some(missing),
            )
        }
    };
    let addresses: Vec<&Port> = made.nodes.iter().map(|node| &node.address).collect();
    let cluster = engine.cluster(&addresses);
    let mut persisters = Vec::new();
    let with: Vec<String> = (1..=options.persisters).map(|id| id.to_string()).collect();
    let with = with.join(",");
    for number in 1..=options.persisters {
        persisters.push(persister(&mut world, number, &with, &cluster, programs)?);
    }
    let uri = cluster.uri();
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        engine: engine.name(),
        engine_version: None,
        in_memory: world.is_in_memory(),
        directory: world.directory().display().to_string(),
        client_command: engine.client_command(&addresses),
        uri: uri.clone(),
        drill: None,
        missing,
    };
    let eye = |node: &Target| NodeEye::new(&engine.cluster(&[&node.address]).uri());
    let inner = Inner {
        eyes: made.nodes.iter().map(eye).collect(),
        about,
        engine,
        etcd: made.etcd,
        nodes: made.nodes,
        past: Past::new(persisters.iter().filter_map(Target::directory).collect()),
        clients: Clients::new(uri, options.persisters, Shared::from(Ledger::brief())),
        persisters,
        scratch: made.scratch,
        load: Load::default(),
        busy: Busy::default(),
        loss: Mutex::default(),
        proof: Mutex::default(),
        leader: Mutex::default(),
        shown: Shown::default(),
        ops: AtomicU64::default(),
    };
    Ok((inner, world))
}

/// Nodes.
struct Made {
    nodes: Vec<Target>,
    scratch: Target,
    etcd: Option<Etcd>,
}

fn lite(world: &mut World, programs: &Programs) -> Result<Made> {
    let mut node = |id: &str| -> Result<Target> {
        let port = world.port()?;
        let lite = Lite {
            program: programs.node.clone(),
            port: port.clone(),
            args: Vec::new(),
        };
        let machine = world.machine(id, vec![Box::new(lite)]);
        Ok(Target::new(id.to_owned(), Kind::Node, machine, port))
    };
    Ok(Made {
        nodes: vec![node("n1")?],
        scratch: node("scratch")?,
        etcd: None,
    })
}

/// The server, and the tool that makes members from snapshots, which is `etcdutl` from 3.5 on.
fn etcd_programs() -> Result<(Program, Program), Error> {
    let hint = "on Debian and Ubuntu: apt install etcd-client";
    let tool = Program::installed("etcdutl", hint);
    let tool = tool.or_else(|_| Program::installed("etcdctl", hint))?;
    Ok((EtcdMember::installed()?, tool))
}

fn etcd(
    world: &mut World,
    count: u32,
    server: &Program,
    tool: Program,
    programs: &Programs,
) -> Result<Made> {
    let mut member = |id: &str, cluster: &EtcdCluster| -> Result<(Target, Seat)> {
        let (client, peer) = (world.port()?, world.port()?);
        let member = EtcdMember {
            program: server.clone(),
            name: id.to_owned(),
            client: client.clone(),
            peer: peer.clone(),
            behind: None,
            cluster: cluster.clone(),
            args: Vec::new(),
        };
        let machine = world.machine(id, vec![Box::new(member)]);
        let target = Target::new(
            id.to_owned(),
            Kind::Node,
            Arc::clone(&machine),
            client.clone(),
        );
        let seat = Seat {
            machine,
            service: "etcd".to_owned(),
            client,
            peer,
        };
        Ok((target, seat))
    };
    let cluster = EtcdCluster::new("cairn", Vec::new());
    let (mut nodes, mut seats) = (Vec::new(), Vec::new());
    for n in 1..=count {
        let (node, seat) = member(&format!("n{n}"), &cluster)?;
        nodes.push(node);
        seats.push(seat);
    }
    let scratch_cluster = EtcdCluster::new("scratch", Vec::new());
    let (scratch, scratch_seat) = member("scratch", &scratch_cluster)?;
    let etcd = Etcd {
        members: Members::new(seats, cluster),
        scratch: Members::new(vec![scratch_seat], scratch_cluster),
        tool,
        guard: programs.guard.clone(),
        directory: world.directory().to_owned(),
        agreed: Mutex::default(),
    };
    Ok(Made {
        nodes,
        scratch,
        etcd: Some(etcd),
    })
}

fn persister(
    world: &mut World,
    number: u32,
    with: &str,
    cluster: &Cluster,
    programs: &Programs,
) -> Result<Target> {
    let observe = world.port()?;
    let args = match cluster {
        // A lost cluster of etcd comes back from a file, before a persister starts.
        Cluster::Etcd(_) => &[][..],
        _ => &["-r", "--restore-wait", RESTORE_WAIT, "--restore-with", with],
    };
    let persister = Persister {
        program: programs.persister.clone(),
        id: number,
        cluster: cluster.clone(),
        observe: observe.clone(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
    };
    let id = format!("p{number}");
    let machine = world.machine(&id, vec![Box::new(persister)]);
    Ok(Target::new(id, Kind::Persister, machine, observe))
}

fn has_room(directory: &Path) -> Result<()> {
    let about = rustix::fs::statvfs(directory);
    let about = about.with_context(|| format!("cannot look at {}", directory.display()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    ensure!(
        free >= ROOM,
        "{} has {} MB free; a playground asks for {} MB: make room, or give another disk with \
         --keep DIR",
        directory.display(),
        free >> 20,
        ROOM >> 20
    );
    Ok(())
}
