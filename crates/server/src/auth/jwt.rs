//! A signed token taken apart. Nothing here is verified but the form.
//!
//!     base64url(header) . base64url(claims) . base64url(signature)
//!     └────────── what is signed ─────────┘

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json};
use value::Timestamp;
use value::limits::quoted;

use super::error::{AuthCode, AuthError};

/// Longest token that is looked at, in bytes. Large ones in the field list groups and stay below
/// 20 KiB.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

/// A token of the right form.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// `alg` of the header: any text, also `none`.
    pub algorithm: String,
    /// `kid` of the header.
    pub key_id: Option<String>,
    /// The bytes that the signature covers.
    pub signed: &'a str,
    /// The signature in base64url.
    pub signature: &'a str,
    /// The claims.
    pub claims: Claims,
}

/// The claims of a token; those that are checked have been typed.
#[derive(Debug)]
pub(super) struct Claims {
    /// `iss`, as written.
    pub issuer: String,
    /// `sub`, not empty.
    pub subject: String,
    /// `aud`: one text or a list of them; empty when absent.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires: Timestamp,
    /// `nbf`; zero when absent.
    pub not_before: Timestamp,
    /// Every claim, those above too.
    pub all: Map<String, Json>,
}

impl<'a> Token<'a> {
    /// The parts of `text`. Errors: `InvalidAuthHeader`, for anything that is not a signed token
    /// with `alg`, `iss`, `sub` and `exp`, or names a header or claim twice.
    pub(super) fn parse(text: &'a str) -> Result<Token<'a>, AuthError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(malformed(format!("token is longer than {TOKEN_BYTES_MAX} bytes")));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(three_parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(three_parts)?;
        if claims.contains('.') {
            return Err(three_parts());
        }
        let mut header = json_part(header, "header")?;
        let algorithm = match header.remove("alg") {
            Some(Json::String(algorithm)) => algorithm,
            Some(_) | None => return Err(malformed("token header has no alg")),
        };
        let key_id = match header.remove("kid") {
            None => None,
            Some(Json::String(key_id)) => Some(key_id),
            Some(_) => return Err(malformed("token header has a kid that is not a text")),
        };
        if header.contains_key("crit") {
            return Err(malformed("token header demands an extension"));
        }
        let claims = Claims::new(json_part(claims, "claims")?)?;
        Ok(Token { algorithm, key_id, signed, signature, claims })
    }
}

impl Claims {
    fn new(all: Map<String, Json>) -> Result<Claims, AuthError> {
        Ok(Claims {
            issuer: text_claim(&all, "iss")?,
            subject: text_claim(&all, "sub")?,
            audience: audience(&all)?,
            expires: time_claim(&all, "exp")?.ok_or_else(|| malformed("token has no exp"))?,
            not_before: time_claim(&all, "nbf")?.unwrap_or(Timestamp(0)),
            all,
        })
    }
}

fn malformed(message: impl Into<String>) -> AuthError {
    AuthError::rejected(AuthCode::InvalidAuthHeader, message)
}

fn three_parts() -> AuthError {
    malformed("token does not have three parts")
}

fn json_part(text: &str, what: &str) -> Result<Map<String, Json>, AuthError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| malformed(format!("token {what} is not base64url")))?;
    let Unique(map) = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(format!("token {what} is not valid: {error}")))?;
    Ok(map)
}

fn text_claim(all: &Map<String, Json>, name: &str) -> Result<String, AuthError> {
    match all.get(name) {
        Some(Json::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(malformed(format!("token has a {name} that is not a text"))),
        None => Err(malformed(format!("token has no {name}"))),
    }
}

/// Seconds since the epoch, fractions allowed. Before it: zero; too large: the end of time.
fn time_claim(all: &Map<String, Json>, name: &str) -> Result<Option<Timestamp>, AuthError> {
    match all.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let seconds = number.as_f64().unwrap_or(f64::MAX);
            // A cast from float saturates: no overflow, no panic.
            Ok(Some(Timestamp((seconds * 1e9) as u64)))
        }
        Some(_) => Err(malformed(format!("token has an {name} that is not a number"))),
    }
}

fn audience(all: &Map<String, Json>) -> Result<Vec<String>, AuthError> {
    let wrong = || malformed("token has an aud that is neither a text nor a list of texts");
    match all.get("aud") {
        None => Ok(Vec::new()),
        Some(Json::String(one)) => Ok(vec![one.clone()]),
        Some(Json::Array(many)) => {
            many.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// An object that names no member twice: two readers of a token must not see different claims.
struct Unique(Map<String, Json>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_map(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
        let mut map = Map::new();
        while let Some((name, member)) = access.next_entry::<String, Json>()? {
            if map.contains_key(&name) {
                return Err(serde::de::Error::custom(format!("{} is there twice", quoted(&name))));
            }
            map.insert(name, member);
        }
        Ok(Unique(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &[u8], claims: &[u8]) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn refusal(header: &[u8], claims: &[u8]) -> String {
        let text = token(header, claims);
        let error = Token::parse(&text).unwrap_err();
        assert_eq!(error.code(), "InvalidAuthHeader");
        error.to_string()
    }

    const HEADER: &[u8] = br#"{"alg":"ES256","kid":"k1"}"#;
    const CLAIMS: &[u8] = br#"{"iss":"https://a","sub":"u","exp":10.5,"aud":["x","y"],"nbf":3}"#;

    #[test]
    fn parts_are_typed() {
        let text = token(HEADER, CLAIMS);
        let parsed = Token::parse(&text).unwrap();
        assert_eq!((parsed.algorithm.as_str(), parsed.key_id.as_deref()), ("ES256", Some("k1")));
        assert_eq!(format!("{}.{}", parsed.signed, parsed.signature), text);
        let claims = parsed.claims;
        assert_eq!((claims.issuer.as_str(), claims.subject.as_str()), ("https://a", "u"));
        assert_eq!(claims.audience, ["x", "y"]);
        assert_eq!(claims.expires, Timestamp(10_500_000_000));
        assert_eq!(claims.not_before, Timestamp(3_000_000_000));
        assert_eq!(claims.all.len(), 5);
    }

    #[test]
    fn times_at_the_edges() {
        let time = |text: &str| {
            let claims = format!(r#"{{"iss":"i","sub":"s","exp":{text}}}"#);
            Token::parse(&token(HEADER, claims.as_bytes())).unwrap().claims.expires
        };
        assert_eq!(time("-5"), Timestamp(0));
        assert_eq!(time("1e300"), Timestamp(u64::MAX));
        assert_eq!(time("18446744073709551615"), Timestamp(u64::MAX));
    }

    #[test]
    fn malformed_parts_are_refused() {
        let check = |header: &[u8], claims: &[u8], expected: &str| {
            let message = refusal(header, claims);
            assert!(message.contains(expected), "{message} / {expected}");
        };
        check(b"{}", CLAIMS, "no alg");
        check(br#"{"alg":7}"#, CLAIMS, "no alg");
        check(br#"{"alg":"ES256","kid":7}"#, CLAIMS, "kid");
        check(br#"{"alg":"ES256","crit":["b64"]}"#, CLAIMS, "extension");
        check(br#"{"alg":"ES256","alg":"none"}"#, CLAIMS, "\"alg\" is there twice");
        check(b"[]", CLAIMS, "header is not valid");
        check(HEADER, b"\"x\"", "claims is not valid");
        check(HEADER, b"{\"iss\":\"\xff\"}", "claims is not valid");
        check(HEADER, br#"{"sub":"s","exp":1}"#, "no iss");
        check(HEADER, br#"{"iss":"i","exp":1}"#, "no sub");
        check(HEADER, br#"{"iss":"i","sub":"","exp":1}"#, "sub that is not a text");
        check(HEADER, br#"{"iss":"i","sub":5,"exp":1}"#, "sub that is not a text");
        check(HEADER, br#"{"iss":"i","sub":"s"}"#, "no exp");
        check(HEADER, br#"{"iss":"i","sub":"s","exp":"9"}"#, "exp that is not a number");
        check(HEADER, br#"{"iss":"i","sub":"s","exp":1,"exp":99}"#, "\"exp\" is there twice");
        check(HEADER, br#"{"iss":"i","sub":"s","exp":1,"nbf":null}"#, "nbf");
        check(HEADER, br#"{"iss":"i","sub":"s","exp":1,"aud":{}}"#, "aud");
        check(HEADER, br#"{"iss":"i","sub":"s","exp":1,"aud":[1]}"#, "aud");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let deep = "[".repeat(60_000);
        let deep = token(HEADER, deep.as_bytes());
        for text in ["", ".", "..", "a.b", "a.b.c.d", "é.é.é", "e30=.e30=.x", "e30.e30.", &deep]
        {
            assert!(Token::parse(text).is_err(), "{text}");
        }
        let huge = token(HEADER, &vec![b' '; TOKEN_BYTES_MAX]);
        assert!(Token::parse(&huge).unwrap_err().to_string().contains("longer than"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", header: Vec<u8>, claims: Vec<u8>) {
            let _ = Token::parse(&text);
            let _ = Token::parse(&token(&header, &claims));
        }
    }
}
