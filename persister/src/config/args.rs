//! The command line, as it is typed: flags and environment variables, nothing filled in yet.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::cluster::address::{Address, DEFAULT_SOCKET};
use crate::cluster::control::Id;
use crate::config::help;
use crate::config::import_args::ImportArgs;
use crate::config::restore_args::RestoreArgs;
use crate::config::secret::{self, AddressParser, Hidden};
use crate::config::wait_args::WaitArgs;
use crate::host_port::HostPort;
use crate::mirror::MirrorMode;

/// Journals every change of a cluster, and says inside the cluster what is on disk.
///
/// The persister is an ordinary client of the cluster. It watches every change, appends it to a
/// checksummed journal, fsyncs, and then writes into the cluster
///
///   /ctl/persistence/ID/PATH            the revision of PATH that is on disk
///   /ctl/persistence/ID/ctl/watermark   the revision up to which everything is on disk
///
/// where anybody can wait for it. Run as many as you like, each with an ID and a journal of its
/// own.
#[derive(Debug, Parser)]
#[command(
    name = "persister",
    version,
    after_help = help::AFTER_HELP
)]
pub struct CommandLine {
    /// What to do instead of persisting.
    #[command(subcommand)]
    pub command: Option<Command>,

    #[arg(long, global = true, value_name = "FILE", env = "CAIRN_CONFIG")]
    /// Read settings from this TOML file; its keys are the long flags
    pub config: Option<PathBuf>,

    /// Log more; given twice, log everything
    #[arg(short = 'v', long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Repair the journal first, if it is damaged
    ///
    /// Writes a new journal beside the damaged one, with every record that verifies, before and
    /// after the damage, and what --from and the cluster still know of the rest. Says what is lost,
    /// and keeps the files of the damaged journal in damaged-N.
    #[arg(short = 'f', long, global = true)]
    pub repair: bool,

    /// Repair with what this journal of another persister of the cluster still has; may be repeated
    ///
    /// It is only read, whatever state it is in, and its persister may be running. The cluster
    /// itself is asked as well, if it is alive.
    #[arg(
        id = "from",
        long = "from",
        global = true,
        value_name = "DIR",
        requires = "repair"
    )]
    pub repair_from: Vec<PathBuf>,

    /// Write the repaired journal into this empty directory, and end
    ///
    /// For a file system that has no room for two. The damaged journal stays as it is.
    #[arg(long, global = true, value_name = "DIR", requires = "repair")]
    pub repair_into: Option<PathBuf>,

    /// Run a single-node cluster in this process too, and restore it from the journal at every
    /// start
    #[arg(long, global = true)]
    pub embedded: bool,

    /// Restore the journal's state first, if the cluster is empty
    ///
    /// Also later, whenever the cluster has lost everything and comes back empty.
    /// Does nothing, and says so, where the cluster has keys or is alive, so it can stay in a unit
    /// file. An empty cluster of etcd comes back from a file, before it starts: this prints how and
    /// ends, unless it is `-r api`.
    #[arg(
        short = 'r',
        long,
        global = true,
        value_enum,
        value_name = "HOW",
        num_args = 0..=1,
        default_missing_value = "best"
    )]
    pub restore: Option<RestoreHow>,

    /// At a first start, begin the journal with the history of this snapshot file of etcd
    ///
    /// A backup of the very cluster: that is verified. Does nothing once there is a journal.
    #[arg(long, global = true, value_name = "FILE")]
    pub base: Option<PathBuf>,

    /// Go on although changes are lost that exist nowhere else; the refusal names them
    #[arg(long, global = true)]
    pub accept_loss: bool,

    /// Complete a restore that another journal began; only if its process is dead
    ///
    /// Nobody but you can know that. A process that is cut off, or stopped, goes on when it can,
    /// and may bring back keys that were deleted meanwhile.
    #[arg(long, global = true)]
    pub take_over: bool,

    /// Everything that may also stand in the configuration file.
    #[command(flatten)]
    pub settings: Settings,
}

impl CommandLine {
    /// Parses a command line.
    ///
    /// # Errors
    /// Wrong usage; among it a cluster given beside the embedded one. Only if it is given here: an
    /// environment variable that other programs use as well is no contradiction.
    pub fn read<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = help::tailored(without_empty_variables(Self::command()));
        let matches = command.try_get_matches_from_mut(args)?;
        let line = Self::from_arg_matches(&matches)?;
        if line.embedded && matches.value_source("cluster") == Some(ValueSource::CommandLine) {
            return Err(command.error(
                ErrorKind::ArgumentConflict,
                "--embedded brings its own cluster: leave out --cluster",
            ));
        }
        for secret in ["rwsecret", "rosecret"] {
            let given = matches.value_source(secret) == Some(ValueSource::CommandLine);
            if given && !line.embedded {
                return Err(command.error(
                    ErrorKind::ArgumentConflict,
                    format!(
                        "--{secret} is of the embedded cluster: give --embedded, or the secret of \
                         another cluster as `sk=` in --cluster"
                    ),
                ));
            }
        }
        Ok(line)
    }
}

/// An environment variable that is set to nothing counts as not set: that is how unit files and
/// shells unset one.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let empty = (arg.get_env())
            .is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()));
        if empty { arg.env(None::<&str>) } else { arg }
    })
}

/// What to do instead of persisting.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Restore a journal's state into a cluster, or into a snapshot file of etcd, then end
    ///
    /// Only into a cluster without keys (outside /ctl), unless --merge is given. Reads the journal,
    /// and never writes to it; it may be in use. Prints what was done, and how to compare it.
    Restore(RestoreArgs),
    /// Make a journal from a snapshot file of etcd, with all the history that it has, then end
    ///
    /// From `etcdctl snapshot save`. The journal's directory (-j) is absent or empty. It can be
    /// restored, read, and followed with, if a persister was beside the cluster.
    Import(ImportArgs),
    /// Tell who persists this cluster: alive or not, how far, how far behind
    ///
    /// Watches the heartbeats for as long as it takes to tell a living persister from a dead one.
    /// On etcd the lease of a persister tells that at once.
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Wait until everything up to a revision is on disk
    ///
    /// For scripts: what a program wrote at this revision, or before, is then in the journals of
    /// the persisters named, and survives the loss of the cluster.
    Wait(WaitArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// What to do with the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check flags, environment and file; print what would be in force
    ///
    /// The output is a file for --config. Secrets are shown as ***.
    Check {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Settings that may come from a flag, an environment variable or the configuration file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The number of this persister within its cluster
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "CAIRN_ID",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub id: Option<Id>,

    /// The cluster: etcd://HOST:PORT,... or doozer:?ca=HOST:PORT [default:
    /// doozer:?ca=127.0.0.1:8046]
    ///
    /// doozer: &ca=HOST:PORT for each further node, &sk=SECRET. etcd: etcds://HOST:PORT,... with
    /// TLS; bare etcd: takes ETCDCTL_ENDPOINTS; users and certificates come from ETCDCTL_USER,
    /// ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY.
    #[arg(
        short = 'a',
        long,
        global = true,
        value_name = "URI",
        value_parser = AddressParser,
        env = "DOOZER_URI",
        hide_env_values = true
    )]
    #[serde(default, deserialize_with = "secret::address")]
    pub cluster: Option<Address>,

    /// The directory of the journal; created if need be [default: journal-ID]
    #[arg(
        short = 'j',
        long,
        global = true,
        value_name = "DIR",
        env = "CAIRN_JOURNAL"
    )]
    pub journal: Option<PathBuf>,

    /// Where the embedded cluster listens
    #[arg(
        short = 'l',
        long,
        global = true,
        value_name = "HOST:PORT",
        requires = "embedded",
        help = format!("Where the embedded cluster listens [default: {DEFAULT_SOCKET}]")
    )]
    pub embedded_listen: Option<HostPort>,

    /// Require this secret of the embedded cluster's clients. Prefer the variable: command lines
    /// are public
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        env = "DOOZER_RWSECRET",
        hide_env_values = true
    )]
    pub rwsecret: Option<Hidden>,

    /// Require this secret for reading only; needs --rwsecret too. Without it everyone may read
    #[arg(
        long,
        global = true,
        value_name = "SECRET",
        env = "DOOZER_ROSECRET",
        hide_env_values = true
    )]
    pub rosecret: Option<Hidden>,

    /// What to write into the cluster beside the watermark [default: paths; with etcd: watermark]
    #[arg(long, global = true, value_enum, env = "CAIRN_MIRROR")]
    pub mirror: Option<MirrorMode>,

    /// What to do when the disk is full [default: exit]
    #[arg(long, global = true, value_enum, env = "CAIRN_ON_DISK_FULL")]
    pub on_disk_full: Option<OnDiskFullArg>,

    /// Serve /metrics, /livez, /readyz and /status here, for instance 127.0.0.1:9346 [default:
    /// nowhere]
    #[arg(long, global = true, value_name = "HOST:PORT", env = "CAIRN_LISTEN")]
    pub listen: Option<HostPort>,

    /// /readyz fails when the journal is further behind the cluster than this [default: 10s]
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "CAIRN_READY_LAG",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, with = "humantime_serde::option")]
    pub ready_lag: Option<Duration>,

    /// Size of one segment of the journal [default: 64MiB]
    #[arg(long, global = true, value_name = "SIZE", env = "CAIRN_SEGMENT_BYTES")]
    pub segment_bytes: Option<ByteSize>,

    /// Make a checkpoint of the state after this many bytes of changes [default: 64MiB]
    ///
    /// A larger last checkpoint counts instead, so that checkpoints never write more than the
    /// journal.
    #[arg(
        long,
        global = true,
        value_name = "SIZE",
        env = "CAIRN_CHECKPOINT_EVERY"
    )]
    pub checkpoint_every: Option<ByteSize>,

    /// Keep history for this long, or `all` of it [default: 7d, unless --retain-bytes is given]
    ///
    /// A checkpoint replaces older history. The newest state is always kept.
    #[arg(long, global = true, value_name = "TIME", env = "CAIRN_RETAIN")]
    pub retain: Option<Retain>,

    /// Keep about this much of the newest history; with --retain, keep what either of them keeps
    #[arg(long, global = true, value_name = "SIZE", env = "CAIRN_RETAIN_BYTES")]
    pub retain_bytes: Option<ByteSize>,

    /// How many keys a restore has in flight [default: 64 where the cluster keeps their order, else
    /// 1]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=512)
    )]
    pub in_flight: Option<u16>,

    /// The longest value that the cluster takes, for a restore [default: what is known of its kind]
    #[arg(long, global = true, value_name = "SIZE")]
    pub max_value_bytes: Option<ByteSize>,

    /// Begin a restore once these persisters have bid, too; of all the newest journal restores
    ///
    /// With --restore-wait, not longer than that.
    #[arg(
        long,
        global = true,
        value_name = "N,N,...",
        env = "CAIRN_RESTORE_WITH",
        value_delimiter = ','
    )]
    pub restore_with: Option<Vec<NonZeroU32>>,

    /// How long a restore waits for persisters that have more, before it begins [default: 6s; of
    /// `persister restore` 2s]
    ///
    /// Who comes later is refused.
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "CAIRN_RESTORE_WAIT",
        value_parser = humantime::parse_duration
    )]
    #[serde(default, with = "humantime_serde::option")]
    pub restore_wait: Option<Duration>,

    /// How to write the log [default: text]
    #[arg(long, global = true, value_enum, env = "CAIRN_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// `--restore`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RestoreHow {
    /// As brings most back: into doozer by writes; etcd from a file, which this says how to make
    Best,
    /// By writes, whichever cluster it is: of etcd without create revisions, versions and history
    Api,
}

/// `--on-disk-full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDiskFullArg {
    /// End with status 13
    Exit,
    /// Publish nothing, try again every few seconds, go on when there is room
    Wait,
}

/// `--retain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Retain {
    /// Everything.
    All,
    /// What is younger than this.
    For(Duration),
}

impl std::str::FromStr for Retain {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(Self::All);
        }
        humantime::parse_duration(text).map(Self::For)
    }
}

impl TryFrom<String> for Retain {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl Settings {
    /// These, and where there are none, those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            id: self.id.or(other.id),
            cluster: self.cluster.or(other.cluster),
            journal: self.journal.or(other.journal),
            embedded_listen: self.embedded_listen.or(other.embedded_listen),
            rwsecret: self.rwsecret.or(other.rwsecret),
            rosecret: self.rosecret.or(other.rosecret),
            mirror: self.mirror.or(other.mirror),
            on_disk_full: self.on_disk_full.or(other.on_disk_full),
            listen: self.listen.or(other.listen),
            ready_lag: self.ready_lag.or(other.ready_lag),
            segment_bytes: self.segment_bytes.or(other.segment_bytes),
            checkpoint_every: self.checkpoint_every.or(other.checkpoint_every),
            retain: self.retain.or(other.retain),
            retain_bytes: self.retain_bytes.or(other.retain_bytes),
            in_flight: self.in_flight.or(other.in_flight),
            max_value_bytes: self.max_value_bytes.or(other.max_value_bytes),
            restore_with: self.restore_with.or(other.restore_with),
            restore_wait: self.restore_wait.or(other.restore_wait),
            log_format: self.log_format.or(other.log_format),
        }
    }
}
