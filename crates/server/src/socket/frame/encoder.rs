//! From messages to frames.

use super::{CONTROL_BYTES_MAX, Deflater, bit, opcode};

/// Bytes of the payload of one frame. Some clients refuse frames above 16 MiB, and between two frames
/// there is room for a pong.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;

/// The writing half of one socket.
pub(in crate::socket) struct Encoder {
    deflater: Option<Deflater>,
}

/// A message as it goes over the wire.
pub(in crate::socket) struct Message {
    compressed: bool,
    payload: Vec<u8>,
}

/// One frame. Neither side is masked: we are the server.
pub(in crate::socket) struct Frame<'a> {
    /// All before the payload.
    pub(in crate::socket) header: Header,
    /// Not copied: a part of its message.
    pub(in crate::socket) payload: &'a [u8],
}

/// The first bytes of a frame.
pub(in crate::socket) struct Header {
    bytes: [u8; 10],
    used: usize,
}

impl Encoder {
    /// An encoder, with compression if that was agreed on.
    pub(in crate::socket) fn new(deflater: Option<Deflater>) -> Encoder {
        Encoder { deflater }
    }

    /// Compresses a text where it is worth it. What comes out has to be written, and in this order.
    pub(in crate::socket) fn text(&mut self, text: String) -> Message {
        match self.deflater.as_mut().and_then(|deflater| deflater.deflate(text.as_bytes())) {
            Some(payload) => Message { compressed: true, payload },
            None => Message { compressed: false, payload: text.into_bytes() },
        }
    }

    /// Some time has passed. Called at each ping.
    pub(in crate::socket) fn rest(&mut self) {
        if let Some(deflater) = &mut self.deflater {
            deflater.rest();
        }
    }
}

impl Message {
    /// The frames, at least one.
    pub(in crate::socket) fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let count = self.payload.len().div_ceil(FRAME_BYTES_MAX).max(1);
        (0..count).map(move |place| {
            let begin = place * FRAME_BYTES_MAX;
            let end = self.payload.len().min(begin + FRAME_BYTES_MAX);
            let mut first = if place == 0 { opcode::TEXT } else { opcode::CONTINUATION };
            if place == 0 && self.compressed {
                first |= bit::COMPRESSED;
            }
            if place + 1 == count {
                first |= bit::FIN;
            }
            let payload = &self.payload[begin..end];
            Frame { header: Header::new(first, payload.len()), payload }
        })
    }
}

impl<'a> Frame<'a> {
    /// A ping without a payload.
    pub(in crate::socket) fn ping() -> Frame<'static> {
        control(opcode::PING, &[])
    }

    /// The answer to a ping.
    pub(in crate::socket) fn pong(payload: &'a [u8]) -> Frame<'a> {
        control(opcode::PONG, payload)
    }

    /// The last frame, with what [`close_payload`] gave.
    pub(in crate::socket) fn close(payload: &'a [u8]) -> Frame<'a> {
        control(opcode::CLOSE, payload)
    }
}

/// The payload of a close frame. The reason counts only with a code.
pub(in crate::socket) fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    let Some(code) = code else { return Vec::new() };
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    payload
}

impl Header {
    fn new(first: u8, payload_bytes: usize) -> Header {
        let mut bytes = [0; 10];
        bytes[0] = first;
        let long = u64::try_from(payload_bytes).expect("a length of eight bytes");
        let used = match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
            (Ok(length @ 0..=125), _) => {
                bytes[1] = length;
                2
            }
            (_, Ok(length)) => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                4
            }
            (_, Err(_)) => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        Header { bytes, used }
    }

    /// As they go over the wire.
    pub(in crate::socket) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

fn control(code: u8, payload: &[u8]) -> Frame<'_> {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "control frames are short");
    Frame { header: Header::new(bit::FIN | code, payload.len()), payload }
}
