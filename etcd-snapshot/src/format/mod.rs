//! The bytes of a snapshot file, as `docs/etcd-snapshot.md` tables them. Nothing else in this crate
//! knows an offset.
//!
//! Pure functions over byte slices: no I/O, and no allocation on the word of a length field.

pub(crate) mod bucket;
pub(crate) mod key;
pub(crate) mod message;
pub(crate) mod meta;
pub(crate) mod page;
pub(crate) mod size;

/// Integers of bbolt's own structures are little-endian on every machine that etcd supports.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, offset))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, offset))
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, offset))
}

/// The `N` bytes at an offset; the caller has checked that they are there.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}
