//! What a put says of its key besides key, revision and value, as bytes that a journal keeps.
//!
//! ```text
//! message Attributes {
//!   int64 create_revision = 1; int64 version = 2; int64 lease = 3; optional int64 sub = 4;
//! }
//! ```
//!
//! in the encoding of protocol buffers, so that a later version may add to it. A delete has none:
//! no bytes at all. `docs/etcd.md` has this form for others who read journals.

use bytes::Bytes;
use prost::Message as _;

/// What etcd knows of a key that was put.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KeyAttributes {
    /// The revision at which the key came into being.
    #[prost(int64, tag = "1")]
    pub create_revision: i64,
    /// The number of puts since it came into being, this one included.
    #[prost(int64, tag = "2")]
    pub version: i64,
    /// The lease to which it is attached, or 0.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// The number of the put among the changes of its revision, from 0; `None` where it is not
    /// known: no answer to a listing tells it.
    #[prost(int64, optional, tag = "4")]
    pub sub: Option<i64>,
}

impl KeyAttributes {
    /// With the number of the put among the changes of its revision.
    #[must_use]
    pub fn numbered(self, sub: usize) -> Self {
        Self {
            sub: i64::try_from(sub).ok(),
            ..self
        }
    }

    /// Without the number of the put among the changes of its revision.
    #[must_use]
    pub fn unnumbered(self) -> Self {
        Self { sub: None, ..self }
    }

    /// As bytes.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// From bytes; `None` if they are no attributes of a key of etcd, as those of another engine.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let decoded = Self::decode(bytes).ok()?;
        (decoded.create_revision > 0 && decoded.version > 0).then_some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_has_the_bytes_of_the_documents() {
        let attributes = KeyAttributes {
            create_revision: 300,
            version: 2,
            lease: -1,
            sub: None,
        };
        let bytes = attributes.to_bytes();
        assert_eq!(&bytes[..5], [0x08, 0xac, 0x02, 0x10, 0x02]);
        assert_eq!(KeyAttributes::from_bytes(&bytes), Some(attributes));
        let without_lease = KeyAttributes {
            lease: 0,
            ..attributes
        };
        assert_eq!(without_lease.to_bytes().len(), 5);
        // A number of 0 is one that is known.
        let first = without_lease.numbered(0);
        assert_eq!(&first.to_bytes()[5..], [0x20, 0]);
        assert_eq!(KeyAttributes::from_bytes(&first.to_bytes()), Some(first));
        for garbage in [&b""[..], b"\xff", b"\x08\x01", b"created 3"] {
            assert_eq!(KeyAttributes::from_bytes(garbage), None, "{garbage:?}");
        }
    }
}
