//! Which state is to be brought back.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_journal::{KeyValue, Revision};

use crate::identity::lineage::Choice;

/// Keys with what the journal has of each.
pub(super) type Files = BTreeMap<Bytes, KeyValue>;

/// What is to be brought back, once it is known where the journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The revision of the state.
    pub(super) at: Revision,
    pub(super) choice: Choice,
}
