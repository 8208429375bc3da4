//! The walk over one bucket's tree, from its first entry to its last.
//!
//! Held in memory: the branches on the way down, the table of one leaf, and the entry.

use std::{fmt::Display, sync::Arc};

use super::pager::{PageRun, Pager, Pages};
use crate::{
    error::{Error, Result},
    format::{
        page::{
            BRANCH, BUCKET, BranchElement, ELEMENT_BYTES, LEAF, LeafElement, PAGE_HEADER_BYTES,
        },
        size::MAX_KEY_BYTES,
    },
};

/// No tree is deeper; bbolt's own have less than ten levels.
const MAX_DEPTH: usize = 32;
/// No branch is longer. bbolt's are one page, or four keys of at most 32 KiB each.
const MAX_BRANCH_BYTES: u64 = 1 << 20;

/// Where a bucket's tree begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Root {
    /// At a page, as something at `from` (a page, an offset) says.
    Page { page: u64, from: (u64, u64) },
    /// Within the element of the bucket: its only page.
    Inline(PageRun),
}

/// An entry, as the file has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    /// The page of the leaf that it is in.
    pub(crate) page: u64,
    /// The place of its key in the file.
    pub(crate) offset: u64,
}

pub(crate) struct Cursor {
    pages: Arc<Pages>,
    pager: Pager,
    root: Option<Root>,
    branches: Vec<Branch>,
    leaf: Leaf,
    /// The flags that every element of this tree has.
    flags: u32,
    /// The key before, empty at the beginning: no key of an entry is empty.
    last: Vec<u8>,
    /// What the branches promise of the next key: not less than this.
    floor: Vec<u8>,
    /// How many pages can still come.
    pages_left: u64,
}

struct Branch {
    run: PageRun,
    bytes: Vec<u8>,
    next: usize,
}

#[derive(Default)]
struct Leaf {
    page: u64,
    elements: Vec<Slot>,
    next: usize,
}

/// Where in the file an entry is; checked.
struct Slot {
    offset: u64,
    key_bytes: u32,
    value_bytes: u32,
}

impl Cursor {
    /// Over the entries of a bucket.
    pub(crate) fn new(pages: Arc<Pages>, root: Root) -> Self {
        Self::with_flags(pages, root, 0)
    }

    /// Over the buckets of the file.
    pub(crate) fn over_buckets(pages: Arc<Pages>, root: Root) -> Self {
        Self::with_flags(pages, root, BUCKET)
    }

    fn with_flags(pages: Arc<Pages>, root: Root, flags: u32) -> Self {
        Self {
            pages_left: pages.count - 2, // without the meta pages
            pager: Pager::new(Arc::clone(&pages)),
            pages,
            root: Some(root),
            branches: Vec::new(),
            leaf: Leaf::default(),
            flags,
            last: Vec::new(),
            floor: Vec::new(),
        }
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Nothing follows.
    pub(crate) fn end(&mut self) {
        self.root = None;
        self.branches.clear();
        self.leaf = Leaf::default();
    }

    /// The next entry; `None` behind the last. After an error nothing follows.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'_>>> {
        let found = self.find();
        if !matches!(found, Ok(true)) {
            self.end();
            return found.map(|_| None);
        }
        self.entry().map(Some)
    }

    /// Goes on until a leaf has an element left; false at the end of the tree.
    fn find(&mut self) -> Result<bool> {
        match self.root.take() {
            Some(Root::Page { page, from }) => self.descend(page, from, true)?,
            Some(Root::Inline(run)) => self.leaf = self.enter_leaf(run)?,
            None => {}
        }
        while self.leaf.next == self.leaf.elements.len() {
            let Some(branch) = self.branches.last_mut() else {
                return Ok(false);
            };
            if branch.next == branch.run.count {
                self.branches.pop();
                continue;
            }
            let (key, child) = branch.element(branch.next);
            let key = key.to_vec();
            branch.next += 1;
            let from = (branch.run.page, branch.run.offset);
            // All before is less than this key, and all below it is not.
            if (!self.last.is_empty() && self.last >= key) || self.floor > key {
                return Err(self.damaged(from, "a key of the branch is not above those before it"));
            }
            self.floor = key;
            self.descend(child, from, false)?;
        }
        Ok(true)
    }

    fn descend(&mut self, page: u64, from: (u64, u64), is_root: bool) -> Result<()> {
        let run = self.pages.run(page, from)?;
        let here = (run.page, run.offset);
        let pages = run.bytes / self.pages().page_bytes;
        self.pages_left = self.pages_left.checked_sub(pages).ok_or_else(|| {
            self.damaged(here, "the tree has more pages than the file: some overlap")
        })?;
        if run.count == 0 && !(is_root && run.flags == LEAF) {
            return Err(self.damaged(here, "a page without elements below a branch"));
        }
        match run.flags {
            LEAF => self.leaf = self.enter_leaf(run)?,
            BRANCH if self.branches.len() == MAX_DEPTH => {
                return Err(self.damaged(here, format!("more than {MAX_DEPTH} branches deep")));
            }
            BRANCH => {
                let branch = self.enter_branch(run)?;
                self.branches.push(branch);
            }
            other => {
                let detail = format!("neither a leaf nor a branch: flags {other:#x}");
                return Err(self.damaged(here, detail));
            }
        }
        Ok(())
    }

    /// Reads a branch, whose keys and children are then where its elements say.
    fn enter_branch(&self, run: PageRun) -> Result<Branch> {
        let here = (run.page, run.offset);
        if run.bytes > MAX_BRANCH_BYTES {
            return Err(self.damaged(here, "a branch of more than 1 MiB"));
        }
        // At most 1 MiB.
        let mut bytes = vec![0; usize::try_from(run.bytes).unwrap_or(0)];
        self.pages().source.read(&mut bytes, run.offset)?;
        let mut layout = Layout::of(run).map_err(|detail| self.damaged(here, detail))?;
        for index in 0..run.count {
            let element = BranchElement::decode(&bytes[at(index)..]);
            layout
                .take(index, element.position, element.key_bytes, 0)
                .map_err(|detail| {
                    self.damaged((run.page, run.offset + at(index) as u64), detail)
                })?;
        }
        Ok(Branch {
            run,
            bytes,
            next: 0,
        })
    }

    /// Reads a leaf's table, and checks that its entries follow one another within the leaf.
    fn enter_leaf(&mut self, run: PageRun) -> Result<Leaf> {
        let here = (run.page, run.offset);
        let mut layout = Layout::of(run).map_err(|detail| self.damaged(here, detail))?;
        let (offset, bytes) = (run.offset + at(0) as u64, run.count * ELEMENT_BYTES);
        let (flags, limit) = (self.flags, self.pages().max_entry_bytes);
        let table = self.pager.bytes(offset, bytes)?;
        let mut elements = Vec::with_capacity(run.count);
        let mut failed = None;
        for (index, element) in table.chunks_exact(ELEMENT_BYTES).enumerate() {
            let element = LeafElement::decode(element);
            let (key_bytes, value_bytes) = (element.key_bytes, element.value_bytes);
            if element.flags != flags {
                failed = Some((index, "an entry where a bucket should be, or the reverse"));
                break;
            }
            match layout.take(index, element.position, key_bytes, value_bytes) {
                Ok(begin) => elements.push(Slot {
                    offset: run.offset + begin,
                    key_bytes,
                    value_bytes,
                }),
                Err(detail) => {
                    failed = Some((index, detail));
                    break;
                }
            }
        }
        if let Some((index, detail)) = failed {
            return Err(self.damaged((run.page, run.offset + at(index) as u64), detail));
        }
        if let Some(slot) = elements
            .iter()
            .find(|slot| u64::from(slot.value_bytes) > limit)
        {
            return Err(Error::EntryTooLarge {
                path: self.pages().source.path.clone(),
                page: run.page,
                offset: slot.offset,
                bytes: u64::from(slot.value_bytes),
                limit,
            });
        }
        Ok(Leaf {
            page: run.page,
            elements,
            next: 0,
        })
    }

    /// The element that was found; its key must be above all before.
    fn entry(&mut self) -> Result<Entry<'_>> {
        let page = self.leaf.page;
        let &Slot {
            offset,
            key_bytes,
            value_bytes,
        } = &self.leaf.elements[self.leaf.next];
        self.leaf.next += 1;
        // Both are bounded, by 32 KiB and by the limit of the reader.
        let (key_bytes, value_bytes) = (key_bytes as usize, value_bytes as usize);
        let (key, value) = self
            .pager
            .bytes(offset, key_bytes + value_bytes)?
            .split_at(key_bytes);
        if *self.last >= *key || *self.floor > *key {
            self.branches.clear();
            self.leaf = Leaf::default();
            return Err(self
                .pages
                .damaged(page, offset, "a key is not above those before it"));
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(Entry {
            key,
            value,
            page,
            offset,
        })
    }

    fn damaged(&self, here: (u64, u64), detail: impl Display) -> Error {
        self.pages().damaged(here.0, here.1, detail)
    }
}

impl Branch {
    /// The key and the child of an element; checked when the branch was entered.
    fn element(&self, index: usize) -> (&[u8], u64) {
        let element = BranchElement::decode(&self.bytes[at(index)..]);
        let begin = at(index) + element.position as usize;
        let key = &self.bytes[begin..begin + element.key_bytes as usize];
        (key, element.child)
    }
}

/// The last key of a tree, straight down its right edge.
pub(crate) fn last_key(pages: &Arc<Pages>, root: Root) -> Result<Option<Vec<u8>>> {
    let mut cursor = Cursor::new(Arc::clone(pages), root);
    match cursor.root.take() {
        Some(Root::Page { page, from }) => cursor.descend(page, from, true)?,
        Some(Root::Inline(run)) => cursor.leaf = cursor.enter_leaf(run)?,
        None => {}
    }
    while cursor.leaf.elements.is_empty() {
        let Some(branch) = cursor.branches.last() else {
            return Ok(None);
        };
        let (_, child) = branch.element(branch.run.count - 1);
        let from = (branch.run.page, branch.run.offset);
        cursor.descend(child, from, false)?;
    }
    cursor.leaf.next = cursor.leaf.elements.len() - 1;
    Ok(Some(cursor.entry()?.key.to_vec()))
}

/// An element's place in its page.
fn at(index: usize) -> usize {
    PAGE_HEADER_BYTES + ELEMENT_BYTES * index
}

/// Follows where the data of a page's elements are: in order, apart, and within the page.
struct Layout {
    end_of_last: u64,
    end_of_page: u64,
}

impl Layout {
    fn of(run: PageRun) -> Result<Self, &'static str> {
        let end_of_last = at(run.count) as u64;
        if end_of_last > run.bytes {
            return Err("more elements than the page has room for");
        }
        Ok(Self {
            end_of_last,
            end_of_page: run.bytes,
        })
    }

    /// Where an element's key begins, counted from the beginning of the page.
    fn take(
        &mut self,
        index: usize,
        position: u32,
        key_bytes: u32,
        value_bytes: u32,
    ) -> Result<u64, &'static str> {
        if key_bytes == 0 || key_bytes > MAX_KEY_BYTES {
            return Err("a key of no byte, or of more than 32 KiB");
        }
        let begin = at(index) as u64 + u64::from(position);
        if begin < self.end_of_last {
            return Err("an element's data overlap what is before");
        }
        let end = begin + u64::from(key_bytes) + u64::from(value_bytes);
        if end > self.end_of_page {
            return Err("an element's data end behind the page");
        }
        self.end_of_last = end;
        Ok(begin)
    }
}
