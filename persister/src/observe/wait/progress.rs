//! What is waited for, and how far persisters are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use cairn_journal::Revision;

use crate::cluster::address::Address;
use crate::cluster::control::Id;
use crate::host_port::HostPort;

/// How often it is looked.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where it is told how far persisters are.
#[derive(Clone, Debug)]
pub enum WaitAt {
    /// In this cluster.
    Cluster(Address),
    /// By each of them, over HTTP.
    Status(BTreeMap<Id, HostPort>),
}

/// What is waited for.
#[derive(Clone, Debug)]
pub struct WaitRequest {
    /// Where it is told how far persisters are.
    pub at: WaitAt,
    /// What is to be on disk: everything up to this revision.
    pub revision: Revision,
    /// On whose disks.
    pub persisters: BTreeSet<Id>,
    /// On how many of them.
    pub required: usize,
    /// How long to wait.
    pub timeout: Duration,
}

/// How far each persister was at the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The revision that was waited for.
    pub revision: Revision,
    /// Of each persister that is waited for: everything up to here is on its disk, or had no reason
    /// to be; `None`: it has said nothing.
    pub persisters: BTreeMap<Id, Option<Revision>>,
    /// How many of them are required.
    pub required: usize,
}

impl Progress {
    /// Whether enough of them have everything.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        let have = self.persisters.values().flatten();
        have.filter(|have| **have >= self.revision).count() >= self.required
    }

    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let persister = |(id, have): (&Id, &Option<Revision>)| {
            let have = have.map(|have| have.0);
            serde_json::json!({"id": id, "durable_revision": have})
        };
        let persisters: Vec<_> = self.persisters.iter().map(persister).collect();
        serde_json::json!({
            "revision": self.revision.0,
            "durable": self.is_durable(),
            "required": self.required,
            "persisters": persisters,
        })
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (revision, required) = (self.revision, self.required);
        let not = if self.is_durable() { "" } else { "not " };
        write!(
            f,
            "revision {revision} is {not}on the disks of {required} of these persisters:"
        )?;
        for (n, (id, have)) in self.persisters.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match have {
                Some(have) => write!(f, "{comma} {id} has everything up to {have}")?,
                None => write!(f, "{comma} {id} has said nothing")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_disks_are_enough() {
        let progress = |required| Progress {
            revision: Revision(7),
            persisters: BTreeMap::from([
                (1, Some(Revision(9))),
                (2, None),
                (3, Some(Revision(6))),
                (4, Some(Revision(7))),
            ]),
            required,
        };
        assert!(progress(1).is_durable() && progress(2).is_durable());
        assert!(!progress(3).is_durable());
        let said = progress(3).to_string();
        assert_eq!(
            said,
            "revision 7 is not on the disks of 3 of these persisters: 1 has everything up to 9, 2 \
             has said nothing, 3 has everything up to 6, 4 has everything up to 7"
        );
        assert_eq!(progress(2).json()["durable"], true);
        assert_eq!(
            progress(2).json()["persisters"][1]["durable_revision"],
            serde_json::Value::Null
        );
    }
}
