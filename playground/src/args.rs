//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::drill::options::Shape;
use crate::play::kind::Engine;

/// Break clusters on purpose, and see that nothing acknowledged is lost.
#[derive(Debug, Parser)]
#[command(
    name = "cairn",
    version,
    after_help = "Examples:\n  \
        cairn playground                          break a cluster in a web page\n  \
        cairn playground --engine etcd            the same with three members of etcd\n  \
        cairn drill list                          which drills there are\n  \
        cairn drill run power-cut                 kill everything 20 times under load; was anything lost?\n  \
        cairn drill run lose-everything           also all disks but one\n  \
        cairn drill run power-cut --shape lite    the same with the cluster and its persisters apart\n  \
        cairn drill run power-cut --shape etcd    and with three members of etcd\n  \
        cairn drill run power-cut --liar          the same with a persister that lies: it must fail\n  \
        cairn drill run power-cut --keep /tmp/d   and look at the journals afterwards (dumpjournal)\n  \
        cairn probe 'doozer:?ca=127.0.0.1:8046'   what do users of my cluster see while I break it?\n\n\
        Drills run on clusters of their own, on this computer, and touch no other."
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl CommandLine {
    /// What this process was started with. A variable that is set to nothing counts as not set.
    #[must_use]
    pub fn read() -> Self {
        let set = |arg: &clap::Arg| Some(std::env::var_os(arg.get_env()?)?.is_empty());
        let without_empty = |arg: clap::Arg| match set(&arg) {
            Some(true) => arg.env(None::<&str>),
            _ => arg,
        };
        let command =
            Self::command().mut_subcommand("probe", |probe| probe.mut_args(without_empty));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Break a cluster in a web page, and see that nothing is lost
    ///
    /// Starts a cluster, persisters and a client on this computer, and serves a page on which they
    /// are killed, paused, lost and restored. Everything ends with it.
    Playground(Playground),
    /// Lose machines on purpose, and judge what clients were told
    ///
    /// A drill starts a cluster of its own on this computer, lets clients write, takes machines
    /// from it, and says whether anything that was acknowledged is missing. `cairn drill run
    /// power-cut` needs nothing but this program; drills of etcd need etcd, and some haproxy.
    #[command(subcommand)]
    Drill(Drill),
    /// Write and read through a cluster until stopped; tell errors and the longest wait
    Probe(Probe),
}

/// How to play.
#[derive(Debug, Args)]
pub struct Playground {
    /// Where the page is served: on loopback. If the port is taken, at the next that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8047")]
    pub listen: SocketAddr,

    /// What the nodes are
    #[arg(long, value_enum, default_value_t = Engine::DoozerLite)]
    pub engine: Engine,

    /// How many members of etcd
    #[arg(
        long, value_name = "N", default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..=5)
    )]
    pub nodes: u32,

    /// How many persisters
    #[arg(
        long, value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=5)
    )]
    pub persisters: u32,

    /// Run in this new or empty directory, and leave journals and logs there
    ///
    /// By default everything is below $XDG_CACHE_HOME or ~/.cache, and removed at the end; or by
    /// the next run, if this one is killed.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// A further host under which a browser may reach the page, such as that of a tunnel
    #[arg(long = "allow-host", value_name = "NAME:PORT")]
    pub allow_hosts: Vec<String>,

    /// Open the page in a browser [default: if this is a terminal of a desktop]
    #[arg(long, overrides_with = "no_open")]
    pub open: bool,

    /// Open no browser
    #[arg(long)]
    pub no_open: bool,

    /// Serve the page's files from this directory, for those who write them
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "DIR", hide = true)]
    pub assets: Option<PathBuf>,
}

/// What to do with drills.
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Tell which drills there are, and in brackets what each runs on
    List,
    /// Print the file of a drill: what it runs on, and its steps
    ///
    /// A drill of your own is such a file, changed: `cairn drill show power-cut > mine.toml`.
    Show {
        /// A drill of the list
        #[arg(value_name = "NAME")]
        name: PathBuf,
    },
    /// Run one
    ///
    /// Standard error tells the steps as they are taken, or of more than three rounds one line
    /// each; standard output has the verdict.
    ///
    /// Exit status: 0 passed; 1 failed: something acknowledged is missing, something is there that
    /// nobody wrote, or a step could not be done; 2 it could not be run; 130 interrupted.
    Run(Run),
}

/// How to run a drill.
#[derive(Debug, Args)]
pub struct Run {
    /// A drill of the list, or a file of your own
    #[arg(value_name = "NAME|FILE")]
    pub drill: PathBuf,

    /// How often its round is done [default: as often as its file says]
    #[arg(
        long, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub rounds: Option<u32>,

    /// What it runs on [default: the first that its file names]
    #[arg(long, value_enum, visible_alias = "engine")]
    pub shape: Option<Shape>,

    /// How many members a cluster of etcd has [default: as many as its file says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub nodes: Option<u32>,

    /// Take etcd, and etcdutl or etcdctl, from this directory [default: the installed ones]
    #[arg(long, value_name = "DIR")]
    pub etcd: Option<PathBuf>,

    /// How many clients write
    #[arg(
        long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub writers: u32,

    /// How many keys each of them has
    #[arg(
        long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub keys: u32,

    /// Make the same random choices as a run that printed this [default: others every time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Clients wait for a persister that journals nothing, and every honest disk is lost: must fail
    ///
    /// The drill's own test. A drill that passes with a liar shows nothing without one. Runs on
    /// what has its persisters apart: lite, or etcd.
    #[arg(long)]
    pub liar: bool,

    /// Run in this new or empty directory, and leave journals and logs there
    ///
    /// By default everything is below $XDG_CACHE_HOME or ~/.cache, and removed at the end; or by
    /// the next run, if this one is killed.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// Write the report as one page of HTML too: the verdict, a plot of all waits, every step
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Serve a page on which it can be watched, until Ctrl-C; on loopback [default: 127.0.0.1:8047,
    /// or the next port that is free]
    #[arg(
        long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true,
        default_missing_value = "127.0.0.1:8047"
    )]
    pub page: Option<SocketAddr>,
}

/// How to probe a cluster.
#[derive(Debug, Args)]
pub struct Probe {
    /// The cluster; with &persist=1,2&require=2 for the disks that a write waits for [default:
    /// persister 1]
    #[arg(value_name = "URI", env = "DOOZER_URI", hide_env_values = true)]
    pub uri: String,

    /// The pause between writes
    #[arg(
        long, value_name = "TIME", default_value = "100ms",
        value_parser = humantime::parse_duration
    )]
    pub every: Duration,

    /// Stop after this time [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub r#for: Option<Duration>,

    /// How long one write or read may take
    #[arg(
        long, value_name = "TIME", default_value = "5s",
        value_parser = humantime::parse_duration
    )]
    pub timeout: Duration,

    /// Write below this key, which is deleted at the end [default: /probe-RANDOM]
    #[arg(long, value_name = "KEY")]
    pub prefix: Option<String>,

    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}
