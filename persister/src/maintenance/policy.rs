//! When a checkpoint is due, and what is kept of history. Pure.

use cairn_journal::Retention;

/// When checkpoints are made, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// So many bytes of records after the last checkpoint the next one is due.
    pub every_bytes: u64,
    /// How much history is kept; without any bound, all of it.
    pub retention: Retention,
}

impl Policy {
    /// Whether a checkpoint is due `since` bytes of records after the last one, which has `newest`
    /// bytes.
    ///
    /// A large state is not written out again before as much has happened: so checkpoints never
    /// write more than the journal itself does.
    pub(super) fn is_due(&self, since: u64, newest: u64, wanted: bool) -> bool {
        since > 0 && (wanted || since >= self.every_bytes.max(newest))
    }

    pub(super) fn retires(&self) -> bool {
        self.retention != Retention::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_after_so_many_bytes_or_as_many_as_the_last_one_has() {
        let policy = Policy {
            every_bytes: 64,
            retention: Retention::default(),
        };
        for (since, newest, wanted, due) in [
            (0, 0, true, false),
            (1, 0, true, true),
            (63, 0, false, false),
            (64, 0, false, true),
            (64, 1000, false, false),
            (999, 1000, false, false),
            (1000, 1000, false, true),
            (1, 1000, true, true),
        ] {
            assert_eq!(
                policy.is_due(since, newest, wanted),
                due,
                "{since} bytes since one of {newest}, wanted: {wanted}"
            );
        }
    }

    #[test]
    fn nothing_is_retired_unless_somebody_says_what_is_kept() {
        let mut policy = Policy {
            every_bytes: 64,
            retention: Retention::default(),
        };
        assert!(!policy.retires());
        policy.retention.bytes = Some(0);
        assert!(policy.retires());
    }
}
