//! A write that went to a leader that is gone.
//!
//! A member hands each write on to its leader. If that one dies, the write may be lost with it, and
//! the member says so only after its own 7 seconds. Its term tells sooner.
//!
//! Promise: a write is given up when its member was in a newer term at two looks and has still not
//! answered, and never for being slow. It may have happened all the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cairn_etcd::Session;
use cairn_etcd::wire::{RangeRequest, ResponseHeader};
use tokio::time::sleep;

/// A write has so long before its member is asked, and so long again between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a session has ended in which a write was given up.
pub(super) const LEADER_CHANGED: &str = "the cluster has another leader since a write was sent, \
                                         and the member has not answered: it may have happened";

/// The term in which the newest answer to a write of a session was given; 0: there was none yet.
#[derive(Debug, Default)]
pub(super) struct Term(AtomicU64);

impl Term {
    /// Takes note of an answer.
    pub(super) fn note(&self, header: Option<&ResponseHeader>) {
        if let Some(header) = header {
            self.0.fetch_max(header.raft_term, Ordering::AcqRel);
        }
    }

    /// Returns when a write that is sent now cannot be waited for any more.
    pub(super) async fn is_over(&self, session: &Session) {
        let mut looks = Looks::since(self.0.load(Ordering::Acquire));
        loop {
            sleep(LOOK_EVERY).await;
            let look = RangeRequest {
                keys_only: true,
                // What the member itself knows: a leader may be what is missing.
                serializable: true,
                ..RangeRequest::key("\0")
            };
            let Ok(answer) = session.call(look).await else {
                continue; // it has no leader, or the session is over and the write with it
            };
            if answer
                .header
                .is_some_and(|now| looks.are_enough(now.raft_term))
            {
                return;
            }
        }
    }
}

/// What the looks of one wait have found.
#[derive(Debug)]
struct Looks {
    term: u64,
    newer: u32,
}

impl Looks {
    fn since(term: u64) -> Self {
        Self { term, newer: 0 }
    }

    fn are_enough(&mut self, now: u64) -> bool {
        match self.term {
            0 => self.term = now, // the oldest that is known
            term if now > term => self.newer += 1,
            _ => {}
        }
        self.newer >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many looks it took, if they were enough.
    fn enough(before: u64, terms: &[u64]) -> Option<usize> {
        let mut looks = Looks::since(before);
        terms.iter().position(|term| looks.are_enough(*term))
    }

    #[test]
    fn a_write_is_given_up_for_another_leader_and_not_for_being_slow() {
        assert_eq!(enough(3, &[3; 100]), None);
        assert_eq!(enough(3, &[3, 3, 4, 4]), Some(3));
        // One election may follow the other.
        assert_eq!(enough(3, &[4, 5]), Some(1));
        assert_eq!(enough(0, &[4; 100]), None);
        assert_eq!(enough(0, &[4, 5, 5]), Some(2));
    }
}
