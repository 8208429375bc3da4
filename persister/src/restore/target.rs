//! Which state is to be brought back.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_journal::{KeyValue, Revision};

use crate::cluster::rules::{KeyPrefix, KeyRules};
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

impl Target {
    /// Tells of a key whether it was asked for.
    pub(super) fn selection(&self, rules: &KeyRules) -> impl Fn(&[u8]) -> bool + use<> {
        let prefixes: Option<Vec<KeyPrefix>> = match &self.choice {
            Choice::Only(prefixes) => Some(prefixes.iter().map(|it| rules.prefix(it)).collect()),
            Choice::Newest | Choice::Revision => None,
        };
        move |path| match &prefixes {
            Some(prefixes) => prefixes.iter().any(|prefix| prefix.contains(path)),
            None => true,
        }
    }
}
