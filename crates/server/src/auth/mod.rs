//! Who calls: tokens of users, keys of administrators.
//!
//!     Credential ──► Authenticator ──┬─ token ──► Verifier ──► providers, keys (Fetch) ──► User
//!                                    └─ key ────► admin_key ─────────────────────────────► Admin
//!
//! `jwt` takes a token apart, `keys` checks signatures, `documents` fetches and keeps what providers
//! publish, `identity` decides what functions see, `rights` what each caller may do. Time comes with each call. Secrets
//! and tokens never enter an error or a log line.
//!
//! Invariant: a caller is a user or an administrator only by a signature or seal that was checked
//! here; a provider that is out of reach refuses nobody.

pub mod admin_key;
mod data_uri;
pub mod dev_issuer;
mod documents;
pub mod error;
pub mod fetch;
pub mod http_fetch;
mod identity;
mod jwt;
mod keys;
mod own_origin;
pub mod provider;
mod rights;
#[cfg(test)]
pub(crate) mod testing;
pub mod verifier;

use std::sync::Arc;

use functions::UserIdentity;
use functions::instance::InstanceSecret;
use serde_json::{Map, Value as Json};
use value::Timestamp;

pub use admin_key::{Admin, Holder};
pub use documents::{FETCH_INTERVAL, FETCH_TIMEOUT, FRESH_DEFAULT, FRESH_MAX, STALE_MAX};
pub use error::{AuthCode, AuthError};
pub use fetch::{Fetch, FetchError, Origins};
pub use http_fetch::HttpFetch;
pub use identity::CLAIM_NAMES_BYTES_MAX;
pub use jwt::TOKEN_BYTES_MAX;
pub use own_origin::RouterFetch;
pub use provider::{ConfigError, Provider, parse_config};
pub use rights::Operation;
pub use verifier::{LEEWAY, User, Verifier, VerifierOptions};

/// What a caller shows, not yet believed.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A token.
    User(String),
    /// An admin key, and the attributes of the user to act as.
    Admin {
        /// As received, with or without the instance name.
        key: String,
        /// Fields as in spec/sync-protocol.md 3.5.
        acting_as: Option<Map<String, Json>>,
    },
}

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    /// Nobody is signed in.
    Anonymous,
    /// A user.
    User(User),
    /// An administrator.
    Admin {
        /// By which key.
        admin: Admin,
        /// As which user, whose rights it then has.
        acting_as: Option<Arc<UserIdentity>>,
    },
}

/// Turns credentials into principals.
pub struct Authenticator {
    secret: InstanceSecret,
    instance: String,
    /// Verifies the tokens of users.
    pub verifier: Verifier,
}

impl Authenticator {
    /// For the instance of this name and secret.
    pub fn new(secret: InstanceSecret, instance: &str, verifier: Verifier) -> Authenticator {
        Authenticator { secret, instance: instance.to_owned(), verifier }
    }

    /// The caller behind `credential` at `now`.
    ///
    /// Errors: `BadAdminKey`, `InvalidAuthHeader` for attributes that name no user, and those of
    /// `Verifier::verify`. Waits for the network for tokens only.
    pub async fn authenticate(
        &self,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Principal, AuthError> {
        match credential {
            Credential::None => Ok(Principal::Anonymous),
            Credential::User(token) => Ok(Principal::User(self.verifier.verify(token, now).await?)),
            Credential::Admin { key, acting_as } => {
                let admin = admin_key::open(&self.secret, &self.instance, key)?;
                let acting_as = acting_as.clone().map(act_as).transpose()?;
                Ok(Principal::Admin { admin, acting_as })
            }
        }
    }
}

impl Principal {
    /// The user that functions see.
    pub fn identity(&self) -> Option<&Arc<UserIdentity>> {
        match self {
            Principal::Anonymous => None,
            Principal::User(user) => Some(&user.identity),
            Principal::Admin { acting_as, .. } => acting_as.as_ref(),
        }
    }

    /// Refuses a user whose token has expired. Errors: `TokenExpired`.
    pub fn check(&self, now: Timestamp) -> Result<(), AuthError> {
        match self {
            Principal::Anonymous | Principal::Admin { .. } => Ok(()),
            Principal::User(user) => user.check(now),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::None => "Credential::None",
            Credential::User(_) => "Credential::User(..)",
            Credential::Admin { .. } => "Credential::Admin(..)",
        })
    }
}

pub(crate) fn act_as(attributes: Map<String, Json>) -> Result<Arc<UserIdentity>, AuthError> {
    let identity = identity::of_attributes(attributes)
        .ok_or_else(|| AuthError::rejected(AuthCode::InvalidAuthHeader, ACTING_AS_NOBODY))?;
    Ok(Arc::new(identity))
}

/// What an administrator is told that acts as a user it does not name.
pub(crate) const ACTING_AS_NOBODY: &str =
    "acting as a user needs a tokenIdentifier, or an issuer and a subject";

/// Whether `attributes` say as which user to act.
pub(crate) fn names_a_user(attributes: &Map<String, Json>) -> bool {
    identity::of_attributes(attributes.clone()).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use testing::{EC, FakeFetch};

    use super::*;

    fn authenticator() -> Authenticator {
        let set = json!({"keys":[EC.jwk("k")]}).to_string();
        let providers = parse_config(&json!({"providers":[{"type":"customJwt",
            "issuer":"https://a","algorithm":"ES256","jwks":format!("data:,{set}")}]}))
        .unwrap();
        let verifier = Verifier::new(providers, FakeFetch::new(), VerifierOptions::default());
        Authenticator::new(InstanceSecret::new([7; 32]), "inst", verifier)
    }

    #[tokio::test]
    async fn principals_by_credential() {
        let authenticator = authenticator();
        let now = Timestamp(1_000_000_000_000);
        let of = async |credential: &Credential| authenticator.authenticate(credential, now).await;
        assert_eq!(of(&Credential::None).await, Ok(Principal::Anonymous));

        let token = EC.token(&json!({"iss":"https://a","sub":"u","exp":2000}));
        let user = of(&Credential::User(token)).await.unwrap();
        assert_eq!(user.identity().unwrap().subject, "u");
        assert_eq!(user.check(now), Ok(()));
        assert!(user.check(Timestamp(2_005_000_000_000)).is_err());

        let admin = Admin { holder: Holder::System, issued_s: 5, is_read_only: false };
        let key = admin_key::issue(&InstanceSecret::new([7; 32]), "inst", &admin, [1; 12]);
        let acting_as = json!({"issuer":"i","subject":"s"}).as_object().cloned();
        let caller = of(&Credential::Admin { key: key.clone(), acting_as }).await.unwrap();
        assert_eq!(caller.identity().unwrap().token_identifier, "i|s");
        assert_eq!(caller.check(Timestamp(u64::MAX)), Ok(()));
        let plain = of(&Credential::Admin { key: key.clone(), acting_as: None }).await;
        assert_eq!(plain, Ok(Principal::Admin { admin, acting_as: None }));

        let nobody = Credential::Admin { key, acting_as: Some(Map::new()) };
        assert_eq!(of(&nobody).await.unwrap_err().code(), "InvalidAuthHeader");
        let bad = Credential::Admin { key: "inst|00".into(), acting_as: None };
        assert_eq!(of(&bad).await.unwrap_err().code(), "BadAdminKey");
        assert!(!format!("{bad:?} {nobody:?}").contains("inst"));
    }
}
