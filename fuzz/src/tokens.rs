//! Tokens of users, keys of administrators, and the documents of auth providers.
//!
//! The first byte says what the rest is. Whatever a stranger makes of it, nobody is let in by it;
//! what we sign or seal ourselves may say anything, and only becomes an identity.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::{Response, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use functions::instance::{InstanceSecret, Purpose};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value as Json, json};
use server::auth::{
    Admin, Authenticator, Credential, Fetch, FetchError, Holder, Principal, TOKEN_BYTES_MAX, User,
    Verifier, VerifierOptions, admin_key, parse_config,
};
use tokio::runtime::Runtime;
use value::Timestamp;

const INSTANCE: &str = "fuzz";
const ISSUER: &str = "https://issuer.example";
const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);
/// A pair of P-256 for tests only, made for this file.
const PRIVATE_PEM: &[u8] = include_bytes!("../keys/test-ec.pem");

struct World {
    runtime: Runtime,
    key: EncodingKey,
    secret: InstanceSecret,
    authenticator: Authenticator,
    /// A token and a key that are good.
    token: String,
    admin_key: String,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// The first byte chooses what the rest is.
pub fn tokens(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match mode {
        b't' => stranger(&text),
        b'p' => parts(&text),
        b's' => signed(&text),
        b'c' => changed(rest),
        b'k' => admin(&text),
        b'K' => sealed_admin(rest),
        b'a' => acting_as(&text),
        b'g' => config(&text),
        b'd' => documents(&text),
        b'j' => inline_keys(&text),
        _ => {}
    }
}

/// A text as a token and as a key.
fn stranger(text: &str) {
    if text == WORLD.token {
        return;
    }
    let error = WORLD.verify(text).expect_err("nobody is let in by a made-up token");
    assert!(!error.code().is_empty());
    // Errors never repeat what may be a secret.
    assert!(text.len() < 16 || !format!("{error:?}").contains(text));
}

/// Header, claims and signature on lines of their own, put together as a token.
fn parts(text: &str) {
    let mut lines = text.split('\n');
    let mut part = || URL_SAFE_NO_PAD.encode(lines.next().unwrap_or_default());
    let (header, claims, signature) = (part(), part(), part());
    stranger(&format!("{header}.{claims}.{signature}"));
}

/// Header and claims that our provider did sign: a user if they are right, and then the one they say.
fn signed(text: &str) {
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"ES256"}"#, text));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{signed}.{}", WORLD.sign(&signed));
    let Ok(user) = WORLD.verify(&token) else { return };
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert!(user.valid_until > NOW);
    let header: Json = serde_json::from_str(header).expect("a header is JSON");
    assert_eq!(header["alg"], "ES256");
    assert!(header.get("crit").is_none());
    let claims: Json = serde_json::from_str(claims).expect("claims are JSON");
    assert_eq!(claims["iss"].as_str().map(|iss| iss.trim_end_matches('/')), Some(ISSUER));
    assert_eq!(claims["sub"].as_str(), Some(&*user.identity.subject));
    assert!(claims["exp"].as_f64() > Some(NOW.0 as f64 / 1e9 - 6.0));
    identity(&user);
}

fn identity(user: &User) {
    let value = user.identity.to_value();
    let object = value.as_object().expect("an identity is an object");
    let subject = object.get("subject").and_then(value::Value::as_str);
    assert_eq!(subject, Some(&*user.identity.subject));
    assert!(object.get("tokenIdentifier").is_some() && object.get("issuer").is_some());
    value::limits::check_value(&value).expect("an identity is a value");
}

/// A good token and a good key with one byte changed, or cut.
fn changed(data: &[u8]) {
    let [at @ .., byte] = data else { return };
    let at = at.iter().fold(0_usize, |at, byte| at.wrapping_mul(256) + usize::from(*byte));
    let token = spoilt(&WORLD.token, at, *byte);
    if token != WORLD.token {
        assert!(WORLD.verify(&token).is_err(), "{token}");
    }
    let key = spoilt(&WORLD.admin_key, at, *byte);
    // The word before a colon is for people.
    if key != WORLD.admin_key && !key.contains(':') {
        assert!(WORLD.open(&key).is_err(), "{key}");
    }
}

fn spoilt(text: &str, at: usize, byte: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    if byte == 0 {
        bytes.truncate(at);
    } else {
        bytes[at] = byte;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn admin(text: &str) {
    let ours = WORLD.admin_key.rsplit('|').next().expect("a key has a last part");
    if !text.ends_with(ours) {
        let error = WORLD.open(text).expect_err("a made-up key");
        assert_eq!(error.code(), "BadAdminKey");
    }
}

/// Any content under our seal.
fn sealed_admin(content: &[u8]) {
    let sealed = WORLD.secret.seal(Purpose::AdminKey, [3; 12], content);
    let Ok(admin) = WORLD.open(&format!("{INSTANCE}|{sealed}")) else { return };
    let key = admin_key::issue(&WORLD.secret, INSTANCE, &admin, [4; 12]);
    assert_eq!(WORLD.open(&key).as_ref(), Ok(&admin));
    assert!(WORLD.open(&format!("other|{sealed}")).is_err());
    let other = admin_key::open(&InstanceSecret::new([8; 32]), INSTANCE, &key);
    assert!(other.is_err(), "a key of another secret");
}

/// Attributes of a user as whom an administrator acts.
fn acting_as(text: &str) {
    let Ok(Json::Object(attributes)) = serde_json::from_str(text) else { return };
    let key = WORLD.admin_key.clone();
    let credential = Credential::Admin { key, acting_as: Some(attributes) };
    let principal = WORLD.runtime.block_on(WORLD.authenticator.authenticate(&credential, NOW));
    let Ok(Principal::Admin { acting_as, .. }) = principal else { return };
    let user = acting_as.expect("who acts as a user has one");
    assert!(!user.token_identifier.is_empty() || text.contains("okenIdentifier"));
    let _ = user.to_value();
}

/// An auth config; a token is then verified by it, without any network.
fn config(text: &str) {
    let Ok(tree) = serde_json::from_str::<Json>(text) else { return };
    let Ok(providers) = parse_config(&tree) else { return };
    for provider in &providers {
        let url = provider.issuer().discovery_url();
        assert!(url.starts_with("https://") || url.starts_with("http://"));
    }
    let verifier = Verifier::new(providers, Arc::new(Answers(Vec::new())), options());
    let _ = WORLD.runtime.block_on(verifier.verify(&WORLD.token, NOW));
}

/// What a provider publishes, one document a line: discovery first, then keys.
fn documents(text: &str) {
    let config = json!({"providers": [{"domain": ISSUER, "applicationID": "app"}]});
    let providers = parse_config(&config).expect("a good config");
    let answers = text.split('\n').map(|line| Bytes::copy_from_slice(line.as_bytes())).collect();
    let verifier = Verifier::new(providers, Arc::new(Answers(answers)), options());
    let _ = WORLD.runtime.block_on(verifier.verify(&WORLD.oidc_token(), NOW));
}

/// A key set inside the auth config, and a token of every algorithm.
fn inline_keys(text: &str) {
    for algorithm in ["RS256", "ES256"] {
        let config = json!({"providers": [{"type": "customJwt", "issuer": ISSUER,
            "algorithm": algorithm, "jwks": format!("data:{text}")}]});
        let providers = parse_config(&config).expect("a good config");
        let verifier = Verifier::new(providers, Arc::new(Answers(Vec::new())), options());
        let header = json!({"alg": algorithm, "kid": "k"});
        let token = WORLD.token_with(&header.to_string(), &claims());
        let _ = WORLD.runtime.block_on(verifier.verify(&token, NOW));
    }
}

/// Answers with one document after another: the one for keys is the last.
struct Answers(Vec<Bytes>);

type Answer = Pin<Box<dyn Future<Output = Result<Response<Bytes>, FetchError>> + Send>>;

impl Fetch for Answers {
    fn get(&self, url: Uri) -> Answer {
        let is_discovery = url.path().ends_with("/openid-configuration");
        let found = if is_discovery { self.0.first() } else { self.0.last() };
        let answer = found.cloned().ok_or(FetchError::Timeout).map(|body| {
            let response = Response::builder().header("content-type", "application/json");
            response.body(body).expect("a good response")
        });
        Box::pin(async move { answer })
    }
}

fn options() -> VerifierOptions {
    VerifierOptions { redact: true }
}

fn claims() -> String {
    json!({"iss": ISSUER, "sub": "ann", "aud": "app", "exp": NOW.0 / 1_000_000_000 + 60})
        .to_string()
}

impl World {
    fn new() -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let key = EncodingKey::from_ec_pem(PRIVATE_PEM).expect("a good key");
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("it has a public half");
        let mut jwk = serde_json::to_value(jwk.algorithm).expect("a key set is JSON");
        jwk["kid"] = json!("k");
        let config = json!({"providers": [{"type": "customJwt", "issuer": ISSUER,
            "algorithm": "ES256", "jwks": format!("data:,{}", json!({"keys": [jwk]}))}]});
        let providers = parse_config(&config).expect("a good config");
        let verifier = Verifier::new(providers, Arc::new(Answers(Vec::new())), options());
        let secret = InstanceSecret::new([7; 32]);
        let authenticator = Authenticator::new(secret.clone(), INSTANCE, verifier);
        let admin = Admin { holder: Holder::Member(5), issued_s: 9, is_read_only: false };
        let admin_key = admin_key::issue(&secret, INSTANCE, &admin, [1; 12]);
        let token = String::new();
        let mut world = World { runtime, key, secret, authenticator, token, admin_key };
        world.token = world.token_with(r#"{"alg":"ES256","kid":"k"}"#, &claims());
        assert!(world.verify(&world.token).is_ok() && world.open(&world.admin_key).is_ok());
        world
    }

    fn sign(&self, text: &str) -> String {
        jsonwebtoken::crypto::sign(text.as_bytes(), &self.key, Algorithm::ES256)
            .expect("the key signs everything")
    }

    fn token_with(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", self.sign(&signed))
    }

    /// Signed by nobody the provider knows, with the algorithm it must have.
    fn oidc_token(&self) -> String {
        self.token_with(r#"{"alg":"RS256","kid":"k"}"#, &claims())
    }

    fn verify(&self, token: &str) -> Result<User, server::auth::AuthError> {
        self.runtime.block_on(self.authenticator.verifier.verify(token, NOW))
    }

    fn open(&self, key: &str) -> Result<Admin, server::auth::AuthError> {
        admin_key::open(&self.secret, INSTANCE, key)
    }
}
