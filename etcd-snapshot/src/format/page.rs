//! Headers of pages, and the elements of leaves and branches.
//!
//! An element's position counts from the element's own first byte.

use super::{u16_at, u32_at, u64_at};

/// A page begins with a header of this size.
pub(crate) const PAGE_HEADER_BYTES: usize = 16;
/// A leaf's element and a branch's element have this size.
pub(crate) const ELEMENT_BYTES: usize = 16;

/// A page that leads to others.
pub(crate) const BRANCH: u16 = 0x01;
/// A page with entries.
pub(crate) const LEAF: u16 = 0x02;
/// One of the first two pages.
pub(crate) const META: u16 = 0x04;
/// The page that lists unused pages.
pub(crate) const FREELIST: u16 = 0x10;

/// A leaf's element that is a bucket.
pub(crate) const BUCKET: u32 = 0x01;

// The header, one constant per row of the table.
const H_ID: usize = 0;
const H_FLAGS: usize = 8;
const H_COUNT: usize = 10;
const H_OVERFLOW: usize = 12;
const _: () = assert!(H_OVERFLOW + 4 == PAGE_HEADER_BYTES);

// An element of a leaf.
const L_FLAGS: usize = 0;
const L_POSITION: usize = 4;
const L_KEY_BYTES: usize = 8;
const L_VALUE_BYTES: usize = 12;
const _: () = assert!(L_VALUE_BYTES + 4 == ELEMENT_BYTES);

// An element of a branch.
const B_POSITION: usize = 0;
const B_KEY_BYTES: usize = 4;
const B_CHILD: usize = 8;
const _: () = assert!(B_CHILD + 8 == ELEMENT_BYTES);

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageHeader {
    /// Its own number.
    pub(crate) id: u64,
    /// What it is.
    pub(crate) flags: u16,
    /// How many elements it has.
    pub(crate) count: u16,
    /// How many pages it takes beyond the first.
    pub(crate) overflow: u32,
}

impl PageHeader {
    pub(crate) fn encode(self) -> [u8; PAGE_HEADER_BYTES] {
        let mut bytes = [0; PAGE_HEADER_BYTES];
        bytes[H_ID..H_FLAGS].copy_from_slice(&self.id.to_le_bytes());
        bytes[H_FLAGS..H_COUNT].copy_from_slice(&self.flags.to_le_bytes());
        bytes[H_COUNT..H_OVERFLOW].copy_from_slice(&self.count.to_le_bytes());
        bytes[H_OVERFLOW..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }

    /// From the first 16 bytes of a page.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            id: u64_at(bytes, H_ID),
            flags: u16_at(bytes, H_FLAGS),
            count: u16_at(bytes, H_COUNT),
            overflow: u32_at(bytes, H_OVERFLOW),
        }
    }
}

/// An element of a leaf: an entry, or a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafElement {
    pub(crate) flags: u32,
    pub(crate) position: u32,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
}

impl LeafElement {
    pub(crate) fn encode(self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        bytes[L_FLAGS..L_POSITION].copy_from_slice(&self.flags.to_le_bytes());
        bytes[L_POSITION..L_KEY_BYTES].copy_from_slice(&self.position.to_le_bytes());
        bytes[L_KEY_BYTES..L_VALUE_BYTES].copy_from_slice(&self.key_bytes.to_le_bytes());
        bytes[L_VALUE_BYTES..].copy_from_slice(&self.value_bytes.to_le_bytes());
        bytes
    }

    /// From the 16 bytes of the element.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            flags: u32_at(bytes, L_FLAGS),
            position: u32_at(bytes, L_POSITION),
            key_bytes: u32_at(bytes, L_KEY_BYTES),
            value_bytes: u32_at(bytes, L_VALUE_BYTES),
        }
    }
}

/// An element of a branch: the first key below it, and where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BranchElement {
    pub(crate) position: u32,
    pub(crate) key_bytes: u32,
    pub(crate) child: u64,
}

impl BranchElement {
    pub(crate) fn encode(self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        bytes[B_POSITION..B_KEY_BYTES].copy_from_slice(&self.position.to_le_bytes());
        bytes[B_KEY_BYTES..B_CHILD].copy_from_slice(&self.key_bytes.to_le_bytes());
        bytes[B_CHILD..].copy_from_slice(&self.child.to_le_bytes());
        bytes
    }

    /// From the 16 bytes of the element.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        Self {
            position: u32_at(bytes, B_POSITION),
            key_bytes: u32_at(bytes, B_KEY_BYTES),
            child: u64_at(bytes, B_CHILD),
        }
    }
}
