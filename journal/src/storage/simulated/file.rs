//! An open file of the simulated disk: each call counted, and failing as it was told to.

use std::{io, path::Path, sync::Arc};

use crate::storage::{
    simulated::{
        fault::Fault,
        inode::Inode,
        world::{Simulated, power_failed},
    },
    traits::File,
};

#[derive(Debug)]
pub(super) struct SimulatedFile {
    pub(super) disk: Simulated,
    pub(super) inode: usize,
}

impl SimulatedFile {
    fn sync(&self, sync: impl FnOnce(&mut Inode)) -> io::Result<()> {
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
                sync(inode);
                Ok(())
            }
            Some(Fault::Io) => {
                inode.sync_failed(&mut rng);
                Err(io::Error::from_raw_os_error(5))
            }
            Some(Fault::Crash) => {
                if rng.bool() {
                    sync(inode);
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

    fn len_under(&self, path: &Path) -> io::Result<Option<u64>> {
        let world = self.disk.world();
        world.after()?;
        let is_named = world.names.get(path) == Some(&self.inode);
        Ok(is_named.then(|| world.inodes[self.inode].seen.len() as u64))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world();
        world.after()?;
        world.inodes[self.inode].read(into, index(offset))
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

    fn write_through(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let n = self.write_at(from, offset)?;
        let start = index(offset);
        self.sync(|inode| inode.synced_within(start, start + n))?;
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(Inode::synced)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(Inode::synced)
    }
}
