//! A bucket's tree, built from below while its entries arrive in order.
//!
//! One page of every level is under construction. A page that is full is written, and its first key
//! and number go into the page above. So the memory in use is one leaf, which is a page or one
//! entry, and two pages for every level: a tree of 10^12 entries has seven levels.

use std::io::{Read, Seek, Write};

use super::sink::PageSink;
use crate::{
    error::Result,
    format::{
        bucket,
        key::DELETE_BYTES,
        page::{
            BRANCH, BranchElement, ELEMENT_BYTES, LEAF, LeafElement, PAGE_HEADER_BYTES, PageHeader,
        },
        size::MIN_PAGE_BYTES,
    },
};

// The newest child stays behind when a branch is written; enough others have fitted before it.
const _: () = assert!((MIN_PAGE_BYTES - PAGE_HEADER_BYTES) / (ELEMENT_BYTES + DELETE_BYTES) > 3);

#[derive(Default)]
pub(crate) struct Tree {
    leaf: Leaf,
    /// The branches under construction, lowest first.
    levels: Vec<Branch>,
}

/// The leaf under construction. No length in it exceeds 2 GiB: the rules for records see to that.
#[derive(Default)]
struct Leaf {
    elements: Vec<Element>,
    data: Vec<u8>,
}

struct Element {
    flags: u32,
    key_bytes: usize,
    value_bytes: usize,
}

/// A branch under construction: the first key below each child, and the child's page.
#[derive(Default)]
struct Branch {
    children: Vec<(Vec<u8>, u64)>,
    bytes: usize,
}

impl Tree {
    /// Adds an entry, greater than all before. `value` appends its bytes, of which there are
    /// `value_bytes`.
    pub(crate) fn push<F: Read + Write + Seek>(
        &mut self,
        sink: &mut PageSink<F>,
        flags: u32,
        key: &[u8],
        value_bytes: usize,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<()> {
        let more = ELEMENT_BYTES + key.len() + value_bytes;
        if !self.leaf.elements.is_empty() && self.leaf.bytes() + more > sink.page_bytes() {
            self.write_leaf(sink)?;
        }
        let leaf = &mut self.leaf;
        leaf.elements.push(Element {
            flags,
            key_bytes: key.len(),
            value_bytes,
        });
        leaf.data.extend_from_slice(key);
        let begin = leaf.data.len();
        value(&mut leaf.data);
        debug_assert_eq!(leaf.data.len() - begin, value_bytes);
        Ok(())
    }

    /// The value of the element that holds this bucket: its page inline if that is small, as bbolt
    /// does, and otherwise where its root is.
    pub(crate) fn into_bucket<F: Read + Write + Seek>(
        self,
        sink: &mut PageSink<F>,
    ) -> Result<Vec<u8>> {
        let inline = bucket::HEADER_BYTES + self.leaf.bytes();
        if self.levels.is_empty() && inline <= sink.page_bytes() / 4 {
            let mut value = bucket::encode_header(0).to_vec();
            let header = PageHeader {
                id: 0,
                flags: LEAF,
                count: u16::try_from(self.leaf.elements.len()).unwrap_or(u16::MAX),
                overflow: 0,
            };
            value.extend_from_slice(&header.encode());
            self.leaf.encode_elements(&mut value);
            value.extend_from_slice(&self.leaf.data);
            return Ok(value);
        }
        let root = self.into_page(sink)?;
        Ok(bucket::encode_header(root).to_vec())
    }

    /// Writes what is under construction; the root's page.
    pub(crate) fn into_page<F: Read + Write + Seek>(
        mut self,
        sink: &mut PageSink<F>,
    ) -> Result<u64> {
        if !self.leaf.elements.is_empty() || self.levels.is_empty() {
            self.write_leaf(sink)?;
        }
        let mut level = 0;
        loop {
            if let [(_, root)] = self.levels[level].children[..]
                && level + 1 == self.levels.len()
            {
                return Ok(root);
            }
            let all = self.levels[level].children.len();
            self.write_branch(sink, level, all)?;
            level += 1;
        }
    }

    fn write_leaf<F: Read + Write + Seek>(&mut self, sink: &mut PageSink<F>) -> Result<()> {
        let leaf = &mut self.leaf;
        let mut table = Vec::with_capacity(leaf.elements.len() * ELEMENT_BYTES);
        leaf.encode_elements(&mut table);
        let page = sink.page(LEAF, leaf.elements.len(), &table, &leaf.data)?;
        let first = leaf.elements.first().map_or(0, |first| first.key_bytes);
        let key = leaf.data[..first].to_vec();
        leaf.elements.clear();
        leaf.data.clear();
        self.push_child(sink, 0, key, page)
    }

    fn push_child<F: Read + Write + Seek>(
        &mut self,
        sink: &mut PageSink<F>,
        level: usize,
        key: Vec<u8>,
        page: u64,
    ) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Branch::default());
        }
        let more = ELEMENT_BYTES + key.len();
        let branch = &self.levels[level];
        if PAGE_HEADER_BYTES + branch.bytes + more > sink.page_bytes() {
            // The newest child stays, so that no branch ever has a single one.
            self.write_branch(sink, level, branch.children.len() - 1)?;
        }
        let branch = &mut self.levels[level];
        branch.bytes += more;
        branch.children.push((key, page));
        Ok(())
    }

    /// Writes the first children of a level as a page.
    fn write_branch<F: Read + Write + Seek>(
        &mut self,
        sink: &mut PageSink<F>,
        level: usize,
        count: usize,
    ) -> Result<()> {
        let branch = &mut self.levels[level];
        let (mut table, mut data) = (Vec::new(), Vec::new());
        for (index, (key, child)) in branch.children[..count].iter().enumerate() {
            let element = BranchElement {
                position: position(count, index, data.len()),
                key_bytes: length(key.len()),
                child: *child,
            };
            table.extend_from_slice(&element.encode());
            data.extend_from_slice(key);
        }
        let page = sink.page(BRANCH, count, &table, &data)?;
        branch.bytes -= table.len() + data.len();
        let first = branch.children.drain(..count).next();
        let key = first.map(|(key, _)| key).unwrap_or_default();
        self.push_child(sink, level + 1, key, page)
    }
}

impl Leaf {
    fn bytes(&self) -> usize {
        PAGE_HEADER_BYTES + ELEMENT_BYTES * self.elements.len() + self.data.len()
    }

    fn encode_elements(&self, to: &mut Vec<u8>) {
        let mut before = 0;
        for (index, element) in self.elements.iter().enumerate() {
            let encoded = LeafElement {
                flags: element.flags,
                position: position(self.elements.len(), index, before),
                key_bytes: length(element.key_bytes),
                value_bytes: length(element.value_bytes),
            };
            to.extend_from_slice(&encoded.encode());
            before += element.key_bytes + element.value_bytes;
        }
    }
}

/// From an element's own first byte to its key.
fn position(count: usize, index: usize, before: usize) -> u32 {
    length(ELEMENT_BYTES * (count - index) + before)
}

/// Nothing under construction is longer than a page and one entry, which is at most 2 GiB.
fn length(bytes: usize) -> u32 {
    debug_assert!(u32::try_from(bytes).is_ok());
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
