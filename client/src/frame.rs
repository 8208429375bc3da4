//! Frames: a big-endian `u32` length, then that many bytes of one protobuf message.
//!
//! "More bytes are needed" is `Ok(None)`; "these bytes are bad" is an error, after which the
//! stream cannot be trusted any more. A length is checked against the limit before any memory is
//! taken for it, and memory then grows with the bytes that really arrive, so a peer that only
//! announces a large frame costs nothing.
//!
//! ```
//! use bytes::BytesMut;
//! use cairn_client::frame::{Codec, MAX_FRAME};
//! use cairn_client::wire::{Request, Response, Verb};
//! use tokio_util::codec::{Decoder, Encoder};
//!
//! let mut client = Codec::<Request, Response>::new(MAX_FRAME);
//! let mut server = Codec::<Response, Request>::new(MAX_FRAME);
//! let request = Request { tag: Some(1), verb: Some(Verb::Rev as i32), ..Request::default() };
//!
//! let mut bytes = BytesMut::new();
//! client.encode(request.clone(), &mut bytes)?;
//! assert_eq!(server.decode(&mut bytes)?, Some(request));
//! assert_eq!(server.decode(&mut bytes)?, None);
//! # Ok::<(), cairn_client::frame::FrameError>(())
//! ```

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Bytes of a frame's length.
pub const HEADER_LEN: usize = 4;

/// The default limit of a frame, without its length: a value of 1 MiB, the largest that the
/// embedded server takes, and as much again for the path and the other fields.
pub const MAX_FRAME: usize = 2 << 20;

/// Bytes reserved at a time for a frame that is still arriving.
const READ_AHEAD: usize = 64 << 10;

/// Why a frame could not be written or read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than the limit of this end.
    #[error("frame of {length} bytes is over the limit of {max} bytes")]
    Oversized {
        /// Bytes of the frame, without its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The frame is complete, but is not the message it should be.
    #[error("frame is not a valid message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The stream ended inside a frame, or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes messages `Out` and reads messages `In`, one frame each.
///
/// A server is a `Codec<Response, Request>`, a client a `Codec<Request, Response>`.
pub struct Codec<Out, In> {
    max_frame: usize,
    messages: PhantomData<fn(Out) -> In>,
}

impl<Out, In> Codec<Out, In> {
    /// A codec that neither sends nor accepts more than `max_frame` bytes in a frame. The limit
    /// is itself limited to what the length field can say.
    #[must_use]
    pub fn new(max_frame: usize) -> Self {
        let largest = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        Self {
            max_frame: max_frame.min(largest),
            messages: PhantomData,
        }
    }
}

// Derives would ask the message types for what the codec does not need of them.
impl<Out, In> Clone for Codec<Out, In> {
    fn clone(&self) -> Self {
        Self::new(self.max_frame)
    }
}

impl<Out, In> std::fmt::Debug for Codec<Out, In> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("max_frame", &self.max_frame)
            .finish()
    }
}

impl<Out: prost::Message, In> Encoder<Out> for Codec<Out, In> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        encode(&message, self.max_frame, buffer)
    }
}

impl<Out, In: prost::Message + Default> Decoder for Codec<Out, In> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        decode(self.max_frame, buffer)
    }
}

/// Appends one frame to `buffer`; an oversized message leaves it as it was.
///
/// # Errors
/// [`FrameError::Oversized`] if it takes more than `max_frame` bytes.
pub fn encode<M: prost::Message>(
    message: &M,
    max_frame: usize,
    buffer: &mut BytesMut,
) -> Result<(), FrameError> {
    let length = message.encoded_len();
    let oversized = FrameError::Oversized {
        length,
        max: max_frame,
    };
    if length > max_frame {
        return Err(oversized);
    }
    let Ok(header) = u32::try_from(length) else {
        return Err(oversized);
    };
    buffer.reserve(HEADER_LEN + length);
    buffer.put_u32(header);
    message
        .encode(buffer)
        .expect("a BytesMut grows to what a message needs");
    Ok(())
}

/// Takes one frame from the front of `buffer`; `None` means that more bytes are needed.
///
/// # Errors
/// A frame that is larger than `max_frame` bytes, or is no message of this kind: what follows it
/// cannot be told from noise.
pub fn decode<M: prost::Message + Default>(
    max_frame: usize,
    buffer: &mut BytesMut,
) -> Result<Option<M>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
    if length > max_frame {
        return Err(FrameError::Oversized {
            length,
            max: max_frame,
        });
    }
    let Some(missing) = (HEADER_LEN + length).checked_sub(buffer.len()) else {
        return take(length, buffer).map(Some);
    };
    if missing > 0 {
        buffer.reserve(missing.min(READ_AHEAD));
        return Ok(None);
    }
    take(length, buffer).map(Some)
}

fn take<M: prost::Message + Default>(
    length: usize,
    buffer: &mut BytesMut,
) -> Result<M, FrameError> {
    buffer.advance(HEADER_LEN);
    // Decoding from a slice copies values out. Sharing them with the buffer would keep a whole
    // buffer alive for as long as anyone keeps one small value of it.
    let message = M::decode(&buffer[..length]);
    buffer.advance(length);
    Ok(message?)
}
