use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto};
use serde_json::{Value as Json, json};

use super::*;
use crate::auth::provider::parse_config;
use crate::auth::testing::{EC, ED, Fake, FakeFetch, RSA, Signer, unsigned};

const ISSUER: &str = "https://issuer.example";
const DISCOVERY: &str = "https://issuer.example/.well-known/openid-configuration";
const JWKS: &str = "https://issuer.example/jwks.json";
const NOW_S: u64 = 1_800_000_000;

fn now() -> Timestamp {
    at(NOW_S)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

fn key_set(keys: &[Json]) -> Json {
    json!({ "keys": keys })
}

fn claims() -> Json {
    json!({"iss":ISSUER,"sub":"alice","aud":"convex","iat":NOW_S,"exp":NOW_S + 3600,"name":"Alice"})
}

fn with(name: &str, claim: Json) -> Json {
    let mut claims = claims();
    claims[name] = claim;
    claims
}

fn without(name: &str) -> Json {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn verifier(config: Json, fetch: &Arc<FakeFetch>) -> Verifier {
    let providers = parse_config(&json!({ "providers": [config] })).unwrap();
    Verifier::new(providers, fetch.clone(), VerifierOptions::default())
}

fn custom(algorithm: &str) -> Json {
    json!({"type":"customJwt","issuer":ISSUER,"jwks":JWKS,"algorithm":algorithm,
        "applicationID":"convex"})
}

/// A custom provider whose key set at a URL holds the keys of all three kinds.
fn custom_verifier(algorithm: &str) -> (Verifier, Arc<FakeFetch>) {
    let fetch = FakeFetch::new();
    fetch.set(JWKS, Fake::json(&key_set(&[EC.jwk("k"), RSA.jwk("k"), ED.jwk("k")])));
    (verifier(custom(algorithm), &fetch), fetch)
}

fn oidc_verifier() -> (Verifier, Arc<FakeFetch>) {
    let fetch = FakeFetch::new();
    fetch.set(DISCOVERY, Fake::json(&json!({"issuer":ISSUER,"jwks_uri":JWKS,"x":1})));
    fetch.set(JWKS, Fake::json(&key_set(&[EC.jwk("k"), RSA.jwk("k"), ED.jwk("k")])));
    (verifier(json!({"domain":ISSUER,"applicationID":"convex"}), &fetch), fetch)
}

async fn code(verifier: &Verifier, token: &str) -> &'static str {
    match verifier.verify(token, now()).await {
        Ok(_) => "accepted",
        Err(error) => {
            assert!(error.is_unavailable() || error.status() == 401);
            assert!(!error.to_string().contains(token) || token.is_empty(), "{error}");
            error.code()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn algorithms_by_kind_of_provider() {
    for (signer, name) in [(&*RSA, "RS256"), (&*EC, "ES256"), (&*ED, "EdDSA")] {
        let token = signer.token(&claims());
        let accepted = |yes: bool, code| if yes { "accepted" } else { code };
        let custom = |algorithm: &str| accepted(algorithm == name, "InvalidAuthHeader");
        assert_eq!(code(&custom_verifier("RS256").0, &token).await, custom("RS256"), "{name}");
        assert_eq!(code(&custom_verifier("ES256").0, &token).await, custom("ES256"), "{name}");
        let oidc = accepted(name != "ES256", "Unauthenticated");
        assert_eq!(code(&oidc_verifier().0, &token).await, oidc, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn identities_of_both_kinds() {
    let all = with("given_name", json!("A"));
    let (oidc, _) = oidc_verifier();
    let user = oidc.verify(&RSA.token(&all), now()).await.unwrap();
    assert_eq!(user.identity.token_identifier, "https://issuer.example|alice");
    assert_eq!(user.identity.claims["givenName"], "A");
    assert_eq!(user.valid_until, at(NOW_S + 3605));
    let (custom, _) = custom_verifier("RS256");
    let user = custom.verify(&RSA.token(&all), now()).await.unwrap();
    assert_eq!(user.identity.claims["given_name"], "A");
}

#[tokio::test(start_paused = true)]
async fn hostile_tokens() {
    let (verifier, network) = custom_verifier("RS256");
    let check = async |token: &str| {
        assert_eq!(code(&verifier, token).await, "InvalidAuthHeader", "{token}");
    };
    let public = serde_json::to_vec(&RSA.jwk("k")).unwrap();
    for algorithm in ["none", "None", "NONE", "", "rs256", "RS512", "PS256"] {
        let header = json!({"alg":algorithm,"kid":"k"});
        check(&format!("{}.", unsigned(&header, &claims()))).await;
        check(&RSA.token_with(&header, &claims())).await;
    }
    // The public key as the secret of an HMAC.
    let signed = unsigned(&json!({"alg":"HS256","kid":"k"}), &claims());
    let modulus = URL_SAFE_NO_PAD.decode(RSA.jwk("k")["n"].as_str().unwrap()).unwrap();
    for secret in [public, modulus] {
        let secret = EncodingKey::from_secret(&secret);
        let mac = crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256).unwrap();
        check(&format!("{signed}.{mac}")).await;
    }
    // A key that the token brings along.
    let own = Signer::ec();
    let header = json!({"alg":"RS256","kid":"k","jwk":own.jwk("k"),"jku":"https://evil.example/k"});
    check(&own.token_with(&header, &claims())).await;
    // Where its keys are said to be: nobody looks there, and the good signature counts.
    for (name, member) in [
        ("jku", json!("https://evil.example/k")),
        ("x5u", json!("https://evil.example/k")),
        ("jwk", own.jwk("k")),
        ("x5c", json!(["AAAA"])),
        ("x5t", json!("AAAA")),
    ] {
        let mut header = json!({"alg":"RS256","kid":"k"});
        header[name] = member;
        assert_eq!(code(&verifier, &RSA.token_with(&header, &claims())).await, "accepted");
        check(&own.token_with(&header, &claims())).await;
    }
    check(&RSA.token_with(&json!({"alg":"RS256","kid":"k","crit":["exp"]}), &claims())).await;
    check(&RSA.token_with(&json!({"alg":"RS256","kid":"k","crit":[]}), &claims())).await;
    check(&RSA.token_with(&json!({"alg":["RS256"],"kid":"k"}), &claims())).await;
    // A kid of a key of another kind, and the algorithm of that key.
    for (signer, algorithm) in [(&*EC, "RS256"), (&*EC, "ES256"), (&*RSA, "ES256")] {
        let header = json!({"alg":algorithm,"kid":"k"});
        check(&signer.token_with(&header, &claims())).await;
    }
    assert_eq!(network.calls(), [JWKS]);
    // A good signature under other claims.
    let good = RSA.token(&claims());
    let (_, signature) = good.rsplit_once('.').unwrap();
    let header = json!({"alg":"RS256","kid":"k","typ":"JWT"});
    check(&format!("{}.{signature}", unsigned(&header, &with("sub", json!("bob"))))).await;
    check(&format!("{good}x")).await;
    check(&format!("{good}=")).await;
    check(&good[..good.len() - 1]).await;
    check("").await;
    check(&"a".repeat(1 << 20)).await;
}

#[tokio::test(start_paused = true)]
async fn claims_are_checked() {
    let (custom, fetch) = custom_verifier("ES256");
    let check = async |claims: Json, expected: &str| {
        assert_eq!(code(&custom, &EC.token(&claims)).await, expected, "{claims}");
    };
    check(claims(), "accepted").await;
    check(with("exp", json!(NOW_S - 4)), "accepted").await;
    check(with("exp", json!(NOW_S - 5)), "InvalidAuthHeader").await;
    check(with("exp", json!(0)), "InvalidAuthHeader").await;
    check(with("exp", json!("4000000000")), "InvalidAuthHeader").await;
    check(without("exp"), "InvalidAuthHeader").await;
    check(without("sub"), "InvalidAuthHeader").await;
    check(without("iss"), "InvalidAuthHeader").await;
    check(with("nbf", json!(NOW_S + 5)), "accepted").await;
    check(with("nbf", json!(NOW_S + 6)), "InvalidAuthHeader").await;
    check(with("aud", json!(["other", "convex"])), "accepted").await;
    check(with("aud", json!("other")), "NoAuthProvider").await;
    check(with("aud", json!("convex2")), "NoAuthProvider").await;
    check(without("aud"), "NoAuthProvider").await;
    check(with("iss", json!("https://issuer.example/")), "accepted").await;
    check(with("iss", json!("issuer.example")), "accepted").await;
    check(with("iss", json!("http://issuer.example")), "NoAuthProvider").await;
    check(with("iss", json!("https://issuer.example.evil")), "NoAuthProvider").await;
    // Only the first token needed the network.
    assert_eq!(fetch.calls(), [JWKS]);
    let (oidc, _) = oidc_verifier();
    let expired = with("exp", json!(NOW_S - 5));
    assert_eq!(code(&oidc, &RSA.token(&expired)).await, "Unauthenticated");
    let other_form = with("iss", json!("https://issuer.example/"));
    assert_eq!(code(&oidc, &RSA.token(&other_form)).await, "Unauthenticated");
}

#[tokio::test(start_paused = true)]
async fn refusals_name_the_providers_unless_redacted() {
    let fetch = FakeFetch::new();
    let stranger = RSA.token(&with("iss", json!("https://other.example")));
    let open = verifier(custom("RS256"), &fetch);
    let message = open.verify(&stranger, now()).await.unwrap_err().to_string();
    assert!(message.ends_with(r#"configured: [https://issuer.example for "convex"]"#), "{message}");
    let providers = parse_config(&json!({ "providers": [custom("RS256")] })).unwrap();
    let redacting = Verifier::new(providers, fetch, VerifierOptions { redact: true });
    let message = redacting.verify(&stranger, now()).await.unwrap_err().to_string();
    assert_eq!(message, "no auth provider has the issuer and audience of the token");
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_answered_is_hidden_if_texts_are_redacted() {
    for redact in [false, true] {
        for (kind, broken) in [("oidc", DISCOVERY), ("oidc", JWKS), ("customJwt", JWKS)] {
            let fetch = FakeFetch::new();
            fetch.set(DISCOVERY, Fake::json(&json!({"issuer":ISSUER,"jwks_uri":JWKS})));
            fetch.set(broken, Fake::Fail(FetchError::Unreachable("10.0.0.7 refused".into())));
            let oidc = json!({"domain":ISSUER,"applicationID":"convex"});
            let config = if kind == "oidc" { oidc } else { custom("RS256") };
            let providers = parse_config(&json!({ "providers": [config] })).unwrap();
            let verifier = Verifier::new(providers, fetch, VerifierOptions { redact });
            let error = verifier.verify(&RSA.token(&claims()), now()).await.unwrap_err();
            let message = error.to_string();
            assert_eq!(message.contains("10.0.0.7"), !redact, "{message}");
            assert!(message.contains(broken), "{message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_chosen_by_id() {
    let fetch = FakeFetch::new();
    let other = Signer::ec();
    fetch.set(JWKS, Fake::json(&key_set(&[other.jwk("a"), EC.jwk("b")])));
    let verifier = verifier(custom("ES256"), &fetch);
    let check = async |header: Json, expected: &str| {
        let token = EC.token_with(&header, &claims());
        assert_eq!(code(&verifier, &token).await, expected, "{header}");
    };
    check(json!({"alg":"ES256","kid":"b"}), "accepted").await;
    check(json!({"alg":"ES256","kid":"a"}), "InvalidAuthHeader").await;
    check(json!({"alg":"ES256","kid":"c"}), "InvalidAuthHeader").await;
    check(json!({"alg":"ES256"}), "InvalidAuthHeader").await;
    fetch.set(JWKS, Fake::json(&key_set(&[EC.jwk("b")])));
    verifier.key_sets.renewed(JWKS, at(NOW_S + 10)).await.unwrap();
    check(json!({"alg":"ES256"}), "accepted").await;
}

#[tokio::test(start_paused = true)]
async fn keys_in_the_config_itself() {
    let fetch = FakeFetch::new();
    let set = key_set(&[EC.jwk("k")]).to_string();
    for jwks in [
        format!("data:text/plain;charset=utf-8;base64,{}", STANDARD.encode(&set)),
        format!("data:application/json;base64,{}", STANDARD.encode(&set)),
        format!("data:application/json,{}", set.replace('%', "%25")),
    ] {
        let mut config = custom("ES256");
        config["jwks"] = json!(jwks);
        let verifier = verifier(config, &fetch);
        assert_eq!(code(&verifier, &EC.token(&claims())).await, "accepted");
        assert_eq!(code(&verifier, &Signer::ec().token(&claims())).await, "InvalidAuthHeader");
    }
    let mut config = custom("ES256");
    config["jwks"] = json!("data:,not%20json");
    let broken = verifier(config, &fetch);
    assert_eq!(code(&broken, &EC.token(&claims())).await, "InvalidAuthHeader");
    assert!(fetch.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_before_the_old_set_is_stale() {
    let fetch = FakeFetch::new();
    fetch.set(JWKS, Fake::cached("max-age=3600", &key_set(&[EC.jwk("old")])));
    let verifier = verifier(custom("ES256"), &fetch);
    let header = |id: &str| json!({"alg":"ES256","kid":id});
    assert_eq!(code(&verifier, &EC.token_with(&header("old"), &claims())).await, "accepted");
    let new = Signer::ec();
    fetch.set(JWKS, Fake::cached("max-age=3600", &key_set(&[new.jwk("new")])));
    let token = new.token_with(&header("new"), &claims());
    assert!(verifier.verify(&token, at(NOW_S + 10)).await.is_ok());
    assert_eq!(fetch.calls().len(), 2);
    // Tokens with made-up key ids do not hammer the provider.
    for id in 0..100 {
        let token = new.token_with(&header(&format!("evil{id}")), &claims());
        assert!(verifier.verify(&token, at(NOW_S + 11)).await.is_err());
    }
    assert!(fetch.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_a_refusal() {
    let check = async |broken: &str, answer: Fake, status: u16| {
        let (oidc, fetch) = oidc_verifier();
        fetch.set(broken, answer);
        let error = oidc.verify(&RSA.token(&claims()), now()).await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert_eq!((error.code(), error.status()), ("AuthProviderDiscoveryFailed", status));
    };
    for status in [401, 403, 404, 421, 425, 429] {
        check(DISCOVERY, Fake::status(status), status).await;
    }
    for status in [302, 400, 402, 410, 418] {
        check(DISCOVERY, Fake::status(status), 400).await;
    }
    for status in [500, 502, 503, 599] {
        check(DISCOVERY, Fake::status(status), 503).await;
    }
    check(DISCOVERY, Fake::Fail(FetchError::Unreachable("dns".into())), 400).await;
    check(DISCOVERY, Fake::Hang, 400).await;
    check(DISCOVERY, Fake::json(&json!({"issuer":ISSUER})), 400).await;
    check(DISCOVERY, Fake::with("content-type", "text/html", &json!({})), 400).await;
    let plain = json!({"issuer":ISSUER,"jwks_uri":"http://issuer.example/jwks.json"});
    check(DISCOVERY, Fake::json(&plain), 400).await;
    check(JWKS, Fake::status(500), 503).await;
    check(JWKS, Fake::Hang, 503).await;
    check(JWKS, Fake::json(&json!([])), 503).await;
    let (custom, fetch) = custom_verifier("RS256");
    fetch.set(JWKS, Fake::status(404));
    let error = custom.verify(&RSA.token(&claims()), now()).await.unwrap_err();
    assert!(error.is_unavailable());
}

#[tokio::test(start_paused = true)]
async fn users_stay_in_through_an_outage() {
    let (oidc, fetch) = oidc_verifier();
    let long = with("exp", json!(NOW_S + 100_000));
    oidc.verify(&RSA.token(&long), now()).await.unwrap();
    fetch.set(DISCOVERY, Fake::Hang);
    fetch.set(JWKS, Fake::status(502));
    assert!(oidc.verify(&RSA.token(&long), at(NOW_S + 3000)).await.is_ok());
    // A key that is not in the stale set may be a new one: not refused, not accepted.
    let renamed = RSA.token_with(&json!({"alg":"RS256","kid":"new"}), &long);
    let error = oidc.verify(&renamed, at(NOW_S + 3000)).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let error = oidc.verify(&renamed, at(NOW_S + 90_000)).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_discovery_document_of_another_issuer_is_refused() {
    let (oidc, fetch) = oidc_verifier();
    fetch.set(DISCOVERY, Fake::json(&json!({"issuer":"https://evil.example","jwks_uri":JWKS})));
    let error = oidc.verify(&RSA.token(&claims()), now()).await.unwrap_err();
    assert!(!error.is_unavailable(), "no waiting heals this");
    assert_eq!((error.code(), error.status()), ("AuthProviderDiscoveryFailed", 400));
    let expected = "auth provider discovery failed for \
        https://issuer.example/.well-known/openid-configuration: it is the document of another issuer";
    assert_eq!(error.to_string(), expected);
    // Only the slash at the end is different: that is the token's fault.
    let with_slash = format!("{ISSUER}/");
    let (oidc, fetch) = oidc_verifier();
    fetch.set(DISCOVERY, Fake::json(&json!({"issuer":with_slash,"jwks_uri":JWKS})));
    assert_eq!(code(&oidc, &RSA.token(&claims())).await, "Unauthenticated");
    assert_eq!(code(&oidc, &RSA.token(&with("iss", json!(with_slash)))).await, "accepted");
}

#[tokio::test(start_paused = true)]
async fn other_providers_take_effect_at_once() {
    let (verifier, _) = custom_verifier("RS256");
    assert_eq!(code(&verifier, &RSA.token(&claims())).await, "accepted");
    verifier.set_providers(Vec::new());
    assert_eq!(code(&verifier, &RSA.token(&claims())).await, "NoAuthProvider");
}

#[test]
fn an_identity_ends_with_its_token() {
    let identity = Arc::new(UserIdentity::new("i", "s", Default::default()));
    let user = User { identity, valid_until: at(100) };
    assert_eq!(user.check(at(99)), Ok(()));
    let error = user.check(at(100)).unwrap_err();
    assert_eq!((error.code(), error.status()), ("TokenExpired", 401));
    assert_eq!(error.to_string(), "Convex token identity expired");
}
