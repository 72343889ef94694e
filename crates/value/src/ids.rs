//! Document ids: a table number, sixteen bytes and a checksum, as lower-case base32.
//!
//! ```text
//! varint(table number) ++ internal id [16] ++ fletcher16 [2]
//! ```
//!
//! Ids of one table sort as text like their internal ids sort as bytes.
//! Source: spec/data-model.md, section 7.

use std::fmt;
use std::str::FromStr;

/// What ids carry of their table; at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableNumber(pub u32);

impl fmt::Display for TableNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of an id that tells documents of one table apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InternalId(pub [u8; 16]);

impl fmt::Debug for InternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The id of a document. [`FromStr`] reads only the canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// Number of the table in its namespace.
    pub table: TableNumber,
    /// Which document of the table.
    pub internal: InternalId,
}

/// A text that is not a document id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No id has this length.
    #[error("id has {0} characters, not 31 to 37")]
    Length(usize),
    /// A character outside of the alphabet.
    #[error("id has a character that is not in the base32 alphabet")]
    Character,
    /// The table number is 0, above 32 bits or not in its shortest form.
    #[error("id has an invalid table number")]
    TableNumber,
    /// The last two bytes do not fit to the others.
    #[error("id has a wrong checksum")]
    Checksum,
    /// Another text stands for the same bytes.
    #[error("id is not in canonical form")]
    NotCanonical,
}

/// Bytes of the longest id: five of the table number, sixteen, two.
const ID_BYTES_MAX: usize = 23;
/// Characters of the longest id.
const ID_CHARS_MAX: usize = 37;
/// Characters of the shortest id.
const ID_CHARS_MIN: usize = 31;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const NOT_IN_ALPHABET: u8 = 0xff;
const DIGITS: [u8; 256] = digits();

impl DocumentId {
    /// The id with these parts.
    pub const fn new(table: TableNumber, internal: InternalId) -> Self {
        DocumentId { table, internal }
    }

    /// The text without an allocation: bytes and how many of them count.
    fn encode(&self) -> ([u8; ID_CHARS_MAX], usize) {
        let mut bytes = [0u8; ID_BYTES_MAX];
        let mut length = 0;
        let mut rest = self.table.0;
        loop {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            bytes[length] = if rest == 0 { low } else { low | 0x80 };
            length += 1;
            if rest == 0 {
                break;
            }
        }
        bytes[length..length + 16].copy_from_slice(&self.internal.0);
        length += 16;
        let footer = fletcher16(&bytes[..length]);
        bytes[length..length + 2].copy_from_slice(&footer);
        base32(&bytes[..length + 2])
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = self.encode();
        f.pad(std::str::from_utf8(&text[..length]).expect("the alphabet is ASCII"))
    }
}

impl FromStr for DocumentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let chars = text.as_bytes();
        if !(ID_CHARS_MIN..=ID_CHARS_MAX).contains(&chars.len()) {
            return Err(IdError::Length(chars.len()));
        }
        let (bytes, length) = unbase32(chars)?;
        let bytes = &bytes[..length];
        let (table, varint) = read_varint(bytes).ok_or(IdError::TableNumber)?;
        let body = varint + 16;
        if bytes.len() != body + 2 {
            return Err(IdError::NotCanonical);
        }
        if fletcher16(&bytes[..body]) != bytes[body..] {
            return Err(IdError::Checksum);
        }
        let mut internal = [0; 16];
        internal.copy_from_slice(&bytes[varint..body]);
        let id = DocumentId { table: TableNumber(table), internal: InternalId(internal) };
        let (canonical, length) = id.encode();
        if canonical[..length] != *chars { Err(IdError::NotCanonical) } else { Ok(id) }
    }
}

/// The smallest internal id whose id text in `table` is at or after `text`; `None` if there is
/// no such id. `text` may be any string, not only an id.
pub fn first_internal_at_or_after(table: TableNumber, text: &str) -> Option<InternalId> {
    let reaches = |internal: u128| {
        let (id, length) = DocumentId::new(table, InternalId(internal.to_be_bytes())).encode();
        id[..length] >= *text.as_bytes()
    };
    if !reaches(u128::MAX) {
        return None;
    }
    let (mut low, mut high) = (0, u128::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if reaches(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(InternalId(low.to_be_bytes()))
}

/// The number and how many bytes it took; `None` for 0, more than 32 bits, or no end.
fn read_varint(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return u32::try_from(number).ok().filter(|n| *n != 0).map(|n| (n, i + 1));
        }
    }
    None
}

fn fletcher16(bytes: &[u8]) -> [u8; 2] {
    let (mut c0, mut c1) = (0u8, 0u8);
    for byte in bytes {
        c0 = c0.wrapping_add(*byte);
        c1 = c1.wrapping_add(c0);
    }
    [c0, c1]
}

fn base32(bytes: &[u8]) -> ([u8; ID_CHARS_MAX], usize) {
    let mut text = [0; ID_CHARS_MAX];
    let (mut length, mut bits, mut pending) = (0, 0u32, 0u32);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text[length] = ALPHABET[(pending >> bits & 31) as usize];
            length += 1;
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        text[length] = ALPHABET[(pending << (5 - bits) & 31) as usize];
        length += 1;
    }
    (text, length)
}

fn unbase32(text: &[u8]) -> Result<([u8; ID_BYTES_MAX + 1], usize), IdError> {
    let mut bytes = [0; ID_BYTES_MAX + 1];
    let (mut length, mut bits, mut pending) = (0, 0u32, 0u32);
    for character in text {
        let digit = DIGITS[usize::from(*character)];
        if digit == NOT_IN_ALPHABET {
            return Err(IdError::Character);
        }
        pending = (pending << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes[length] = (pending >> bits) as u8;
            length += 1;
            pending &= (1 << bits) - 1;
        }
    }
    Ok((bytes, length))
}

const fn digits() -> [u8; 256] {
    let mut digits = [NOT_IN_ALPHABET; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        digits[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    digits
}

#[cfg(test)]
mod tests;
