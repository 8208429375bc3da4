//! What `persister restore` is asked for: its flags and settings, checked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use cairn_journal::{Options, Revision};

use crate::cluster::address::Address;
use crate::cluster::control::Id;
use crate::config::args::{CommandLine, Settings};
use crate::config::error::ConfigError;
use crate::config::import_args::ImportArgs;
use crate::config::restore_args::RestoreArgs;
use crate::config::wait_args::WaitArgs;
use crate::import::command::ImportRequest;
use crate::observe::wait::progress::{WaitAt, WaitRequest};
use crate::restore::command::Request;
use crate::restore::options::{At, RestoreOptions};
use crate::restore::snapshot_file::request::{Counter, FileRequest, Member, Members};

/// How long `persister restore` waits for persisters that have more: those that start with it need
/// about a second to open their journals.
const DEFAULT_RESTORE_WAIT: Duration = Duration::from_secs(2);

/// After how long without a change the journal testifies to its last records. Until then, damage to
/// the very last commit cannot be told from a write that a crash has cut short; a cluster that
/// changes slowly can afford the extra write.
const IDLE_WATERMARK: Duration = Duration::from_millis(100);

/// What a snapshot file is called when only members are asked for.
const FILE: &str = "snapshot.db";

/// Builds the request of `persister restore`.
///
/// # Errors
/// [`ConfigError`] names the setting that is missing or impossible.
pub fn restore_request(
    line: &CommandLine,
    args: &RestoreArgs,
    file: Settings,
) -> Result<Request, ConfigError> {
    for (given, flag) in [
        (line.embedded, "--embedded"),
        (line.repair, "-f (repair first, with `persister -f`)"),
        (line.restore.is_some(), "-r"),
    ] {
        if given {
            return Err(ConfigError::NotForRestore(flag));
        }
    }
    let settings = line.settings.clone().or(file);
    let restore_options = restore_options(&settings, DEFAULT_RESTORE_WAIT);
    let cluster = cluster(&settings);
    for prefix in &args.prefix {
        let checked = cluster.rules().check_prefix(prefix);
        checked.map_err(|why| ConfigError::Prefix {
            prefix: prefix.clone(),
            why,
        })?;
    }
    Ok(Request {
        cluster,
        journal: journal(&settings)?,
        dry_run: args.dry_run,
        options: RestoreOptions {
            at: at(args)?,
            prefixes: args.prefix.clone(),
            merge: args.merge,
            deletes: args.delete,
            seen: args.seen.map(Revision),
            accept_loss: line.accept_loss,
            take_over: line.take_over,
            // There is no other reason to give this command a cluster.
            by_writes: true,
            ..restore_options
        },
    })
}

/// Builds the request for a snapshot file; `None`: none is asked for.
///
/// # Errors
/// [`ConfigError`] names what is missing or does not go together.
pub fn file_request(
    line: &CommandLine,
    args: &RestoreArgs,
    file: &Settings,
) -> Result<Option<FileRequest>, ConfigError> {
    let asked = &args.file;
    if !asked.is_asked() {
        let flags = [
            (asked.seamless, "--seamless"),
            (asked.rehearsal, "--rehearsal"),
            (asked.history_from.is_some(), "--history-from"),
        ];
        return match flags.iter().find(|(given, _)| *given) {
            Some((_, flag)) => Err(ConfigError::NeedsFile(flag)),
            None => Ok(None),
        };
    }
    let counter = asked.counter();
    if counter == Counter::Jump && asked.history_from.is_some() {
        return Err(ConfigError::NoReadableHistory);
    }
    let members = match &asked.into {
        Some(into) => Some(Members {
            into: into.clone(),
            members: different(&asked.member)?,
        }),
        None => None,
    };
    let settings = line.settings.clone().or(file.clone());
    let within = |members: &Members| members.into.join(FILE);
    let named = asked.to_snapshot.clone();
    Ok(Some(FileRequest {
        journal: journal(&settings)?,
        file: named
            .or_else(|| members.as_ref().map(within))
            .expect("one of the two is asked for"),
        at: at(args)?,
        history_from: asked.history_from.map(Revision),
        counter,
        accept_loss: line.accept_loss,
        dry_run: args.dry_run,
        members,
    }))
}

/// Builds the request of `persister wait`.
///
/// # Errors
/// [`ConfigError`] if more disks are required than there are, or a persister is not to be asked.
pub fn wait_request(
    line: &CommandLine,
    args: &WaitArgs,
    file: Settings,
) -> Result<WaitRequest, ConfigError> {
    let persisters: BTreeSet<_> = args.persist.iter().map(|id| id.get()).collect();
    let required = args.require.unwrap_or(persisters.len());
    if required == 0 || required > persisters.len() {
        return Err(ConfigError::Required {
            required,
            named: persisters.len(),
        });
    }
    let at = match args.status.len() {
        0 => WaitAt::Cluster(cluster(&line.settings.clone().or(file))),
        told if told == args.persist.len() && told == persisters.len() => {
            let all = args.persist.iter().map(|id| id.get());
            WaitAt::Status(all.zip(args.status.iter().cloned()).collect())
        }
        told => {
            let named = persisters.len();
            return Err(ConfigError::StatusOfEach { told, named });
        }
    };
    Ok(WaitRequest {
        at,
        revision: Revision(args.revision),
        persisters,
        required,
        timeout: args.timeout,
    })
}

/// Builds the request of `persister import`.
///
/// # Errors
/// [`ConfigError`] names what is missing.
pub fn import_request(
    line: &CommandLine,
    args: &ImportArgs,
    file: Settings,
) -> Result<ImportRequest, ConfigError> {
    let settings = line.settings.clone().or(file);
    Ok(ImportRequest {
        file: args.file.clone(),
        journal: journal(&settings)?,
        options: journal_options(&settings)?,
    })
}

/// How a journal is written.
pub(super) fn journal_options(settings: &Settings) -> Result<Options, ConfigError> {
    let mut options = Options::default();
    options.idle_watermark = Some(IDLE_WATERMARK);
    if let Some(bytes) = settings.segment_bytes {
        options.segment_bytes = bytes.as_u64();
    }
    options.validate()?;
    Ok(options)
}

/// Two members of one name would be one directory, two of one address one member.
fn different(members: &[Member]) -> Result<Vec<Member>, ConfigError> {
    for (n, member) in members.iter().enumerate() {
        let before = &members[..n];
        let same = |other: &Member| other.name == member.name || other.peer_url == member.peer_url;
        if before.iter().any(same) {
            return Err(ConfigError::SameMember(member.name.clone()));
        }
    }
    Ok(members.to_vec())
}

/// The journal that is given, or that of the id that is.
fn journal(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let named = || Some(PathBuf::from(format!("journal-{}", settings.id?)));
    let given = settings.journal.clone();
    given.or_else(named).ok_or(ConfigError::NoJournal)
}

/// Which state is asked for.
fn at(args: &RestoreArgs) -> Result<At, ConfigError> {
    // Most likely a local time that was taken for UTC: the newest state is not what was meant.
    if let Some(time) = (args.at_time).filter(|time| *time > cairn_journal::Timestamp::now()) {
        return Err(ConfigError::InTheFuture(time));
    }
    Ok(match (args.at_revision, args.at_time) {
        (Some(revision), _) => At::Revision(Revision(revision)),
        (None, Some(time)) => At::Time(time),
        (None, None) => At::Newest,
    })
}

/// The address of the cluster in `settings`, or the default one.
#[must_use]
pub fn cluster(settings: &Settings) -> Address {
    settings.cluster.clone().unwrap_or_default()
}

/// How to restore, as far as it is a setting.
pub(super) fn restore_options(settings: &Settings, default_wait: Duration) -> RestoreOptions {
    let bytes = settings.max_value_bytes.map(|size| size.as_u64());
    let with = settings.restore_with.iter().flatten();
    let with: BTreeSet<Id> = with.map(|id| id.get()).collect();
    let default_wait = with.is_empty().then_some(default_wait);
    RestoreOptions {
        in_flight: settings.in_flight.map(usize::from),
        max_value_bytes: bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        wait_for_others: settings.restore_wait.or(default_wait),
        id: settings.id,
        with,
        ..RestoreOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::Command;
    use std::path::Path;

    fn request(line: &[&str]) -> Result<Option<FileRequest>, String> {
        let line = [&["persister", "restore", "-j", "/j"], line].concat();
        let line = CommandLine::read(line).map_err(|error| error.to_string())?;
        let Some(Command::Restore(args)) = &line.command else {
            panic!("it is a restore");
        };
        file_request(&line, args, &Settings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_asked_for_by_its_name_or_by_its_members() {
        assert!(request(&[]).expect("valid").is_none());
        let file = request(&["--to-snapshot", "f"])
            .expect("valid")
            .expect("a file");
        assert_eq!(file.file, Path::new("f"));
        assert_eq!(file.counter, Counter::Jump);
        let line = [
            "--into",
            "d",
            "--member",
            "a=http://h:1",
            "--member",
            "b=http://h:2",
        ];
        let file = request(&line).expect("valid").expect("a file");
        assert_eq!(file.file, Path::new("d/snapshot.db"));
        assert_eq!(file.members.expect("two").members.len(), 2);
        let line = ["--to-snapshot", "f", "--seamless", "--history-from", "9"];
        let file = request(&line).expect("valid").expect("a file");
        assert_eq!(file.history_from, Some(Revision(9)));
        assert_eq!(file.counter, Counter::Seamless);
        let line = ["--to-snapshot", "f", "--rehearsal", "--at-revision", "7"];
        let file = request(&line).expect("valid").expect("a file");
        assert_eq!(file.at, At::Revision(Revision(7)));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (line, says) in [
            (&["--seamless"][..], "--to-snapshot"),
            (&["--rehearsal"], "--to-snapshot"),
            (&["--history-from", "3"], "--to-snapshot"),
            (&["--to-snapshot", "f", "--history-from", "3"], "--seamless"),
            (
                &["--to-snapshot", "f", "--seamless", "--rehearsal"],
                "cannot be used",
            ),
            (&["--to-snapshot", "f", "--merge"], "cannot be used"),
            (&["--to-snapshot", "f", "--prefix", "/a"], "cannot be used"),
            (&["--into", "d"], "--member"),
            (&["--member", "a=http://h:1"], "--into"),
            (&["--into", "d", "--member", "a"], "NAME=http"),
            (
                &[
                    "--into",
                    "d",
                    "--member",
                    "a=http://h:1",
                    "--member",
                    "a=http://h:2",
                ],
                "a is given twice",
            ),
        ] {
            let said = request(line).expect_err(&line.join(" "));
            assert!(said.contains(says), "{line:?}: {said}");
        }
    }

    fn wait(line: &[&str]) -> Result<WaitRequest, String> {
        let line = [&["persister", "wait"], line].concat();
        let line = CommandLine::read(line).map_err(|error| error.to_string())?;
        let Some(Command::Wait(args)) = &line.command else {
            panic!("it is a wait");
        };
        wait_request(&line, args, Settings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_that_are_named_are_required_unless_a_number_is_said() {
        for (line, persisters, required) in [
            (&["--revision", "7"][..], &[1][..], 1),
            (&["--revision", "7", "--persist", "1,3,3"], &[1, 3], 2),
            (
                &["--revision", "7", "--persist", "1,2,3", "--require", "2"],
                &[1, 2, 3],
                2,
            ),
        ] {
            let request = wait(line).expect("valid");
            assert_eq!(
                request.persisters,
                persisters.iter().copied().collect(),
                "{line:?}"
            );
            assert_eq!(request.required, required, "{line:?}");
            assert_eq!(request.timeout, Duration::from_secs(30));
        }
    }

    #[test]
    fn what_cannot_come_is_refused() {
        for (line, says) in [
            (&[][..], "--revision"),
            (&["--revision", "0"], "0 is not in"),
            (&["--revision", "7", "--persist", "0"], "zero"),
            (&["--revision", "7", "--require", "0"], "--require 0"),
            (&["--revision", "7", "--status", "h"], "HOST:PORT"),
            (
                &["--revision", "7", "--persist", "1,2", "--status", "h:1"],
                "2 persisters are named, and 1",
            ),
            (
                &["--revision", "7", "--persist", "1,1", "--require", "2"],
                "--require 2",
            ),
        ] {
            let said = wait(line).expect_err(&line.join(" "));
            assert!(said.contains(says), "{line:?}: {said}");
        }
    }
}
