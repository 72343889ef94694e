//! Admin keys: `<instance name>|<hex>`, opened with the secret of the instance.
//!
//! Two forms are read: the current one (AES-128-GCM-SIV under a derived key) and the one of 2021
//! (XSalsa20-Poly1305 under the secret itself). Keys issued here are of the current form and hold the
//! instance name inside, so they work with and without the part before `|`.
//! Source: spec/engine.md 17, vectors/admin-key.json.

use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use functions::instance::{InstanceSecret, NONCE_BYTES, Purpose};

use super::error::{AuthCode, AuthError};

/// Longest admin key that is looked at, in bytes.
pub const ADMIN_KEY_BYTES_MAX: usize = 4096;

/// Version byte and nonce of the form of 2021.
const LEGACY_VERSION: u8 = 1;
const LEGACY_NONCE_BYTES: usize = 24;

/// Whom an admin key admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Who it was issued to.
    pub holder: Holder,
    /// When it was issued, in seconds since the epoch. Keys do not expire.
    pub issued_s: u64,
    /// Whether it may only look.
    pub is_read_only: bool,
}

/// Who holds an admin key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A person, by number.
    Member(u64),
    /// A program of the operator.
    System,
}

/// A new key of `instance` for `admin`. The nonce must be random.
pub fn issue(
    secret: &InstanceSecret,
    instance: &str,
    admin: &Admin,
    nonce: [u8; NONCE_BYTES],
) -> String {
    let payload = Payload { instance: Some(instance.to_owned()), admin: admin.clone() };
    format!("{instance}|{}", secret.seal(Purpose::AdminKey, nonce, &payload.encode()))
}

/// Whom `key` admits to `instance`. Errors: `BadAdminKey`.
pub fn open(secret: &InstanceSecret, instance: &str, key: &str) -> Result<Admin, AuthError> {
    let bad = |why: &str| AuthError::rejected(AuthCode::BadAdminKey, why);
    if key.len() > ADMIN_KEY_BYTES_MAX {
        return Err(bad("the admin key is too long"));
    }
    let (prefix, sealed) = match key.rsplit_once('|') {
        Some((prefix, sealed)) => (Some(prefix), sealed),
        None => (None, key),
    };
    let current = secret.open(Purpose::AdminKey, sealed);
    let payload = current
        .or_else(|| open_legacy(secret, sealed))
        .and_then(|bytes| Payload::decode(&bytes))
        .ok_or_else(|| bad("the admin key is not valid for this deployment"))?;
    // `prod:name`: the word before the colon is for people.
    let named = prefix.map(|prefix| prefix.split_once(':').map_or(prefix, |(_, name)| name));
    match named.or(payload.instance.as_deref()) {
        Some(name) if name == instance => Ok(payload.admin),
        Some(_) => Err(bad("the admin key is for another deployment")),
        None => Err(bad("the admin key does not name its deployment")),
    }
}

fn open_legacy(secret: &InstanceSecret, sealed: &str) -> Option<Vec<u8>> {
    let bytes = from_hex(sealed)?;
    let (version, rest) = bytes.split_first()?;
    let (nonce, sealed) = rest.split_first_chunk::<LEGACY_NONCE_BYTES>()?;
    if *version != LEGACY_VERSION {
        return None;
    }
    let cipher = XSalsa20Poly1305::new(secret.bytes().into());
    cipher.decrypt(&Nonce::from(*nonce), sealed).ok()
}

/// Lower-case hex only, so that a key has one form.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// The sealed message, a protobuf of five fields.
#[derive(Debug, PartialEq)]
struct Payload {
    instance: Option<String>,
    admin: Admin,
}

impl Payload {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(instance) = &self.instance {
            put_varint(&mut bytes, 1 << 3 | 2);
            put_varint(&mut bytes, instance.len() as u64);
            bytes.extend_from_slice(instance.as_bytes());
        }
        put_varint(&mut bytes, 2 << 3);
        put_varint(&mut bytes, self.admin.issued_s);
        match self.admin.holder {
            Holder::Member(number) => {
                put_varint(&mut bytes, 3 << 3);
                put_varint(&mut bytes, number);
            }
            Holder::System => {
                put_varint(&mut bytes, 4 << 3 | 2);
                put_varint(&mut bytes, 0);
            }
        }
        if self.admin.is_read_only {
            put_varint(&mut bytes, 5 << 3);
            put_varint(&mut bytes, 1);
        }
        bytes
    }

    /// None: broken, no time of issue, or no holder. Unknown fields are passed over; of a field
    /// that is there twice the last counts.
    fn decode(mut bytes: &[u8]) -> Option<Payload> {
        let (mut instance, mut issued_s, mut holder, mut is_read_only) = (None, 0, None, false);
        while !bytes.is_empty() {
            let tag = take_varint(&mut bytes)?;
            match (tag >> 3, take_field(&mut bytes, tag & 7)?) {
                (1, Field::Bytes(name)) => instance = Some(String::from_utf8(name.to_vec()).ok()?),
                (2, Field::Number(seconds)) => issued_s = seconds,
                (3, Field::Number(number)) => holder = Some(Holder::Member(number)),
                (4, Field::Bytes(_)) => holder = Some(Holder::System),
                (5, Field::Number(flag)) => is_read_only = flag != 0,
                (1..=5, _) => return None,
                (_, _) => {}
            }
        }
        let admin = Admin { holder: holder?, issued_s, is_read_only };
        (issued_s != 0).then_some(Payload { instance, admin })
    }
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

fn take_field<'a>(bytes: &mut &'a [u8], wire_type: u64) -> Option<Field<'a>> {
    match wire_type {
        0 => take_varint(bytes).map(Field::Number),
        1 => take(bytes, 8).map(|_| Field::Fixed),
        2 => {
            let length = usize::try_from(take_varint(bytes)?).ok()?;
            take(bytes, length).map(Field::Bytes)
        }
        5 => take(bytes, 4).map(|_| Field::Fixed),
        _ => None,
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        // The tenth byte has room for one bit.
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn carnitas() -> (InstanceSecret, Json) {
        let vectors: Json =
            serde_json::from_str(include_str!("../../vectors/admin-key.json")).unwrap();
        let secret = vectors["instanceSecretHex"].as_str().unwrap();
        (InstanceSecret::from_hex(secret).unwrap(), vectors)
    }

    fn expected(payload: &Json) -> Admin {
        let identity = &payload["identity"];
        let holder = match identity["memberId"].as_u64() {
            Some(number) => Holder::Member(number),
            None => {
                assert_eq!(identity["system"], true);
                Holder::System
            }
        };
        let issued_s = payload["issuedS"].as_u64().unwrap();
        Admin { holder, issued_s, is_read_only: payload["isReadOnly"].as_bool().unwrap() }
    }

    #[test]
    fn all_vectors() {
        let (secret, vectors) = carnitas();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 12);
        for case in cases {
            let opened = open(&secret, "carnitas", case["key"].as_str().unwrap());
            if case["accepted"] == true {
                assert_eq!(opened.unwrap(), expected(&case["payload"]), "{}", case["what"]);
            } else {
                let error = opened.unwrap_err();
                assert_eq!((error.code(), error.status()), ("BadAdminKey", 401), "{case}");
            }
        }
    }

    #[test]
    fn own_keys_work_with_and_without_their_prefix() {
        let (secret, _) = carnitas();
        for (holder, is_read_only) in [(Holder::Member(300), true), (Holder::System, false)] {
            let admin = Admin { holder, issued_s: 1_800_000_000, is_read_only };
            let key = issue(&secret, "happy-otter-1", &admin, [9; NONCE_BYTES]);
            let (prefix, bare) = key.split_once('|').unwrap();
            assert_eq!(prefix, "happy-otter-1");
            for key in [&key, bare, &format!("prod:{key}"), &format!("any:{key}")] {
                assert_eq!(open(&secret, "happy-otter-1", key).unwrap(), admin);
            }
            for key in [format!("x|{bare}"), format!("|{bare}"), format!("prod:x|{bare}")] {
                assert!(open(&secret, "happy-otter-1", &key).is_err(), "{key}");
            }
            assert!(open(&secret, "other", &key).is_err());
            assert!(open(&InstanceSecret::new([1; 32]), "happy-otter-1", &key).is_err());
            assert!(open(&secret, "happy-otter-1", &key.to_uppercase()).is_err());
        }
    }

    #[test]
    fn payloads_that_are_refused() {
        let check = |hex: &str, accepted: bool| {
            assert_eq!(Payload::decode(&from_hex(hex).unwrap()).is_some(), accepted, "{hex}");
        };
        check("1080f2d6ca061800", true);
        check("1080f2d6ca0618003a01ff45010203044901020304050607085001", true);
        check("", false);
        check("1800", false);
        check("10001800", false);
        check("1080f2d6ca06", false);
        check("1080f2d6ca061a00", false);
        check("1080f2d6ca062000", false);
        check("1080f2d6ca06180028", false);
    }

    #[test]
    fn no_text_is_a_key() {
        let (secret, _) = carnitas();
        let long = "0".repeat(ADMIN_KEY_BYTES_MAX + 1);
        for key in ["", "|", "carnitas|", "carnitas|zz", "01", "é|é", "carnitas|01é", &long] {
            assert!(open(&secret, "carnitas", key).is_err(), "{key}");
        }
    }

    proptest::proptest! {
        #[test]
        fn payloads_go_around(instance in ".{0,20}", issued_s in 1_u64.., member: u64, ro: bool) {
            let admin = Admin { holder: Holder::Member(member), issued_s, is_read_only: ro };
            let payload = Payload { instance: Some(instance), admin };
            proptest::prop_assert_eq!(Payload::decode(&payload.encode()), Some(payload));
        }

        #[test]
        fn bytes_never_panic(bytes: Vec<u8>) {
            let _ = Payload::decode(&bytes);
        }
    }
}
