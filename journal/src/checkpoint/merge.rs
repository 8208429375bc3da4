//! Merges sorted inputs into one sorted stream: of each path, what the newest input says.
//!
//! Holds one entry (and one block) of each input.

use std::collections::btree_map;

use bytes::Bytes;

use super::blocks::{BlockReader, Item};
use crate::{Result, Revision};

/// One sorted input.
pub(crate) enum Input {
    File(Box<BlockReader>),
    Memory(btree_map::IntoIter<Bytes, (Revision, Option<Bytes>)>),
}

impl Input {
    fn next(&mut self) -> Result<Option<Item>> {
        match self {
            Self::File(reader) => reader.next(),
            Self::Memory(entries) => Ok(entries.next().map(|(path, (revision, value))| Item {
                path,
                revision,
                value,
            })),
        }
    }
}

/// The merged stream.
pub(crate) struct Merge {
    /// Oldest first, each with its next entry.
    inputs: Vec<(Item, Input)>,
}

impl Merge {
    /// `inputs`: oldest first.
    pub(crate) fn new(inputs: Vec<Input>) -> Result<Self> {
        let mut begun = Vec::with_capacity(inputs.len());
        for mut input in inputs {
            if let Some(first) = input.next()? {
                begun.push((first, input));
            }
        }
        Ok(Self { inputs: begun })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        let Some(path) = self
            .inputs
            .iter()
            .map(|(head, _)| &head.path)
            .min()
            .cloned()
        else {
            return Ok(None);
        };
        let mut newest = None;
        let mut i = 0;
        while i < self.inputs.len() {
            let (head, input) = &mut self.inputs[i];
            if head.path != path {
                i += 1;
                continue;
            }
            let following = input.next()?;
            if let Some(following) = following {
                newest = Some(std::mem::replace(head, following));
                i += 1;
            } else {
                newest = Some(self.inputs.remove(i).0);
            }
        }
        Ok(newest)
    }
}
