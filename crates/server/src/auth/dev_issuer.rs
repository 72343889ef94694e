//! The development issuer: tokens for any user, without an identity provider.
//!
//! Off unless asked for. A key pair in the data folder signs; its public half enters the auth config
//! as a custom provider with a `data:` URI. So issuing needs the folder only, also beside a running
//! server, and verifying is the one way that all tokens go. Who can read the folder can be anyone.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use value::Timestamp;

/// The file of the key pair in the data folder, for its owner only.
pub const KEY_FILE: &str = "dev-issuer.pem";
/// `iss` of the tokens. No such host exists, and nobody asks for it.
pub const ISSUER: &str = "https://concave-dev.invalid";
/// `aud` of the tokens.
pub const AUDIENCE: &str = "convex";
/// Life of a token that does not ask for another.
pub const TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Longest life of a token.
pub const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Longest name of a user, in bytes.
pub const USER_BYTES_MAX: usize = 256;

/// Issues tokens with the key pair of a data folder.
pub struct DevIssuer {
    key: EncodingKey,
    key_id: String,
    jwk: Json,
}

/// Why there is no issuer, or no token.
#[derive(Debug, thiserror::Error)]
pub enum DevIssuerError {
    /// The key file can not be read or made.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// The key file is no P-256 private key in PEM. Remove it to get a new one.
    #[error("{0} is not a P-256 private key")]
    Broken(String),
    /// No such user can be: empty, too long, or with control characters.
    #[error("a user is named by 1 to {USER_BYTES_MAX} bytes without control characters")]
    BadUser,
}

impl DevIssuer {
    /// The issuer of the data folder; its key pair is made at first use. Two programs that start at
    /// once get the same one.
    pub fn open(folder: &Path) -> Result<DevIssuer, DevIssuerError> {
        let path = folder.join(KEY_FILE);
        let name = || path.display().to_string();
        let file_error = |error| DevIssuerError::File(name(), error);
        let pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(folder, &path).map_err(file_error)?;
                fs::read_to_string(&path).map_err(file_error)?
            }
            Err(error) => return Err(file_error(error)),
        };
        let secret = SecretKey::from_pkcs8_pem(&pem).map_err(|_| DevIssuerError::Broken(name()))?;
        Ok(DevIssuer::new(&secret))
    }

    fn new(secret: &SecretKey) -> DevIssuer {
        let point = secret.public_key().to_encoded_point(false);
        // Uncompressed: one byte of form, then both coordinates.
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638: the same key has the same id everywhere.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let jwk = json!({"kty":"EC","crv":"P-256","x":x,"y":y,"kid":key_id,"alg":"ES256",
            "use":"sig"});
        let der = secret.to_pkcs8_der().expect("a valid key has a PKCS#8 form");
        DevIssuer { key: EncodingKey::from_ec_der(der.as_bytes()), key_id, jwk }
    }

    /// A token for `user`, good for `ttl` (at most `TTL_MAX`) from `now` on.
    pub fn token(
        &self,
        user: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<String, DevIssuerError> {
        let fits = (1..=USER_BYTES_MAX).contains(&user.len());
        if !fits || user.chars().any(char::is_control) {
            return Err(DevIssuerError::BadUser);
        }
        let issued_s = now.0 / 1_000_000_000;
        let expires_s = issued_s + ttl.min(TTL_MAX).as_secs();
        let claims = json!({"iss":ISSUER,"sub":user,"name":user,"aud":AUDIENCE,
            "iat":issued_s,"exp":expires_s});
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        Ok(jsonwebtoken::encode(&header, &claims, &self.key).expect("a valid key signs any claims"))
    }

    /// The entry of the auth config that makes a server accept these tokens.
    pub fn provider(&self) -> Json {
        let jwks = STANDARD.encode(self.jwks().to_string());
        json!({"type":"customJwt","issuer":ISSUER,"algorithm":"ES256","applicationID":AUDIENCE,
            "jwks":format!("data:application/json;base64,{jwks}")})
    }

    /// The public half as a key set.
    pub fn jwks(&self) -> Json {
        json!({ "keys": [self.jwk] })
    }
}

/// Makes the key file, unless someone else does meanwhile: it is complete when it has its name.
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    let mut bytes = [0; 32];
    let secret = loop {
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        // All but a vanishing share of the numbers are keys.
        if let Ok(secret) = SecretKey::from_slice(&bytes) {
            break secret;
        }
    };
    let pem =
        secret.to_pkcs8_pem(LineEnding::LF).map_err(|error| io::Error::other(error.to_string()))?;
    let draft = folder.join(format!("{KEY_FILE}.{}", uuid::Uuid::new_v4()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&draft).and_then(|mut file| {
        file.write_all(pem.as_bytes())?;
        file.sync_all()
    });
    // A link, unlike a rename, never replaces what is there.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider::parse_config;
    use crate::auth::testing::FakeFetch;
    use crate::auth::verifier::{Verifier, VerifierOptions};

    const NOW: Timestamp = Timestamp(1_800_000_000_500_000_000);

    fn verifier(issuer: &DevIssuer) -> Verifier {
        let providers = parse_config(&json!({ "providers": [issuer.provider()] })).unwrap();
        Verifier::new(providers, FakeFetch::new(), VerifierOptions::default())
    }

    #[tokio::test]
    async fn its_provider_entry_accepts_its_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let server = DevIssuer::open(folder.path()).unwrap();
        let beside = DevIssuer::open(folder.path()).unwrap();
        let token = beside.token("alice", TTL_DEFAULT, NOW).unwrap();
        let user = verifier(&server).verify(&token, NOW).await.unwrap();
        assert_eq!(user.identity.token_identifier, "https://concave-dev.invalid|alice");
        assert_eq!(user.identity.claims["name"], "alice");
        assert_eq!(user.valid_until, Timestamp(1_800_003_605_000_000_000));
        let late = Timestamp(user.valid_until.0);
        assert!(verifier(&server).verify(&token, late).await.is_err());
        let stranger = tempfile::tempdir().unwrap();
        let stranger = DevIssuer::open(stranger.path()).unwrap();
        assert!(verifier(&stranger).verify(&token, NOW).await.is_err());
    }

    #[tokio::test]
    async fn lives_and_names_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = DevIssuer::open(folder.path()).unwrap();
        let long = issuer.token("a", Duration::MAX, NOW).unwrap();
        let user = verifier(&issuer).verify(&long, NOW).await.unwrap();
        let latest = NOW.0 / 1_000_000_000 + TTL_MAX.as_secs() + 5;
        assert_eq!(user.valid_until, Timestamp(latest * 1_000_000_000));
        assert!(issuer.token("a", TTL_DEFAULT, Timestamp(u64::MAX)).is_ok());
        assert!(issuer.token("Ä b@c|d", TTL_DEFAULT, NOW).is_ok());
        for user in ["", "a\nb", "\u{7f}", &"a".repeat(USER_BYTES_MAX + 1)] {
            assert!(issuer.token(user, TTL_DEFAULT, NOW).is_err(), "{user:?}");
        }
    }

    #[test]
    fn the_key_file_is_for_its_owner_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let keys: Vec<String> = std::thread::scope(|scope| {
            let open = || DevIssuer::open(path).unwrap().key_id;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        let files: Vec<_> = fs::read_dir(path).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].file_name(), KEY_FILE);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn broken_key_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), "hello").unwrap();
        let error = DevIssuer::open(folder.path()).err().unwrap().to_string();
        assert!(error.ends_with("dev-issuer.pem is not a P-256 private key"), "{error}");
        let missing = folder.path().join("missing");
        assert!(matches!(DevIssuer::open(&missing), Err(DevIssuerError::File(_, _))));
    }
}
