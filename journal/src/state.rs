//! The state at a revision: what a follower of all changes up to it would hold.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Reader, Result, Revision, Timeline};

/// Every path that exists at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct State {
    /// Path to the revision of its last set, and the value.
    pub files: BTreeMap<Bytes, (Revision, Bytes)>,
    /// The revision of this state.
    pub revision: Revision,
    /// The timeline it belongs to.
    pub timeline: Option<Timeline>,
}

/// The state at revision `at` of the newest timeline; `None`: at the newest covered revision.
pub fn state(_reader: &Reader, _at: Option<Revision>) -> Result<State> {
    Ok(State::default())
}
