//! Sorts changes in bounded memory: what does not fit is written out as a sorted run, and runs are
//! merged when there are many.
//!
//! Runs are temporary files in the journal's directory: removed when they are dropped, or at the
//! next opening after a crash. They are never synced: nothing rests on them.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use uuid::Uuid;

use crate::{
    checkpoint::{
        blocks::{BlockReader, BlockWriter},
        buffers::{Held, Meter},
        item::Item,
    },
    error::Result,
    format::{layout::Seed, names::run_name, table},
    maintain::merge::{ByKey, Input, Merge},
    model::ids::Revision,
    segment::create,
    stop::Stop,
    storage::{file_handle::FileHandle, salt::new_salt, traits::SharedStorage},
};

/// How much of the changes since the last checkpoint is sorted in memory at once. 16 MiB: runs are
/// long enough that 16 of them, merged with a block of each in memory, are 256 MiB of changes. A
/// snapshot diff that is held back may take as much again, twice.
pub(crate) const BUFFER_BYTES: usize = 16 << 20;
/// So many runs of a size are merged into one of the next: a merge holds a block of each, 1 MiB.
const FAN_IN: usize = 16;
/// What an entry in memory costs besides its bytes, about.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// Where runs are made, and within which bounds.
#[derive(Clone, Debug)]
pub(crate) struct SortContext {
    pub(crate) storage: SharedStorage,
    pub(crate) dir: PathBuf,
    pub(crate) buffer_bytes: usize,
    pub(crate) meter: Arc<Meter>,
    /// The number of the last file made. No two workshops in a directory use the same.
    pub(crate) made: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) stop: Stop,
}

/// A sorted file that is removed with this value.
#[derive(Debug)]
struct Run {
    storage: SharedStorage,
    file: Arc<FileHandle>,
    seed: Seed,
    level: u32,
}

impl Run {
    fn input(&self, meter: &Arc<Meter>) -> Result<Input> {
        let reader = BlockReader::new(
            self.file.clone(),
            self.seed.clone(),
            0,
            Revision::NONE,
            meter,
        )?;
        Ok(Input::File(Box::new(reader)))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // If it cannot be removed now, the next opening does it.
        let _ = create::remove_if_there(&*self.storage, &self.file.path);
    }
}

/// Changes, newer ones in the place of older ones.
#[derive(Debug)]
pub(crate) struct Runs {
    context: SortContext,
    memory: BTreeSet<ByKey>,
    held: Held,
    /// Oldest first; all older than what is in memory.
    files: Vec<Run>,
}

impl Runs {
    pub(crate) fn new(context: SortContext) -> Self {
        Self {
            held: context.meter.holder(),
            context,
            memory: BTreeSet::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, item: Item) -> Result<()> {
        let cost =
            |item: &Item| table::content_bytes(&(&item.change).into()) + ENTRY_OVERHEAD_BYTES;
        let mut bytes = self.held.bytes() + cost(&item);
        if bytes > self.context.buffer_bytes && !self.memory.is_empty() {
            self.spill()?;
            bytes = cost(&item);
        }
        if let Some(ByKey(old)) = self.memory.replace(ByKey(item)) {
            bytes -= cost(&old);
        }
        self.held.set(bytes);
        Ok(())
    }

    /// Takes in what is newer than all of this.
    pub(crate) fn absorb(&mut self, mut newer: Self) -> Result<()> {
        let memory = std::mem::take(&mut newer.memory);
        newer.held.set(0);
        if !newer.files.is_empty() {
            self.spill()?;
            for run in newer.files {
                self.add(run)?;
            }
        }
        for ByKey(item) in memory {
            self.push(item)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let memory = Input::Memory(std::mem::take(&mut self.memory).into_iter());
        let run = self.context.write(Merge::new(vec![memory])?, 0)?;
        self.held.set(0);
        self.add(run)
    }

    /// Adds a run, and merges the newest ones while there are many of no higher level.
    fn add(&mut self, run: Run) -> Result<()> {
        let mut level = run.level;
        self.files.push(run);
        loop {
            let alike = self.files.iter().rev();
            let alike = alike.take_while(|r| r.level <= level).count();
            if alike < FAN_IN {
                return Ok(());
            }
            let from = self.files.len() - alike;
            let inputs = self.files[from..]
                .iter()
                .map(|r| r.input(&self.context.meter))
                .collect::<Result<_>>()?;
            level += 1;
            let merged = self.context.write(Merge::new(inputs)?, level)?;
            self.files.truncate(from);
            self.files.push(merged);
        }
    }

    /// All as inputs of a merge, oldest first. The runs must outlive the merge: hence `self` stays.
    pub(crate) fn inputs(&mut self) -> Result<Vec<Input>> {
        let meter = &self.context.meter;
        let mut inputs = self
            .files
            .iter()
            .map(|r| r.input(meter))
            .collect::<Result<Vec<_>>>()?;
        // Stays counted until `self` goes.
        inputs.push(Input::Memory(std::mem::take(&mut self.memory).into_iter()));
        Ok(inputs)
    }
}

impl SortContext {
    /// Writes a merged stream as a run; what says that a path is gone is kept, as an older input
    /// may have the path.
    fn write(&self, merge: Merge, level: u32) -> Result<Run> {
        let made = &self.made;
        let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let path = self.dir.join(run_name(number));
        let seed = Seed::new(Uuid::nil(), new_salt(&*self.storage));
        let file = create::create_temporary(&*self.storage, &path)?;
        // From here on the file goes with the run, also if it cannot be completed.
        let run = Run {
            storage: self.storage.clone(),
            file: Arc::new(file),
            seed,
            level,
        };
        self.fill(&run, merge)?;
        Ok(run)
    }

    fn fill(&self, run: &Run, mut merge: Merge) -> Result<()> {
        let mut out = BlockWriter::new(&run.file, run.seed.clone(), 0, &self.meter);
        while let Some(item) = merge.next()? {
            self.stop.check()?;
            out.push(&item)?;
        }
        out.finish().map(drop)
    }
}
