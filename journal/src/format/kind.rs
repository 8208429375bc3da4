//! The kinds of records.

/// What a record is. The numbers are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Changes = 1,
    Gap = 2,
    Timeline = 3,
    Watermark = 4,
    Seal = 5,
    Lost = 6,
    Lease = 7,
}

impl Kind {
    pub(crate) fn from_byte(b: u8) -> Option<Self> {
        Some(match b {
            1 => Self::Changes,
            2 => Self::Gap,
            3 => Self::Timeline,
            4 => Self::Watermark,
            5 => Self::Seal,
            6 => Self::Lost,
            7 => Self::Lease,
            _ => return None,
        })
    }
}
