//! Writing a state into a cluster that has keys: an ordinary client's writes, and allowed
//! explicitly.
//!
//! Promises:
//!
//! * Keys of the cluster that the state does not have stay as they are, unless it is asked for that
//!   they go: then the cluster ends up with this state, and no other key.
//! * Every write is a compare-and-set against what was seen before: what somebody writes meanwhile
//!   is not overwritten, but reported; as is what somebody overwrites or deletes right after. What
//!   counts as seen may be an earlier look, which a person has read.
//! * Every key that is overwritten or deleted is reported, with the revision that it had in the
//!   cluster.
//! * Nothing is written unless everything can be.
//! * The cluster keeps its identity: its persisters journal these writes like any others. But first
//!   it is taken past the newest revision of the journal, so that a revision which a client of the
//!   old cluster still holds does not pass for one of this cluster.
//!
//! One that was interrupted is run again: what is there already is left alone.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_journal::Revision;
use futures::{StreamExt, stream};

use crate::cluster::error::{Error as ClusterError, Result as ClusterResult};
use crate::cluster::followed::Live;
use crate::cluster::rules::KeyRules;
use crate::cluster::session::Session;
use crate::cluster::write::{Expect, Key, Write};
use crate::error::Error;
use crate::restore::digest::Digest;
use crate::restore::item::Item;
use crate::restore::living::{changes_since, go_past};
use crate::restore::options::RestoreOptions;
use crate::restore::progress_bar::Bar;
use crate::restore::target::{Files, Target};

/// How many keys an error names.
const NAMED: usize = 10;

/// A key that a merge gives another value, or deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwritten {
    /// Its path.
    pub path: Bytes,
    /// The revision of the value that goes away.
    pub revision: Revision,
    /// The length of that value.
    pub bytes: usize,
}

/// What a merge does, or would do.
#[derive(Clone, Debug, Default)]
pub struct Merge {
    /// Keys that the cluster does not have.
    pub created: Vec<Bytes>,
    /// Keys that it has with other values.
    pub overwritten: Vec<Overwritten>,
    /// Keys that it has and the state does not, if those are to go.
    pub deleted: Vec<Overwritten>,
    /// Bytes of the values that are written.
    pub bytes: u64,
    /// How many keys it has already with these values.
    pub same: u64,
    /// How many other keys it has, which stay.
    pub others: u64,
    /// Keys that somebody else wrote meanwhile, so that they were left alone.
    pub left: Vec<Bytes>,
    /// The cluster's revision, afterwards.
    pub counter: Revision,
}

/// Tells of a key whether it is meant.
type Selection = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What a merge is allowed.
pub(super) struct Terms {
    /// Which keys it deletes if the state does not have them.
    deletes: Selection,
    /// Keys that were written after this revision are left alone.
    seen: Option<Revision>,
}

impl Terms {
    pub(super) fn of(options: &RestoreOptions, target: &Target, rules: &KeyRules) -> Self {
        let (deletes, is_wanted) = (options.deletes, target.selection(rules));
        Self {
            deletes: Box::new(move |path| deletes && is_wanted(path)),
            seen: options.seen,
        }
    }
}

/// Finds out what a merge comes to. Reads only.
pub(super) async fn look<S: Session>(
    session: &S,
    files: &Files,
    terms: &Terms,
) -> Result<Merge, Error> {
    let mut merge = Merge {
        counter: session.revision().await?,
        ..Merge::default()
    };
    let mut seen: BTreeSet<Bytes> = BTreeSet::new();
    let mut others: BTreeSet<Bytes> = BTreeSet::new();
    let mut live = session.snapshot(merge.counter);
    while let Some(live) = live.next().await {
        let live = live?;
        match files.get(&live.path) {
            Some(key) => {
                if key.value == live.value {
                    merge.same += 1;
                } else {
                    merge.bytes += key.value.len() as u64;
                    merge.overwritten.push(Overwritten::of(&live));
                }
                seen.insert(live.path);
            }
            None if (terms.deletes)(&live.path) => merge.deleted.push(Overwritten::of(&live)),
            None => {
                others.insert(live.path);
            }
        }
    }
    for (path, key) in files {
        if !seen.contains(path) {
            merge.bytes += key.value.len() as u64;
            merge.created.push(path.clone());
        }
    }
    if let Some(seen) = terms.seen {
        let since = written_after(session, seen).await?;
        let written = merge.without(&since);
        others.extend(
            written
                .iter()
                .filter(|path| !files.contains_key(*path))
                .cloned(),
        );
        merge.left = written;
    }
    merge.others = others.len() as u64;
    let created = merge.created.iter();
    let rules = session.rules();
    let mut clashes = created.filter_map(|path| {
        let clash = clash(&rules, path, &others)?;
        let (path, clash) = (
            String::from_utf8_lossy(path),
            String::from_utf8_lossy(&clash).into_owned(),
        );
        Some(format!("{path} (the cluster has {clash})"))
    });
    let named: Vec<String> = clashes.by_ref().take(NAMED).collect();
    if named.is_empty() {
        return Ok(merge);
    }
    Err(Error::Clashes {
        keys: (named.len() + clashes.count()) as u64,
        named,
    })
}

/// The keys that somebody has written or deleted since.
async fn written_after<S: Session>(session: &S, seen: Revision) -> ClusterResult<BTreeSet<Bytes>> {
    let mut written = BTreeSet::new();
    changes_since(session, seen.next(), |change| {
        written.insert(change.path);
    })
    .await?;
    Ok(written)
}

impl Overwritten {
    fn of(live: &Live) -> Self {
        Self {
            path: live.path.clone(),
            revision: live.revision,
            bytes: live.value.len(),
        }
    }
}

impl Merge {
    /// Takes these keys out of what is to be done, and gives those that it took.
    fn without(&mut self, keys: &BTreeSet<Bytes>) -> Vec<Bytes> {
        let mut left: Vec<Bytes> = self
            .created
            .extract_if(.., |it| keys.contains(it))
            .collect();
        for those in [&mut self.overwritten, &mut self.deleted] {
            let taken = those.extract_if(.., |key| keys.contains(&key.path));
            left.extend(taken.map(|key| key.path));
        }
        left
    }
}

/// The file of `others` above or below which `path` would lie.
fn clash(rules: &KeyRules, path: &Bytes, others: &BTreeSet<Bytes>) -> Option<Bytes> {
    if let Some(above) = rules.above(path).find(|above| others.contains(*above)) {
        return Some(Bytes::copy_from_slice(above));
    }
    let directory = rules.below(path)?;
    let below = others.range(directory.clone()..).next()?;
    below.starts_with(&directory[..]).then(|| below.clone())
}

/// Does what `merge` says, and compares.
pub(super) async fn apply<S: Session>(
    session: &S,
    files: &Files,
    newest: Revision,
    in_flight: usize,
    terms: &Terms,
    mut merge: Merge,
) -> Result<Merge, Error> {
    go_past(session, merge.counter, newest).await?;

    for (key, says) in (merge
        .overwritten
        .iter()
        .map(|key| (key, "overwriting this value")))
    .chain(merge.deleted.iter().map(|key| (key, "deleting this key")))
    {
        // Said before it happens: a merge that is cut short has no other list.
        tracing::info!(
            path = %String::from_utf8_lossy(&key.path), revision = %key.revision, bytes = key.bytes,
            "{says}"
        );
    }
    let deleted = merge.deleted.iter().map(|key| Write {
        key: Key::Data(key.path.clone()),
        expect: Expect::At(key.revision),
        value: None,
        lease: 0,
    });
    let deleted: Vec<Write> = deleted.collect();
    let created = merge.created.iter().map(|path| (path, Expect::Absent));
    let overwritten = (merge.overwritten.iter()).map(|key| (&key.path, Expect::At(key.revision)));
    let work = created.chain(overwritten).filter_map(|(path, expect)| {
        let key = files.get(path)?.clone();
        Some(Item::of(key).write(expect))
    });
    let work: Vec<Write> = work.collect();
    // Where keys are files and directories, those that go make room first.
    let mut left = write(session, deleted, in_flight).await?;
    left.extend(write(session, work, in_flight).await?);
    left.append(&mut merge.left);
    left.extend(overtaken(session, files, &left, terms, &merge).await?);
    merge.without(&left.iter().cloned().collect());
    merge.left = left;
    merge.counter = session.revision().await?;
    Ok(merge)
}

/// Writes these, each by itself. Gives the keys of those whose expectation did not hold.
async fn write<S: Session>(
    session: &S,
    work: Vec<Write>,
    in_flight: usize,
) -> Result<Vec<Bytes>, Error> {
    let mut progress = Bar::new("merging keys", work.len() as u64);
    let mut writes = stream::iter(work)
        .map(|write| async move {
            let written = session.apply(std::slice::from_ref(&write)).await;
            let Key::Data(path) = write.key else {
                unreachable!("only keys of applications are merged");
            };
            (path, written)
        })
        .buffer_unordered(in_flight);
    let mut left = Vec::new();
    while let Some((path, written)) = writes.next().await {
        match written {
            Ok(revision) => {
                tracing::debug!(path = %String::from_utf8_lossy(&path), ?revision, "merged");
                progress.one();
            }
            Err(ClusterError::Conflict(_)) => left.push(path),
            Err(other) => return Err(other.into()),
        }
    }
    drop(writes);
    progress.done();
    Ok(left)
}

/// Compares all keys of the state but those in `left`, and looks whether those are gone that were
/// to go. Returns those that somebody has written or deleted since the cluster was looked at: it
/// lives, and that is its right.
///
/// # Errors
/// [`Error::RestoreDiffers`] if a key that nobody has written since differs.
async fn overtaken<S: Session>(
    session: &S,
    files: &Files,
    left: &[Bytes],
    terms: &Terms,
    merge: &Merge,
) -> Result<Vec<Bytes>, Error> {
    let mut missing: BTreeSet<&Bytes> = files.keys().collect();
    for path in left {
        missing.remove(path);
    }
    let (looked, left) = (merge.counter, left.iter().collect::<BTreeSet<_>>());
    let mut overtaken = Vec::new();
    let (mut expected, mut found) = (Digest::default(), Digest::default());
    let mut live = session.snapshot(session.revision().await?);
    while let Some(live) = live.next().await {
        let live = live?;
        let may_be = files.contains_key(&live.path) || left.contains(&live.path);
        if !may_be && (terms.deletes)(&live.path) {
            match live.revision > looked {
                true => overtaken.push(live.path),
                false => found.add(&live.path, &live.value),
            }
            continue;
        }
        let Some(key) = files.get(&live.path).filter(|_| missing.remove(&live.path)) else {
            continue;
        };
        let value = &key.value;
        if *value != live.value && live.revision > looked {
            overtaken.push(live.path);
            continue;
        }
        expected.add(&live.path, value);
        found.add(&live.path, &live.value);
    }
    overtaken.extend(missing.into_iter().cloned());
    if found == expected {
        return Ok(overtaken);
    }
    Err(Error::RestoreDiffers {
        expected: expected.describe(),
        found: found.describe(),
        keys: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::address::Address;

    #[test]
    fn what_lies_above_or_below_a_foreign_file_cannot_be_made() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let others: BTreeSet<Bytes> = ["/a/b", "/c", "/e-f", "/e.g/h"].map(bytes).into();
        for (path, with) in [
            ("/a", Some("/a/b")),
            ("/a/b/c", Some("/a/b")),
            ("/c/d", Some("/c")),
            ("/e", None),
            ("/a/c", None),
        ] {
            let found = clash(&Address::default().rules(), &bytes(path), &others);
            assert_eq!(found, with.map(bytes), "{path}");
        }
    }
}
