//! Which checkpoints of a damaged journal can be believed: every one is read in full.

use crate::{
    checkpoint::{file::Checkpoint, history::is_of_another_past},
    directory::listing::Listing,
    error::{Error, Result},
    model::ids::Sequence,
    storage::{file_handle::is_media_error, traits::Storage},
};
use uuid::Uuid;

/// The checkpoints of a journal that is being repaired.
#[derive(Default)]
pub(crate) struct VerifiedCheckpoints {
    /// Whole and of this journal's past, oldest first.
    pub(crate) sound: Vec<Checkpoint>,
    /// What is wrong with each of the others.
    pub(crate) damaged: Vec<Error>,
}

impl VerifiedCheckpoints {
    pub(crate) fn read(storage: &dyn Storage, listing: &Listing, uuid: Uuid) -> Result<Self> {
        let mut vetted = Self::default();
        for path in listing.checkpoints.values() {
            let checked = Checkpoint::open_on(storage, path).and_then(|checkpoint| {
                checkpoint.verify()?;
                if checkpoint.uuid() != uuid {
                    return Err(Error::ForeignFile {
                        path: path.clone(),
                        detail: format!("it belongs to the journal {}", checkpoint.uuid()),
                    });
                }
                match is_of_another_past(storage, listing, &checkpoint)? {
                    Some(error) => Err(error),
                    None => Ok(checkpoint),
                }
            });
            match checked {
                Ok(checkpoint) => vetted.sound.push(checkpoint),
                Err(error @ (Error::CheckpointDamaged { .. } | Error::ForeignFile { .. })) => {
                    vetted.damaged.push(error);
                }
                Err(Error::Io { path, source, .. }) if is_media_error(&source) => {
                    vetted.damaged.push(Error::ForeignFile {
                        path,
                        detail: format!("it cannot be read: {source}"),
                    });
                }
                Err(other) => return Err(other),
            }
        }
        vetted.sound.sort_by_key(Checkpoint::sequence);
        Ok(vetted)
    }

    /// The newest one that ends before this sequence.
    pub(crate) fn before(&self, first: Sequence) -> Option<&Checkpoint> {
        self.sound.iter().rev().find(|c| c.sequence() < first)
    }

    /// Whether the records before this sequence need not be there.
    pub(crate) fn covers(&self, first: Sequence) -> bool {
        self.newest().is_some_and(|c| c.sequence().next() >= first)
    }

    /// The newest one: a witness that its sequence was durable.
    pub(crate) fn newest(&self) -> Option<&Checkpoint> {
        self.sound.last()
    }
}
