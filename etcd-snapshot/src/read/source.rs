//! Where the bytes of a snapshot are: in a file, or in memory.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};

#[derive(Debug)]
pub(crate) enum Store {
    File(File),
    Memory(Bytes),
}

/// The bytes, and what errors call them. Reads are positioned, so any number of readers share it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) store: Store,
    pub(crate) path: PathBuf,
}

impl Source {
    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> Result<u64> {
        match &self.store {
            Store::File(file) => match file.metadata() {
                Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
                other => other.map(|metadata| metadata.len()),
            }
            .map_err(|source| self.error("read", source)),
            Store::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Fills the buffer with the bytes at an offset.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        match &self.store {
            Store::File(file) => file.read_exact_at(buffer, offset),
            Store::Memory(bytes) => usize::try_from(offset)
                .ok()
                .and_then(|begin| bytes.get(begin..)?.get(..buffer.len()))
                .map(|there| buffer.copy_from_slice(there))
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into()),
        }
        .map_err(|source| self.error("read", source))
    }

    fn error(&self, op: &'static str, source: io::Error) -> Error {
        Error::io(&self.path, op, 0, source)
    }
}
