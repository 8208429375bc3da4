//! Rows: a key with its revision, value, attributes and flags, in the one form in which both the
//! records of a journal and the blocks of a checkpoint hold them.
//!
//! Pure functions over byte slices. Promises: what [`put`] writes, [`take`] reads, and there is one
//! way to write a row; `take` allocates nothing and looks at no byte behind the row; it refuses
//! flags that it does not know.

use crate::{
    format::bytes::{i64_at, u16_at, u32_at},
    model::{ids::Revision, view::ChangeRef},
};

/// A row begins with its lengths and its flags.
pub(crate) const ROW_HEADER_BYTES: usize = 12;
/// No row has more attributes: their length has 16 bits.
pub(crate) const MAX_ATTRIBUTES_BYTES: usize = u16::MAX as usize;

const R_KEY_LENGTH: usize = 0;
const R_VALUE_LENGTH: usize = 4;
const R_ATTRIBUTES_LENGTH: usize = 8;
const R_FLAGS: usize = 10;
const REVISION_BYTES: usize = 8;

const _: () = assert!(R_KEY_LENGTH + 4 == R_VALUE_LENGTH);
const _: () = assert!(R_VALUE_LENGTH + 4 == R_ATTRIBUTES_LENGTH);
const _: () = assert!(R_ATTRIBUTES_LENGTH + 2 == R_FLAGS);
const _: () = assert!(R_FLAGS + 2 == ROW_HEADER_BYTES);

/// The key is gone: there is no value.
const F_GONE: u16 = 1;
/// A revision follows the header.
const F_REVISION: u16 = 2;
/// A control write.
const F_CONTROL: u16 = 4;
/// The row is of a lease, not of a path.
const F_LEASE: u16 = 8;
const FLAGS: u16 = F_GONE | F_REVISION | F_CONTROL | F_LEASE;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Space {
    /// The key is a lease's id, the value the time to live that it was granted.
    Leases,
    /// The key is a path.
    Paths,
}

/// The length of a row.
#[inline]
pub(crate) fn length(row: &ChangeRef<'_>) -> usize {
    let revision = row.revision.map_or(0, |_| REVISION_BYTES);
    ROW_HEADER_BYTES + revision + content_bytes(row)
}

/// Bytes of key, value and attributes.
#[inline]
pub(crate) fn content_bytes(row: &ChangeRef<'_>) -> usize {
    row.path.len() + row.value.map_or(0, <[u8]>::len) + row.attributes.len()
}

/// Appends a row: exactly [`length`] bytes.
pub(crate) fn put(out: &mut Vec<u8>, space: Space, row: &ChangeRef<'_>) {
    let length = |b: &[u8]| u32::try_from(b.len()).expect("a payload is bounded before it is made");
    let attributes = u16::try_from(row.attributes.len()).expect("bounded when it was appended");
    let value = row.value.unwrap_or_default();
    let flag = |is: bool, flag| if is { flag } else { 0 };
    let flags = flag(row.value.is_none(), F_GONE)
        | flag(row.revision.is_some(), F_REVISION)
        | flag(row.is_control, F_CONTROL)
        | flag(space == Space::Leases, F_LEASE);
    out.extend_from_slice(&length(row.path).to_le_bytes());
    out.extend_from_slice(&length(value).to_le_bytes());
    out.extend_from_slice(&attributes.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    if let Some(Revision(revision)) = row.revision {
        out.extend_from_slice(&revision.to_le_bytes());
    }
    out.extend_from_slice(row.path);
    out.extend_from_slice(value);
    out.extend_from_slice(row.attributes);
}

/// Why there is no row.
pub(crate) type Fault = &'static str;

/// The row that `bytes` begin with, and what follows it. Its parts are parts of `bytes`.
// Moving what is decoded from one function to the next costs more than decoding it: hence the
// inlining.
#[inline(always)]
pub(crate) fn take(bytes: &[u8]) -> Result<(Space, ChangeRef<'_>, &[u8]), Fault> {
    const BEYOND: Fault = "a row reaches beyond what holds it";
    let (head, mut rest) = bytes.split_at_checked(ROW_HEADER_BYTES).ok_or(BEYOND)?;
    let flags = u16_at(head, R_FLAGS);
    if flags & !FLAGS != 0 {
        return Err("a row has flags that this version does not know");
    }
    let mut part = |length: usize| {
        let (part, behind) = rest.split_at_checked(length).ok_or(BEYOND)?;
        rest = behind;
        Ok::<_, Fault>(part)
    };
    let revision = match flags & F_REVISION {
        0 => None,
        _ => Some(Revision(i64_at(part(REVISION_BYTES)?, 0))),
    };
    let path = part(u32_at(head, R_KEY_LENGTH) as usize)?;
    let value = part(u32_at(head, R_VALUE_LENGTH) as usize)?;
    let attributes = part(usize::from(u16_at(head, R_ATTRIBUTES_LENGTH)))?;
    let is_gone = flags & F_GONE != 0;
    if is_gone && !value.is_empty() {
        return Err("a row says that its key is gone, and has a value");
    }
    let space = match flags & F_LEASE {
        0 => Space::Paths,
        _ => Space::Leases,
    };
    let row = ChangeRef {
        path,
        value: (!is_gone).then_some(value),
        revision,
        attributes,
        is_control: flags & F_CONTROL != 0,
    };
    Ok((space, row, rest))
}

/// A lease as a row: its id and the time to live that it was granted, in bytes.
pub(crate) struct LeaseRow {
    id: [u8; 8],
    ttl: Option<[u8; 8]>,
}

impl LeaseRow {
    pub(crate) fn new(id: i64, granted_ttl: Option<i64>) -> Self {
        Self {
            id: id.to_be_bytes(),
            ttl: granted_ttl.map(i64::to_le_bytes),
        }
    }

    pub(crate) fn row(&self, revision: Option<Revision>) -> ChangeRef<'_> {
        ChangeRef {
            path: &self.id,
            value: self.ttl.as_ref().map(|ttl| &ttl[..]),
            revision,
            attributes: &[],
            is_control: false,
        }
    }

    /// The id of the lease that a row is of, and the time to live that it was granted.
    pub(crate) fn read(row: &ChangeRef<'_>) -> Result<(i64, Option<i64>), Fault> {
        const NONE: Fault = "a row is not that of a lease";
        let id = row.path.try_into().map_err(|_| NONE)?;
        let ttl = row.value.map(|ttl| ttl.try_into().map(i64::from_le_bytes));
        if !row.attributes.is_empty() || row.is_control {
            return Err(NONE);
        }
        Ok((i64::from_be_bytes(id), ttl.transpose().map_err(|_| NONE)?))
    }
}
