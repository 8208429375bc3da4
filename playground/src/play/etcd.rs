//! What a cluster of etcd needs besides processes: members that are taken in again after they lost
//! their disks, and a restore by a snapshot file and etcd's own tool.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cairn_journal::Revision;
use cairn_persister::restore::snapshot_file::request::{Counter, FileRequest};
use cairn_persister::restore::{At, FileReport, to_snapshot};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::members::Members;
use crate::play::loss::Made;
use crate::told::refusal::Refusal;
use crate::told::state::{Agreed, HashKv};
use crate::world::machine::Machine;
use crate::world::services::program::Program;

/// How long members may take to start, or to be taken in.
const START_LIMIT: Duration = Duration::from_secs(40);

/// How long making members from a journal may take.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);

/// The members, and what makes them from a file.
#[derive(Debug)]
pub(super) struct Etcd {
    pub(super) members: Members,
    /// The only member of the cluster in which restores are rehearsed.
    pub(super) scratch: Members,
    pub(super) tool: Program,
    pub(super) guard: PathBuf,
    pub(super) directory: PathBuf,
    /// What the members said when they last said the same.
    pub(super) agreed: Mutex<Option<Agreed>>,
}

impl Etcd {
    /// Starts these. One without data is taken in as a new member; if nobody has data, all that are
    /// started form a new cluster.
    pub(super) fn start(&self, which: &[Arc<Machine>]) -> Result<(), Refusal> {
        started(&self.members, which)
    }

    /// Starts the scratch cluster, which is empty.
    pub(super) fn start_scratch(&self, scratch: &Arc<Machine>) -> Result<(), Refusal> {
        started(&self.scratch, &[Arc::clone(scratch)])
    }

    /// How many members have something on disk.
    pub(super) fn with_data(&self) -> usize {
        let seats = self.members.seats().iter();
        seats.filter(|seat| seat.has_data()).count()
    }

    /// Whether too few members have data for them to elect a leader ever again.
    pub(super) fn is_lost(&self) -> bool {
        self.with_data() * 2 <= self.members.seats().len()
    }

    /// Makes all members anew, from the journal that reaches farthest. They must have no data.
    /// `agreed`: what they said before they were lost.
    pub(super) fn restore(
        &self,
        journals: &[PathBuf],
        agreed: Option<Agreed>,
    ) -> Result<(FileReport, Made), Refusal> {
        here(RESTORE_LIMIT, "making members from a journal", async {
            let history = match agreed {
                Some(agreed) => self.history(journals, agreed.said).await,
                None => Err("nobody asked the members before they were lost".to_owned()),
            };
            let mut farthest: Option<(i64, &Path)> = None;
            for journal in journals {
                let would = self.file(journal, true).await?;
                if farthest.is_none_or(|(newest, _)| newest < would.newest) {
                    farthest = Some((would.newest, journal));
                }
            }
            let (_, journal) = farthest.context("no persister has a journal")?;
            let report = self.file(journal, false).await?;
            let file = Path::new(&report.file);
            let made = self.members.restore(file, &self.tool, &self.guard).await;
            // The members have it all; the next restore makes its own.
            let _ = std::fs::remove_file(file);
            made?;
            let file = report.hash_kv.map(|hash| HashKv {
                hash,
                revision: report.revision,
                compacted: report.history_from,
            });
            Ok((report, Made { history, file }))
        })
    }

    /// The hash of a journal's whole history, as members said it: a file is made of it that is
    /// good for nothing else.
    async fn history(&self, journals: &[PathBuf], said: HashKv) -> Result<u32, String> {
        let mut why = "no persister has a journal".to_owned();
        for journal in journals {
            match self.history_of(journal, said).await {
                Ok(hash) => return Ok(hash),
                Err(error) => why = format!("{error:#}"),
            }
        }
        Err(why)
    }

    async fn history_of(&self, journal: &Path, said: HashKv) -> Result<u32> {
        let request = FileRequest {
            journal: journal.to_owned(),
            file: self.directory.join("history.db"),
            at: At::Revision(Revision(said.revision)),
            history_from: (said.compacted > 0).then_some(Revision(said.compacted)),
            counter: Counter::Rehearsal,
            accept_loss: false,
            dry_run: false,
            members: None,
        };
        let made = to_snapshot(&request, &CancellationToken::new()).await;
        let _ = std::fs::remove_file(&request.file);
        let made = made?;
        // An empty cluster is at revision 1.
        ensure!(
            made.newest == said.revision && made.history_from <= said.compacted.max(1),
            "this journal's history begins later, at revision {}",
            made.history_from
        );
        ensure!(
            made.control && made.unnumbered == 0 && made.filled == 0,
            "this journal does not have every write of the cluster as it was made"
        );
        made.hash_kv_at_newest.context("it has no history")
    }

    async fn file(&self, journal: &Path, dry_run: bool) -> Result<FileReport> {
        let request = FileRequest {
            journal: journal.to_owned(),
            file: self.directory.join("lost.db"),
            at: At::Newest,
            history_from: None,
            // Writes that were not confirmed may have been seen by somebody.
            counter: Counter::Jump,
            accept_loss: false,
            dry_run,
            members: None,
        };
        Ok(to_snapshot(&request, &CancellationToken::new()).await?)
    }
}

fn started(members: &Members, which: &[Arc<Machine>]) -> Result<(), Refusal> {
    here(START_LIMIT, "starting members", members.start(which))
}

/// Does it on this thread, which other tasks leave meanwhile: what drives members asks in closures
/// that cannot change threads.
fn here<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T, Refusal> {
    let work = tokio::time::timeout(limit, work);
    let done = tokio::task::block_in_place(|| Handle::current().block_on(work));
    let slow = |_| Refusal::Failed(format!("{what} took longer than {limit:?}"));
    done.map_err(slow)?.map_err(|error| {
        let says = format!("{error:#}");
        let brief = says
            .split("; the end of its log")
            .next()
            .unwrap_or_default();
        Refusal::Failed(brief.to_owned())
    })
}
