//! The state that a journal holds: every file at a revision or a time, by path.

use std::io::Write;

use cairn_journal::{
    Checkpoint, Record, Revision, Sequence, State,
    inspect::SegmentFile,
    replay::{Effect, Replay},
};

use crate::forms::form::Form;
use crate::forms::json::write_lease;
use crate::read::checkpoint::state_of;
use crate::read::dump::DumpError;
use crate::read::filter::{Bound, Filter, Point};
use crate::read::snapshot::SnapshotFile;
use crate::read::source::{Source, SourceError};
use crate::read::times::{doubt, places};

/// Why a state cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The journal could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It does not know that state.
    #[error("{0}")]
    Unknown(String),
}

impl From<cairn_journal::Error> for TreeError {
    fn from(error: cairn_journal::Error) -> Self {
        match error {
            error @ cairn_journal::Error::NotInHistory { .. } => {
                Self::Unknown(format!("{error}; retention may have removed older history"))
            }
            error @ (cairn_journal::Error::NotSeen { .. }
            | cairn_journal::Error::TimeNotInHistory { .. }) => Self::Unknown(error.to_string()),
            other => Self::Source(other.into()),
        }
    }
}

/// The state at a point; `None`: the newest. `tell` is told what is in doubt about a time.
pub fn tree(
    source: &Source,
    at: Option<Point>,
    mut tell: impl FnMut(String),
) -> Result<State, TreeError> {
    match source {
        Source::Journal(reader) => {
            let at = match at {
                Some(Point::Time(time)) => {
                    let at = reader.revision_at(time)?;
                    at.doubt().into_iter().for_each(tell);
                    Some(at.revision)
                }
                Some(Point::Revision(revision)) => Some(revision),
                None => None,
            };
            Ok(reader.state(at)?)
        }
        Source::Segment(segment) => {
            require_first(segment)?;
            let at = match at {
                Some(Point::Time(time)) => {
                    let found = places(source, [time].into_iter())?;
                    let found = found.first().copied();
                    let doubt = found.and_then(|found| doubt("--at-time", time, found));
                    doubt.into_iter().for_each(&mut tell);
                    found.map(|found| Bound::Sequence(found.place))
                }
                Some(Point::Revision(revision)) => Some(Bound::Revision(revision)),
                None => None,
            };
            fold(source, at)
        }
        Source::Checkpoint(checkpoint) => {
            require_point(checkpoint, at)?;
            Ok(state_of(checkpoint)?)
        }
        Source::Snapshot(snapshot) => {
            let at = at.map(|at| in_window(snapshot, at)).transpose()?;
            fold(source, at.map(Bound::Revision))
        }
        Source::Foreign(_) => {
            if at.and_then(Point::time).is_some() {
                return Err(TreeError::Unknown(
                    "this journal has no times; give a revision".to_owned(),
                ));
            }
            fold(source, at.and_then(Point::revision).map(Bound::Revision))
        }
    }
}

/// Prints the files that `filter` wants by their path.
pub fn write_tree(
    state: &State,
    form: Form,
    filter: &Filter,
    out: &mut impl Write,
) -> Result<(), DumpError> {
    let mut text = Vec::new();
    if form == Form::Json && filter.prefix.is_none() {
        for (id, granted_ttl) in &state.leases {
            write_lease(&mut text, state.revision, *id, *granted_ttl);
        }
        out.write_all(&text).map_err(DumpError::Output)?;
    }
    for (path, kv) in &state.files {
        if filter.is_path_wanted(path) {
            text.clear();
            form.write_change(&mut text, kv.revision, kv.into());
            out.write_all(&text).map_err(DumpError::Output)?;
        }
    }
    out.flush().map_err(DumpError::Output)
}

/// A checkpoint holds one state.
pub(crate) fn require_point(checkpoint: &Checkpoint, at: Option<Point>) -> Result<(), TreeError> {
    let revision = checkpoint.revision();
    if at.is_none_or(|at| at == Point::Revision(revision)) {
        return Ok(());
    }
    Err(TreeError::Unknown(format!(
        "this checkpoint holds the state at revision {revision} and no other. Give the journal's \
         directory"
    )))
}

/// The revision of a state that a snapshot tells.
fn in_window(snapshot: &SnapshotFile, at: Point) -> Result<Revision, TreeError> {
    let (path, window) = (snapshot.path().display(), snapshot.window());
    let revision = at.revision();
    let revision = revision.ok_or_else(|| {
        TreeError::Unknown(format!("{path}: a snapshot has no times: give a revision"))
    })?;
    match window.compacted <= revision.0 && revision.0 <= window.revision {
        true => Ok(revision),
        false => Err(TreeError::Unknown(format!(
            "{path}: this snapshot tells the states at revisions {} to {}, and {revision} is none \
             of them",
            window.compacted, window.revision
        ))),
    }
}

fn require_first(segment: &SegmentFile) -> Result<(), TreeError> {
    let facts = segment.facts();
    if facts.predecessor_last == Sequence::NONE {
        return Ok(());
    }
    Err(TreeError::Unknown(format!(
        "the segment begins with sequence {}, after revision {}: the state before it is in the \
         segments before it. Give the directory",
        facts.first, facts.covered
    )))
}

/// Applies all records up to a revision, or up to a record.
fn fold(source: &Source, at: Option<Bound>) -> Result<State, TreeError> {
    let mut state = State::default();
    let mut held: Vec<Record> = Vec::new();
    let mut replay = Replay::default();
    for record in source.records(None)? {
        let record = record?;
        let is_beyond = match at {
            None => false,
            Some(Bound::Revision(at)) => record.revision > at,
            Some(Bound::Sequence(at)) => record.sequence > at,
        };
        if is_beyond {
            continue;
        }
        state.revision = state.revision.max(record.revision);
        match replay.record(&record).effect {
            Effect::Apply => state.apply_entry(record.revision, &record.entry),
            Effect::Hold => held.push(record),
            Effect::Discard => held.clear(),
            Effect::Resync => {
                for record in std::iter::once(record).chain(held.drain(..)) {
                    state.apply_entry(record.revision, &record.entry);
                }
            }
        }
    }
    if let Some(Bound::Revision(at)) = at {
        if at > state.revision
            && source
                .records(None)?
                .all(|r| r.is_ok_and(|r| r.revision < at))
        {
            return Err(TreeError::Unknown(format!(
                "revision {at} is not in this journal, which ends at {}",
                state.revision
            )));
        }
        state.revision = at;
    }
    Ok(state)
}
