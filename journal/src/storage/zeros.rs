//! Blocks of zeros, written before records are.

use crate::{
    error::Result,
    storage::{file_handle::FileHandle, traits::BLOCK_BYTES},
};

/// Written at once: small, as a commit has to wait for it.
const ZEROS_BYTES: usize = 256 << 10;

/// [`ZEROS_BYTES`] as a length in a file.
pub(crate) const STEP_BYTES: u64 = ZEROS_BYTES as u64;

#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);
const _: () = assert!(align_of::<Zeros>() == BLOCK_BYTES);

static ZEROS: Zeros = Zeros([0; ZEROS_BYTES]);

/// Writes zeros over `from..to`.
pub(crate) fn fill(file: &FileHandle, from: u64, to: u64) -> Result<()> {
    let mut at = from;
    while at < to {
        let n = usize::try_from((to - at).min(STEP_BYTES)).expect("bounded");
        if in_block(at) == 0 && n.is_multiple_of(BLOCK_BYTES) {
            // Not through the page cache: a sync of the same file would have to write it first.
            file.write_around(&ZEROS.0[..n], at)?;
        } else {
            file.write_at(&ZEROS.0[..n], at)?;
        }
        at += n as u64;
    }
    Ok(())
}

/// How much is filled before a journal is opened for use.
pub(crate) fn first_fill(segment_bytes: u64) -> u64 {
    STEP_BYTES.min(segment_bytes)
}

/// How far into its block an offset lies.
pub(crate) fn in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK_BYTES as u64).expect("less than a block")
}
