//! The instance secret, and opaque texts that only this instance can make and read.
//!
//!     secret (32 bytes) ── HMAC-SHA256 per purpose ──► key (16 bytes) ── AES-128-GCM-SIV ──► hex
//!
//! Cursors must be equal when their positions are, so they are sealed without a nonce; everything
//! else takes a nonce from outside. Source: spec/engine.md 17, vectors/admin-key.json.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes128GcmSiv, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of a nonce of AES-GCM-SIV.
pub const NONCE_BYTES: usize = 12;
/// Bytes of the authentication tag.
const TAG_BYTES: usize = 16;
/// Longest sealed text that is opened, in bytes of hex. A cursor holds at most one index key.
const SEALED_HEX_MAX: usize = 4 << 20;

/// The secret of an instance. Its `Debug` form does not show it. It cannot be compared: what is made
/// from it is checked by its tag, in constant time.
#[derive(Clone)]
pub struct InstanceSecret([u8; 32]);

/// What a sealed text is for: its label and version byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Token with which an action calls back.
    ActionCallback,
    /// Key of an administrator.
    AdminKey,
    /// Position of a paginated query. Deterministic.
    Cursor,
    /// Position of a data export.
    DataSyncCursor,
    /// What a live query must repeat when it runs again.
    QueryJournal,
    /// Permission to upload one file.
    StoreFile,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Purpose::ActionCallback => "action callback token",
            Purpose::AdminKey => "admin key",
            Purpose::Cursor => "cursor",
            Purpose::DataSyncCursor => "data sync cursor",
            Purpose::QueryJournal => "query journal",
            Purpose::StoreFile => "store file authorization",
        }
    }

    fn version(self) -> u8 {
        match self {
            Purpose::AdminKey | Purpose::StoreFile | Purpose::DataSyncCursor => 1,
            Purpose::ActionCallback => 2,
            Purpose::Cursor | Purpose::QueryJournal => 7,
        }
    }
}

impl InstanceSecret {
    /// A secret from its bytes.
    pub fn new(bytes: [u8; 32]) -> InstanceSecret {
        InstanceSecret(bytes)
    }

    /// A secret from 64 hex digits. None: not that.
    pub fn from_hex(text: &str) -> Option<InstanceSecret> {
        Some(InstanceSecret(from_hex(text)?.try_into().ok()?))
    }

    /// The secret as hex: only for the file it is kept in.
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// The 32 bytes: the key of the legacy form of admin keys.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of one purpose: the first 16 bytes of HMAC-SHA256(secret, 00 00 00 01 ‖ label).
    pub fn derive(&self, label: &str) -> [u8; 16] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(&[0, 0, 0, 1]);
        mac.update(label.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        key
    }

    /// `text` sealed for `purpose` as lower-case hex: version ‖ nonce ‖ ciphertext ‖ tag.
    /// A nonce must not be used twice for different texts; it comes from the caller's randomness.
    pub fn seal(&self, purpose: Purpose, nonce: [u8; NONCE_BYTES], text: &[u8]) -> String {
        let mut bytes = vec![purpose.version()];
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&self.encrypt(purpose, nonce, text));
        to_hex(&bytes)
    }

    /// `text` sealed without a nonce: equal texts give equal strings. For cursors.
    pub fn seal_deterministic(&self, purpose: Purpose, text: &[u8]) -> String {
        let mut bytes = vec![purpose.version()];
        bytes.extend_from_slice(&self.encrypt(purpose, [0; NONCE_BYTES], text));
        to_hex(&bytes)
    }

    /// The text of `seal`. None: not ours, of another purpose, or changed.
    pub fn open(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        let bytes = sealed_bytes(purpose, sealed)?;
        let nonce = bytes.get(..NONCE_BYTES)?.try_into().ok()?;
        self.decrypt(purpose, nonce, &bytes[NONCE_BYTES..])
    }

    /// The text of `seal_deterministic`. None as for `open`.
    pub fn open_deterministic(&self, purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
        self.decrypt(purpose, [0; NONCE_BYTES], &sealed_bytes(purpose, sealed)?)
    }

    fn encrypt(&self, purpose: Purpose, nonce: [u8; NONCE_BYTES], text: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: text, aad: &[purpose.version()] };
        self.cipher(purpose)
            .encrypt(&Nonce::from(nonce), payload)
            .expect("a text in memory is far below the cipher's limit")
    }

    fn decrypt(&self, purpose: Purpose, nonce: [u8; NONCE_BYTES], text: &[u8]) -> Option<Vec<u8>> {
        if text.len() < TAG_BYTES {
            return None;
        }
        let payload = Payload { msg: text, aad: &[purpose.version()] };
        self.cipher(purpose).decrypt(&Nonce::from(nonce), payload).ok()
    }

    fn cipher(&self, purpose: Purpose) -> Aes128GcmSiv {
        Aes128GcmSiv::new_from_slice(&self.derive(purpose.label())).expect("the key has 16 bytes")
    }
}

impl std::fmt::Debug for InstanceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstanceSecret(..)")
    }
}

/// What follows the version byte.
fn sealed_bytes(purpose: Purpose, sealed: &str) -> Option<Vec<u8>> {
    if sealed.len() > SEALED_HEX_MAX {
        return None;
    }
    let mut bytes = from_hex(sealed)?;
    if bytes.first() != Some(&purpose.version()) {
        return None;
    }
    bytes.remove(0);
    Some(bytes)
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Lower-case hex only, so that a sealed text has one form.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn carnitas() -> (InstanceSecret, serde_json::Value) {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../vectors/admin-key.json")).unwrap();
        let secret = vectors["instanceSecretHex"].as_str().unwrap();
        (InstanceSecret::from_hex(secret).unwrap(), vectors)
    }

    #[test]
    fn derived_keys_are_the_official_ones() {
        let (secret, vectors) = carnitas();
        let keys = vectors["derivedKeysHex"].as_object().unwrap();
        assert_eq!(keys.len(), 6);
        for (label, key) in keys {
            assert_eq!(to_hex(&secret.derive(label)), key.as_str().unwrap(), "{label}");
        }
    }

    #[test]
    fn admin_keys_of_the_current_form_open() {
        let (secret, vectors) = carnitas();
        let mut opened = 0;
        for case in vectors["cases"].as_array().unwrap() {
            if case["form"] != "current" || case["accepted"] != true {
                continue;
            }
            let key = case["key"].as_str().unwrap();
            let sealed = key.rsplit('|').next().unwrap();
            let payload = secret.open(Purpose::AdminKey, sealed).unwrap();
            assert_eq!(to_hex(&payload), case["payloadHex"].as_str().unwrap());
            opened += 1;
        }
        assert!(opened > 0);
    }

    #[test]
    fn sealed_texts_are_bound_to_purpose_and_bytes() {
        let (secret, _) = carnitas();
        let sealed = secret.seal(Purpose::QueryJournal, [3; 12], b"hello");
        assert_eq!(secret.open(Purpose::QueryJournal, &sealed).unwrap(), b"hello");
        assert_ne!(sealed, secret.seal(Purpose::QueryJournal, [4; 12], b"hello"));
        assert_eq!(secret.open(Purpose::Cursor, &sealed), None);
        assert_eq!(secret.open(Purpose::QueryJournal, &sealed.to_uppercase()), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(secret.open(Purpose::QueryJournal, &changed), None);
            assert_eq!(secret.open(Purpose::QueryJournal, &sealed[..at]), None);
        }
        assert_eq!(secret.open(Purpose::QueryJournal, "07é"), None);
    }

    #[test]
    fn cursors_are_deterministic() {
        let (secret, _) = carnitas();
        let one = secret.seal_deterministic(Purpose::Cursor, b"position");
        assert_eq!(one, secret.seal_deterministic(Purpose::Cursor, b"position"));
        assert_eq!(secret.open_deterministic(Purpose::Cursor, &one).unwrap(), b"position");
        assert_eq!(secret.open_deterministic(Purpose::Cursor, ""), None);
        let other = InstanceSecret::new([1; 32]);
        assert_eq!(other.open_deterministic(Purpose::Cursor, &one), None);
        assert_eq!(format!("{other:?}"), "InstanceSecret(..)");
    }
}
