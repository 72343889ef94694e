//! Tokens that look nearly right.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value as Json, json};

/// Variations of a good token: other algorithms, other claims, broken parts.
pub(super) fn tricks(token: &str, jwks: &Json) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("a token has three parts") };
    let read = |part: &str| -> Json {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let write = |part: &Json| URL_SAFE_NO_PAD.encode(part.to_string());
    let with = |name: &str, value: Json| {
        let mut changed = read(header);
        changed[name] = value;
        write(&changed)
    };
    let mut mallory = read(claims);
    mallory["sub"] = json!("mallory");
    // The public key as the secret of a shared one: what a careless verifier accepts.
    let public = EncodingKey::from_secret(jwks["keys"][0].to_string().as_bytes());
    let mut shared = Header::new(Algorithm::HS256);
    shared.kid = read(header)["kid"].as_str().map(str::to_owned);
    let by_public = jsonwebtoken::encode(&shared, &read(claims), &public).unwrap();
    let none = with("alg", json!("none"));
    vec![
        ("<alg-none>", format!("{none}.{claims}.")),
        ("<alg-none-signed>", format!("{none}.{claims}.{signature}")),
        ("<alg-None>", format!("{}.{claims}.", with("alg", json!("None")))),
        ("<alg-hs256>", by_public),
        ("<alg-rs256>", format!("{}.{claims}.{signature}", with("alg", json!("RS256")))),
        ("<alg-missing>", format!("{}.{claims}.{signature}", write(&json!({ "typ": "JWT" })))),
        ("<kid-other>", format!("{}.{claims}.{signature}", with("kid", json!("other")))),
        ("<claims-changed>", format!("{header}.{}.{signature}", write(&mallory))),
        ("<signature-cut>", format!("{header}.{claims}.{}", &signature[..signature.len() - 4])),
        ("<signature-gone>", format!("{header}.{claims}")),
        ("<four-parts>", format!("{token}.{signature}")),
    ]
}
