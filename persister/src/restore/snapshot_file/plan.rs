//! Which stretch of the journal's history becomes the file, and what follows it. Pure.

use cairn_journal::{Error as JournalError, Revision};

use crate::error::Error;
use crate::file_error::FileError;
use crate::identity::decision::LocalHistory;
use crate::identity::lineage::{Identity, Outcome};
use crate::restore::snapshot_file::request::Counter;
use crate::restore::snapshot_file::survey::{Point, Survey};
use crate::restore::snapshot_file::{EMPTY, JUMP};

/// What a file will hold, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The state that stands for everything before.
    pub(super) state: Point,
    /// The compacted revision C: the state's, or beyond the history if clients are to list again.
    pub(super) compacted: Revision,
    /// Where the history behind the state ends: R, the newest state that the file tells.
    pub(super) newest: Point,
    /// Where the identity stands: the first revision that is not the journal's.
    pub(super) identity_at: Revision,
    /// The identity of the new cluster.
    pub(super) identity: Identity,
    /// The older state that is given back by the revisions after it.
    pub(super) older: Option<Point>,
}

/// Decides, or says why there can be no file.
///
/// # Errors
/// The journal cannot tell the state or the history that is asked for.
pub(super) fn plan(
    survey: &Survey,
    local: &LocalHistory,
    at: Option<Revision>,
    history_from: Option<Revision>,
    counter: Counter,
) -> Result<Plan, Error> {
    if survey.newest() <= EMPTY {
        return Err(FileError::Empty.into());
    }
    let end = survey.end();
    let older = match at.filter(|at| *at != end.revision) {
        Some(at) => Some(survey.state_at(at)?),
        None => None,
    };
    let (newest, older) = match counter {
        Counter::Rehearsal => (older.unwrap_or(end), None),
        Counter::Jump | Counter::Seamless => (end, older),
    };
    // The revert takes a revision a MiB: never as many as this.
    if newest.revision.0 > i64::MAX - 2 * JUMP {
        return Err(FileError::NoRevisions(newest.revision).into());
    }
    let fresh = Identity::generate();
    let identity = |outcome| local.claim(fresh.id.clone(), newest.revision, outcome);
    if counter == Counter::Jump {
        let identity_at = Revision(newest.revision.0 + JUMP);
        return Ok(Plan {
            state: newest,
            compacted: identity_at.previous(),
            newest,
            identity_at,
            identity: identity(Outcome::Jumped(identity_at)),
            older,
        });
    }
    let state = history(survey, newest, history_from)?;
    Ok(Plan {
        state,
        compacted: state.revision,
        newest,
        identity_at: newest.revision.next(),
        identity: match counter {
            Counter::Rehearsal => fresh,
            _ => identity(Outcome::Kept),
        },
        older,
    })
}

/// The state at C.
fn history(survey: &Survey, newest: Point, from: Option<Revision>) -> Result<Point, Error> {
    let begins = survey.begins();
    let Some(asked) = from else {
        let most = survey.within_bytes();
        // A state from before that has no history in this file.
        return Ok(match most.revision <= newest.revision {
            true => most,
            false => newest,
        });
    };
    let oldest = begins.revision.min(newest.revision);
    if asked == newest.revision {
        return Ok(newest);
    }
    if asked < oldest || asked > newest.revision {
        let missing = survey.missing().filter(|gap| gap.first <= newest.revision);
        let why = missing.map(|gap| {
            let (first, last) = (gap.first, gap.last);
            format!("revisions {first} to {last} are missing: {}", gap.reason)
        });
        return Err(FileError::NoHistory {
            asked,
            oldest,
            newest: newest.revision,
            why,
        }
        .into());
    }
    match survey.state_at(asked) {
        // Nothing was written yet: the state is that of the beginning.
        Err(JournalError::NotInHistory { .. }) if asked <= EMPTY => Ok(begins),
        point => Ok(point?),
    }
}
