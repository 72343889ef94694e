//! Index keys: bytes whose order is the order of values.
//!
//! ```text
//! missing 01 · null 03 · int64 04..0c · float64 0d · false 0e · true 0f
//! string 10 · bytes 11 · array 12 · object 15
//! ```
//!
//! Every encoding tells its own end, so a compound key is the plain concatenation of its parts.
//! No tag is 00 or ff: 00 ends strings and containers, 00 ff stands for the byte 00 inside.
//! Compound keys that begin with the values of `p` therefore lie in `[p, p·ff)`. What begins
//! with the bytes of `p` is more: the key of `"a\0b"` begins with the bytes of that of `"a"`.
//! Source: spec/data-model.md, section 6.

use crate::limits::VALUE_NESTING_MAX;
use crate::object::Object;
use crate::value::Value;

const END: u8 = 0x00;
/// After [`END`]: not the end, but the byte 00; after the name of a field: the name is empty.
const ESCAPE: u8 = 0xff;
const MISSING: u8 = 0x01;
const NULL: u8 = 0x03;
const INT_NEGATIVE_8: u8 = 0x04;
const INT_NEGATIVE_4: u8 = 0x05;
const INT_NEGATIVE_2: u8 = 0x06;
const INT_NEGATIVE_1: u8 = 0x07;
const INT_ZERO: u8 = 0x08;
const INT_POSITIVE_1: u8 = 0x09;
const INT_POSITIVE_2: u8 = 0x0a;
const INT_POSITIVE_4: u8 = 0x0b;
const INT_POSITIVE_8: u8 = 0x0c;
const FLOAT: u8 = 0x0d;
const FALSE: u8 = 0x0e;
const TRUE: u8 = 0x0f;
const STRING: u8 = 0x10;
const BYTES: u8 = 0x11;
const ARRAY: u8 = 0x12;
const OBJECT: u8 = 0x15;
const SIGN_BIT: u64 = 1 << 63;

/// Bytes that are not a key of this encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed key: {0}")]
pub struct KeyError(&'static str);

/// Appends the key of a value, or of a missing field, to `out`.
pub fn encode(value: Option<&Value>, out: &mut Vec<u8>) {
    match value {
        None => out.push(MISSING),
        Some(value) => encode_value(value, out),
    }
}

/// The compound key of several values.
pub fn encode_all<'a>(values: impl IntoIterator<Item = Option<&'a Value>>) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        encode(value, &mut out);
    }
    out
}

/// Reads one key from the front of `bytes`: the value (`None`: missing) and what follows it.
///
/// Accepts exactly what [`encode`] writes, up to [`VALUE_NESTING_MAX`] levels.
pub fn decode(bytes: &[u8]) -> Result<(Option<Value>, &[u8]), KeyError> {
    if let Some((&MISSING, rest)) = bytes.split_first() {
        return Ok((None, rest));
    }
    let mut reader = Reader { rest: bytes };
    let value = reader.value(0)?;
    Ok((Some(value), reader.rest))
}

/// Reads a compound key to its end.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Option<Value>>, KeyError> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (value, rest) = decode(bytes)?;
        values.push(value);
        bytes = rest;
    }
    Ok(values)
}

/// The smallest byte string above everything that begins with `prefix`; `None` when there is
/// none: `prefix` is empty or all ff.
pub fn increment(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Int64(i) => encode_int(*i, out),
        Value::Float64(f) => {
            let bits = f.to_bits();
            let ordered = if bits & SIGN_BIT == 0 { bits | SIGN_BIT } else { !bits };
            out.push(FLOAT);
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Boolean(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::String(s) => {
            out.push(STRING);
            encode_escaped(s.as_bytes(), out);
        }
        Value::Bytes(b) => {
            out.push(BYTES);
            encode_escaped(b, out);
        }
        Value::Array(items) => {
            out.push(ARRAY);
            items.iter().for_each(|item| encode_value(item, out));
            out.push(END);
        }
        Value::Object(object) => {
            out.push(OBJECT);
            for (name, field) in object {
                encode_escaped(name.as_bytes(), out);
                if name.is_empty() {
                    out.push(ESCAPE);
                }
                encode_value(field, out);
            }
            out.push(END);
        }
    }
}

fn encode_int(i: i64, out: &mut Vec<u8>) {
    let negative = i < 0;
    let (tag, length) = match i {
        0 => (INT_ZERO, 0),
        -0x80..=0x7f => (if negative { INT_NEGATIVE_1 } else { INT_POSITIVE_1 }, 1),
        -0x8000..=0x7fff => (if negative { INT_NEGATIVE_2 } else { INT_POSITIVE_2 }, 2),
        -0x8000_0000..=0x7fff_ffff => (if negative { INT_NEGATIVE_4 } else { INT_POSITIVE_4 }, 4),
        _ => (if negative { INT_NEGATIVE_8 } else { INT_POSITIVE_8 }, 8),
    };
    out.push(tag);
    out.extend_from_slice(&i.to_be_bytes()[8 - length..]);
}

fn encode_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 1);
    for (i, part) in bytes.split(|b| *b == END).enumerate() {
        if i > 0 {
            out.extend_from_slice(&[END, ESCAPE]);
        }
        out.extend_from_slice(part);
    }
    out.push(END);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, KeyError> {
        let tag = self.byte()?;
        match tag {
            NULL => Ok(Value::Null),
            INT_NEGATIVE_8..=INT_POSITIVE_8 => self.int(tag).map(Value::Int64),
            FLOAT => {
                let ordered = u64::from_be_bytes(self.array()?);
                let bits = if ordered & SIGN_BIT == 0 { !ordered } else { ordered & !SIGN_BIT };
                Ok(Value::Float64(f64::from_bits(bits)))
            }
            FALSE => Ok(Value::Boolean(false)),
            TRUE => Ok(Value::Boolean(true)),
            STRING => self.string().map(Value::String),
            BYTES => self.escaped().map(Value::Bytes),
            ARRAY | OBJECT if depth >= VALUE_NESTING_MAX => Err(KeyError("nested too deeply")),
            ARRAY => {
                let mut items = Vec::new();
                while !self.end()? {
                    items.push(self.value(depth + 1)?);
                }
                Ok(Value::Array(items))
            }
            OBJECT => self.object(depth).map(Value::Object),
            _ => Err(KeyError("unknown tag")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object, KeyError> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        loop {
            let name = if self.rest.starts_with(&[END, ESCAPE]) {
                self.rest = &self.rest[2..];
                String::new()
            } else if self.end()? {
                return Ok(fields.into_iter().collect());
            } else {
                self.string()?
            };
            if fields.last().is_some_and(|(last, _)| *last >= name) {
                return Err(KeyError("field names do not ascend"));
            }
            fields.push((name, self.value(depth + 1)?));
        }
    }

    fn int(&mut self, tag: u8) -> Result<i64, KeyError> {
        let i = match tag {
            INT_NEGATIVE_1 | INT_POSITIVE_1 => i64::from(i8::from_be_bytes(self.array()?)),
            INT_NEGATIVE_2 | INT_POSITIVE_2 => i64::from(i16::from_be_bytes(self.array()?)),
            INT_NEGATIVE_4 | INT_POSITIVE_4 => i64::from(i32::from_be_bytes(self.array()?)),
            INT_NEGATIVE_8 | INT_POSITIVE_8 => i64::from_be_bytes(self.array()?),
            _ => 0,
        };
        let mut canonical = Vec::with_capacity(9);
        encode_int(i, &mut canonical);
        if canonical[0] == tag { Ok(i) } else { Err(KeyError("integer is not in shortest form")) }
    }

    fn string(&mut self) -> Result<String, KeyError> {
        String::from_utf8(self.escaped()?).map_err(|_| KeyError("string is not UTF-8"))
    }

    fn escaped(&mut self) -> Result<Vec<u8>, KeyError> {
        let mut bytes = Vec::new();
        loop {
            let end = self.rest.iter().position(|b| *b == END).ok_or(KeyError("no end"))?;
            bytes.extend_from_slice(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            match self.rest.split_first() {
                Some((&ESCAPE, rest)) => {
                    bytes.push(END);
                    self.rest = rest;
                }
                Some(_) | None => return Ok(bytes),
            }
        }
    }

    /// Whether a container ends here; takes its end.
    fn end(&mut self) -> Result<bool, KeyError> {
        match self.rest.split_first() {
            None => Err(KeyError("no end")),
            Some((&END, rest)) => {
                self.rest = rest;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    fn byte(&mut self) -> Result<u8, KeyError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(KeyError("ends too early"))?;
        self.rest = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests;
