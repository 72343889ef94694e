//! Public keys of a provider, and the check of a signature.
//!
//! A key verifies exactly one algorithm, fixed by its own kind. What a token's header says only has
//! to agree: it never chooses how a key is used (no `none`, no HMAC with a public key).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Most keys of one set that are read. Providers publish a handful.
pub(super) const KEYS_MAX: usize = 100;

/// Shortest and longest RSA modulus, in bytes: 2048 bits by RFC 7518 3.3, 4096 by our library.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The keys of a JSON Web Key Set that can verify a token here.
#[derive(Clone, Debug)]
pub(super) struct KeySet(Vec<Key>);

/// A public key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct SetForm {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeyForm {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of `{"keys":[…]}`. Keys of other kinds and for other uses are passed over, as
    /// RFC 7517 section 5 wants it. Errors: not a key set, with the reason.
    pub(super) fn parse(json: &[u8]) -> Result<KeySet, String> {
        let form: SetForm = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let keys = form.keys.iter().take(KEYS_MAX);
        Ok(KeySet(keys.filter_map(|key| Key::new(KeyForm::deserialize(key).ok()?)).collect()))
    }

    /// The key for a token with this `kid`. Without a `kid` the only key of the algorithm, if
    /// there is one alone.
    pub(super) fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut keys = self.0.iter().filter(|key| key.algorithm == algorithm);
        match key_id {
            Some(_) => keys.find(|key| key.id.as_deref() == key_id),
            None => keys.next().filter(|_| keys.next().is_none()),
        }
    }
}

impl Key {
    fn new(form: KeyForm) -> Option<Key> {
        let for_signatures = form.usage.as_deref().is_none_or(|usage| usage == "sig");
        let may_verify =
            form.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures || !may_verify {
            return None;
        }
        let (algorithm, names, key) = match (form.kty.as_str(), form.crv.as_deref()) {
            ("RSA", _) => (Algorithm::RS256, &["RS256"][..], rsa(&form)?),
            ("EC", Some("P-256")) => (Algorithm::ES256, &["ES256"][..], p256(&form)?),
            ("OKP", Some("Ed25519")) => {
                (Algorithm::EdDSA, &["EdDSA", "Ed25519"][..], ed25519(&form)?)
            }
            (_, _) => return None,
        };
        let alg_agrees = form.alg.as_deref().is_none_or(|alg| names.contains(&alg));
        alg_agrees.then_some(Key { id: form.kid, algorithm, key })
    }

    /// Whether `signature` (base64url) is this key's for `signed`.
    pub(super) fn verifies(&self, signed: &str, signature: &str) -> bool {
        let checked =
            jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, self.algorithm);
        matches!(checked, Ok(true))
    }
}

fn rsa(form: &KeyForm) -> Option<DecodingKey> {
    let (n, e) = (URL_SAFE_NO_PAD.decode(form.n.as_ref()?).ok()?, form.e.as_ref()?);
    let leading_zeros = n.iter().take_while(|byte| **byte == 0).count();
    let n = &n[leading_zeros..];
    if !RSA_MODULUS_BYTES.contains(&n.len()) {
        return None;
    }
    Some(DecodingKey::from_rsa_raw_components(n, &URL_SAFE_NO_PAD.decode(e).ok()?))
}

fn p256(form: &KeyForm) -> Option<DecodingKey> {
    let (x, y) = (form.x.as_ref()?, form.y.as_ref()?);
    let point = [vec![4], coordinate(x)?, coordinate(y)?].concat();
    p256::PublicKey::from_sec1_bytes(&point).ok()?;
    DecodingKey::from_ec_components(x, y).ok()
}

fn ed25519(form: &KeyForm) -> Option<DecodingKey> {
    let x = form.x.as_ref()?;
    coordinate(x)?;
    DecodingKey::from_ed_components(x).ok()
}

/// Both curves have coordinates of 32 bytes.
fn coordinate(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::auth::testing::{EC, ED, RSA, Signer};

    fn set(keys: &[Json]) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn with(mut jwk: Json, name: &str, member: Json) -> Json {
        jwk[name] = member;
        jwk
    }

    #[test]
    fn each_kind_verifies_its_own_signature_only() {
        for signer in [&*RSA, &*EC, &*ED] {
            let keys = set(&[signer.jwk("k")]);
            let signature = signer.sign("text");
            let key = keys.find(Some("k"), signer.algorithm()).unwrap();
            assert!(key.verifies("text", &signature));
            assert!(!key.verifies("texT", &signature));
            assert!(!key.verifies("text", ""));
            assert!(!key.verifies("text", "é"));
            assert!(!key.verifies("text", &signature[..signature.len() - 4]));
        }
        let other = Signer::ec();
        let keys = set(&[EC.jwk("k")]);
        let key = keys.find(Some("k"), Algorithm::ES256).unwrap();
        assert!(!key.verifies("text", &other.sign("text")));
    }

    #[test]
    fn keys_are_found_by_id_or_alone() {
        let keys = set(&[EC.jwk("a"), EC.jwk("b"), RSA.jwk("c")]);
        let check = |id: Option<&str>, algorithm, found: bool| {
            assert_eq!(keys.find(id, algorithm).is_some(), found, "{id:?} {algorithm:?}");
        };
        check(Some("a"), Algorithm::ES256, true);
        check(Some("a"), Algorithm::RS256, false);
        check(Some("c"), Algorithm::RS256, true);
        check(Some("x"), Algorithm::RS256, false);
        check(None, Algorithm::RS256, true);
        check(None, Algorithm::ES256, false);
        check(None, Algorithm::EdDSA, false);
        check(Some("c"), Algorithm::HS256, false);
    }

    #[test]
    fn keys_for_something_else_are_passed_over() {
        let short =
            json!({"kty":"RSA","kid":"k","n":URL_SAFE_NO_PAD.encode([255; 128]),"e":"AQAB"});
        let off_curve = with(EC.jwk("k"), "y", json!(URL_SAFE_NO_PAD.encode([7; 32])));
        let unusable = [
            json!({"kty":"oct","kid":"k","k":"c2VjcmV0"}),
            json!({"kid":"k"}),
            json!(7),
            json!({"kty":"EC","crv":"P-384","kid":"k","x":"AA","y":"AA"}),
            short,
            off_curve,
            with(EC.jwk("k"), "x", json!("AA")),
            with(ED.jwk("k"), "x", json!("AA")),
            with(EC.jwk("k"), "use", json!("enc")),
            with(EC.jwk("k"), "key_ops", json!(["sign"])),
            with(EC.jwk("k"), "alg", json!("ES384")),
            with(RSA.jwk("k"), "alg", json!("HS256")),
        ];
        for jwk in unusable {
            assert!(set(std::slice::from_ref(&jwk)).0.is_empty(), "{jwk}");
            assert_eq!(set(&[jwk, EC.jwk("k")]).0.len(), 1);
        }
        let marked = with(with(EC.jwk("k"), "use", json!("sig")), "key_ops", json!(["verify"]));
        assert_eq!(set(&[marked]).0.len(), 1);
        assert!(KeySet::parse(b"[]").is_err());
        assert!(KeySet::parse(b"{}").is_err());
        assert!(KeySet::parse(b"<html>").is_err());
    }
}
