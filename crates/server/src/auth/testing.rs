//! Keys and tokens for the tests of this room.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Bytes;
use axum::http::{Response, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value as Json, json};

use super::fetch::{Fetch, FetchError};

/// A key pair that signs test tokens.
pub(crate) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// Only Ed25519: the library can not read it back from the private key.
    public: Option<Vec<u8>>,
}

/// An RSA pair made beforehand: making one takes long without optimisation.
pub(crate) static RSA: LazyLock<Signer> = LazyLock::new(|| {
    let pem = include_bytes!("../../vectors/test-rsa.pem");
    let key = EncodingKey::from_rsa_pem(pem).unwrap();
    Signer { algorithm: Algorithm::RS256, key, public: None }
});
pub(crate) static EC: LazyLock<Signer> = LazyLock::new(Signer::ec);
pub(crate) static ED: LazyLock<Signer> = LazyLock::new(Signer::ed);

impl Signer {
    pub(crate) fn ec() -> Signer {
        use p256::pkcs8::EncodePrivateKey as _;
        let secret = p256::SecretKey::from_slice(&random()).unwrap();
        let der = secret.to_pkcs8_der().unwrap();
        let key = EncodingKey::from_ec_der(der.as_bytes());
        Signer { algorithm: Algorithm::ES256, key, public: None }
    }

    pub(crate) fn ed() -> Signer {
        use ed25519_dalek::pkcs8::EncodePrivateKey as _;
        let secret = ed25519_dalek::SigningKey::from_bytes(&random());
        let key = EncodingKey::from_ed_der(secret.to_pkcs8_der().unwrap().as_bytes());
        let public = Some(secret.verifying_key().to_bytes().to_vec());
        Signer { algorithm: Algorithm::EdDSA, key, public }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key with this id.
    pub(crate) fn jwk(&self, id: &str) -> Json {
        let mut jwk = match &self.public {
            Some(x) => json!({"kty":"OKP","crv":"Ed25519","x":URL_SAFE_NO_PAD.encode(x)}),
            None => {
                let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
                serde_json::to_value(jwk.algorithm).unwrap()
            }
        };
        jwk["kid"] = json!(id);
        jwk
    }

    pub(crate) fn sign(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, self.algorithm).unwrap()
    }

    /// A token with `kid` "k" and the algorithm of the key.
    pub(crate) fn token(&self, claims: &Json) -> String {
        let header = json!({"alg":format!("{:?}", self.algorithm),"kid":"k","typ":"JWT"});
        self.token_with(&header, claims)
    }

    pub(crate) fn token_with(&self, header: &Json, claims: &Json) -> String {
        let signed = unsigned(header, claims);
        format!("{signed}.{}", self.sign(&signed))
    }
}

/// `header.claims` in base64url.
pub(crate) fn unsigned(header: &Json, claims: &Json) -> String {
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A network of documents that tests change as they like.
#[derive(Default)]
pub(crate) struct FakeFetch(Mutex<FakeState>);

#[derive(Default)]
struct FakeState {
    answers: HashMap<String, Fake>,
    calls: Vec<String>,
}

/// What a fake provider does.
#[derive(Clone)]
pub(crate) enum Fake {
    Answer(u16, Vec<(&'static str, &'static str)>, Vec<u8>),
    Fail(FetchError),
    Hang,
}

impl Fake {
    pub(crate) fn json(json: &Json) -> Fake {
        Fake::with("content-type", "application/json", json)
    }

    pub(crate) fn cached(control: &'static str, json: &Json) -> Fake {
        let headers = vec![("content-type", "application/json"), ("cache-control", control)];
        Fake::Answer(200, headers, json.to_string().into_bytes())
    }

    pub(crate) fn with(name: &'static str, value: &'static str, json: &Json) -> Fake {
        Fake::Answer(200, vec![(name, value)], json.to_string().into_bytes())
    }

    pub(crate) fn status(status: u16) -> Fake {
        Fake::Answer(status, vec![("content-type", "application/json")], b"{}".to_vec())
    }
}

impl FakeFetch {
    pub(crate) fn new() -> Arc<FakeFetch> {
        Arc::default()
    }

    pub(crate) fn set(&self, url: &str, answer: Fake) {
        self.0.lock().unwrap().answers.insert(url.to_owned(), answer);
    }

    /// The URLs asked for since the last call.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }
}

impl Fetch for FakeFetch {
    fn get(&self, url: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>> {
        let url = url.to_string();
        let mut state = self.0.lock().unwrap();
        state.calls.push(url.clone());
        match state.answers.get(&url).cloned() {
            None => future::ready(Err(FetchError::Unreachable("nobody there".into()))).boxed(),
            Some(Fake::Fail(error)) => future::ready(Err(error)).boxed(),
            Some(Fake::Hang) => future::pending().boxed(),
            Some(Fake::Answer(status, headers, body)) => {
                let builder = headers
                    .iter()
                    .fold(Response::builder().status(status), |all, (name, value)| {
                        all.header(*name, *value)
                    });
                // One turn of the scheduler, so that callers can meet in one fetch.
                async move {
                    tokio::task::yield_now().await;
                    Ok(builder.body(Bytes::from(body)).unwrap())
                }
                .boxed()
            }
        }
    }
}
