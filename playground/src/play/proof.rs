//! What a restore has shown: the state before the loss beside the state after it, and the ledger's
//! word on every write. Pure.
//!
//! Writes may end between the last look at a living cluster and its loss. Then the state after the
//! restore is a later one, and it is not compared with the look: the surviving journal's state at
//! the look's revision is, and the ledger judges what came after.

use crate::ledger::audit::{Audit, Tally};
use crate::moment::Moment;
use crate::play::story::counted;
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
    /// Keys of the ledger that somebody else has written before the loss.
    pub(super) strangers: &'a [String],
    /// What members of etcd say of their history.
    pub(super) hashes: &'a [Compared],
}

/// A hash that others than Cairn have made.
pub(super) struct Compared {
    pub(super) what: String,
    pub(super) before: u32,
    /// And who says so; or why nobody can.
    pub(super) after: Result<(u32, String), String>,
}

/// How many keys a sentence names.
const NAMED: usize = 3;

/// What stands above the columns after a restore.
const HEADS: [&str; 2] = ["Before the loss", "After the restore"];

pub(super) fn proof(evidence: &Evidence<'_>) -> Proof {
    let Evidence {
        before,
        now,
        audit,
        strangers,
        ..
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
            ok: Some(kept),
        });
    }
    for compared in evidence.hashes {
        let row = compared_row(compared);
        equal &= row.ok != Some(false);
        rows.push(row);
    }
    rows.extend(audited(audit));
    if !strangers.is_empty() {
        rows.push(strangers_row(strangers));
    }
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
    let says = match strangers {
        [] => says,
        [one] => format!("{says} Somebody else had written {one} before the loss."),
        more => format!(
            "{says} Somebody else had written {} of these keys before the loss.",
            figure(more.len())
        ),
    };
    Proof {
        heads: HEADS.map(str::to_owned),
        rows,
        equal,
        says,
    }
}

fn row(what: String, before: String, after: String, equal: bool) -> Row {
    let verdict = if equal { "equal" } else { "differs" };
    Row {
        what,
        before,
        after,
        verdict: verdict.to_owned(),
        ok: Some(equal),
    }
}

fn compared_row(compared: &Compared) -> Row {
    let Compared {
        what,
        before,
        after,
    } = compared;
    let (after, verdict, ok) = match after {
        Ok((hash, by)) if hash == before => (hash.to_string(), format!("equal {by}"), Some(true)),
        Ok((hash, by)) => (hash.to_string(), format!("differs {by}"), Some(false)),
        Err(why) => (String::new(), why.clone(), None),
    };
    Row {
        what: what.clone(),
        before: before.to_string(),
        after,
        verdict,
        ok,
    }
}

fn strangers_row(strangers: &[String]) -> Row {
    let named = strangers.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = if strangers.len() > NAMED { ", …" } else { "" };
    Row {
        what: "written by somebody else".to_owned(),
        before: counted(strangers.len(), "key"),
        after: "as they were".to_owned(),
        verdict: format!("{}{more}: not lost, overwritten before", named.join(", ")),
        ok: Some(true),
    }
}

/// What there is after an older state was given back: `then` beside `now`. `left`: keys that
/// somebody has written since it was looked, and that were left alone.
pub(super) fn given_back(change: u64, then: &Moment, now: &Moment, left: &[String]) -> Proof {
    let mut rows = vec![
        row(
            "keys".to_owned(),
            figure(then.keys),
            figure(now.keys),
            then.keys == now.keys,
        ),
        row(
            "hash".to_owned(),
            then.hash.clone(),
            now.hash.clone(),
            then.hash == now.hash,
        ),
    ];
    let equal = then.same_state(now);
    if !left.is_empty() {
        let named = left
            .iter()
            .take(NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        rows.push(Row {
            what: "left alone".to_owned(),
            before: String::new(),
            after: counted(left.len(), "key"),
            verdict: format!("written by somebody else since you looked: {named}"),
            ok: Some(false),
        });
    }
    let change = figure(change);
    let says = match (equal, left.is_empty()) {
        (true, _) => format!("Equal. The cluster holds what it held at change {change}."),
        (false, false) => "The state is another one: keys that somebody has written since you \
                           looked were left alone. Look again."
            .to_owned(),
        (false, true) => format!(
            "The cluster does not hold what it held at change {change}: somebody else writes."
        ),
    };
    Proof {
        heads: [format!("At change {change}"), "Now".to_owned()],
        rows,
        equal,
        says,
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
        ok: Some(audit.passed()),
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
        ok: Some(true),
    });
    std::iter::once(acknowledged).chain(open).collect()
}

/// `1,204`.
pub(super) fn figure(number: impl std::fmt::Display) -> String {
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
            strangers: &[],
            hashes: &[],
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
            strangers: &[],
            hashes: &[],
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
            strangers: &[],
            hashes: &[],
        });
        assert!(!proof.equal);
        assert!(proof.says.contains("/k: it is gone"), "{}", proof.says);
        assert_eq!(proof.rows[3].verdict, "1 lost");
    }
}
