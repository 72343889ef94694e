//! A corpus as one text file: a line for each input, bytes that are no plain text as `\x00`.
//!
//! So it can be read, searched and compared, and the repository holds one file for each target.
//! `run.py` writes it.

/// The inputs of a corpus, or the number of the line that is none.
pub fn read(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    text.lines().enumerate().map(|(at, line)| unescaped(line).ok_or(at + 1)).collect()
}

fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        bytes.push(match kind {
            b'\\' => b'\\',
            b'n' => b'\n',
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}
