//! Damaged frames: an error, or another message; never a panic, never memory without bound.
//!
//! `CAIRN_FUZZ_FRAMES` sets how many; ten million take a few seconds in a release build.

use bytes::BytesMut;
use cairn_client::frame::{self, FrameError, HEADER_LEN, MAX_FRAME};
use cairn_client::wire::{Request, Response};
use fastrand::Rng;

use crate::fake::{Fake, bytes_of, hasty};
use crate::recordings::exchanges;

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    frame
}

/// Changes a frame in one to four of the ways in which bytes go wrong.
fn mutate(rng: &mut Rng, frame: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(0..=frame.len());
        match rng.u8(0..7) {
            0 if at < frame.len() => frame[at] ^= 1 << rng.u8(0..8),
            1 if at < frame.len() => frame[at] = rng.u8(..),
            2 => frame.truncate(at),
            3 => frame.insert(at, rng.u8(..)),
            4 => {
                let piece: Vec<u8> = frame[at..].iter().copied().take(rng.usize(0..16)).collect();
                frame.splice(at..at, piece);
            }
            5 if frame.len() >= HEADER_LEN => {
                // The length is right again, so that the message itself is looked at.
                let length = u32::try_from(frame.len() - HEADER_LEN).unwrap();
                frame[..HEADER_LEN].copy_from_slice(&length.to_be_bytes());
            }
            6 if at < frame.len() => drop(frame.remove(at)),
            _ => {}
        }
    }
}

fn decode_all<M: prost::Message + Default>(buffer: &mut BytesMut) -> Result<usize, FrameError> {
    let mut count = 0;
    while let Some(message) = frame::decode::<M>(MAX_FRAME, buffer)? {
        assert!(message.encoded_len() <= MAX_FRAME);
        count += 1;
    }
    Ok(count)
}

#[test]
fn mutated_frames_are_harmless() {
    let frames: u64 = std::env::var("CAIRN_FUZZ_FRAMES").map_or(50_000, |count| {
        count.parse().expect("CAIRN_FUZZ_FRAMES is a number")
    });
    let mut rng = Rng::with_seed(crate::seed());
    let mut originals = Vec::new();
    for exchange in exchanges() {
        originals.push(framed(&exchange.request));
        originals.extend(exchange.response.map(|(_, bytes)| framed(&bytes)));
    }
    let (mut good, mut bad, mut short) = (0_u64, 0_u64, 0_u64);
    for _ in 0..frames {
        let mut frame = originals[rng.usize(..originals.len())].clone();
        mutate(&mut rng, &mut frame);
        for decode in [decode_all::<Request>, decode_all::<Response>] {
            let mut buffer = BytesMut::from(&frame[..]);
            match decode(&mut buffer) {
                Ok(0) => short += 1,
                Ok(_) => good += 1,
                Err(_) => bad += 1,
            }
            // A length that is only announced takes no memory for what it announces.
            assert!(
                buffer.capacity() <= 128 << 10,
                "{} bytes",
                buffer.capacity()
            );
        }
    }
    println!("{frames} frames: {good} still messages, {bad} bad, {short} incomplete");
}

#[test]
fn an_announced_length_is_checked_before_anything_else() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
    let refused = frame::decode::<Response>(MAX_FRAME, &mut buffer);
    let oversized = matches!(
        refused,
        Err(FrameError::Oversized {
            length: 0xffff_ffff,
            max: MAX_FRAME
        })
    );
    assert!(oversized, "{refused:?}");
    assert!(buffer.capacity() < 1_024);

    let mut buffer = BytesMut::new();
    let message = Response {
        value: Some(vec![7; 100].into()),
        ..Response::default()
    };
    assert!(frame::encode(&message, 99, &mut buffer).is_err());
    assert!(buffer.is_empty());
}

/// The whole client, not only the decoder: each damaged answer ends in an answer or an error.
#[tokio::test]
async fn a_client_survives_damaged_answers() {
    let mut rng = Rng::with_seed(crate::seed());
    let mut outcomes = [0, 0];
    for _ in 0..100 {
        let fake = Fake::start().await;
        let (client, mut peer) = fake.connect(hasty()).await;
        let answered = async {
            let request = peer.request().await;
            let mut bytes = bytes_of(&Response {
                tag: request.tag,
                rev: Some(59),
                ..Response::default()
            });
            mutate(&mut rng, &mut bytes);
            peer.send_bytes(&bytes).await;
            // Nothing more comes, and nobody else lets the client in.
            drop((peer, fake));
        };
        let (result, ()) =
            tokio::join!(client.set("/a", cairn_client::Revision::ANY, "x"), answered);
        match result {
            Ok(_) => outcomes[0] += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                outcomes[1] += 1;
            }
        }
    }
    println!("{} answers, {} errors", outcomes[0], outcomes[1]);
}
