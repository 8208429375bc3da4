//! Parts of the past for the living: what a restore would do, a rehearsal in a scratch cluster,
//! keys brought back by a merge, and an older state as the newest.
//!
//! The persister's own restore does all of it, within this process; its reports are given on as
//! they are. A merge writes keys that writers of the ledger own, so nothing else writes meanwhile,
//! and afterwards the ledger takes what is there for the truth, once it is on disk.

use std::time::Duration;

use cairn_journal::Revision;
use cairn_persister::restore::{At, Report, Request, RestoreOptions};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::moment::Moment;
use crate::past::text::unescaped;
use crate::play::actions::Whole;
use crate::play::inner::Play;
use crate::play::story::counted;
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
    /// What was written after this revision of the cluster is left alone; none: after the look that
    /// a merge begins with.
    #[serde(default)]
    pub seen: Option<i64>,
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
    /// Say what giving it back would do.
    AsNewRevisionForecast,
    /// Give it back as the newest state, under new revisions: write what differs, and delete what
    /// it does not have.
    AsNewRevision,
}

/// What a restore writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Everything, into an empty cluster.
    Fill,
    /// Its keys.
    Merge,
    /// Its keys, and nothing else stays.
    Exactly,
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
            Mode::Forecast => self.forecast(&asked, How::Fill).await,
            Mode::MergeForecast => self.forecast(&asked, How::Merge).await,
            Mode::AsNewRevisionForecast => {
                let mut told = self.forecast(&asked, How::Exactly).await?;
                told.says = format!("{}\n{}", in_short(&told.report), told.says);
                Ok(told)
            }
            Mode::Rehearse => self.rehearse(&asked).await,
            Mode::Merge => self.merge(&asked).await,
            Mode::AsNewRevision => self.give_back(&asked).await,
        }
    }

    async fn forecast(&self, asked: &RestoreRequest, how: How) -> Result<Restored, Refusal> {
        self.restore_into(&self.uri(), asked, how, true).await
    }

    async fn restore_into(
        &self,
        uri: &str,
        asked: &RestoreRequest,
        how: How,
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
            .map(|it| as_text(it))
            .collect::<Result<_, _>>()?;
        let cluster = uri.parse();
        let cluster = cluster.map_err(|error| Refusal::Failed(format!("{uri}: {error}")))?;
        let request = Request {
            cluster,
            journal,
            options: RestoreOptions {
                at,
                prefixes,
                merge: how != How::Fill,
                deletes: how == How::Exactly,
                seen: asked.seen.map(Revision),
                by_writes: true,
                // A rehearsal of an older state lets go of what came after, and harms nobody.
                accept_loss: true,
                wait_for_others: Some(Duration::ZERO),
                ..RestoreOptions::default()
            },
            dry_run,
        };
        let command = command(uri, &request);
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
                self.restore_into(&uri, asked, How::Fill, false).await
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
        let (done, _) = self.written(asked, How::Merge).await?;
        let what = asked.prefix.as_deref().unwrap_or("all keys");
        let says = format!(
            "{what}: brought back as of change {}",
            asked.at.unwrap_or(0)
        );
        self.feed()
            .tell(Kind::Restore, Tone::Past, says, Some(done.command.clone()));
        Ok(done)
    }

    /// Makes an older state the newest, and shows that the cluster equals it.
    async fn give_back(&self, asked: &RestoreRequest) -> Result<Restored, Refusal> {
        let whole = |why: &str| Refusal::Impossible(format!("{why}: a whole state is given back"));
        let change = asked
            .at
            .ok_or_else(|| whole("at which change is missing"))?;
        if asked.prefix.is_some() {
            return Err(whole("a prefix is given"));
        }
        let then = self.past().moment(change).await?;
        let _turn = self.begin(Whole::GiveBack)?;
        let (mut done, now) = self.written(asked, How::Exactly).await?;
        let left = done.report.merge.as_ref().map(|merge| merge.left.clone());
        let proof = self.given_back(change, &then, &now, &left.unwrap_or_default());
        let short = in_short(&done.report);
        let says = format!(
            "change {change} was given back as a new revision. {short} {}",
            proof.says
        );
        let tone = if proof.equal { Tone::Past } else { Tone::Bad };
        self.feed()
            .tell(Kind::Restore, tone, says, Some(done.command.clone()));
        done.says = format!("{} {short}\n{}", proof.says, done.says);
        Ok(done)
    }

    async fn written(
        &self,
        asked: &RestoreRequest,
        how: How,
    ) -> Result<(Restored, Moment), Refusal> {
        self.while_nobody_writes(async || self.restore_into(&self.uri(), asked, how, false).await)
            .await
    }
}

/// A key of the page as a prefix of a restore.
fn as_text(key: &str) -> Result<String, Refusal> {
    let bytes = unescaped(key).and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let says = format!("{key} is no text, and cannot be named: bring the whole state back");
    bytes.ok_or(Refusal::Impossible(says))
}

/// How many keys giving a state back writes and deletes.
fn in_short(report: &Report) -> String {
    let Some(merge) = &report.merge else {
        return String::new();
    };
    let (put, deleted) = match report.outcome {
        "merged" => ("It put", "deleted"),
        _ => ("It would put", "delete"),
    };
    let mut says = format!(
        "{put} {} ({} new, {} changed) and {deleted} {}.",
        counted(usize::try_from(report.written).unwrap_or(usize::MAX), "key"),
        merge.created,
        merge.overwritten.len(),
        merge.deleted.len()
    );
    if !merge.left.is_empty() {
        let keys = counted(merge.left.len(), "key");
        says += &format!(" {keys} that somebody has written since you looked: left alone.");
    }
    says
}

/// What a person would type.
fn command(uri: &str, request: &Request) -> String {
    let (journal, options) = (request.journal.display(), &request.options);
    let mut command = format!("persister -a '{uri}' -j {journal} restore");
    if let At::Revision(revision) = options.at {
        command += &format!(" --at-revision {revision}");
    }
    for prefix in &options.prefixes {
        command += &format!(" --prefix '{}'", prefix.replace('\'', r"'\''"));
    }
    for (given, flag) in [(options.merge, " --merge"), (options.deletes, " --delete")] {
        command += if given { flag } else { "" };
    }
    if let Some(seen) = options.seen {
        command += &format!(" --seen {seen}");
    }
    command + if request.dry_run { " --dry-run" } else { "" }
}
