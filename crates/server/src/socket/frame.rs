//! The server's end of a WebSocket, without IO: RFC 6455 with RFC 7692.
//!
//!     bytes ──► Decoder ──► Incoming          text ──► Encoder ──► Frame: header, payload
//!                  ▲ inflate                              ▲ deflate
//!     offer ──► Extension ─────────────────────► Deflater ┘
//!                  └────────── Codecs: what all sockets share, and how much memory that may be
//!
//! It is ours because of what the sockets of one server share. A peer never keeps a window, so an idle
//! socket holds no decompressor; a socket holds a compressor only while it has something to say and the
//! budget lasts; and a payload may be compressed elsewhere, once for many sockets.

mod decoder;
mod deflate;
mod encoder;
mod extension;
#[cfg(test)]
mod tests;

pub(super) use decoder::Decoder;
pub(super) use deflate::Deflater;
pub use deflate::{CONTEXTS_BYTES_MAX, Codecs};
pub(super) use encoder::{Encoder, Frame, close_payload};
pub(super) use extension::Extension;

/// Bytes of the payload of a control frame (RFC 6455, 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole text message.
    Text(String),
    /// A whole binary message: how many bytes it had.
    Binary(usize),
    /// To be answered by a pong with the same payload.
    Ping(Vec<u8>),
    /// The peer lives.
    Pong,
    /// The peer goes, with this code. Nothing comes after.
    Close(Option<u16>),
}

/// What a peer may not say: the close code and the reason that it gets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Violation {
    /// The close code.
    pub(super) code: u16,
    /// The reason, at most 123 bytes.
    pub(super) reason: &'static str,
}

impl Violation {
    const fn protocol(reason: &'static str) -> Violation {
        Violation { code: 1002, reason }
    }

    const fn payload(reason: &'static str) -> Violation {
        Violation { code: 1007, reason }
    }

    const fn size(reason: &'static str) -> Violation {
        Violation { code: 1009, reason }
    }
}

/// Operation codes (RFC 6455, 11.8).
mod opcode {
    pub(super) const CONTINUATION: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const BINARY: u8 = 2;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;
}

/// Bits of the first two bytes of a frame (RFC 6455, 5.2).
mod bit {
    pub(super) const FIN: u8 = 0x80;
    /// The first frame of a compressed message (RFC 7692, 6).
    pub(super) const COMPRESSED: u8 = 0x40;
    pub(super) const RESERVED: u8 = 0x30;
    pub(super) const OPCODE: u8 = 0x0f;
    pub(super) const MASKED: u8 = 0x80;
    pub(super) const LENGTH: u8 = 0x7f;
}
