//! From bytes to messages. Takes them as they come; holds no more than the message under way.

use std::sync::Arc;

use super::deflate::InflateError;
use super::{CONTROL_BYTES_MAX, Codecs, Incoming, Violation, bit, opcode};

/// The longest header: two bytes, a length of eight, a mask.
const HEADER_BYTES_MAX: usize = 14;

const TOO_LARGE: Violation = Violation::size("the message is too large");

/// The reading half of one socket.
pub(in crate::socket) struct Decoder {
    /// Bytes of the payload of one frame.
    frame_bytes_max: usize,
    /// Bytes of one message, as sent and as decompressed.
    message_bytes_max: usize,
    /// There if compression was agreed on.
    codecs: Option<Arc<Codecs>>,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    frame: Option<Frame>,
    control: Vec<u8>,
    message: Option<Message>,
    closed: bool,
}

/// The frame whose payload comes.
struct Frame {
    opcode: u8,
    is_last: bool,
    mask: [u8; 4],
    bytes: usize,
    taken: usize,
}

/// The message whose frames come.
struct Message {
    is_text: bool,
    compressed: bool,
    bytes: Vec<u8>,
}

impl Decoder {
    /// A decoder with limits in bytes. `codecs` where compression was agreed on.
    pub(in crate::socket) fn new(
        frame_bytes_max: usize,
        message_bytes_max: usize,
        codecs: Option<Arc<Codecs>>,
    ) -> Decoder {
        Decoder {
            frame_bytes_max,
            message_bytes_max,
            codecs,
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            frame: None,
            control: Vec::new(),
            message: None,
            closed: false,
        }
    }

    /// Takes from `input` until something is whole, or nothing is left. After an error, and after a
    /// `Close`, everything is taken and nothing comes.
    pub(in crate::socket) fn decode(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<Incoming>, Violation> {
        while !self.closed {
            match self.step(input) {
                Ok(Step::Again) => {}
                Ok(Step::More) => return Ok(None),
                Ok(Step::Whole(incoming)) => {
                    self.closed = matches!(incoming, Incoming::Close(_));
                    return Ok(Some(incoming));
                }
                Err(violation) => {
                    self.closed = true;
                    (self.control, self.message) = (Vec::new(), None);
                    return Err(violation);
                }
            }
        }
        *input = &[];
        Ok(None)
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Step, Violation> {
        let Some(frame) = &mut self.frame else { return self.header(input) };
        let part = take(input, frame.bytes - frame.taken);
        let into = match (&mut self.message, frame.opcode < opcode::CLOSE) {
            (Some(message), true) => &mut message.bytes,
            (_, _) => &mut self.control,
        };
        unmask(part, frame.mask, frame.taken, into);
        frame.taken += part.len();
        if frame.taken < frame.bytes {
            return Ok(Step::More);
        }
        let (opcode, is_last) = (frame.opcode, frame.is_last);
        self.frame = None;
        match opcode {
            opcode::CLOSE => close(&std::mem::take(&mut self.control)).map(Step::Whole),
            opcode::PING => Ok(Step::Whole(Incoming::Ping(std::mem::take(&mut self.control)))),
            opcode::PONG => {
                self.control.clear();
                Ok(Step::Whole(Incoming::Pong))
            }
            _ if is_last => self.whole(),
            _ => Ok(Step::Again),
        }
    }

    /// Takes what is missing of the header, and checks it as far as it is there.
    fn header(&mut self, input: &mut &[u8]) -> Result<Step, Violation> {
        while let Some(missing) = self.missing()? {
            let part = take(input, missing);
            if part.is_empty() {
                return Ok(Step::More);
            }
            self.header[self.header_bytes..self.header_bytes + part.len()].copy_from_slice(part);
            self.header_bytes += part.len();
        }
        self.begin()?;
        self.header_bytes = 0;
        Ok(Step::Again)
    }

    /// How many bytes of the header are still to come. The first two decide how many there are.
    fn missing(&self) -> Result<Option<usize>, Violation> {
        if self.header_bytes < 2 {
            return Ok(Some(2 - self.header_bytes));
        }
        if self.header_bytes == 2 {
            self.check_start()?;
        }
        let whole = 2 + length_bytes(self.header[1]) + 4;
        Ok(Some(whole - self.header_bytes).filter(|missing| *missing > 0))
    }

    /// The rules for the first two bytes.
    fn check_start(&self) -> Result<(), Violation> {
        let [first, second, ..] = self.header;
        let code = first & bit::OPCODE;
        let is_control = code >= opcode::CLOSE;
        let is_compressed = first & bit::COMPRESSED != 0;
        if first & bit::RESERVED != 0 || is_compressed && self.codecs.is_none() {
            return Err(Violation::protocol("a reserved bit is set"));
        }
        if is_compressed && (is_control || code == opcode::CONTINUATION) {
            return Err(Violation::protocol("only the first frame of a message is marked"));
        }
        if second & bit::MASKED == 0 {
            return Err(Violation::protocol("a frame is not masked"));
        }
        if is_control && first & bit::FIN == 0 {
            return Err(Violation::protocol("a control frame is in parts"));
        }
        if is_control && usize::from(second & bit::LENGTH) > CONTROL_BYTES_MAX {
            return Err(Violation::protocol("a control frame is too long"));
        }
        match (code, &self.message) {
            (opcode::CONTINUATION, None) => {
                Err(Violation::protocol("a message goes on that never began"))
            }
            (opcode::TEXT | opcode::BINARY, Some(_)) => {
                Err(Violation::protocol("a message begins inside another"))
            }
            (opcode::CONTINUATION | opcode::TEXT | opcode::BINARY, _)
            | (opcode::CLOSE | opcode::PING | opcode::PONG, _) => Ok(()),
            (_, _) => Err(Violation::protocol("a reserved opcode")),
        }
    }

    /// The header is whole: its frame begins.
    fn begin(&mut self) -> Result<(), Violation> {
        let [first, second, ..] = self.header;
        let (length, mask) = self.header[2..self.header_bytes].split_at(self.header_bytes - 6);
        let bytes = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let bytes = match length.len() {
            0 => u64::from(second & bit::LENGTH),
            2 if bytes > 125 => bytes,
            8 if bytes > 0xffff && bytes <= u64::MAX >> 1 => bytes,
            _ => return Err(Violation::protocol("a length is not in its shortest form")),
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let opcode = first & bit::OPCODE;
        if bytes > self.frame_bytes_max {
            return Err(Violation::size("the frame is too large"));
        }
        match (opcode, &self.message) {
            (opcode::TEXT | opcode::BINARY, _) => {
                self.message = Some(Message {
                    is_text: opcode == opcode::TEXT,
                    compressed: first & bit::COMPRESSED != 0,
                    bytes: Vec::new(),
                });
            }
            (opcode::CONTINUATION, Some(message))
                if message.bytes.len() + bytes > self.message_bytes_max =>
            {
                return Err(TOO_LARGE);
            }
            (_, _) => {}
        }
        let mask = *mask.first_chunk().expect("a header ends with a mask of four bytes");
        let is_last = first & bit::FIN != 0;
        self.frame = Some(Frame { opcode, is_last, mask, bytes, taken: 0 });
        Ok(())
    }

    fn whole(&mut self) -> Result<Step, Violation> {
        let Some(Message { is_text, compressed, mut bytes }) = self.message.take() else {
            return Ok(Step::Again);
        };
        if !is_text {
            return Ok(Step::Whole(Incoming::Binary(bytes.len())));
        }
        if let (true, Some(codecs)) = (compressed, &self.codecs) {
            bytes =
                codecs.inflate(&bytes, self.message_bytes_max).map_err(|error| match error {
                    InflateError::TooLarge => TOO_LARGE,
                    InflateError::Broken => {
                        Violation::payload("the message cannot be decompressed")
                    }
                })?;
        } else if bytes.len() > self.message_bytes_max {
            return Err(TOO_LARGE);
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Step::Whole(Incoming::Text(text))),
            Err(_) => Err(Violation::payload("the text is not UTF-8")),
        }
    }
}

enum Step {
    Again,
    More,
    Whole(Incoming),
}

/// Bytes of the length behind the second byte.
fn length_bytes(second: u8) -> usize {
    match second & bit::LENGTH {
        126 => 2,
        127 => 8,
        _ => 0,
    }
}

fn take<'a>(input: &mut &'a [u8], bytes_max: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(bytes_max.min(input.len()));
    *input = rest;
    part
}

/// Appends `part`, which begins at `place` of the payload.
fn unmask(part: &[u8], mut mask: [u8; 4], place: usize, into: &mut Vec<u8>) {
    mask.rotate_left(place % 4);
    let begin = into.len();
    into.extend_from_slice(part);
    for four in into[begin..].chunks_mut(4) {
        for (byte, mask) in four.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

fn close(payload: &[u8]) -> Result<Incoming, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(Incoming::Close(None)),
            [..] => Err(Violation::protocol("half a close code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("a close code that nobody may send"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Incoming::Close(Some(code))),
        Err(_) => Err(Violation::payload("the close reason is not UTF-8")),
    }
}
