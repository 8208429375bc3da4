//! The machines of a playground: nodes, persisters, and a scratch cluster for rehearsals.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::watch;

use crate::ledger::book::Ledger;
use crate::load::Load;
use crate::past::reading::Past;
use crate::play::actions::Busy;
use crate::play::clients::{Clients, Routes};
use crate::play::inner::Inner;
use crate::play::looks::NodeEye;
use crate::play::target::{Target, uri};
use crate::programs::Programs;
use crate::told::feed::{Feed, Kind};
use crate::told::state::About;
use crate::world::World;
use crate::world::directory::{RunDirectory, default_parent};
use crate::world::ports::Port;
use crate::world::services::node::Lite;
use crate::world::services::persister::{Cluster, Persister};
use crate::writers::Shared;

/// How long a persister that restores waits for others that have more. All are started together.
const RESTORE_WAIT: &str = "200ms";

/// How much room a playground asks for, in bytes.
const ROOM: u64 = 500 << 20;

/// What a playground is made of.
#[derive(Clone, Debug)]
pub struct Options {
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
    let port = world.port()?;
    let n1 = node(&mut world, "n1", &port, programs);
    let scratch_port = world.port()?;
    let scratch = node(&mut world, "scratch", &scratch_port, programs);
    let mut persisters = Vec::new();
    for number in 1..=options.persisters {
        persisters.push(persister(&mut world, number, &port, programs)?);
    }
    let uri = uri(&[&port]);
    let routes = Routes {
        all: Box::new({
            let uri = uri.clone();
            move || uri.clone()
        }),
        persisters: options.persisters,
    };
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        engine: "doozer-lite",
        engine_version: None,
        in_memory: world.is_in_memory(),
        directory: world.directory().display().to_string(),
        client_command: format!("set -a '{uri}' /greeting hello"),
        uri,
        drill: None,
        missing: None,
    };
    let inner = Inner {
        eyes: vec![NodeEye::new(&about.uri)],
        about,
        nodes: vec![n1],
        past: Past::new(persisters.iter().filter_map(Target::directory).collect()),
        persisters,
        scratch,
        clients: Clients::new(routes, Shared::from(Ledger::brief())),
        load: Load::default(),
        busy: Busy::default(),
        feed: Feed::default(),
        loss: Mutex::default(),
        proof: Mutex::default(),
        states: watch::Sender::new("{}".into()),
        ops: AtomicU64::default(),
    };
    Ok((inner, world))
}

fn node(world: &mut World, id: &str, port: &Port, programs: &Programs) -> Target {
    let lite = Lite {
        program: programs.node.clone(),
        port: port.clone(),
        args: Vec::new(),
    };
    let machine = world.machine(id, vec![Box::new(lite)]);
    Target::new(id.to_owned(), Kind::Node, machine, port.clone())
}

fn persister(world: &mut World, number: u32, node: &Port, programs: &Programs) -> Result<Target> {
    let observe = world.port()?;
    let persister = Persister {
        program: programs.persister.clone(),
        id: number,
        cluster: Cluster::Nodes(vec![node.clone()]),
        observe: observe.clone(),
        args: ["-r", "--restore-wait", RESTORE_WAIT]
            .map(str::to_owned)
            .into(),
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
