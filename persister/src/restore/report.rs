//! What `persister restore` prints: for people, or as one JSON object.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use bytesize::ByteSize;
use cairn_journal::Revision;
use serde::Serialize;

use crate::restore::digest::Digest;
use crate::restore::dry_run::{DryRun, NAMED, Outlook};
use crate::restore::forecast::Forecast;
use crate::restore::leases::Leases;
use crate::restore::merge::{Merge, Overwritten};
use crate::restore::outcome::{Restored, Shifted, Summary};
use crate::restore::plan::Reason;

/// The exit status when nothing was restored because the cluster is not one to restore into.
const NOT_RESTORED: u8 = 26;

/// How many no-operations a dry run speaks of: fewer are over in a moment.
const MANY: u64 = 10_000;

/// The exit status when a merge left keys alone that somebody wrote meanwhile.
const LEFT: u8 = 24;

/// What came of a restore, or would.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// `restored`, `merged`, `nothing`, and with `--dry-run` `would-restore`, `would-merge`,
    /// `would-wait`.
    pub outcome: &'static str,
    /// The exit status.
    pub status: u8,
    /// Why nothing was restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the state is, where there is one to restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateReport>,
    /// The cluster's identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How many keys were written, or would be.
    pub written: u64,
    /// How many of the keys were there already.
    pub there: u64,
    /// The cluster's revision: afterwards, or now.
    pub counter: i64,
    /// The keys that could not keep their revision.
    pub shifted: Vec<ShiftedReport>,
    /// The first revision that was not the one that was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surprise: Option<i64>,
    /// Of a merge: what it wrote, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge: Option<MergeReport>,
    /// How many revisions that no key has would be filled one by one, and how many seconds that
    /// takes at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filled: Option<FilledReport>,
    /// The first few keys that would be written.
    pub first: Vec<String>,
    /// How many leases were granted, or would be.
    pub leases: u64,
    /// Those of them whose time the journal does not know: they get 60 s.
    pub assumed_leases: Vec<String>,
    /// How many keys come back without the lease that they had.
    pub detached: u64,
    /// The first of them.
    pub detached_keys: Vec<String>,
    /// What the writes take, about, and what they cannot bring back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// How long the writing took.
    pub seconds: f64,
}

/// The state that is restored.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateReport {
    /// Its revision.
    pub revision: i64,
    /// The newest revision of the journal.
    pub newest: i64,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes their values have.
    pub bytes: u64,
    /// Their hash.
    pub hash: String,
}

impl StateReport {
    fn of(at: Revision, newest: Revision, digest: &Digest) -> Self {
        Self {
            revision: at.0,
            newest: newest.0,
            keys: digest.keys,
            bytes: digest.bytes,
            hash: digest.to_string(),
        }
    }
}

/// Revisions that no key has.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FilledReport {
    /// How many they are.
    pub revisions: u64,
    /// How long it takes at least to fill them.
    pub seconds: f64,
    /// The revision of the oldest key.
    pub oldest: i64,
}

/// A key that could not keep its revision.
#[derive(Clone, Debug, Serialize)]
pub struct ShiftedReport {
    /// The key.
    pub path: String,
    /// The revision that it had.
    pub before: i64,
    /// The revision that it has.
    pub now: i64,
}

/// What a merge wrote, or would.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MergeReport {
    /// How many keys it made.
    pub created: u64,
    /// Keys that it gave other values.
    pub overwritten: Vec<OverwrittenReport>,
    /// Keys that it deleted, since the state does not have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<OverwrittenReport>,
    /// How many other keys the cluster has; they stay.
    pub others: u64,
    /// Bytes of the values that it wrote.
    pub bytes: u64,
    /// Keys that somebody else wrote meanwhile, so that they were left alone.
    pub left: Vec<String>,
}

/// A value that went away.
#[derive(Clone, Debug, Serialize)]
pub struct OverwrittenReport {
    /// The key.
    pub path: String,
    /// The revision that it had in the cluster.
    pub revision: i64,
    /// The length of its value.
    pub bytes: usize,
}

fn text(path: &Bytes) -> String {
    String::from_utf8_lossy(path).into_owned()
}

impl From<&Shifted> for ShiftedReport {
    fn from(shifted: &Shifted) -> Self {
        Self {
            path: text(&shifted.path),
            before: shifted.before.0,
            now: shifted.now.0,
        }
    }
}

impl From<&Overwritten> for OverwrittenReport {
    fn from(key: &Overwritten) -> Self {
        Self {
            path: text(&key.path),
            revision: key.revision.0,
            bytes: key.bytes,
        }
    }
}

impl From<&Merge> for MergeReport {
    fn from(merge: &Merge) -> Self {
        Self {
            created: merge.created.len() as u64,
            overwritten: merge.overwritten.iter().map(Into::into).collect(),
            deleted: merge.deleted.iter().map(Into::into).collect(),
            others: merge.others,
            bytes: merge.bytes,
            left: merge.left.iter().map(text).collect(),
        }
    }
}

impl Report {
    fn nothing(reason: &Reason) -> Self {
        Self {
            outcome: "nothing",
            status: if reason.is_as_wanted() {
                0
            } else {
                NOT_RESTORED
            },
            reason: Some(reason.to_string()),
            ..Self::default()
        }
    }

    /// Of what was done.
    #[must_use]
    pub fn restored(restored: Restored) -> Self {
        match restored {
            Restored::Nothing(reason) => Self::nothing(&reason),
            Restored::Wait(identity) => Self::nothing(&Reason::OthersRestore(identity)),
            Restored::Done(summary) => Self::summary("restored", &summary, None),
            Restored::Merged(merge, summary) => Self {
                status: if merge.left.is_empty() { 0 } else { LEFT },
                ..Self::summary("merged", &summary, Some(&merge))
            },
        }
    }

    fn summary(outcome: &'static str, summary: &Summary, merge: Option<&Merge>) -> Self {
        let identity = (merge.is_none()).then(|| summary.identity.to_string());
        Self {
            outcome,
            state: Some(StateReport::of(summary.at, summary.newest, &summary.digest)),
            identity,
            written: summary.written,
            there: summary.digest.keys.saturating_sub(summary.written),
            counter: summary.counter.0,
            shifted: summary.shifted.iter().map(Into::into).collect(),
            surprise: summary.surprise.map(|revision| revision.0),
            merge: merge.map(Into::into),
            seconds: summary.took.as_secs_f64(),
            forecast: summary.forecast,
            ..Self::default()
        }
        .with_leases(&summary.leases)
    }

    fn with_leases(self, leases: &Leases) -> Self {
        Self {
            leases: leases.granted.len() as u64,
            assumed_leases: leases.assumed.iter().map(|id| format!("{id:x}")).collect(),
            detached: leases.detached,
            detached_keys: leases.named.iter().map(text).collect(),
            ..self
        }
    }

    /// Of what would be done.
    #[must_use]
    pub fn dry_run(dry_run: DryRun) -> Self {
        match dry_run {
            DryRun::Nothing(reason) => Self::nothing(&reason),
            DryRun::Wait(identity) => Self {
                outcome: "would-wait",
                status: NOT_RESTORED,
                reason: Some(format!("another restore goes first ({identity})")),
                ..Self::default()
            },
            DryRun::Restore(outlook) => Self::outlook("would-restore", &outlook, None),
            DryRun::Merge(merge, outlook) => Self::outlook("would-merge", &outlook, Some(&merge)),
        }
    }

    fn outlook(outcome: &'static str, outlook: &Outlook, merge: Option<&Merge>) -> Self {
        Self {
            outcome,
            state: Some(StateReport::of(outlook.at, outlook.newest, &outlook.digest)),
            written: outlook.digest.keys - outlook.there,
            there: outlook.there,
            counter: outlook.counter.0,
            shifted: outlook.shifted.iter().map(Into::into).collect(),
            merge: merge.map(Into::into),
            filled: (outlook.filled >= MANY).then(|| FilledReport {
                revisions: outlook.filled,
                seconds: outlook.fills_for.as_secs_f64(),
                oldest: outlook.oldest.unwrap_or(outlook.newest).0,
            }),
            first: outlook.first.iter().map(text).collect(),
            forecast: outlook.forecast,
            ..Self::default()
        }
        .with_leases(&outlook.leases)
    }

    fn fmt_leases(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leases > 0 {
            writeln!(f, "leases: {}, each with its whole time", self.leases)?;
        }
        if !self.assumed_leases.is_empty() {
            let count = self.assumed_leases.len();
            writeln!(
                f,
                "  {count} last as long as the journal does not know: they get 60 s"
            )?;
        }
        if self.detached == 0 {
            return Ok(());
        }
        let keys = self.detached_keys.join(" ");
        let detached = self.detached;
        writeln!(
            f,
            "  {detached} keys come back without the lease that they had: {keys} ..."
        )
    }

    /// What the persisters of the old cluster will do, where that may come as a surprise.
    fn hint(&self) -> Option<String> {
        let state = self.state.as_ref().filter(|_| self.outcome == "restored")?;
        let identity = self.identity.as_deref().unwrap_or_default();
        let is_part = identity.contains(" part");
        (is_part || state.revision < state.newest).then(|| {
            "journals of the old cluster, this one among them, hold more than was restored: each \
             persister ends with status 25 and says so, until it is started once with \
             --accept-loss. (It keeps the older history.)"
                .to_owned()
        })
    }
}

impl fmt::Display for Report {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = if self.outcome.starts_with("would") {
            "would be "
        } else {
            ""
        };
        if let Some(reason) = &self.reason {
            return writeln!(
                f,
                "nothing {}restored: {reason}",
                if would.is_empty() { "was " } else { would }
            );
        }
        let Some(state) = &self.state else {
            return Ok(());
        };
        let bytes = ByteSize::b(state.bytes);
        writeln!(
            f,
            "journal: {} keys, {bytes}, hash {}, at revision {}",
            state.keys, state.hash, state.revision
        )?;
        if would.is_empty() {
            writeln!(
                f,
                "cluster: {} keys{}, hash {}, at revision {}",
                state.keys,
                if self.merge.is_some() {
                    " of these"
                } else {
                    ""
                },
                state.hash,
                self.counter
            )?;
            write!(f, "{} keys were written", self.written)?;
            if self.seconds > 0.0 {
                write!(
                    f,
                    " in {:.1} s ({:.0} a second)",
                    self.seconds,
                    self.written as f64 / self.seconds
                )?;
            }
        } else {
            write!(f, "cluster: at revision {}", self.counter)?;
            if self.counter < state.newest {
                write!(f, ", would be taken to {} at least", state.newest)?;
            }
            writeln!(f)?;
            write!(f, "{} keys would be written", self.written)?;
        }
        writeln!(f, "; {} were there already", self.there)?;
        if let Some(merge) = &self.merge {
            writeln!(
                f,
                "merge: {} keys {would}created, {} {would}overwritten, {} in all; {} other keys \
                 stay",
                merge.created,
                merge.overwritten.len(),
                ByteSize::b(merge.bytes),
                merge.others
            )?;
            let was = |key: &OverwrittenReport| {
                let OverwrittenReport {
                    path,
                    revision,
                    bytes,
                } = key;
                format!("{path} (was at revision {revision}, {bytes} bytes)")
            };
            list(f, &merge.overwritten, &format!("{would}overwritten"), was)?;
            list(f, &merge.deleted, &format!("{would}deleted"), was)?;
            list(
                f,
                &merge.left,
                "written by somebody else meanwhile, and left alone",
                Clone::clone,
            )?;
        } else if self.shifted.is_empty() {
            writeln!(
                f,
                "every key {}the revision that it had",
                if would.is_empty() {
                    "has "
                } else {
                    "would keep "
                }
            )?;
        } else {
            list(
                f,
                &self.shifted,
                "with another revision than they had",
                |key| format!("{}: {} instead of {}", key.path, key.now, key.before),
            )?;
        }
        if let Some(filled) = &self.filled {
            writeln!(
                f,
                "no-operations: {} fill the revisions that no key has, in {:.0} s at least, at the \
                 rate at which this cluster answers now. The oldest key is at revision {}",
                filled.revisions,
                filled.seconds.max(1.0),
                filled.oldest
            )?;
        }
        if !self.first.is_empty() {
            writeln!(f, "first: {}", self.first.join(" "))?;
        }
        self.fmt_leases(f)?;
        if let Some(forecast) = &self.forecast {
            writeln!(f, "{forecast}")?;
        }
        if let Some(identity) = &self.identity {
            writeln!(f, "identity: {identity}")?;
        }
        match self.hint() {
            Some(hint) => writeln!(f, "note: {hint}"),
            None => Ok(()),
        }
    }
}

/// The first few of a list; `--json` has all.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    what: &str,
    show: impl Fn(&T) -> String,
) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for item in items.iter().take(NAMED) {
        let _ = writeln!(text, "  {}", show(item));
    }
    if items.len() > NAMED {
        let _ = writeln!(
            text,
            "  and {} more (--json lists all)",
            items.len() - NAMED
        );
    }
    write!(f, "{} keys {what}:\n{text}", items.len())
}
