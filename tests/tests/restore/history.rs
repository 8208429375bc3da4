//! A random history, as a journal and as the plainest model of what it means.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use cairn_journal::{Change, Journal, NewRecord, Op, Options, Revision, Timeline, Timestamp};
use cairn_tests::Tree;

/// The cluster that all test journals have followed.
pub(crate) const OLD: &str = "old-cluster";

/// The revision before the first change: a fresh node, the bids of three, and a lock are older.
const BEGIN: i64 = 69;

/// How long after the change before it each change is observed, in milliseconds.
pub(crate) const STEP_MS: i64 = 1000;

/// When the first change was observed.
pub(crate) const EPOCH_MS: i64 = 1_700_000_000_000;

/// Changes with their revisions, in order.
pub(crate) struct History(pub(crate) Vec<(i64, Change)>);

/// Paths that can be files or directories, with characters around the slash.
pub(crate) fn random_path(random: &mut fastrand::Rng) -> String {
    let name = |random: &mut fastrand::Rng| {
        let names = ["a", "b", "a-b", "a.b", "c0", "x"];
        names[random.usize(..names.len())].to_owned() + &random.u8(..12).to_string()
    };
    let depth = 1 + random.usize(..3);
    let names: Vec<String> = (0..depth).map(|_| name(random)).collect();
    format!("/{}", names.join("/"))
}

/// Whether a file can be at `path` beside the files of `live`.
fn can_be(live: &BTreeMap<String, i64>, path: &str) -> bool {
    let below = format!("{path}/");
    let is_directory = live
        .range(below.clone()..)
        .next()
        .is_some_and(|(next, _)| next.starts_with(&below));
    let is_below_file = path
        .match_indices('/')
        .any(|(at, _)| at > 0 && live.contains_key(&path[..at]));
    !is_directory && !is_below_file
}

impl History {
    /// A history of so many changes, with holes of up to `hole` revisions between them.
    pub(crate) fn random(random: &mut fastrand::Rng, changes: usize, hole: i64) -> Self {
        let mut live: BTreeMap<String, i64> = BTreeMap::new();
        let mut all = Vec::with_capacity(changes);
        let mut revision = BEGIN;
        while all.len() < changes {
            let existing = (!live.is_empty() && random.u8(..3) == 0)
                .then(|| live.keys().nth(random.usize(..live.len().min(50))))
                .flatten()
                .cloned();
            revision += 1 + random.i64(0..=hole);
            let change = match existing {
                Some(path) if random.bool() => {
                    live.remove(&path);
                    Change::delete(path)
                }
                existing => {
                    let path = existing.unwrap_or_else(|| random_path(random));
                    if !live.contains_key(&path) && !can_be(&live, &path) {
                        continue;
                    }
                    live.insert(path.clone(), revision);
                    let value = vec![random.u8(b'a'..=b'z'); random.usize(..40)];
                    Change::set(path, value)
                }
            };
            all.push((revision, change));
        }
        Self(all)
    }

    /// The revisions of its last change.
    pub(crate) fn newest(&self) -> i64 {
        self.0.last().map_or(0, |(revision, _)| *revision)
    }

    /// What there is after every change up to `at`.
    pub(crate) fn state(&self, at: i64) -> Tree {
        let mut tree = Tree::new();
        for (revision, change) in self.0.iter().take_while(|(revision, _)| *revision <= at) {
            let path = String::from_utf8_lossy(&change.path).into_owned();
            match &change.op {
                Op::Set(value) => {
                    let revision = cairn_client::Revision(*revision);
                    tree.insert(path, (revision, value.clone()));
                }
                Op::Delete => drop(tree.remove(&path)),
            }
        }
        tree
    }

    /// Writes it, up to `upto`, into a new journal that has followed [`OLD`].
    pub(crate) fn write(&self, journal: &Path, upto: i64) -> Result<()> {
        let (journal, _) = Journal::open(journal, Options::default())?;
        let timeline = Timeline {
            id: OLD.to_owned(),
            parent: None,
            at: Revision(0),
            kept: true,
            observed_at: Timestamp(EPOCH_MS),
        };
        journal.append(NewRecord::timeline(Revision(0), timeline))?;
        let upto = self.0.iter().take_while(|(revision, _)| *revision <= upto);
        for ((revision, change), n) in upto.zip(0..) {
            let at = Timestamp(EPOCH_MS + n * STEP_MS);
            journal.append(NewRecord::changes(
                Revision(*revision),
                vec![change.clone()],
                at,
            ))?;
        }
        journal.close()?;
        Ok(())
    }
}
