//! The frame decoder: however bytes are cut, the same frames come out, and they read back as what they were.

use bytes::BytesMut;
use mesh_gateway_core::{
    codec::{self, DecodeError, Decoder},
    limits::MAX_FRAME_BYTES,
    wire::{Body, Frame},
};

use super::tape::Tape;

/// Cuts the bytes into frames, piece by piece and at once.
pub fn frames(bytes: &[u8]) {
    let mut tape = Tape::new(bytes);
    let mut pieces = Vec::new();
    while let Some(length) = tape.step() {
        let taken = (0..length).map_while(|_| tape.step());
        pieces.push(taken.collect::<Vec<u8>>());
    }
    let at_once = decode(&[pieces.concat()]);
    assert_eq!(decode(&pieces), at_once);
    for body in at_once.0.into_iter().filter_map(|frame| frame.body) {
        reads_back(body);
    }
}

/// The frames, and why they end, if it is not for want of bytes.
fn decode(pieces: &[Vec<u8>]) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// A message is encoded as a frame that is the message again, and that any peer takes.
pub(super) fn reads_back(body: Body) {
    let mut buffer = BytesMut::new();
    codec::encode(body.clone(), &mut buffer);
    assert!(buffer.len() <= codec::HEADER_BYTES + MAX_FRAME_BYTES);
    let mut decoder = Decoder::default();
    decoder.push(&buffer);
    let frame = decoder.next_frame();
    assert_eq!(frame, Ok(Some(Frame { body: Some(body) })));
    assert_eq!(decoder.next_frame(), Ok(None));
}
