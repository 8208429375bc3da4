//! What the headers of all files have in common: one block with magic, version, UUID, salt, a
//! context and a checksum over everything before it.
//!
//! Promise: a header of another version is refused by name, older or newer, whatever else it says.

use uuid::Uuid;

use crate::format::{
    bytes::{array, put, u32_at, u64_at},
    context::Context,
};

/// A file begins with one block of this size.
pub(crate) const HEADER_BYTES: usize = 4096;
/// The format that is written and read.
pub(crate) const FORMAT_VERSION: u32 = 3;

const H_MAGIC: usize = 0;
const H_VERSION: usize = 8;
const H_CONTEXT_LENGTH: usize = 12;
const H_UUID: usize = 16;
const H_SALT: usize = 32;
/// Here the fields of each kind of file begin.
pub(crate) const H_FIELDS: usize = 40;
/// The checksum.
pub(crate) const H_CRC: usize = 4092;

const _: () = assert!(H_MAGIC + 8 == H_VERSION);
const _: () = assert!(H_VERSION + 4 == H_CONTEXT_LENGTH);
const _: () = assert!(H_CONTEXT_LENGTH + 4 == H_UUID);
const _: () = assert!(H_UUID + 16 == H_SALT);
const _: () = assert!(H_SALT + 8 == H_FIELDS);
const _: () = assert!(H_CRC + 4 == HEADER_BYTES);

/// Why a block is no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// It is of this format.
    Format(u32),
    Damaged(String),
}

/// A kind of file: what its headers begin with, and where in them the context is.
pub(crate) struct FileKind {
    pub(crate) magic: &'static [u8; 8],
    /// What people call its header.
    pub(crate) name: &'static str,
    pub(crate) context_from: usize,
    pub(crate) context_to: usize,
}

impl FileKind {
    /// A header in which the fields of its own kind are still missing, and the checksum.
    pub(crate) fn begin(
        &self,
        uuid: Uuid,
        salt: u64,
        context: &Context,
    ) -> Box<[u8; HEADER_BYTES]> {
        let context = context.encode();
        assert!(
            context.len() <= self.context_to - self.context_from,
            "the context's parts are bounded when they are appended"
        );
        let length = u32::try_from(context.len()).expect("bounded above");
        let mut block = Box::new([0; HEADER_BYTES]);
        let out = block.as_mut_slice();
        put(out, H_MAGIC, self.magic);
        put(out, H_VERSION, &FORMAT_VERSION.to_le_bytes());
        put(out, H_CONTEXT_LENGTH, &length.to_le_bytes());
        put(out, H_UUID, uuid.as_bytes());
        put(out, H_SALT, &salt.to_le_bytes());
        put(out, self.context_from, &context);
        block
    }

    /// The block that `b` begins with, if it is a header of this kind and version.
    pub(crate) fn verify<'a>(&self, b: &'a [u8]) -> Result<&'a [u8], HeaderFault> {
        let damaged = |detail: String| Err(HeaderFault::Damaged(detail));
        let Some(b) = b.get(..HEADER_BYTES) else {
            let (bytes, name) = (b.len(), self.name);
            return damaged(format!(
                "the file has only {bytes} bytes, less than a {name} header"
            ));
        };
        if crc32fast::hash(&b[..H_CRC]) != u32_at(b, H_CRC) {
            return damaged(format!(
                "the {} header's checksum does not match",
                self.name
            ));
        }
        if b[..H_VERSION] != *self.magic {
            return damaged(format!(
                "the {} header does not begin with {}",
                self.name,
                self.magic.escape_ascii()
            ));
        }
        match is_this_version(b) {
            true => Ok(b),
            false => Err(HeaderFault::Format(u32_at(b, H_VERSION))),
        }
    }

    /// The UUID, the salt and the context of a header.
    pub(crate) fn common(&self, b: &[u8]) -> Result<(Uuid, u64, Context), HeaderFault> {
        let damaged =
            |detail: String| HeaderFault::Damaged(format!("the {} header{detail}", self.name));
        let length = u32_at(b, H_CONTEXT_LENGTH) as usize;
        let context = b[self.context_from..self.context_to].get(..length);
        let context =
            context.ok_or_else(|| damaged(format!(" claims a context of {length} bytes")))?;
        let context = Context::decode(context).map_err(|e| damaged(format!("'s context: {e}")))?;
        Ok((
            Uuid::from_bytes(array(b, H_UUID)),
            u64_at(b, H_SALT),
            context,
        ))
    }
}

/// Completes a header of which everything else is in place.
pub(crate) fn seal(block: &mut [u8; HEADER_BYTES]) {
    let crc = crc32fast::hash(&block[..H_CRC]);
    put(block, H_CRC, &crc.to_le_bytes());
}

/// Whether a block says that it is of the version that is read here.
pub(crate) fn is_this_version(b: &[u8]) -> bool {
    u32_at(b, H_VERSION) == FORMAT_VERSION
}

/// Takes the context out of what is left of a header.
pub(crate) fn forget_context(block: &mut [u8; HEADER_BYTES]) {
    put(block, H_CONTEXT_LENGTH, &[0; 4]);
}
