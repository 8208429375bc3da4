//! What can be done to a simulated disk, and what it does as a storage.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use fastrand::Rng;

use crate::{
    model::time::Timestamp,
    storage::{
        simulated::{
            fault::{Fault, SECTOR_BYTES, Survival},
            file::SimulatedFile,
            inode::Inode,
            world::{NameChange, Simulated, World, apply},
        },
        traits::{Access, File, Lock, Storage},
    },
};

impl Simulated {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            rng: Rng::with_seed(seed),
            seed,
            drawn: 0,
            clock: 1_000_000,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            dirs: BTreeSet::new(),
            locked: BTreeSet::new(),
            calls: 0,
            faults: Vec::new(),
            crashed: false,
            lies: false,
            observer: None,
        })))
    }

    /// Calls this before every call that changes something.
    pub fn observe(&self, observer: impl Fn(&Self) + Send + Sync + 'static) {
        self.world().observer = Some(Arc::new(observer));
    }

    /// Another disk in the same state, unobserved.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut world = self.world().clone();
        world.observer = None;
        Self(Arc::new(Mutex::new(world)))
    }

    /// The disk as it may be found after a power failure now. Nothing is locked, nothing fails.
    #[must_use]
    pub fn after_crash(&self, survival: Survival, seed: u64) -> Self {
        let mut world = self.world().clone();
        let mut rng = Rng::with_seed(seed);
        let mut names = world.durable_names.clone();
        for (change, _) in &world.name_changes {
            if survival.keeps(&mut rng) {
                apply(&mut names, change);
            }
        }
        for inode in names.values() {
            let inode = &mut world.inodes[*inode];
            if inode.written.is_empty() && inode.lengths.is_empty() && inode.seen == inode.safe {
                continue;
            }
            let content = inode.survivor(survival, &mut rng);
            *inode = Arc::new(Inode {
                seen: content.clone(),
                safe: content,
                unreadable: inode.unreadable.clone(),
                ..Inode::default()
            });
        }
        // A directory that was removed is there again with any of its files.
        let dirs = names.keys().filter_map(|path| path.parent());
        world.dirs.extend(dirs.map(Path::to_owned));
        world.durable_names.clone_from(&names);
        world.names = names;
        world.name_changes.clear();
        world.observer = None;
        Self::restarted(world, rng)
    }

    /// The disk as it is found by the next process on the same machine: the page cache is as it
    /// was.
    #[must_use]
    pub fn after_exit(&self) -> Self {
        let mut world = self.world().clone();
        world.observer = None;
        let rng = world.rng.fork();
        Self::restarted(world, rng)
    }

    fn restarted(mut world: World, rng: Rng) -> Self {
        world.locked.clear();
        world.lies = false;
        world.crashed = false;
        world.faults.clear();
        world.calls = 0;
        world.seed = world.seed.rotate_left(17) ^ 0x5DEE_CE66;
        world.rng = rng;
        Self(Arc::new(Mutex::new(world)))
    }

    /// Lets the n-th call from the beginning fail (the first is 1).
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.world().faults.push((call, fault));
    }

    /// From now on syncs say that they succeeded, and do nothing. For the test of the tests.
    pub fn lie(&self) {
        self.world().lies = true;
    }

    /// Sets the wall clock, in milliseconds. It goes on from there.
    pub fn set_clock(&self, milliseconds: i64) {
        self.world().clock = milliseconds;
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.world().calls
    }

    /// The bytes that a read of the whole file would return.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        let inode = world.names.get(path)?;
        Some(world.inodes[*inode].seen.clone())
    }

    /// Replaces a file's content, durably: damage.
    pub fn overwrite(&self, path: &Path, content: Vec<u8>) {
        let mut world = self.world();
        if let Some(inode) = world.names.get(path).copied() {
            world.inodes[inode] = Arc::new(Inode {
                seen: content.clone(),
                safe: content,
                ..Inode::default()
            });
        }
    }

    /// Makes the sector at this offset of a file unreadable until it is written anew: damage, too.
    pub fn make_unreadable(&self, path: &Path, offset: usize) {
        let mut world = self.world();
        if let Some(inode) = world.names.get(path).copied() {
            let inode = Arc::make_mut(&mut world.inodes[inode]);
            inode.unreadable.insert(offset / SECTOR_BYTES);
        }
    }

    /// The names in a directory.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: Simulated,
    path: PathBuf,
}

impl Lock for SimulatedLock {
    fn write_holder(&self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.world().locked.remove(&self.path);
    }
}

impl Storage for Simulated {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.after()?;
        world.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world();
        world.after()?;
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = (Bound::Excluded(dir), Bound::Unbounded);
        let below = world.names.range::<Path, _>(below).map(|(path, _)| path);
        let below = below.take_while(|path| path.starts_with(dir));
        let inside = below.filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        if access == Access::CreateNew {
            self.observed();
        }
        let mut world = self.world();
        let inode = if access == Access::CreateNew {
            if world.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            world.simple_call()?;
            world.inodes.push(Arc::default());
            let inode = world.inodes.len() - 1;
            world.change(NameChange::Add(path.to_owned(), inode))?;
            inode
        } else {
            world.after()?;
            world.find(path)?
        };
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        let inode = world.find(from)?;
        world.simple_call()?;
        world.change(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        let inode = world.find(from)?;
        if world.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.simple_call()?;
        world.change(NameChange::Add(to.to_owned(), inode))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        world.find(path)?;
        world.simple_call()?;
        world.change(NameChange::Remove(path.to_owned()))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        if world.names.keys().any(|path| path.starts_with(dir)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.simple_call()?;
        if !world.dirs.remove(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.after()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        world.simple_call()?;
        world.sync_names(dir);
        world.after()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut world = self.world();
        world.after()?;
        if !world.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock {
            disk: self.clone(),
            path: path.to_owned(),
        })))
    }

    fn random(&self) -> u128 {
        // Not the generator that decides what survives: golden files hold these numbers, so they
        // may depend on nothing but the seed and how many were asked for.
        let mut world = self.world();
        world.drawn += 1;
        let half = |n: u64| {
            let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            u128::from(z ^ (z >> 31))
        };
        let n = world.seed.wrapping_add(world.drawn.wrapping_mul(2));
        half(n) << 64 | half(n.wrapping_add(1))
    }

    fn now(&self) -> Timestamp {
        let mut world = self.world();
        world.clock += 1;
        Timestamp(world.clock)
    }
}
