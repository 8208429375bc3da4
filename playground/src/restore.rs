//! Parts of the past for the living: what a restore would do, a rehearsal in a scratch cluster, and
//! keys brought back by a merge.
//!
//! The persister's own restore does all of it, within this process; its reports are given on as
//! they are. A merge writes keys that writers of the ledger own, so nothing else writes meanwhile,
//! and afterwards the ledger takes what is there for the truth, once it is on disk.

use std::path::Path;
use std::time::Duration;

use cairn_journal::Revision;
use cairn_persister::restore::{At, Report, Request, RestoreOptions};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::play::actions::Whole;
use crate::play::inner::Play;
use crate::told::feed::{Kind, Tone};
use crate::told::refusal::Refusal;
use crate::world::decide::Command;

/// How long a restore may take.
const LIMIT: Duration = Duration::from_secs(30);

/// `POST restore`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The change right after which the state is wanted; none: now.
    #[serde(default)]
    pub at: Option<u64>,
    /// What is to be done with it.
    pub mode: Mode,
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// What is to be done with a state of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Say what a full restore into the living cluster would do.
    Forecast,
    /// Restore it into a scratch cluster, which is thrown away.
    Rehearse,
    /// Say what a merge would do.
    MergeForecast,
    /// Write its keys into the living cluster, over those that are there. Nothing is deleted.
    Merge,
    /// Give it back as the newest state, under new revisions.
    AsNewRevision,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// In a sentence.
    pub says: String,
    /// The report of `persister restore --json`.
    pub report: Report,
    /// What a person would have typed.
    pub command: String,
}

impl Play {
    /// Does what the page asks for with a state of the past.
    pub(crate) async fn bring_back(&self, asked: RestoreRequest) -> Result<Restored, Refusal> {
        match asked.mode {
            Mode::Forecast | Mode::MergeForecast => {
                let merges = asked.mode == Mode::MergeForecast;
                self.restore_into(&self.uri(), &asked, merges, true).await
            }
            Mode::Rehearse => self.rehearse(&asked).await,
            Mode::Merge => self.merge(&asked).await,
            Mode::AsNewRevision => Err(Refusal::Impossible(
                "a whole state comes back as a new revision by `persister restore --to-snapshot \
                 --at-revision R`, into new members. Here, bring keys back by a merge"
                    .to_owned(),
            )),
        }
    }

    async fn restore_into(
        &self,
        uri: &str,
        asked: &RestoreRequest,
        merge: bool,
        dry_run: bool,
    ) -> Result<Restored, Refusal> {
        let (journal, at) = match asked.at {
            Some(change) => {
                let (journal, revision) = self.past().place(change).await?;
                (journal, At::Revision(Revision(revision)))
            }
            None => (self.past().journal().await?, At::Newest),
        };
        let prefixes: Vec<String> = asked
            .prefix
            .iter()
            .filter(|it| !it.is_empty())
            .cloned()
            .collect();
        let command = command(uri, &journal, at, &prefixes, merge, dry_run);
        let cluster = uri.parse();
        let cluster = cluster.map_err(|error| Refusal::Failed(format!("{uri}: {error}")))?;
        let request = Request {
            cluster,
            journal,
            options: RestoreOptions {
                at,
                prefixes,
                merge,
                by_writes: true,
                // A rehearsal of an older state lets go of what came after, and harms nobody.
                accept_loss: true,
                wait_for_others: Some(Duration::ZERO),
                ..RestoreOptions::default()
            },
            dry_run,
        };
        let never = CancellationToken::new();
        let report = timeout(LIMIT, cairn_persister::restore::run(&request, &never)).await;
        let report = report.map_err(|_| Refusal::Failed(format!("not within {LIMIT:?}")))?;
        let report = report.map_err(|error| Refusal::NotNow(error.to_string()))?;
        Ok(Restored {
            says: report.to_string().trim_end().to_owned(),
            report,
            command,
        })
    }

    /// Starts the scratch cluster, restores into it, and throws it away.
    async fn rehearse(&self, asked: &RestoreRequest) -> Result<Restored, Refusal> {
        let _turn = self.begin(Whole::Rehearse)?;
        let scratch = self.scratch();
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::Failed(format!("the scratch cluster: {error}"))
        };
        let done = match self.start_scratch().await {
            Ok(()) => {
                let uri = self.uri_at(scratch);
                self.restore_into(&uri, asked, false, false).await
            }
            Err(error) => Err(error),
        };
        let wiped = scratch.machine.run(Command::Wipe).await;
        wiped.map_err(|error| failed(&error))?;
        let done = done?;
        let says = "rehearsed: a restore into an empty cluster works";
        self.feed()
            .tell(Kind::Restore, Tone::Past, says, Some(done.command.clone()));
        Ok(done)
    }

    /// Writes keys of the past into the living cluster.
    async fn merge(&self, asked: &RestoreRequest) -> Result<Restored, Refusal> {
        let _turn = self.begin(Whole::Merge)?;
        let done = self
            .while_nobody_writes(async || self.restore_into(&self.uri(), asked, true, false).await)
            .await?;
        let what = asked.prefix.as_deref().unwrap_or("all keys");
        let says = format!(
            "{what}: brought back as of change {}",
            asked.at.unwrap_or(0)
        );
        self.feed()
            .tell(Kind::Restore, Tone::Past, says, Some(done.command.clone()));
        Ok(done)
    }
}

/// What a person would type.
fn command(
    uri: &str,
    journal: &Path,
    at: At,
    prefixes: &[String],
    merge: bool,
    dry_run: bool,
) -> String {
    let mut command = format!("persister -a '{uri}' -j {} restore", journal.display());
    if let At::Revision(revision) = at {
        command += &format!(" --at-revision {}", revision.0);
    }
    for prefix in prefixes {
        command += &format!(" --prefix '{}'", prefix.replace('\'', r"'\''"));
    }
    for (given, flag) in [(merge, " --merge"), (dry_run, " --dry-run")] {
        command += if given { flag } else { "" };
    }
    command
}
