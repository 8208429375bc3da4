//! The records by which a journal says which cluster it follows, and from where on.

use cairn_journal::{Journal, NewRecord, Result, Revision, Timestamp};

use crate::identity::lineage::{Identity, Outcome};

/// The record that binds a journal to a cluster from this revision on.
pub(super) fn binding(identity: &Identity, revision: Revision) -> NewRecord {
    NewRecord::timeline(revision, identity.timeline(Timestamp::now()))
}

/// Binds a journal to a restore that has all it has, up to `newest`. What the counter jumped over
/// is covered by that: nothing happened there.
pub(super) fn continued(journal: &Journal, identity: &Identity, newest: Revision) -> Result<()> {
    let outcome = identity.origin.as_ref().map(|origin| &origin.outcome);
    let Some(next) = outcome.and_then(Outcome::resumes_at) else {
        return commit(journal, binding(identity, newest));
    };
    journal.append(binding(identity, newest))?;
    commit(
        journal,
        NewRecord::watermark(next.previous().max(newest), Timestamp::now()),
    )
}

pub(super) fn commit(journal: &Journal, record: NewRecord) -> Result<()> {
    tokio::task::block_in_place(|| journal.append_and_commit(record)).map(drop)
}
