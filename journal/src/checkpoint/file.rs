//! One checkpoint file: opening it, what its header says, and its entries as a sorted stream.
//!
//! Opening reads header and footer, so a file that is cut short is found out at once; the entries
//! are verified as they are read.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    checkpoint::{
        blocks::{BlockReader, damaged, read_footer},
        buffers::Meter,
        item::Live,
    },
    directory::{handle::Directory, listing::Listing},
    error::{Error, Result},
    format::{
        checkpoint::{Footer, Header},
        header::{HEADER_BYTES, HeaderFault},
        names::{Name, classify},
    },
    model::{
        entry::{KeyValue, Timeline},
        ids::{Revision, Sequence},
        time::Timestamp,
    },
    stop::Stop,
    storage::{
        disk::Disk,
        file_handle::FileHandle,
        traits::{Access, Storage},
    },
};

/// The whole state at a consistent point of a journal, in a file.
///
/// ```no_run
/// # fn main() -> cairn_journal::Result<()> {
/// let reader = cairn_journal::Reader::open("journal".as_ref())?;
/// if let Some(newest) = reader.checkpoints()?.usable.first() {
///     for entry in newest.entries()? {
///         let entry = entry?; // sorted by path; one block is in memory at a time
///         println!("{:?} has revision {}", entry.path, entry.revision);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoint {
    file: Arc<FileHandle>,
    pub(crate) header: Header,
    pub(crate) footer: Footer,
    bytes: u64,
    with_control: bool,
}

impl Directory {
    /// The checkpoint files of the journal, oldest first, whatever is in them.
    ///
    /// # Errors
    /// The disk's; a file that is named like ours and is not.
    pub fn checkpoint_files(&self) -> Result<Vec<PathBuf>> {
        let listing = Listing::read(self.storage(), self.path())?;
        Ok(listing.checkpoints.into_values().collect())
    }

    /// Opens a checkpoint file of this storage: [`Checkpoint::open`].
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn open_checkpoint(&self, path: &Path) -> Result<Checkpoint> {
        Checkpoint::open_on(self.storage(), path)
    }
}

impl Checkpoint {
    /// Opens a checkpoint file. Under a name like that of a checkpoint it must be of that revision;
    /// any other name will do too, as that of a damaged one which repair has set aside.
    ///
    /// # Errors
    /// [`Error::CheckpointDamaged`] if header or footer do not verify; [`Error::OtherFormat`]; the
    /// disk's.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(&Disk, path)
    }

    pub(crate) fn open_on(storage: &dyn Storage, path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy());
        let file = FileHandle::open(storage, path, Access::Read)?;
        let named = match classify(name.as_deref().unwrap_or_default()) {
            Name::Checkpoint(revision) => revision,
            _ => named_within(&file)?,
        };
        Self::read(file, named)
    }

    /// The checkpoint in this file, whatever it is called now.
    pub(crate) fn read(file: FileHandle, named: Revision) -> Result<Self> {
        let mut block = vec![0; HEADER_BYTES];
        let n = file.read_at(&mut block, 0)?;
        let header = match Header::decode(&block[..n]) {
            Ok(header) if header.revision == named => header,
            Ok(header) => {
                return Err(Error::ForeignFile {
                    path: file.path.to_path_buf(),
                    detail: format!("its header says that it is of revision {}", header.revision),
                });
            }
            Err(HeaderFault::Format(found)) => {
                return Err(Error::other_format(&file.path, found));
            }
            Err(HeaderFault::Damaged(detail)) => {
                return Err(damaged(&file.path, 0, named, detail));
            }
        };
        let (footer, bytes) = read_footer(&file, &header.seed(), named)?;
        Ok(Self {
            file: Arc::new(file),
            header,
            footer,
            bytes,
            with_control: false,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn path_buf(&self) -> PathBuf {
        self.file.path.to_path_buf()
    }

    /// The journal that it belongs to.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.header.uuid
    }

    /// The revision covered: its state is the one at this revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.header.revision
    }

    /// It takes the place of all records up to this one.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.header.sequence
    }

    /// The timeline in force at that record.
    #[must_use]
    pub fn timeline(&self) -> Option<&Timeline> {
        self.header.timeline.as_ref()
    }

    /// When the newest of those records was observed, by their own account.
    #[must_use]
    pub fn observed_at(&self) -> Timestamp {
        self.header.observed_at
    }

    /// When it was made.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.header.created_at
    }

    /// How many paths there are, those of control writes included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.footer.entries.saturating_sub(self.footer.leases)
    }

    /// Whether there is no path.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all paths, values and attributes, and of leases.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.footer.content_bytes
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes
    }

    /// Shows what control writes have set, too.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.with_control = true;
        self
    }

    /// All paths, sorted. Holds one block in memory.
    ///
    /// # Errors
    /// The disk's. Damage is met by the iterator, which then ends.
    pub fn entries(&self) -> Result<Entries> {
        Ok(Entries {
            blocks: Some(self.blocks(&Arc::default())?),
            with_control: self.with_control,
        })
    }

    /// The leases that were alive: the id of each, and the time to live that it was granted, in
    /// seconds.
    ///
    /// # Errors
    /// The disk's, and damage.
    pub fn leases(&self) -> Result<BTreeMap<i64, i64>> {
        let mut blocks = self.blocks(&Arc::default())?;
        let mut leases = BTreeMap::new();
        // They come first.
        while let Some(Live::Lease(id, granted_ttl)) = blocks.next_live()? {
            leases.insert(id, granted_ttl);
        }
        Ok(leases)
    }

    pub(crate) fn blocks(&self, meter: &Arc<Meter>) -> Result<BlockReader> {
        let seed = self.header.seed();
        let at = HEADER_BYTES as u64;
        BlockReader::new(self.file.clone(), seed, at, self.header.revision, meter)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// [`Error::CheckpointDamaged`] names the first block that does not verify.
    pub fn verify(&self) -> Result<()> {
        self.verify_unless(&Stop::new())
    }

    /// Reads all of it; ends with [`Error::Stopped`] soon after `stop` has been asked.
    pub(crate) fn verify_unless(&self, stop: &Stop) -> Result<()> {
        let mut blocks = self.blocks(&Arc::default())?;
        while blocks.next_live()?.is_some() {
            stop.check()?;
        }
        Ok(())
    }
}

/// The revision that a file itself claims; 0 if it is no checkpoint, which is then found out.
fn named_within(file: &FileHandle) -> Result<Revision> {
    let mut block = vec![0; HEADER_BYTES];
    let n = file.read_at(&mut block, 0)?;
    Ok(Header::decode(&block[..n]).map_or(Revision::NONE, |header| header.revision))
}

/// The paths of a checkpoint, sorted. After an error there is nothing more.
#[derive(Debug)]
pub struct Entries {
    blocks: Option<BlockReader>,
    with_control: bool,
}

impl Iterator for Entries {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.blocks.as_mut()?.next_live();
            if !matches!(next, Ok(Some(_))) {
                self.blocks = None;
            }
            match next {
                Ok(Some(Live::Path(kv))) if self.with_control || !kv.is_control => {
                    return Some(Ok(kv));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
