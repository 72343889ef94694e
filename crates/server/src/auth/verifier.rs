//! Whether a token is good: provider, keys, signature, time.
//!
//!     token ──► provider (issuer, audience) ──► keys (data URI | URL | discovery) ──► signature
//!                                                  └── not to be had: Unavailable
//!
//! Everything that needs no network is checked before the network is asked.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use functions::UserIdentity;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use value::Timestamp;

use super::data_uri;
use super::documents::Documents;
use super::error::{AuthCode, AuthError};
use super::fetch::{Fetch, FetchError};
use super::identity;
use super::jwt::Token;
use super::keys::KeySet;
use super::provider::{Issuer, Provider, is_web_url};

/// How far clocks may be apart. Source: spec/engine.md 16.1.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// A user whose token has been verified.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Who it is.
    pub identity: Arc<UserIdentity>,
    /// `exp` and the leeway: from then on the identity is no longer good.
    pub valid_until: Timestamp,
}

impl User {
    /// Refuses an identity whose token has expired. Called at each use; source:
    /// spec/sync-protocol.md 8.2. Errors: `TokenExpired`.
    pub fn check(&self, now: Timestamp) -> Result<(), AuthError> {
        if now < self.valid_until {
            return Ok(());
        }
        Err(AuthError::rejected(AuthCode::TokenExpired, "Convex token identity expired"))
    }
}

/// Verifies tokens by the providers of the auth config, and keeps their keys.
pub struct Verifier {
    providers: RwLock<Arc<Vec<Provider>>>,
    discoveries: Documents<Discovery>,
    key_sets: Documents<KeySet>,
    options: VerifierOptions,
}

/// What a verifier tells and takes.
#[derive(Clone, Debug, Default)]
pub struct VerifierOptions {
    /// Do not name the configured providers in refusals, nor what their servers answered.
    pub redact: bool,
}

/// What is read of a discovery document.
#[derive(Debug, Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Verifier {
    /// Verifies by `providers`; their documents come through `fetch`.
    pub fn new(
        providers: Vec<Provider>,
        fetch: Arc<dyn Fetch>,
        options: VerifierOptions,
    ) -> Verifier {
        Verifier {
            providers: RwLock::new(Arc::new(providers)),
            discoveries: Documents::new(fetch.clone(), parse_discovery),
            key_sets: Documents::new(fetch, KeySet::parse),
            options,
        }
    }

    /// Takes other providers from now on. Users who are in stay in until their tokens expire.
    pub fn set_providers(&self, providers: Vec<Provider>) {
        *self.providers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(providers);
    }

    /// The user of `token` at `now`.
    ///
    /// Errors: `NoAuthProvider`, `InvalidAuthHeader`, `Unauthenticated`; `Unavailable` when the
    /// provider's keys can not be had. May wait for the network, within named limits.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<User, AuthError> {
        let token = Token::parse(token)?;
        let provider = self.provider_of(&token)?;
        let refuse = |what: &str| Err(AuthError::rejected(refusal_code(&provider), what));
        let accepted = match &provider {
            Provider::Oidc { .. } => &[Algorithm::RS256, Algorithm::EdDSA][..],
            Provider::CustomJwt { algorithm, .. } => std::slice::from_ref(algorithm),
        };
        let mut accepted = accepted.iter();
        let Some(algorithm) = accepted.find(|one| format!("{one:?}") == token.algorithm) else {
            return refuse("token is signed with an algorithm that is not accepted");
        };
        let valid_until = later(token.claims.expires, LEEWAY);
        if now >= valid_until {
            return refuse("token has expired");
        }
        if later(now, LEEWAY) < token.claims.not_before {
            return refuse("token is not valid yet");
        }
        if !self.signature_is_good(&provider, &token, *algorithm, now).await? {
            return refuse("token is not signed by a key of its provider");
        }
        let identity = match &provider {
            Provider::Oidc { .. } => Some(identity::of_oidc(&token.claims)),
            Provider::CustomJwt { .. } => identity::of_custom(&token.claims),
        };
        let Some(identity) = identity else {
            return refuse("token has claims whose flattened names are too long");
        };
        Ok(User { identity: Arc::new(identity), valid_until })
    }

    fn provider_of(&self, token: &Token<'_>) -> Result<Provider, AuthError> {
        let providers = self.providers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let issuer = Issuer::of_token(&token.claims.issuer);
        let own = providers.iter().find(|one| one.matches(&issuer, &token.claims.audience));
        own.cloned().ok_or_else(|| {
            let mut message =
                "no auth provider has the issuer and audience of the token".to_owned();
            if !self.options.redact {
                let names: Vec<String> = providers.iter().map(describe).collect();
                message.push_str(&format!("; configured: [{}]", names.join(", ")));
            }
            AuthError::rejected(AuthCode::NoAuthProvider, message)
        })
    }

    async fn signature_is_good(
        &self,
        provider: &Provider,
        token: &Token<'_>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<bool, AuthError> {
        let verified = |keys: &KeySet| {
            let key = keys.find(token.key_id.as_deref(), algorithm)?;
            Some(key.verifies(token.signed, token.signature))
        };
        let url = match provider {
            Provider::CustomJwt { jwks, .. } => match inline_keys(jwks) {
                Some(keys) => return Ok(verified(&keys?).unwrap_or(false)),
                None => jwks.clone(),
            },
            Provider::Oidc { domain, .. } => {
                self.discovered(domain, &token.claims.issuer, now).await?
            }
        };
        let unavailable = |error: FetchError| AuthError::Unavailable {
            status: 503,
            message: self.cannot("could not fetch the keys of an auth provider from", &url, &error),
        };
        let keys = self.key_sets.get(&url, now).await.map_err(unavailable)?;
        if let Some(answer) = verified(&keys) {
            return Ok(answer);
        }
        // A provider signs with a new key before our copy of its keys is stale.
        let keys = self.key_sets.renewed(&url, now).await.map_err(unavailable)?;
        Ok(verified(&keys).unwrap_or(false))
    }

    /// Where the keys of an OIDC issuer are.
    async fn discovered(
        &self,
        domain: &Issuer,
        token_issuer: &str,
        now: Timestamp,
    ) -> Result<String, AuthError> {
        let url = domain.discovery_url();
        let found = self.discoveries.get(&url, now).await;
        let found = found.map_err(|error| self.discovery_failed(&url, &error))?;
        if Issuer::of_token(&found.issuer) != *domain {
            let error = FetchError::Unusable("it is the document of another issuer".to_owned());
            let message = self.cannot(DISCOVERY_OF, &url, &error);
            return Err(AuthError::rejected(AuthCode::ForeignDiscovery, message));
        }
        if found.issuer != token_issuer {
            let message = "the token's issuer is not the one of its provider's discovery document";
            return Err(AuthError::rejected(AuthCode::Unauthenticated, message));
        }
        let downgraded =
            domain.as_str().starts_with("https:") && !found.jwks_uri.starts_with("https:");
        if downgraded || !is_web_url(&found.jwks_uri) {
            let error = FetchError::Unusable("jwks_uri is not an https URL".to_owned());
            return Err(self.discovery_failed(&url, &error));
        }
        Ok(found.jwks_uri.clone())
    }

    /// Source of the statuses: spec/http-api.md section 3.
    fn discovery_failed(&self, url: &str, error: &FetchError) -> AuthError {
        let status = match error {
            FetchError::Status(status @ (401 | 403 | 404 | 421 | 425 | 429)) => *status,
            FetchError::Status(500..) => 503,
            FetchError::Status(_)
            | FetchError::Timeout
            | FetchError::Unreachable(_)
            | FetchError::Unusable(_) => 400,
        };
        AuthError::Unavailable { status, message: self.cannot(DISCOVERY_OF, url, error) }
    }

    /// What failed, and why unless that is hidden: it may tell of hosts that only this server sees.
    fn cannot(&self, what: &str, url: &str, error: &FetchError) -> String {
        if self.options.redact { format!("{what} {url}") } else { format!("{what} {url}: {error}") }
    }
}

const DISCOVERY_OF: &str = "auth provider discovery failed for";

fn parse_discovery(json: &[u8]) -> Result<Discovery, String> {
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The keys of a `data:` URI; broken ones are a fault of the config that every token meets.
fn inline_keys(jwks: &str) -> Option<Result<KeySet, AuthError>> {
    let bytes = data_uri::decode(jwks)?;
    let keys = bytes.and_then(|bytes| KeySet::parse(&bytes)).map_err(|error| {
        let message = format!("the key set in the auth config is broken: {error}");
        AuthError::rejected(AuthCode::InvalidAuthHeader, message)
    });
    Some(keys)
}

fn refusal_code(provider: &Provider) -> AuthCode {
    match provider {
        Provider::Oidc { .. } => AuthCode::Unauthenticated,
        Provider::CustomJwt { .. } => AuthCode::InvalidAuthHeader,
    }
}

fn describe(provider: &Provider) -> String {
    let issuer = provider.issuer().as_str();
    match provider.application_id() {
        Some(id) => format!("{issuer} for {id:?}"),
        None => issuer.to_owned(),
    }
}

fn later(time: Timestamp, span: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(span.as_nanos() as u64))
}

#[cfg(test)]
mod tests;
