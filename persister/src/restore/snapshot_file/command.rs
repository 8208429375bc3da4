//! `persister restore --to-snapshot`: the file, the members, and what is said of them.

use std::path::Path;
use std::time::Instant;

use cairn_journal::{Error as JournalError, Reader, Revision, Stop};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio_util::sync::CancellationToken;

use crate::attach::{StopWith, sides};
use crate::error::Error;
use crate::file_error::{FileError, failed_to, make_dir, parent, sync_parent};
use crate::restore::digest::Digest;
use crate::restore::options::At;
use crate::restore::snapshot_file::look::{Look, look};
use crate::restore::snapshot_file::plan::{Plan, plan};
use crate::restore::snapshot_file::report::FileReport;
use crate::restore::snapshot_file::request::{Counter, FileRequest, HISTORY_BYTES};
use crate::restore::snapshot_file::survey::Survey;
use crate::restore::snapshot_file::verify::{Verified, verify};
use crate::restore::snapshot_file::write::{From, Written, write};
use crate::restore::snapshot_file::{members, survey};

/// Makes the file, or says what it would be.
///
/// # Errors
/// Why there is no file; [`Error::Interrupted`] if cancelled.
pub async fn to_snapshot(
    request: &FileRequest,
    cancel: &CancellationToken,
) -> Result<FileReport, Error> {
    let stop = StopWith::new(cancel);
    match tokio::task::block_in_place(|| attempt(request, &stop.stop)) {
        Err(Error::Journal(JournalError::Stopped)) => Err(Error::Interrupted),
        other => other,
    }
}

fn attempt(request: &FileRequest, stop: &Stop) -> Result<FileReport, Error> {
    let begun = Instant::now();
    let tool = match &request.members {
        Some(members) => {
            members::check(members)?;
            Some(members::tool()?)
        }
        None => None,
    };
    if exists(&request.file)? {
        return Err(FileError::Exists(request.file.clone()).into());
    }
    if let (Some(members), false) = (&request.members, request.dry_run) {
        make_dir(&members.into)?;
    }
    tracing::info!(journal = %request.journal.display(), "reading the journal");
    let reader = Reader::open(&request.journal)?;
    let scratch = Scratch::beside(&request.file)?;
    let from = From {
        reader: &reader,
        scratch: scratch.path(),
        stop,
    };
    let plan = decided(&reader, request, stop)?;
    let wanted = plan.older.unwrap_or(plan.newest);
    let look = look(reader.sorted_state(plan.newest.sequence, scratch.path(), stop)?)?;
    let digest = match plan.older {
        Some(older) => digest_at(from, older)?,
        None => look.digest,
    };
    let report = report(request, &plan, &look, &digest, wanted);
    if request.dry_run {
        return Ok(FileReport {
            outcome: "would-write",
            ..with_members(report, request, tool, &plan)
        });
    }
    // What is made has no name until it has been read back.
    let made = scratch.path().join("snapshot");
    let written = write(from, &plan, &look, &made)?;
    let verified = verify(&made, plan.newest.revision, &digest, &plan.identity)?;
    put_in_place(&made, &request.file)?;
    if let (Some(tool), Some(members)) = (tool, &request.members) {
        members::make(tool, &request.file, members, &token(&plan))?;
    }
    let report = with_members(report, request, tool, &plan);
    Ok(FileReport {
        seconds: begun.elapsed().as_secs_f64(),
        ..with_file(report, &written, &verified)
    })
}

/// What is to be written, once it is known what the journal has.
fn decided(reader: &Reader, request: &FileRequest, stop: &Stop) -> Result<Plan, Error> {
    let at = match request.at {
        At::Newest => None,
        At::Revision(at) => Some(at),
        At::Time(time) => {
            let at = reader.revision_at(time)?;
            if let Some(doubt) = at.doubt() {
                tracing::warn!("{doubt}");
            }
            Some(at.revision)
        }
    };
    let asked: Vec<Revision> = at.into_iter().chain(request.history_from).collect();
    let survey = Survey::of(reader, &asked, HISTORY_BYTES, stop)?;
    let replay = survey.replay();
    if let Some(gap) = replay.open_gap().filter(|_| !request.accept_loss) {
        return Err(Error::WouldLose(format!(
            "this journal lacks changes of revisions {} to {} ({}). Another persister's journal \
             may have them: make the file of that one",
            gap.first, gap.last, gap.reason
        )));
    }
    let timeline = replay.timeline().cloned();
    let local = sides::history_of(reader, reader.uuid()?, timeline, survey.newest())?;
    plan(&survey, &local, at, request.history_from, request.counter)
}

fn digest_at(from: From<'_>, at: survey::Point) -> Result<Digest, Error> {
    let state = from
        .reader
        .sorted_state(at.sequence, from.scratch, from.stop)?;
    Ok(look(state)?.digest)
}

fn report(
    request: &FileRequest,
    plan: &Plan,
    look: &Look,
    digest: &Digest,
    wanted: survey::Point,
) -> FileReport {
    FileReport {
        outcome: "written",
        file: request.file.display().to_string(),
        keys: digest.keys,
        value_bytes: digest.bytes,
        hash: digest.to_string(),
        state: wanted.revision.0,
        newest: plan.newest.revision.0,
        history_from: plan.compacted.0,
        revision: plan.identity_at.0,
        jumped: request.counter == Counter::Jump,
        leases: look.leases.len() as u64,
        assumed_leases: look.assumed.iter().map(|id| format!("{id:x}")).collect(),
        never_expire: look.never_expire,
        identity: plan.identity.to_string(),
        control: look.identity.is_some(),
        restore: members::restore_command(&request.file),
        ..FileReport::default()
    }
}

fn with_members(
    report: FileReport,
    request: &FileRequest,
    tool: Option<&'static str>,
    plan: &Plan,
) -> FileReport {
    let (Some(tool), Some(members)) = (tool, &request.members) else {
        return report;
    };
    FileReport {
        restore: tool.to_owned(),
        start: members::start_commands(members, &token(plan)),
        ..report
    }
}

fn with_file(report: FileReport, written: &Written, verified: &Verified) -> FileReport {
    let named = written.named.iter();
    FileReport {
        bytes: written.summary.bytes,
        revision: written.summary.revision,
        hash_kv: Some(verified.hash),
        hash_kv_at_newest: verified.hash_at_newest,
        filled: written.filled,
        unnumbered: written.unnumbered,
        reverted: written.reverted,
        detached: written.detached,
        detached_keys: named.map(|key| key.escape_ascii().to_string()).collect(),
        ..report
    }
}

/// No member of another cluster has it.
fn token(plan: &Plan) -> String {
    format!("cairn-{}", plan.identity.id)
}

/// A directory beside the file that goes with the command.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn beside(file: &Path) -> Result<Self, FileError> {
        let directory = parent(file);
        let made = tempfile::Builder::new()
            .prefix(".cairn-restore-")
            .tempdir_in(&directory);
        Ok(Self(
            made.map_err(failed_to("create a directory in", &directory))?,
        ))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn exists(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(failed_to("look for", path))
}

/// Gives a finished file its name, unless something has it.
fn put_in_place(made: &Path, file: &Path) -> Result<(), FileError> {
    let renamed = renameat_with(CWD, made, CWD, file, RenameFlags::NOREPLACE);
    renamed.map_err(|error| match error {
        rustix::io::Errno::EXIST => FileError::Exists(file.to_owned()),
        error => failed_to("rename the finished file to", file)(error.into()),
    })?;
    sync_parent(file)
}
