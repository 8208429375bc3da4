//! Which state is to be brought back.

use cairn_journal::Revision;

use crate::identity::lineage::Choice;

/// What is to be brought back, once it is known where the journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The revision of the state.
    pub(super) at: Revision,
    pub(super) choice: Choice,
}
