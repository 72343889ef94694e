//! `data:` URIs (RFC 2397): the key set of a provider inside its own configuration.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a `data:` URI of any media type. None: not a `data:` URI; the error: a broken one.
pub(crate) fn decode(uri: &str) -> Option<Result<Vec<u8>, String>> {
    let scheme = uri.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    Some(body(&uri[5..]))
}

fn body(rest: &str) -> Result<Vec<u8>, String> {
    let (media, data) = rest.split_once(',').ok_or("data URI without a comma")?;
    let bytes = percent_decode(data).ok_or("data URI with a broken percent sign")?;
    let is_base64 = media
        .rsplit(';')
        .next()
        .is_some_and(|last| last.trim().eq_ignore_ascii_case("base64") && media.contains(';'));
    if !is_base64 {
        return Ok(bytes);
    }
    let digits: Vec<u8> = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    LENIENT.decode(digits).map_err(|error| format!("data URI: {error}"))
}

/// The bytes behind `%41`. None: a percent sign without two hex digits.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
            let digits = std::str::from_utf8(digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let check = |uri: &str, expected: &str| {
            assert_eq!(decode(uri).unwrap().unwrap(), expected.as_bytes(), "{uri}");
        };
        check("data:text/plain;charset=utf-8;base64,eyJrZXlzIjpbXX0=", "{\"keys\":[]}");
        check("data:application/json;base64,eyJrZXlzIjpbXX0", "{\"keys\":[]}");
        check("DATA:;BASE64,eyJrZXlzIjpbXX0%3D", "{\"keys\":[]}");
        check("data:application/json,%7B%22keys%22:[]%7D", "{\"keys\":[]}");
        check("data:,a,b", "a,b");
        check("data:base64,QQ==", "QQ==");
        check("data:,é", "é");
    }

    #[test]
    fn broken_ones() {
        for uri in
            ["data:", "data:text/plain", "data:,%4", "data:,%zz", "data:,%é", "data:;base64,*"]
        {
            assert!(decode(uri).unwrap().is_err(), "{uri}");
        }
        assert!(decode("https://a").is_none());
        assert!(decode("dat").is_none());
        assert!(decode("é:é:é").is_none());
    }
}
