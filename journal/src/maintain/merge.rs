//! Merges sorted inputs into one sorted stream: of each key, what the newest input says.
//!
//! Holds one entry (and one block) of each input.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut, btree_set},
};

use crate::{
    checkpoint::{blocks::BlockReader, item::Item},
    error::Result,
};

/// An item that is what it is sorted by.
#[derive(Debug)]
pub(crate) struct ByKey(pub(crate) Item);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(&other.0.key())
    }
}

/// One sorted input.
pub(crate) enum Input {
    File(Box<BlockReader>),
    Memory(btree_set::IntoIter<ByKey>),
}

impl Input {
    fn next(&mut self) -> Result<Option<Item>> {
        match self {
            Self::File(reader) => reader.next(),
            Self::Memory(items) => Ok(items.next().map(|ByKey(item)| item)),
        }
    }
}

/// The merged stream.
pub(crate) struct Merge {
    /// Oldest first.
    inputs: Vec<Input>,
    /// The next item of each that has one, and which that is; the least key, and of equals the
    /// oldest, on top.
    heads: BinaryHeap<Reverse<(ByKey, usize)>>,
}

impl Merge {
    /// `inputs`: oldest first.
    pub(crate) fn new(mut inputs: Vec<Input>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(inputs.len());
        for (input, from) in inputs.iter_mut().enumerate() {
            heads.extend(from.next()?.map(|item| Reverse((ByKey(item), input))));
        }
        Ok(Self { inputs, heads })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        let Some(mut newest) = self.take()? else {
            return Ok(None);
        };
        while let Some(Reverse((ByKey(head), _))) = self.heads.peek()
            && head.key() == newest.key()
        {
            newest = self.take()?.expect("seen just now");
        }
        Ok(Some(newest))
    }

    /// The item on top, in whose place the next one of its input comes.
    fn take(&mut self) -> Result<Option<Item>> {
        let Some(mut top) = self.heads.peek_mut() else {
            return Ok(None);
        };
        let (_, input) = top.0;
        let ByKey(item) = match self.inputs[input].next()? {
            Some(following) => std::mem::replace(&mut top.0.0, ByKey(following)),
            None => PeekMut::pop(top).0.0,
        };
        Ok(Some(item))
    }
}
