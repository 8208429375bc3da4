//! `persister import FILE`: a journal from a snapshot file, and what is said of it.

use std::path::PathBuf;
use std::time::Instant;

use cairn_journal::{Error as JournalError, Options, Stop};
use tokio_util::sync::CancellationToken;

use crate::attach::StopWith;
use crate::error::Error;
use crate::import::report::ImportReport;
use crate::import::write::{Look, require_new, write};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// The snapshot file.
    pub file: PathBuf,
    /// The directory of the journal, absent or empty.
    pub journal: PathBuf,
    /// How the journal is written.
    pub options: Options,
}

/// Makes the journal.
///
/// # Errors
/// Why there is none; [`Error::Interrupted`] if cancelled.
pub async fn import(
    request: &ImportRequest,
    cancel: &CancellationToken,
) -> Result<ImportReport, Error> {
    let stop = StopWith::new(cancel);
    match tokio::task::block_in_place(|| attempt(request, &stop.stop)) {
        Err(Error::Journal(JournalError::Stopped)) => Err(Error::Interrupted),
        other => other,
    }
}

fn attempt(request: &ImportRequest, stop: &Stop) -> Result<ImportReport, Error> {
    let begun = Instant::now();
    require_new(&request.journal)?;
    tracing::info!(file = %request.file.display(), "reading the snapshot");
    let look = Look::at(&request.file, stop)?;
    let identity = look.identity.as_ref();
    let report = write(&look, identity, &request.journal, &request.options, stop)?;
    Ok(ImportReport {
        file: request.file.display().to_string(),
        seconds: begun.elapsed().as_secs_f64(),
        ..report
    })
}
