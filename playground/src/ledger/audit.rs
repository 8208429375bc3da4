//! Is everything there that was acknowledged, and nothing that was never written? Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ledger::outcome::{Class, Outcome};
use crate::ledger::write::{Folded, Found, Key, Write, print};

/// How many faults are told one by one; the others are counted.
const TOLD: usize = 20;

/// What is expected of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revisions {
    /// An acknowledged key must be at the revision of which its writer was told.
    Kept,
    /// Any.
    Any,
}

/// How many writes of a class there were since the last audit, and how many of them are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// All of them.
    pub writes: u64,
    /// The key shows this write or a later one.
    pub there: u64,
}

impl Tally {
    /// The key shows an earlier write.
    #[must_use]
    pub fn gone(&self) -> u64 {
        self.writes - self.there
    }

    fn count(&mut self, there: bool) {
        self.writes += 1;
        self.there += u64::from(there);
    }

    fn count_folded(&mut self, writes: u64, there: bool) {
        self.writes += writes;
        self.there += if there { writes } else { 0 };
    }

    fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.there += other.there;
    }
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// An acknowledged write is missing.
    Lost,
    /// What is there was never written by anybody.
    NeverWritten,
    /// What is there was refused: its writer was told that it was not done.
    Refused,
    /// The acknowledged write is there, at another revision.
    Moved,
}

/// A key that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub kind: FaultKind,
    /// In words.
    pub says: String,
}

/// The verdict on what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Acknowledged as durable.
    pub durable: Tally,
    /// In effect, not confirmed.
    pub applied: Tally,
    /// Refused.
    pub not_applied: Tally,
    /// Nobody was told.
    pub unknown: Tally,
    /// How many keys hold something.
    pub keys: usize,
    /// How many keys are not as they must be.
    pub faults: u64,
    /// The first of them.
    pub told: Vec<Fault>,
}

impl Audit {
    /// Whether everything is as clients were told.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults == 0
    }

    /// What clients were told, how often, and what that means for a key.
    pub(crate) fn rows(&self) -> [(&'static str, Tally, &'static str); 4] {
        [
            ("acknowledged", self.durable, "must be there"),
            ("in effect, unconfirmed", self.applied, "may be there"),
            ("unknown", self.unknown, "may be there"),
            ("not applied", self.not_applied, "must not be there"),
        ]
    }

    /// Adds the writes and faults of a later audit.
    pub fn add(&mut self, later: Self) {
        self.durable.add(later.durable);
        self.applied.add(later.applied);
        self.not_applied.add(later.not_applied);
        self.unknown.add(later.unknown);
        self.keys = later.keys;
        self.faults += later.faults;
        self.told.extend(later.told);
        self.told.truncate(TOLD);
    }

    fn fault(&mut self, key: &str, kind: FaultKind, says: String) {
        self.faults += 1;
        if self.told.len() < TOLD {
            self.told.push(Fault {
                key: key.to_owned(),
                kind,
                says,
            });
        }
    }
}

pub(super) fn audit(keys: &BTreeMap<String, Key>, found: &Found, revisions: Revisions) -> Audit {
    let mut audit = Audit {
        keys: found.len(),
        ..Audit::default()
    };
    for (path, key) in keys {
        judge(&mut audit, path, key, found, revisions);
    }
    for (path, (revision, _)) in found {
        if !keys.contains_key(path) {
            let says = format!("it is there at revision {revision}; no writer has this key");
            audit.fault(path, FaultKind::NeverWritten, says);
        }
    }
    audit
}

/// Whether a key of a writer does not hold what its writer was told.
pub(super) fn is_faulty(path: &str, key: &Key, found: &Found) -> bool {
    let mut audit = Audit::default();
    judge(&mut audit, path, key, found, Revisions::Any);
    !audit.passed()
}

fn judge(audit: &mut Audit, path: &str, key: &Key, found: &Found, revisions: Revisions) {
    let is = found.get(path);
    let now = is.map(|(_, value)| print(value));
    let acknowledged = key
        .writes
        .iter()
        .rposition(|write| write.outcome.class() == Class::Durable);
    // What may be there: the last acknowledged write, or a later one that was not refused.
    let may_be = |write: &Write| write.outcome != Outcome::NotApplied;
    let from = acknowledged.unwrap_or(0);
    let candidates = key.writes.iter().enumerate().skip(from);
    let shown = candidates
        .rev()
        .find(|(_, write)| may_be(write) && write.print == now);
    let shown = shown.map(|(n, _)| n);
    let untouched = acknowledged.is_none() && now.is_none();
    if shown.is_none() && !untouched {
        let (kind, says) = what_is_wrong(key, acknowledged, is.map(|(at, _)| *at), now);
        audit.fault(path, kind, says);
    }
    if let (Some(n), Some((at, _)), Revisions::Kept) = (shown, is, revisions)
        && let Outcome::Durable {
            revision: Some(revision),
        } = key.writes[n].outcome
        && revision != *at
    {
        let says = format!("acknowledged at revision {revision}, and there at revision {at}");
        audit.fault(path, FaultKind::Moved, says);
    }
    // A key that was rolled back shows an older write; one that shows none of them shows nothing at
    // all.
    let older = || {
        key.writes[..from]
            .iter()
            .rposition(|write| write.print == now)
    };
    let shown = shown.or_else(older).map_or(0, |n| n + 1);
    // Writes that are not kept one by one came before all that are.
    let Folded {
        durable,
        applied,
        not_applied,
        unknown,
    } = key.folded;
    audit.durable.count_folded(durable, shown > 0);
    audit.applied.count_folded(applied, shown > 0);
    audit.not_applied.count_folded(not_applied, false);
    audit.unknown.count_folded(unknown, shown > 0);
    for (n, write) in key.writes.iter().enumerate().skip(key.judged) {
        let there = n < shown;
        match write.outcome {
            Outcome::Durable { .. } => audit.durable.count(there),
            Outcome::Applied => audit.applied.count(there),
            // Refused, and later writes are there: it is not.
            Outcome::NotApplied => audit.not_applied.count(false),
            Outcome::Unknown => audit.unknown.count(there),
        }
    }
}

/// In words: an acknowledged write is missing, or what is there should not be.
fn what_is_wrong(
    key: &Key,
    acknowledged: Option<usize>,
    at: Option<i64>,
    now: Option<u64>,
) -> (FaultKind, String) {
    let older = &key.writes[..acknowledged.unwrap_or(0)];
    let refused = key
        .writes
        .iter()
        .any(|write| write.outcome == Outcome::NotApplied && write.print == now && now.is_some());
    let instead = match (now, older.iter().rev().find(|write| write.print == now)) {
        (None, _) => "the key is gone".to_owned(),
        (Some(_), Some(write)) => format!("the key shows an older one, {write}"),
        (Some(_), None) => {
            format!(
                "the key holds what nobody wrote, at revision {}",
                at.unwrap_or_default()
            )
        }
    };
    let Some(last) = acknowledged.map(|n| key.writes[n]) else {
        let kind = if refused {
            FaultKind::Refused
        } else {
            FaultKind::NeverWritten
        };
        let what = if refused {
            "its writer was told that it was not done"
        } else {
            &instead
        };
        return (kind, format!("writer {}: {what}", key.writer));
    };
    if refused {
        let says = "the key shows a write of which the writer was told that it was not done";
        return (FaultKind::Refused, format!("writer {}: {says}", key.writer));
    }
    (
        FaultKind::Lost,
        format!("writer {}: {last} was acknowledged; {instead}", key.writer),
    )
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.print.is_some() {
            "set"
        } else {
            "delete"
        };
        if self.is_found() {
            write!(f, "the {what} that was found")?;
        } else {
            write!(f, "{what} {}", self.number)?;
        }
        if let Outcome::Durable {
            revision: Some(revision),
        } = self.outcome
        {
            write!(f, " at revision {revision}")?;
        }
        write!(f, " ({:.3} s)", self.ended.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Ledger, Refusal};
    use super::*;

    const DURABLE: Outcome = Outcome::Durable { revision: Some(7) };

    fn ledger(writes: &[(Option<&str>, Outcome)]) -> Result<Ledger, Refusal> {
        let mut ledger = Ledger::default();
        for (value, outcome) in writes {
            let ticket = ledger.begin(1, "/k", value.map(str::as_bytes))?;
            ledger.end(ticket, *outcome);
        }
        Ok(ledger)
    }

    fn found(value: Option<&str>) -> Found {
        let value = value.map(|value| (7, Bytes::copy_from_slice(value.as_bytes())));
        value
            .into_iter()
            .map(|value| ("/k".to_owned(), value))
            .collect()
    }

    fn kinds(ledger: &Ledger, is: Option<&str>) -> Vec<FaultKind> {
        let audit = ledger.audit(&found(is), Revisions::Kept);
        assert_eq!(audit.passed(), audit.told.is_empty());
        audit.told.iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_what_was_open_may_be() -> Result<(), Refusal> {
        use FaultKind::{Lost, NeverWritten, Refused};
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        let unknown = ledger(&[(a, DURABLE), (b, DURABLE), (c, Outcome::Unknown)])?;
        assert_eq!(kinds(&unknown, b), []);
        assert_eq!(kinds(&unknown, c), []);
        assert_eq!(kinds(&unknown, a), [Lost], "rolled back");
        assert_eq!(kinds(&unknown, None), [Lost]);
        assert_eq!(kinds(&unknown, Some("forged")), [Lost]);
        let refused = ledger(&[(a, DURABLE), (b, Outcome::NotApplied)])?;
        assert_eq!(kinds(&refused, a), []);
        assert_eq!(kinds(&refused, b), [Refused]);
        let applied = ledger(&[(a, Outcome::Applied), (b, Outcome::Applied)])?;
        for is in [None, a, b] {
            assert_eq!(kinds(&applied, is), [], "{is:?}");
        }
        assert_eq!(kinds(&applied, c), [NeverWritten]);
        let deleted = ledger(&[(a, DURABLE), (None, Outcome::Durable { revision: None })])?;
        assert_eq!(kinds(&deleted, None), []);
        assert_eq!(kinds(&deleted, a), [Lost], "a delete is a write too");
        let deleting = ledger(&[(a, DURABLE), (None, Outcome::Unknown)])?;
        assert_eq!(kinds(&deleting, None), []);
        assert_eq!(kinds(&deleting, a), []);
        Ok(())
    }

    #[test]
    fn a_forged_acknowledgement_is_caught() -> Result<(), Refusal> {
        // The ledger says that a write was acknowledged which never was: as if a persister had
        // lied.
        let mut honest = Ledger::default();
        let mut at = Found::new();
        for n in 0..50 {
            let (key, value) = (format!("/k/{n}"), format!("v{n}"));
            let ticket = honest.begin(1, &key, Some(value.as_bytes()))?;
            honest.end(ticket, Outcome::Durable { revision: Some(n) });
            at.insert(key, (n, value.into()));
        }
        assert!(honest.audit(&at, Revisions::Kept).passed());
        let ticket = honest.begin(1, "/k/7", Some(b"forged"))?;
        honest.end(ticket, Outcome::Durable { revision: Some(50) });
        let audit = honest.audit(&at, Revisions::Kept);
        assert_eq!((audit.faults, audit.durable.gone()), (1, 1));
        assert_eq!(audit.told[0].key, "/k/7");
        assert!(
            audit.told[0].says.contains("set 51 at revision 50"),
            "{}",
            audit.told[0].says
        );
        Ok(())
    }

    #[test]
    fn a_stranger_and_another_revision_are_faults() -> Result<(), Refusal> {
        let ledger = ledger(&[(Some("a"), DURABLE)])?;
        let mut is = found(Some("a"));
        is.insert("/x".into(), (9, Bytes::new()));
        let audit = ledger.audit(&is, Revisions::Kept);
        assert_eq!(audit.told[0].kind, FaultKind::NeverWritten);
        let moved: Found = [("/k".into(), (8, Bytes::from_static(b"a")))].into();
        let audit = ledger.audit(&moved, Revisions::Kept);
        assert_eq!(audit.told[0].kind, FaultKind::Moved);
        assert!(ledger.audit(&moved, Revisions::Any).passed());
        Ok(())
    }

    #[test]
    fn a_brief_ledger_judges_as_one_that_keeps_everything() -> Result<(), Refusal> {
        let (mut brief, mut whole) = (Ledger::brief(), Ledger::default());
        let mut random = fastrand::Rng::with_seed(7);
        let outcomes = [
            DURABLE,
            DURABLE,
            DURABLE,
            Outcome::Applied,
            Outcome::NotApplied,
        ];
        for n in 0..2_000 {
            let value = format!("v{n}");
            let outcome = outcomes[random.usize(..outcomes.len())];
            for ledger in [&mut brief, &mut whole] {
                let ticket = ledger.begin(1, "/k", Some(value.as_bytes()))?;
                ledger.end(ticket, outcome);
            }
            if n % 97 == 0 {
                let is = found(Some(&value));
                let audits = [&brief, &whole].map(|ledger| ledger.audit(&is, Revisions::Any));
                assert_eq!(audits[0], audits[1], "after {n}");
            }
            if n == 1_000 {
                brief.settle(&found(Some(&value)));
                whole.settle(&found(Some(&value)));
            }
        }
        assert!(brief.points().is_empty());
        Ok(())
    }

    #[test]
    fn of_each_class_it_is_told_how_many_are_there() -> Result<(), Refusal> {
        let writes = [
            (Some("a"), DURABLE),
            (Some("b"), Outcome::Applied),
            (Some("c"), Outcome::NotApplied),
            (Some("d"), Outcome::Applied),
            (Some("e"), Outcome::Unknown),
        ];
        let mut ledger = ledger(&writes)?;
        let audit = ledger.audit(&found(Some("b")), Revisions::Any);
        let tally = |writes, there| Tally { writes, there };
        assert_eq!(audit.durable, tally(1, 1));
        assert_eq!(audit.applied, tally(2, 1));
        assert_eq!(audit.not_applied, tally(1, 0));
        assert_eq!(audit.unknown, tally(1, 0));
        // From here on, what was found must stay.
        ledger.settle(&found(Some("b")));
        let audit = ledger.audit(&found(Some("b")), Revisions::Any);
        assert!(audit.passed());
        assert_eq!(audit.durable, tally(0, 0), "judged already");
        let audit = ledger.audit(&found(Some("a")), Revisions::Any);
        assert_eq!(audit.told[0].kind, FaultKind::Lost);
        Ok(())
    }
}
