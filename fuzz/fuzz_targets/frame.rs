//! Frames of the doozer protocol. However a stream is cut into pieces, it is the same messages and
//! ends the same way; a message that is written anew is read as itself.

#![no_main]

use bytes::BytesMut;
use cairn_client::frame::{decode, encode};
use cairn_client::wire::{Request, Response};
use libfuzzer_sys::fuzz_target;

const FRAME_MAX: usize = 64 << 10;

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (is_request, piece, stream) = input;
    if is_request {
        both_ways::<Request>(stream, piece);
    } else {
        both_ways::<Response>(stream, piece);
    }
});

trait Message: prost::Message + Default + Clone + PartialEq {}
impl<M: prost::Message + Default + Clone + PartialEq> Message for M {}

fn both_ways<M: Message>(stream: &[u8], piece: u8) {
    let (messages, end) = read::<M>([stream]);
    let pieces = stream.chunks(usize::from(piece).max(1));
    assert!(
        (messages.clone(), end) == read(pieces),
        "pieces are read as something else"
    );
    for message in messages {
        let mut written = BytesMut::new();
        // A message may grow when it is written: what it has as a default need not have been there.
        if encode(&message, usize::MAX, &mut written).is_ok() {
            let again = decode::<M>(usize::MAX, &mut written).unwrap();
            assert!(
                again == Some(message) && written.is_empty(),
                "read as something else"
            );
        }
    }
}

/// The messages, and why there are no more.
fn read<'a, M: Message>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<M>, Option<String>) {
    let mut buffer = BytesMut::new();
    let mut messages = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode(FRAME_MAX, &mut buffer) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
        let room_max = 4 * (FRAME_MAX + piece.len());
        assert!(
            buffer.capacity() <= room_max,
            "room for what may never come"
        );
    }
    (messages, None)
}
