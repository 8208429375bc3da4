//! Requests out of a stream of bytes.
//!
//! A length is checked before anything is reserved for it. A malformed frame ends the connection,
//! but not without an answer: the tag comes first in a request, so it is usually known even of a
//! frame that is too long or damaged.

use bytes::{Buf, Bytes, BytesMut};
use cairn_client::frame::HEADER_LEN;
use cairn_client::wire::Request;
use prost::Message as _;

/// A request that the connection cannot go on after.
#[derive(Debug)]
pub(crate) struct BadFrame {
    /// Its tag, if that much could be read.
    pub(crate) tag: Option<i32>,
    /// The fault, for the peer and for the log.
    pub(crate) detail: String,
}

/// Takes the next request from the front of `buffer`; `None` means that more bytes are needed.
pub(crate) fn next_request(
    buffer: &mut BytesMut,
    max_frame: usize,
) -> Result<Option<Request>, BadFrame> {
    let Some(header) = buffer.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
    if length > max_frame {
        return Err(BadFrame {
            tag: peek_tag(&buffer[HEADER_LEN..]),
            detail: format!("frame of {length} bytes is over the limit of {max_frame} bytes"),
        });
    }
    let Some(frame) = buffer[HEADER_LEN..].get(..length) else {
        return Ok(None);
    };
    // From a slice, values are copied out: a small value must not keep a whole buffer alive.
    let request = Request::decode(frame).or_else(|error| lenient(frame).ok_or(error));
    let request = request.map_err(|error| BadFrame {
        tag: peek_tag(frame),
        detail: format!("frame is not a request: {error}"),
    });
    buffer.advance(HEADER_LEN + length);
    request.map(Some)
}

/// The bytes that the frame at the front of `buffer` still lacks, if that is known.
pub(crate) fn missing(buffer: &[u8]) -> Option<usize> {
    let header = buffer.first_chunk::<HEADER_LEN>()?;
    let length = usize::try_from(u32::from_be_bytes(*header)).ok()?;
    Some((HEADER_LEN + length).saturating_sub(buffer.len()))
}

/// A request whose path may be any bytes. A real node does not mind paths that are not UTF-8: it
/// answers that they are no paths. So does this one, by way of the replacement character.
#[derive(Clone, PartialEq, prost::Message)]
struct LooseRequest {
    #[prost(int32, optional, tag = "1")]
    tag: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    verb: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    path: Option<Vec<u8>>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    value: Option<Bytes>,
    #[prost(int32, optional, tag = "6")]
    other_tag: Option<i32>,
    #[prost(int32, optional, tag = "7")]
    offset: Option<i32>,
    #[prost(int64, optional, tag = "9")]
    rev: Option<i64>,
}

fn lenient(frame: &[u8]) -> Option<Request> {
    let loose = LooseRequest::decode(frame).ok()?;
    Some(Request {
        tag: loose.tag,
        verb: loose.verb,
        path: loose
            .path
            .map(|path| String::from_utf8_lossy(&path).into_owned()),
        value: loose.value,
        other_tag: loose.other_tag,
        offset: loose.offset,
        rev: loose.rev,
    })
}

/// The tag, if the frame begins with it.
pub(crate) fn peek_tag(frame: &[u8]) -> Option<i32> {
    const TAG_FIELD: u8 = 1 << 3;
    let (&TAG_FIELD, mut rest) = frame.split_first()? else {
        return None;
    };
    let number = prost::encoding::decode_varint(&mut rest).ok()?;
    // A negative tag takes 64 bits on the wire; its upper half only repeats the sign.
    i32::try_from(number.cast_signed()).ok()
}

#[cfg(test)]
mod tests {
    use cairn_client::frame::{self, MAX_FRAME};

    use super::*;

    fn framed(payload: &[u8]) -> BytesMut {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        buffer.extend_from_slice(payload);
        buffer
    }

    #[test]
    fn a_request_comes_out_as_it_went_in_and_only_when_complete() {
        let request = Request {
            tag: Some(-3),
            path: Some("/a".into()),
            ..Request::default()
        };
        let mut whole = BytesMut::new();
        frame::encode(&request, MAX_FRAME, &mut whole).unwrap();
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert!(next_request(&mut part, MAX_FRAME).unwrap().is_none());
            assert_eq!(part.len(), cut);
        }
        assert_eq!(next_request(&mut whole, MAX_FRAME).unwrap(), Some(request));
        assert!(whole.is_empty());
    }

    #[test]
    fn a_path_that_is_not_utf8_is_a_request_nevertheless() {
        let mut buffer = framed(&[0x08, 7, 0x10, 1, 0x22, 2, b'/', 0xff]);
        let request = next_request(&mut buffer, MAX_FRAME).unwrap().unwrap();
        assert_eq!(
            (request.tag, request.path.as_deref()),
            (Some(7), Some("/\u{fffd}"))
        );
    }

    /// Any bytes are a request, an error or an incomplete frame, and never take more memory than
    /// the limit. `LITE_FUZZ_FRAMES` sets how many frames are tried.
    #[test]
    fn no_bytes_make_it_panic_or_take_more_than_they_are() {
        let frames: u64 =
            std::env::var("LITE_FUZZ_FRAMES").map_or(200_000, |count| count.parse().unwrap());
        let seed = std::env::var("LITE_FUZZ_SEED")
            .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let request = Request {
            tag: Some(5),
            verb: Some(2),
            path: Some("/a/b".into()),
            value: Some(Bytes::from_static(b"value")),
            other_tag: Some(-1),
            offset: Some(3),
            rev: Some(-1),
        };
        let mut whole = BytesMut::new();
        frame::encode(&request, MAX_FRAME, &mut whole).unwrap();
        let (mut good, mut bad) = (0_u64, 0_u64);
        for _ in 0..frames {
            let mut buffer = whole.clone();
            for _ in 0..random.usize(..4) {
                let first = if random.u8(..10) > 0 { HEADER_LEN } else { 0 };
                let at = random.usize(first..buffer.len());
                buffer[at] = random.u8(..);
            }
            buffer.truncate(random.usize(buffer.len() - 3..=buffer.len()));
            let before = buffer.len();
            match next_request(&mut buffer, 4_096) {
                Ok(Some(request)) => {
                    good += 1;
                    let taken = request.value.map_or(0, |value| value.len());
                    assert!(taken < before);
                }
                Ok(None) => assert_eq!(buffer.len(), before),
                Err(_) => bad += 1,
            }
            assert!(buffer.capacity() <= 4_096);
        }
        assert!(
            good > frames / 20 && bad > frames / 20,
            "{good} good, {bad} bad"
        );
    }

    #[test]
    fn a_bad_frame_still_tells_its_tag() {
        let mut buffer = framed(&[0x08, 7, 0x22, 200]);
        assert_eq!(
            next_request(&mut buffer, MAX_FRAME).unwrap_err().tag,
            Some(7)
        );
        let mut buffer = framed(&[0x08, 9, 0x10, 1, 0, 0, 0, 0]);
        let error = next_request(&mut buffer, 5).unwrap_err();
        assert_eq!(error.tag, Some(9));
        assert_eq!(
            error.detail,
            "frame of 8 bytes is over the limit of 5 bytes"
        );
    }
}
