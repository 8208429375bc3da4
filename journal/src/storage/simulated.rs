//! A disk in memory that promises no more than [`Storage`] and [`File`] say, and breaks all else.
//!
//! After a crash any subset of the sectors written since the last sync is there (each in any of its
//! versions since then), any of the lengths since then, and any subset of the directory operations.
//! After a failed sync reads still return what was written, the disk may lack it, and later
//! syncs succeed without writing it: the page cache lies. Any call can be made to fail, or
//! to be the last one before a crash. Everything follows from the seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use fastrand::Rng;

use super::{Access, File, Lock, Storage};
use crate::Timestamp;

/// What is old or new as a whole.
pub const SECTOR_BYTES: usize = 512;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A failed sync loses any part of what it should have written; a failed write has written
    /// any part.
    Io,
    /// ENOSPC, after a part was written. Reads and syncs are not affected.
    Full,
    /// A write that writes less than it was asked to, and says so. Nothing else is affected.
    Short,
    /// Power fails in the middle of the call: it and all later ones fail.
    Crash,
}

/// Which of what was not synced survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All of it.
    All,
    /// Nothing of it.
    Nothing,
    /// Each sector, length and name by itself.
    Any,
    /// Nearly all.
    Most,
    /// Nearly nothing.
    Few,
}

impl Survival {
    /// All ways.
    pub const ALL: [Self; 5] = [Self::All, Self::Nothing, Self::Any, Self::Most, Self::Few];

    fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Any => rng.bool(),
            Self::Most => rng.u8(..8) != 0,
            Self::Few => rng.u8(..8) == 0,
        }
    }
}

/// A simulated disk. Clones are the same disk; [`Simulated::fork`] is another one in the same state.
#[derive(Clone, Debug)]
pub struct Simulated(Arc<Mutex<World>>);

type Observer = Arc<dyn Fn(&Simulated) + Send + Sync>;

#[derive(Clone)]
struct World {
    rng: Rng,
    seed: u64,
    /// How many random numbers were asked for.
    drawn: u64,
    clock: i64,
    inodes: Vec<Arc<Inode>>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    locked: BTreeSet<PathBuf>,
    calls: u64,
    faults: Vec<(u64, Fault)>,
    crashed: bool,
    lies: bool,
    observer: Option<Observer>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("calls", &self.calls)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What reads return.
    seen: Vec<u8>,
    /// What is on the disk for certain.
    safe: Vec<u8>,
    /// Sectors written since the last sync, in order.
    written: Vec<(usize, [u8; SECTOR_BYTES])>,
    /// Lengths since the last sync, in order.
    lengths: Vec<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Inode {
    fn note(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let mut content = [0; SECTOR_BYTES];
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.seen.len());
            content[..end - start].copy_from_slice(&self.seen[start..end]);
            self.written.push((sector, content));
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.seen.resize(end, 0);
            self.lengths.push(end);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.note(offset, end);
    }

    fn set_len(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.lengths.push(length);
    }

    /// Only what was written since goes to the disk: a sync does not heal what an earlier, failed
    /// one left undone.
    fn synced(&mut self) {
        if let Some(length) = self.lengths.last() {
            self.safe.resize(*length, 0);
        }
        for (sector, bytes) in &self.written {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.safe.len());
            if start < end {
                self.safe[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        self.written.clear();
        self.lengths.clear();
    }

    /// What is on the disk after this survival.
    fn survivor(&self, survival: Survival, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.safe.clone();
        let mut length = content.len();
        for l in &self.lengths {
            if survival.keeps(rng) {
                length = *l;
            }
        }
        content.resize(length, 0);
        for (sector, bytes) in &self.written {
            let start = sector * SECTOR_BYTES;
            if start < length && survival.keeps(rng) {
                let end = (start + SECTOR_BYTES).min(length);
                content[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
        content
    }

    /// The kernel gave up writing: reads go on returning what was written, the disk has any part.
    fn sync_failed(&mut self, rng: &mut Rng) {
        self.safe = self.survivor(Survival::Any, rng);
        self.written.clear();
        self.lengths.clear();
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
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

fn power_failed() -> io::Error {
    io::Error::other("simulated: the power has failed")
}

impl World {
    /// Counts a call and says how it is to fail, if it is.
    fn call(&mut self) -> io::Result<Option<Fault>> {
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
    fn simple_call(&mut self) -> io::Result<()> {
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

    fn after(&self) -> io::Result<()> {
        if self.crashed {
            Err(power_failed())
        } else {
            Ok(())
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, change: NameChange) -> io::Result<()> {
        apply(&mut self.names, &change);
        self.name_changes.push(change);
        self.after()
    }
}

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

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        for change in &world.name_changes {
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
                ..Inode::default()
            });
        }
        world.durable_names.clone_from(&names);
        world.names = names;
        world.name_changes.clear();
        world.observer = None;
        Self::restarted(world, rng)
    }

    /// The disk as it is found by the next process on the same machine: the page cache is as it was.
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

    /// The names in a directory.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.world().names.keys().cloned().collect()
    }

    fn observed(&self) {
        let observer = self.world().observer.clone();
        if let Some(observer) = observer {
            observer(self);
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Simulated,
    inode: usize,
}

impl SimulatedFile {
    fn sync(&self) -> io::Result<()> {
        self.disk.observed();
        let mut world = self.disk.world();
        let fault = world.call()?;
        if world.lies && fault.is_none() {
            return Ok(());
        }
        let mut rng = world.rng.fork();
        let inode = Arc::make_mut(&mut world.inodes[self.inode]);
        match fault {
            None | Some(Fault::Short | Fault::Full) => {
                inode.synced();
                Ok(())
            }
            Some(Fault::Io) => {
                inode.sync_failed(&mut rng);
                Err(io::Error::from_raw_os_error(5))
            }
            Some(Fault::Crash) => {
                if rng.bool() {
                    inode.synced();
                }
                Err(power_failed())
            }
        }
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("simulated files are small")
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let world = self.disk.world();
        world.after()?;
        Ok(world.inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world();
        world.after()?;
        let seen = &world.inodes[self.inode].seen;
        let from = index(offset).min(seen.len());
        let to = (from + into.len()).min(seen.len());
        into[..to - from].copy_from_slice(&seen[from..to]);
        Ok(to - from)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.observed();
        let mut world = self.disk.world();
        let fault = world.call()?;
        let part = world.rng.usize(..=from.len());
        let inode = Arc::make_mut(&mut world.inodes[self.inode]);
        let offset = index(offset);
        match fault {
            None => {
                inode.write(from, offset);
                Ok(from.len())
            }
            Some(Fault::Short) => {
                let part = part.clamp(1, from.len());
                inode.write(&from[..part], offset);
                Ok(part)
            }
            Some(Fault::Io | Fault::Full) => {
                inode.write(&from[..part], offset);
                let number = if fault == Some(Fault::Io) { 5 } else { 28 };
                Err(io::Error::from_raw_os_error(number))
            }
            Some(Fault::Crash) => {
                inode.write(from, offset);
                Err(power_failed())
            }
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.observed();
        let mut world = self.disk.world();
        world.simple_call()?;
        Arc::make_mut(&mut world.inodes[self.inode]).set_len(index(length));
        world.after()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn map(&self, length: u64) -> io::Result<Option<Bytes>> {
        let world = self.disk.world();
        world.after()?;
        let seen = &world.inodes[self.inode].seen;
        Ok((seen.len() as u64 >= length).then(|| Bytes::copy_from_slice(&seen[..index(length)])))
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
        let inside = world.names.keys().filter(|p| p.parent() == Some(dir));
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

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.observed();
        let mut world = self.world();
        world.simple_call()?;
        world.durable_names = world.names.clone();
        world.name_changes.clear();
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
        // Not the generator that decides what survives: golden files hold these numbers, so they may
        // depend on nothing but the seed and how many were asked for.
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
