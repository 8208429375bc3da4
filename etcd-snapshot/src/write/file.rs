//! A snapshot file under its name: whole and synced, or not there.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use tempfile::{Builder, NamedTempFile};

use super::encoder::{Encoder, Summary, WriteOptions};
use crate::{
    error::{Error, Result},
    record::{Lease, Record},
};

/// Writes a snapshot file.
///
/// Everything is written to `NAME.XXXXXX.tmp` beside it, readable by its owner only. Finishing
/// syncs that file, gives it its name, and syncs the directory. A writer that is dropped before
/// removes it; one that is killed leaves it, and it may be removed.
///
/// What is promised of records and leases, and of memory, stands with [`Encoder`].
pub struct Writer {
    encoder: Encoder<NamedTempFile>,
    path: PathBuf,
}

impl Writer {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is one, [`Error::Options`], and what creating a file can meet.
    pub fn create(path: impl AsRef<Path>, options: WriteOptions) -> Result<Self> {
        let path = path.as_ref();
        let io = |op| move |source| Error::io(path, op, 0, source);
        if path.try_exists().map_err(io("look for"))? {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let name = path.file_name().ok_or_else(|| {
            io("create")(std::io::Error::from(std::io::ErrorKind::InvalidFilename))
        })?;
        let file = Builder::new()
            .prefix(name)
            .suffix(".tmp")
            .tempfile_in(directory(path))
            .map_err(io("create"))?;
        Ok(Self {
            encoder: Encoder::new(file, path, options)?,
            path: path.to_owned(),
        })
    }

    /// Writes the next record, as [`Encoder::record`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::record`].
    pub fn record(&mut self, record: &Record) -> Result<()> {
        self.encoder.record(record)
    }

    /// Writes the next lease, as [`Encoder::lease`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::lease`].
    pub fn lease(&mut self, lease: &Lease) -> Result<()> {
        self.encoder.lease(lease)
    }

    /// Completes the file and puts it in place. When this has returned, it is on disk under its
    /// name.
    ///
    /// # Errors
    ///
    /// Those of [`Encoder::finish`]; [`Error::Exists`] if the name was taken meanwhile; a failed
    /// sync. Only if the directory could not be synced is there a file of that name after an error.
    pub fn finish(self) -> Result<Summary> {
        let Self { encoder, path } = self;
        let (file, summary) = encoder.finish()?;
        let io = |op| move |source| (op, source);
        let place = || -> Result<(), (&'static str, std::io::Error)> {
            file.as_file().sync_all().map_err(io("sync"))?;
            file.persist_noclobber(&path)
                .map_err(|error| ("rename the finished file to its name", error.error))?;
            File::open(directory(&path))
                .and_then(|directory| directory.sync_all())
                .map_err(io("sync the directory of"))
        };
        place().map_err(|(op, source)| Error::io(&path, op, summary.bytes, source))?;
        Ok(summary)
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
