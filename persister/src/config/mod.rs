//! The configuration: flags over environment over file over defaults, checked once, here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_journal::Retention;

mod args;
mod error;
mod help;
mod import_args;
mod requests;
mod restore_args;
mod secret;
mod shown;
mod wait_args;

use crate::config::args::{OnDiskFullArg, RestoreHow, Retain};
use crate::config::requests::{journal_options, restore_options};
use crate::config::secret::Hidden;
pub use args::{Command, CommandLine, ConfigCommand, LogFormat, Settings};
pub use error::ConfigError;
pub use import_args::ImportArgs;
pub use requests::{cluster, file_request, import_request, restore_request, wait_request};
pub use restore_args::{FileArgs, RestoreArgs};
pub use wait_args::WaitArgs;

use crate::cluster::address::{Address, DEFAULT_SOCKET};
use crate::cluster::control::Id;
use crate::cluster::in_process::node::NodeOptions;
use crate::host_port::HostPort;
use crate::maintenance::policy::Policy;
use crate::mirror::MirrorMode;
use crate::restore::options::RestoreOptions;

/// How far behind the journal may be while `/readyz` still says yes.
const DEFAULT_READY_LAG: Duration = Duration::from_secs(10);

/// How many bytes of changes there are at least between checkpoints: a restore reads no more than
/// that beside the newest one.
const DEFAULT_CHECKPOINT_EVERY: u64 = 64 << 20;

/// How long history is kept: long enough to notice on Monday what went wrong on Friday.
const DEFAULT_RETAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a persister waits for them: those that run look for a cluster that is away every five
/// seconds, and see at different times that it is back.
const DEFAULT_ELECTION: Duration = Duration::from_secs(6);

/// The configuration of a persister, complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of this persister.
    pub id: Id,
    /// Where the cluster is.
    pub endpoint: Endpoint,
    /// Where the journal is.
    pub journal: PathBuf,
    /// How the journal is written.
    pub options: cairn_journal::Options,
    /// When checkpoints are made, and what is kept of history.
    pub maintenance: Policy,
    /// Whether to restore an empty cluster first.
    pub restore: bool,
    /// How to restore.
    pub restore_options: RestoreOptions,
    /// Whether to repair a damaged journal first.
    pub repair: bool,
    /// Journals of other persisters that may still have what was lost.
    pub repair_from: Vec<PathBuf>,
    /// Where to write the repaired journal, if not in the place of the damaged one.
    pub repair_into: Option<PathBuf>,
    /// The snapshot file with which a new journal begins.
    pub base: Option<PathBuf>,
    /// Whether to go on when that lets go of changes.
    pub accept_loss: bool,
    /// What to write into the cluster; `None`: what is usual on its engine.
    pub mirror: Option<MirrorMode>,
    /// Whether to wait for room on a full disk.
    pub wait_for_room: bool,
    /// Where to serve metrics and health.
    pub listen: Option<HostPort>,
    /// How far behind counts as not ready.
    pub ready_lag: Duration,
    /// How the log is written.
    pub log_format: LogFormat,
}

/// Where the cluster is.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Somewhere else.
    Remote(Address),
    /// In this process.
    Embedded {
        /// Where it listens.
        listen: HostPort,
        /// Its secrets and limits.
        node: NodeOptions,
    },
}

/// Reads the configuration file, if there is one.
///
/// # Errors
/// Unreadable, not TOML, or with a key that we do not know.
pub fn read_file(path: Option<&Path>) -> Result<Settings, ConfigError> {
    let Some(path) = path else {
        return Ok(Settings::default());
    };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    // The line itself is not shown: a secret may stand in it.
    toml::from_str(&text).map_err(|error| ConfigError::Invalid {
        path: path.to_owned(),
        line: error.span().map_or(1, |at| {
            1 + text
                .bytes()
                .take(at.start)
                .filter(|byte| *byte == b'\n')
                .count()
        }),
        why: error.message().to_owned(),
    })
}

impl Config {
    /// Fills in every default.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting that is missing or impossible.
    pub fn new(line: CommandLine, file: Settings) -> Result<Self, ConfigError> {
        let CommandLine {
            embedded,
            restore,
            repair,
            repair_from,
            repair_into,
            accept_loss,
            take_over,
            base,
            ..
        } = line;
        let settings = line.settings.or(file);
        let id = settings.id.filter(|id| *id > 0).ok_or(ConfigError::NoId)?;
        let endpoint = if embedded {
            let default = || DEFAULT_SOCKET.parse().expect("the default address is one");
            let node = NodeOptions {
                secret_rw: settings.rwsecret.clone().map(Hidden::expose),
                secret_ro: settings.rosecret.clone().map(Hidden::expose),
                ..NodeOptions::default()
            };
            node.validate()?;
            Endpoint::Embedded {
                listen: settings.embedded_listen.clone().unwrap_or_else(default),
                node,
            }
        } else {
            Endpoint::Remote(cluster(&settings))
        };
        if settings.mirror == Some(MirrorMode::None) {
            match &endpoint {
                Endpoint::Remote(address) if address.can_be_observed() => {}
                _ => return Err(ConfigError::NotObservable),
            }
            if restore.is_some() {
                return Err(ConfigError::ObserverWrites("-r"));
            }
            if base.is_some() {
                return Err(ConfigError::ObserverWrites("--base"));
            }
        }
        let restore_options = RestoreOptions {
            accept_loss,
            take_over,
            by_writes: restore == Some(RestoreHow::Api),
            ..restore_options(&settings, DEFAULT_ELECTION)
        };
        let options = journal_options(&settings)?;
        Ok(Self {
            id,
            endpoint,
            journal: settings
                .journal
                .clone()
                .unwrap_or_else(|| PathBuf::from(format!("journal-{id}"))),
            options,
            maintenance: maintenance(&settings),
            // An embedded cluster is empty at every start: its durable state is the journal.
            restore: restore.is_some() || embedded,
            restore_options,
            repair,
            repair_from,
            repair_into,
            base,
            accept_loss,
            mirror: settings.mirror,
            wait_for_room: settings.on_disk_full == Some(OnDiskFullArg::Wait),
            listen: settings.listen,
            ready_lag: settings.ready_lag.unwrap_or(DEFAULT_READY_LAG),
            log_format: settings.log_format.unwrap_or_default(),
        })
    }
}

fn maintenance(settings: &Settings) -> Policy {
    let bytes = settings.retain_bytes.map(|bytes| bytes.as_u64());
    let (age, bytes) = match settings.retain {
        Some(Retain::All) => (None, None),
        Some(Retain::For(age)) => (Some(age), bytes),
        None if bytes.is_some() => (None, bytes),
        None => (Some(DEFAULT_RETAIN), None),
    };
    Policy {
        every_bytes: settings
            .checkpoint_every
            .map_or(DEFAULT_CHECKPOINT_EVERY, |bytes| bytes.as_u64()),
        retention: Retention { age, bytes },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn config(line: &[&str], file: &str) -> Result<Config, ConfigError> {
        let line = CommandLine::read(line).expect("a valid command line");
        let file: Settings = toml::from_str(file).expect("a valid file");
        Config::new(line, file)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn an_embedded_cluster_is_always_restored() {
        let config = config(&["persister", "--id", "3", "--embedded"], "").expect("valid");
        assert!(config.restore);
        assert_eq!(config.journal, PathBuf::from("journal-3"));
        assert!(matches!(config.endpoint, Endpoint::Embedded { .. }));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = r#"
            journal = "/j"
            mirror = "watermark"
            ready-lag = "3s"
            segment-bytes = "32MiB"
            cluster = "doozer:?ca=10.0.0.1"
        "#;
        let config = config(&["persister", "--id", "3", "-j", "/other"], file).expect("valid");
        assert_eq!(config.journal, PathBuf::from("/other"));
        assert_eq!(config.mirror, Some(MirrorMode::Watermark));
        assert_eq!(config.ready_lag, Duration::from_secs(3));
        assert_eq!(config.options.segment_bytes, 32 << 20);
        assert!(!config.wait_for_room);
        let Endpoint::Remote(address) = config.endpoint else {
            panic!("not embedded");
        };
        assert_eq!(address.to_string(), "doozer:?ca=10.0.0.1:8046");
    }

    #[test]
    fn only_what_is_known_by_its_keys_is_observed_and_nothing_is_written_there() {
        let none = ["persister", "--id", "1", "--mirror", "none"];
        let etcd = [&none[..], &["-a", "etcd://a"]].concat();
        assert!(config(&etcd, "").is_ok());
        for (line, says) in [
            (
                [&none[..], &["-a", "doozer:?ca=a"]].concat(),
                "--mirror watermark",
            ),
            ([&none[..], &["--embedded"]].concat(), "--mirror watermark"),
            ([&etcd[..], &["-r"]].concat(), "-r"),
        ] {
            let said = config(&line, "").expect_err("it writes").to_string();
            assert!(said.contains(says), "{line:?}: {said}");
        }
    }

    #[test]
    fn history_is_kept_for_a_week_unless_something_else_is_said() {
        let hour = Some(Duration::from_secs(3600));
        let week = Some(DEFAULT_RETAIN);
        for (args, file, age, bytes) in [
            (&[][..], "", week, None),
            (&["--retain", "1h"], "", hour, None),
            (&["--retain-bytes", "1KiB"], "", None, Some(1024)),
            (
                &["--retain-bytes", "1KiB"],
                "retain = \"1h\"",
                hour,
                Some(1024),
            ),
            (&["--retain", "all"], "retain-bytes = \"1KiB\"", None, None),
            (&[], "retain = \"all\"", None, None),
        ] {
            let line = [&["persister", "--id", "1"], args].concat();
            let config = config(&line, file).expect("valid");
            let expected = Retention { age, bytes };
            assert_eq!(config.maintenance.retention, expected, "{args:?} {file}");
        }
        assert!(toml::from_str::<Settings>("retain = \"some\"").is_err());
    }

    #[test]
    fn others_are_waited_for_by_number_or_for_a_time() {
        let six = Some(DEFAULT_ELECTION);
        for (args, file, with, wait) in [
            (&[][..], "", &[][..], six),
            (&["--restore-with", "1,2,3"], "", &[1, 2, 3], None),
            (&[], "restore-with = [1, 2]", &[1, 2], None),
            (
                &["--restore-wait", "6s"],
                "restore-with = [1, 2]",
                &[1, 2],
                six,
            ),
        ] {
            let line = [&["persister", "--id", "1"], args].concat();
            let options = config(&line, file).expect("valid").restore_options;
            assert_eq!(options.with, with.iter().copied().collect(), "{args:?}");
            assert_eq!(options.wait_for_others, wait, "{args:?} {file}");
        }
        assert!(toml::from_str::<Settings>("restore-with = [0]").is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        for wrong in [
            &["persister", "--id", "0"][..],
            &["persister", "--id", "1", "-l", "127.0.0.1:1"],
            &["persister", "--id", "1", "-a", "http://example"],
            &["persister", "--id", "1", "--mirror", "all"],
            &[
                "persister",
                "--id",
                "1",
                "--embedded",
                "-a",
                "doozer:?ca=127.0.0.1:1",
            ],
        ] {
            assert!(CommandLine::read(wrong).is_err(), "{wrong:?}");
        }
        let tiny = ["persister", "--id", "1", "--segment-bytes", "1KiB"];
        assert!(matches!(config(&tiny, ""), Err(ConfigError::Journal(_))));
    }

    #[test]
    fn every_setting_may_stand_after_a_command() {
        for line in [
            &[
                "persister",
                "config",
                "check",
                "--id",
                "1",
                "--embedded",
                "-l",
                "127.0.0.1:1",
            ][..],
            &["persister", "--id", "1", "config", "check"],
            &[
                "persister",
                "status",
                "-a",
                "doozer:?ca=127.0.0.1:1",
                "--json",
            ],
        ] {
            assert!(CommandLine::read(line).is_ok(), "{line:?}");
        }
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused() {
        assert!(toml::from_str::<Settings>("jurnal = \"/j\"").is_err());
    }
}
