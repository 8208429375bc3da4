//! Merges sorted inputs into one sorted stream: of each path, what the newest input says.
//!
//! Holds one entry (and one block) of each input.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut, btree_map},
};

use bytes::Bytes;

use crate::{
    checkpoint::blocks::{BlockReader, Item},
    error::Result,
    model::ids::Revision,
};

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
    /// Oldest first.
    inputs: Vec<Input>,
    /// The next entry of each that has one; the least path, and of equals the oldest, on top.
    heads: BinaryHeap<Reverse<Head>>,
}

/// An entry, and which input it is from.
struct Head {
    item: Item,
    input: usize,
}

impl Head {
    fn key(&self) -> (&Bytes, usize) {
        (&self.item.path, self.input)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Merge {
    /// `inputs`: oldest first.
    pub(crate) fn new(mut inputs: Vec<Input>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(inputs.len());
        for (input, from) in inputs.iter_mut().enumerate() {
            heads.extend(from.next()?.map(|item| Reverse(Head { item, input })));
        }
        Ok(Self { inputs, heads })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        let Some(mut newest) = self.take()? else {
            return Ok(None);
        };
        while let Some(Reverse(head)) = self.heads.peek()
            && head.item.path == newest.path
        {
            newest = self.take()?.expect("seen just now");
        }
        Ok(Some(newest))
    }

    /// The entry on top, in whose place the next one of its input comes.
    fn take(&mut self) -> Result<Option<Item>> {
        let Some(mut top) = self.heads.peek_mut() else {
            return Ok(None);
        };
        Ok(Some(match self.inputs[top.0.input].next()? {
            Some(following) => std::mem::replace(&mut top.0.item, following),
            None => PeekMut::pop(top).0.item,
        }))
    }
}
