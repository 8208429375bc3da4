//! What a restore has shown: the state before the loss beside the state after it, and the ledger's
//! word on every write. Pure.
//!
//! Writes may end between the last look at a living cluster and its loss. Then the state after the
//! restore is a later one, and it is not compared with the look: the surviving journal's state at
//! the look's revision is, and the ledger judges what came after.

use crate::ledger::audit::{Audit, Tally};
use crate::play::moment::Moment;
use crate::told::state::{Proof, Row};

/// What a proof compares.
pub(super) struct Evidence<'a> {
    /// The last look before the loss.
    pub(super) before: Option<&'a Moment>,
    /// What the cluster holds now.
    pub(super) now: &'a Moment,
    /// What a surviving journal held at the revision of the look.
    pub(super) journal: Option<&'a Moment>,
    /// What the ledger says.
    pub(super) audit: &'a Audit,
}

pub(super) fn proof(evidence: &Evidence<'_>) -> Proof {
    let Evidence {
        before, now, audit, ..
    } = *evidence;
    let mut rows = Vec::new();
    let mut equal = audit.passed();
    if let Some(before) = before {
        let (after, at) = match evidence.journal {
            Some(journal) if !before.same_state(now) => {
                (journal, format!(" at revision {}", figure(before.revision)))
            }
            _ => (now, String::new()),
        };
        equal &= before.same_state(after);
        rows.push(row(
            format!("keys{at}"),
            figure(before.keys),
            figure(after.keys),
            before.keys == after.keys,
        ));
        rows.push(row(
            format!("hash{at}"),
            before.hash.clone(),
            after.hash.clone(),
            before.hash == after.hash,
        ));
        let kept = before.revisions == after.revisions;
        let verdict = if kept {
            "kept: compare-and-set tokens go on working"
        } else {
            "others: clients that remember revisions must read again"
        };
        rows.push(Row {
            what: "revisions of keys".to_owned(),
            before: String::new(),
            after: String::new(),
            verdict: verdict.to_owned(),
            ok: kept,
        });
    }
    rows.extend(audited(audit));
    let says = match (equal, audit.passed(), before) {
        (true, _, None) => "Every acknowledged write is there.".to_owned(),
        (true, ..) => "Equal. Every acknowledged write is there.".to_owned(),
        (false, true, _) => {
            "The state is another one, but every acknowledged write is there.".to_owned()
        }
        (false, false, _) => match audit.told.first() {
            Some(fault) => format!(
                "{} keys are not as writers were told. {}: {}",
                audit.faults, fault.key, fault.says
            ),
            None => "Keys are not as writers were told.".to_owned(),
        },
    };
    Proof { rows, equal, says }
}

fn row(what: String, before: String, after: String, equal: bool) -> Row {
    let verdict = if equal { "equal" } else { "differs" };
    Row {
        what,
        before,
        after,
        verdict: verdict.to_owned(),
        ok: equal,
    }
}

fn audited(audit: &Audit) -> Vec<Row> {
    let there = |tally: Tally| match tally.gone() {
        0 => format!("{} there", figure(tally.there)),
        gone => format!("{} there, {} gone", figure(tally.there), figure(gone)),
    };
    let acknowledged = Row {
        what: "acknowledged writes".to_owned(),
        before: figure(audit.durable.writes),
        after: there(audit.durable),
        verdict: match (audit.durable.gone(), audit.passed()) {
            (0, true) => "none lost".to_owned(),
            (0, false) => format!("{} keys are wrong", figure(audit.faults)),
            (lost, _) => format!("{} lost", figure(lost)),
        },
        ok: audit.passed(),
    };
    let open = [
        ("in effect, not confirmed", audit.applied),
        ("unknown", audit.unknown),
    ];
    let open = open.into_iter().filter(|(_, tally)| tally.writes > 0);
    let open = open.map(|(what, tally)| Row {
        what: what.to_owned(),
        before: figure(tally.writes),
        after: there(tally),
        verdict: "nobody was told otherwise".to_owned(),
        ok: true,
    });
    std::iter::once(acknowledged).chain(open).collect()
}

/// `1,204`.
fn figure(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits.as_str()),
    };
    let mut shown = String::from(sign);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::audit::{Fault, FaultKind};

    fn moment(revision: i64, hash: &str) -> Moment {
        Moment {
            revision,
            keys: 1_204,
            hash: hash.to_owned(),
            revisions: 7,
        }
    }

    fn audit(writes: u64, there: u64) -> Audit {
        let mut audit = Audit {
            durable: Tally { writes, there },
            applied: Tally {
                writes: 6,
                there: 4,
            },
            ..Audit::default()
        };
        if there < writes {
            audit.faults = writes - there;
            audit.told.push(Fault {
                key: "/k".to_owned(),
                kind: FaultKind::Lost,
                says: "it is gone".to_owned(),
            });
        }
        audit
    }

    #[test]
    fn the_same_keys_and_nothing_lost_is_equal() {
        let (before, now) = (moment(6_311, "a"), moment(6_400, "a"));
        let proof = proof(&Evidence {
            before: Some(&before),
            now: &now,
            journal: None,
            audit: &audit(1_198, 1_198),
        });
        assert!(proof.equal);
        let told: Vec<_> = proof
            .rows
            .iter()
            .map(|row| (row.what.as_str(), row.verdict.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("keys", "equal"),
                ("hash", "equal"),
                (
                    "revisions of keys",
                    "kept: compare-and-set tokens go on working"
                ),
                ("acknowledged writes", "none lost"),
                ("in effect, not confirmed", "nobody was told otherwise"),
            ]
        );
        assert_eq!(proof.rows[0].before, "1,204");
        assert_eq!(proof.rows[4].after, "4 there, 2 gone");
    }

    #[test]
    fn under_load_the_journal_at_the_revision_of_the_look_is_compared() {
        let (before, now) = (moment(6_311, "a"), moment(6_400, "later"));
        let audit = audit(10, 10);
        let evidence = |journal| Evidence {
            before: Some(&before),
            now: &now,
            journal,
            audit: &audit,
        };
        let there = moment(6_311, "a");
        let shown = proof(&evidence(Some(&there)));
        assert!(shown.equal);
        assert_eq!(shown.rows[0].what, "keys at revision 6,311");
        let other = moment(6_311, "b");
        assert!(!proof(&evidence(Some(&other))).equal);
        assert!(
            !proof(&evidence(None)).equal,
            "nothing is claimed without evidence"
        );
    }

    #[test]
    fn a_lost_write_is_never_equal() {
        let (before, now) = (moment(1, "a"), moment(1, "a"));
        let proof = proof(&Evidence {
            before: Some(&before),
            now: &now,
            journal: None,
            audit: &audit(10, 9),
        });
        assert!(!proof.equal);
        assert!(proof.says.contains("/k: it is gone"), "{}", proof.says);
        assert_eq!(proof.rows[3].verdict, "1 lost");
    }
}
