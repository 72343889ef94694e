//! Where the values of an index key end.
//!
//! A key is values one after another, each self-delimiting (`value::key`). This walk only finds
//! the ends; it makes no values. It holds for any bytes: a walk stops where no value continues,
//! and if it passes the end of a prefix `p` of whole values, it does so in every key in `[p, p·ff)`.
//!
//! Source: spec/data-model.md, order-preserving key encoding.

/// The lengths of the prefixes of `key` that are whole values, ascending, from 0.
pub(super) fn value_boundaries(key: &[u8]) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), |start| value_end(key, *start))
        // A prefix before `ff` is not followed by a value: `key` is behind all that continue it.
        .filter(|end| key.get(*end) != Some(&0xff))
}

/// What the walk expects next inside of nested values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Array,
    Object,
}

/// The end of the value that starts at `start`; `None` if no whole value does.
fn value_end(key: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    // Keeps nesting off the call stack, so that no key is too deep.
    let mut open: Vec<Inside> = Vec::new();
    loop {
        let tag = *key.get(at)?;
        match (open.last(), tag) {
            (Some(Inside::Array), 0x00) => {
                at += 1;
                open.pop();
            }
            // `00 ff` is no end, but an empty field name.
            (Some(Inside::Object), 0x00) if key.get(at + 1) != Some(&0xff) => {
                at += 1;
                open.pop();
            }
            (Some(Inside::Object), 0x00) => {
                at = scalar_end(key, at + 2, &mut open)?;
            }
            (Some(Inside::Object), _) => {
                at = scalar_end(key, escaped_end(key, at)?, &mut open)?;
            }
            (Some(Inside::Array) | None, _) => at = scalar_end(key, at, &mut open)?,
        }
        if open.is_empty() {
            return Some(at);
        }
    }
}

/// The end of the value at `at`, or of its tag if it nests: then it is added to `open`.
fn scalar_end(key: &[u8], at: usize, open: &mut Vec<Inside>) -> Option<usize> {
    let body = at + 1;
    let end = match *key.get(at)? {
        0x01 | 0x03 | 0x08 | 0x0e | 0x0f => body,
        0x07 | 0x09 => body + 1,
        0x06 | 0x0a => body + 2,
        0x05 | 0x0b => body + 4,
        0x04 | 0x0c | 0x0d => body + 8,
        0x10 | 0x11 => escaped_end(key, body)?,
        0x12 => {
            open.push(Inside::Array);
            body
        }
        0x15 => {
            open.push(Inside::Object);
            body
        }
        _ => return None,
    };
    (end <= key.len()).then_some(end)
}

/// Behind the `00` that ends escaped bytes: the first that no `ff` follows.
fn escaped_end(key: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += key.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        if key.get(at) != Some(&0xff) {
            return Some(at);
        }
        at += 1;
    }
}
