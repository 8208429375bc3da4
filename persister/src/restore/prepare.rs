//! What a restore and its dry run find out before the first write.

use bytes::Bytes;
use cairn_journal::Revision;
use futures::{StreamExt, TryStreamExt};

use crate::cluster::session::Session;
use crate::error::Error;
use crate::restore::compare::Before;
use crate::restore::merge::{self, Merge};
use crate::restore::options::RestoreOptions;
use crate::restore::source::{Source, Target, TargetState};
use crate::restore::validate;

/// What the restores of the states at `over` bring back, where our journal knows it.
pub(super) fn explained(
    source: &Source,
    over: &[Revision],
) -> Result<Before, cairn_journal::Error> {
    let mut before = Before::new();
    for at in over {
        match source.state(*at) {
            Ok(files) => {
                before.extend(files.into_iter().map(|(path, (_, value))| (path, value)));
            }
            // Then what it has written cannot be told from what others wrote.
            Err(
                cairn_journal::Error::NotInHistory { .. } | cairn_journal::Error::NotSeen { .. },
            ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(before)
}

/// # Errors
/// [`Error::WouldLose`] if the journal lacks something of this state, and that is not accepted.
pub(super) fn refuse_if_lacking(
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<(), Error> {
    let Some(lacks) = source.lacks(target.at) else {
        return Ok(());
    };
    if !options.accept_loss {
        return Err(Error::WouldLose(lacks));
    }
    tracing::error!("{lacks}. Restoring what there is, as you asked for");
    Ok(())
}

pub(super) async fn max_value_bytes<S: Session>(
    session: &S,
    options: &RestoreOptions,
) -> Result<usize, Error> {
    match options.max_value_bytes {
        Some(bytes) => Ok(bytes),
        None => Ok(session.limits().await?.value_bytes),
    }
}

/// The first few keys outside the control area.
pub(super) async fn first_keys<S: Session>(session: &S, at: Revision) -> Result<Vec<Bytes>, Error> {
    let some = session.snapshot(at).take(3);
    Ok(some.map_ok(|live| live.path).try_collect().await?)
}

/// What a merge comes to, if all of it can be done.
pub(super) async fn merge_of<S: Session>(
    session: &S,
    source: &Source,
    target: &Target,
    options: &RestoreOptions,
) -> Result<(TargetState, Merge), Error> {
    refuse_if_lacking(source, target, options)?;
    let rules = session.rules();
    let wanted = tokio::task::block_in_place(|| source.target_state(&rules, target))?;
    validate::each_part_is_there(&rules, &wanted.files, target)?;
    validate::validate(
        &rules,
        &wanted.files,
        max_value_bytes(session, options).await?,
    )?;
    let merge = merge::look(session, &wanted.files).await?;
    Ok((wanted, merge))
}
