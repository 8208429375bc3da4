//! What `--help` says beyond a line for each flag, and which flags each command shows.

use clap::Command;

/// What `--help` ends with.
pub(super) const AFTER_HELP: &str = "\
A flag wins over its environment variable, the variable over the configuration file, and the file
over the default.

Examples:
  persister --id 1 --embedded         run a durable single-node cluster in one process
  persister --id 2 -a doozer:?ca=10.0.0.1:8046 -j /var/lib/cairn/2
  persister --id 1 -a etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379
  persister --id 1 -r                 bring a lost cluster back, then go on as usual
  persister --id 1 -r api -a etcd://10.0.0.1:2379
                                      the same for etcd, as far as writes can
  persister --id 1 -f                 repair a damaged journal, then go on as usual
  persister --id 1 -f --from /mnt/2   repair it with what persister 2's journal still has
  persister restore -j /var/lib/cairn/1 --dry-run
                                      show what a restore would do
  persister import backup.db -j /var/lib/cairn/1
                                      a journal from what etcdctl snapshot save has made
  persister status                    show who persists this cluster, and how far
  persister wait --revision 1234      wait until everything up to this revision is on disk

Exit status:
  0    ended in good order
  1    defect of the persister
  2    wrong usage or configuration
  10   the journal is damaged; -f repairs it
  11   another process has the journal open
  12   the journal cannot be used
  13   the disk failed or is full
  20   this is not the cluster that the journal followed
  21   another persister holds the id
  22   the cluster cannot be used
  23   the machine is short of descriptors, memory or threads; try again
  24   the restored cluster differs from the journal
  25   changes would be lost; --accept-loss goes on
  26   this is not a cluster to restore into
  27   the cluster cannot take a value or path; nothing was written
  28   the journal does not have that state
  29   the cluster went back to an older state
  30   etcd's own tool is missing, or failed
  31   not on enough disks in time
  130  interrupted by a signal

docs/operations.md says what to do about each.";

const RESTORE: &str = "\
Examples:
  persister restore -j /var/lib/cairn/1 -a doozer:?ca=10.0.0.1:8046 --dry-run
                                      show what would be done; nothing is written
  persister restore -j /var/lib/cairn/1 -a doozer:?ca=10.0.0.1:8046
                                      the newest state into an empty cluster
  persister restore -j /var/lib/cairn/1 --at-time \"11 minutes ago\" --prefix /app --merge
                                      what was deleted by mistake, into the living cluster
  persister restore -j /var/lib/cairn/1 --into /var/lib/etcd --member m0=http://10.0.0.1:2380
                                      a lost cluster of etcd, with its revisions

Exit status:
  0    restored, or there was nothing to restore
  10   the journal is damaged; persister -f repairs it
  22   the cluster cannot be reached
  24   the restored cluster differs from the journal, or keys were left alone
  25   the journal itself lacks changes; --accept-loss goes on
  26   this is not a cluster to restore into: it has keys, or lives
  27   the cluster cannot take a value or path; nothing was written
  28   the journal does not have that state
  30   etcd's own tool is missing, or failed
  130  interrupted: run it again";

const STATUS: &str = "\
States:
  alive    its heartbeat came while we watched; on etcd: its lease was kept alive in time
  silent   it holds its id, and did not: it died, hangs, or cannot reach the cluster
  ended    it left in good order: everything up to its watermark is on its disk
  absent   nobody holds the id (etcd): it left in good order, or its lease ran out, some 9 s after
           it died. Everything up to its watermark is on its disk either way

BEHIND counts the cluster's revisions that a persister has neither on disk nor passed as needing
no journaling. It is as of the last heartbeat, so a busy cluster shows a few seconds' worth.

Exit status:
  0    shown
  2    wrong usage or configuration
  22   the cluster cannot be reached";

const WAIT: &str = "\
Examples:
  persister wait --revision 1234 -a etcd://10.0.0.1:2379
                                      on the disk of persister 1, within 30 seconds
  persister wait --revision 1234 --persist 1,2,3 --require 2 --timeout 5s
                                      on two of three disks: survives the loss of any one of them

A revision that changed nothing but the persisters' own keys is on disk with the changes before it.
What was read is of one cluster: if it is given another name meanwhile, nothing is promised.

Exit status:
  0    on enough disks
  2    wrong usage or configuration
  20   the cluster was given another name meanwhile: it was restored, or is another one
  22   the cluster cannot be reached
  31   not on enough disks in time; the write may become durable later";

/// The flags that each command has a use for. All others are taken as well, so that one
/// configuration file or alias serves all commands, but only `config check` lists them.
const RESTORE_FLAGS: [&str; 12] = [
    "config",
    "restore_with",
    "take_over",
    "restore_wait",
    "verbose",
    "accept_loss",
    "id",
    "cluster",
    "journal",
    "in_flight",
    "max_value_bytes",
    "log_format",
];
const STATUS_FLAGS: [&str; 2] = ["config", "cluster"];

const IMPORT_FLAGS: [&str; 5] = ["config", "verbose", "id", "journal", "log_format"];

/// The command line with help that teaches: each command shows its own flags only.
pub(super) fn tailored(command: Command) -> Command {
    let flags: Vec<_> = command.get_arguments().cloned().collect();
    let only = |sub: Command, shown: &[&str]| {
        let others = flags.iter().filter(|flag| flag.is_global_set());
        let others = others.filter(|flag| !shown.contains(&flag.get_id().as_str()));
        // A command's own flag of that name stays before the one of all commands.
        others.fold(sub, |sub, flag| sub.arg(flag.clone().hide(true)))
    };
    command
        .mut_subcommand("restore", |sub| {
            only(sub, &RESTORE_FLAGS).after_help(RESTORE)
        })
        .mut_subcommand("import", |sub| only(sub, &IMPORT_FLAGS))
        .mut_subcommand("status", |sub| only(sub, &STATUS_FLAGS).after_help(STATUS))
        .mut_subcommand("wait", |sub| only(sub, &STATUS_FLAGS).after_help(WAIT))
}
