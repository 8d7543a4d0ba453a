//! Frames: a length of four bytes in network order, then that many bytes of a [`Frame`] message.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;

use crate::{
    limits::MAX_FRAME_BYTES,
    reason::Violation,
    wire::{Body, Frame},
};

/// The bytes of a frame's length.
pub const HEADER_BYTES: usize = 4;

/// Why bytes are not a frame; the stream cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame is longer than any frame may be.
    #[error("a frame of {length} bytes, more than {max}")]
    FrameTooLong {
        /// What it announces.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes are not a message.
    #[error("not a message")]
    Malformed(#[from] prost::DecodeError),
}

impl DecodeError {
    /// What the session makes of it.
    pub fn violation(&self) -> Violation {
        match self {
            Self::FrameTooLong { length, max } => Violation::FrameTooLong {
                length: *length,
                max: *max,
            },
            Self::Malformed(_) => Violation::MalformedFrame,
        }
    }
}

/// Appends a frame to a buffer.
///
/// The caller keeps bodies below [`MAX_FRAME_BYTES`]; only updates can be long, and those are sized as they are packed.
pub fn encode(body: Body, buffer: &mut BytesMut) {
    let frame = Frame { body: Some(body) };
    let length = frame.encoded_len();
    debug_assert!(length <= MAX_FRAME_BYTES, "{length} bytes");
    buffer.reserve(HEADER_BYTES + length);
    buffer.put_u32(u32::try_from(length).expect("a frame is far shorter than 4 GiB"));
    frame.encode_raw(buffer);
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `Ok(None)` when more bytes are needed. After an error the stream is of no use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > MAX_FRAME_BYTES {
            return Err(DecodeError::FrameTooLong {
                length,
                max: MAX_FRAME_BYTES,
            });
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let frame = Frame::decode(self.buffer.split_to(length).freeze())?;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Heartbeat;

    #[test]
    fn frames_survive_being_cut_into_single_bytes() {
        let mut buffer = BytesMut::new();
        for seq in 1..4 {
            encode(heartbeat(seq), &mut buffer);
        }

        let mut decoder = Decoder::default();
        let mut decoded = Vec::new();
        for byte in &buffer {
            decoder.push(&[*byte]);
            decoded.extend(decoder.next_frame().unwrap().and_then(|f| f.body));
        }

        assert_eq!(decoded, [heartbeat(1), heartbeat(2), heartbeat(3)]);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_its_bytes_are_there() {
        let mut decoder = Decoder::default();
        let length = u32::try_from(MAX_FRAME_BYTES + 1).unwrap();

        decoder.push(&length.to_be_bytes());

        assert!(matches!(
            decoder.next_frame(),
            Err(DecodeError::FrameTooLong { .. })
        ));
    }

    #[test]
    fn a_body_of_a_later_version_is_no_error() {
        let mut decoder = Decoder::default();
        // Field 100, length-delimited, with no bytes.
        decoder.push(&[0, 0, 0, 3, 0xa2, 0x06, 0x00]);

        assert_eq!(decoder.next_frame(), Ok(Some(Frame { body: None })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_frame() {}
            }
        }
    }

    fn heartbeat(seq: u64) -> Body {
        Body::Heartbeat(Heartbeat {
            seq,
            echo_seq: 0,
            echo_delay_us: 0,
        })
    }
}
