//! All that a simulated machine is: files, names, and which call is going to fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;

use crate::storage::simulated::{fault::Fault, inode::Inode};

/// A simulated disk. Clones are the same disk; [`Simulated::fork`] is another one in the same
/// state.
#[derive(Clone, Debug)]
pub struct Simulated(pub(super) Arc<Mutex<World>>);

pub(super) type Observer = Arc<dyn Fn(&Simulated) + Send + Sync>;

impl Simulated {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observed(&self) {
        let observer = self.world().observer.clone();
        if let Some(observer) = observer {
            observer(self);
        }
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) seed: u64,
    /// How many random numbers were asked for.
    pub(super) drawn: u64,
    pub(super) clock: i64,
    pub(super) inodes: Vec<Arc<Inode>>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    /// Changes that are not durable, each with the directories that are still to be synced for it.
    pub(super) name_changes: Vec<(NameChange, Vec<PathBuf>)>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) locked: BTreeSet<PathBuf>,
    pub(super) calls: u64,
    pub(super) faults: Vec<(u64, Fault)>,
    pub(super) crashed: bool,
    pub(super) lies: bool,
    pub(super) observer: Option<Observer>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("calls", &self.calls)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl NameChange {
    /// The directories that it changes.
    fn dirs(&self) -> Vec<PathBuf> {
        let (one, other) = match self {
            Self::Add(path, _) | Self::Remove(path) => (path, path),
            Self::Rename(from, to, _) => (from, to),
        };
        let mut dirs: Vec<_> = [one, other]
            .into_iter()
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        dirs.dedup();
        dirs
    }
}

pub(super) fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Add(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Rename(from, to, inode) => {
            if names.get(from) == Some(inode) {
                names.remove(from);
            }
            names.insert(to.clone(), *inode);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
    }
}

pub(super) fn power_failed() -> io::Error {
    io::Error::other("simulated: the power has failed")
}

impl World {
    /// Counts a call and says how it is to fail, if it is.
    pub(super) fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(power_failed());
        }
        self.calls += 1;
        let now = self.calls;
        let fault = self
            .faults
            .iter()
            .find(|(at, _)| *at == now)
            .map(|(_, f)| *f);
        if fault == Some(Fault::Crash) {
            self.crashed = true;
        }
        Ok(fault)
    }

    /// A call that has no parts: it fails without effect, or crashes after or before it.
    pub(super) fn simple_call(&mut self) -> io::Result<()> {
        match self.call()? {
            None | Some(Fault::Short) => Ok(()),
            Some(Fault::Io) => Err(io::Error::from_raw_os_error(5)),
            Some(Fault::Full) => Err(io::Error::from_raw_os_error(28)),
            Some(Fault::Crash) => {
                if self.rng.bool() {
                    Err(power_failed())
                } else {
                    // The effect takes place; the caller never learns.
                    Ok(())
                }
            }
        }
    }

    pub(super) fn after(&self) -> io::Result<()> {
        if self.crashed {
            Err(power_failed())
        } else {
            Ok(())
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn change(&mut self, change: NameChange) -> io::Result<()> {
        apply(&mut self.names, &change);
        let dirs = change.dirs();
        self.name_changes.push((change, dirs));
        self.after()
    }

    /// Makes the changes in this directory durable; those between two directories once both were
    /// synced.
    pub(super) fn sync_names(&mut self, dir: &Path) {
        let names = &mut self.durable_names;
        self.name_changes.retain_mut(|(change, dirs)| {
            dirs.retain(|other| other != dir);
            if dirs.is_empty() {
                apply(names, change);
            }
            !dirs.is_empty()
        });
    }
}
