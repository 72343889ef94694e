//! Who may issue tokens: the providers of the application's auth config.

use axum::http::Uri;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use value::limits::quoted;

/// A provider as configured. Source: spec/engine.md 16.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Keys are found through the issuer's discovery document.
    Oidc {
        /// The issuer, normalised.
        domain: Issuer,
        /// What the token's audience must hold.
        application_id: String,
    },
    /// Keys are at a URL, or in the URL itself.
    CustomJwt {
        /// The issuer, normalised.
        issuer: Issuer,
        /// Where the key set is: http, https or data.
        jwks: String,
        /// The only algorithm that is accepted: RS256 or ES256.
        algorithm: Algorithm,
        /// What the token's audience must hold, if anything.
        application_id: Option<String>,
    },
}

/// An issuer in one form: with a scheme, without trailing slashes. Compare only these.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Issuer(String);

/// The auth config can not be used. The code goes to who deploys it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// `InvalidAuthConfig`, `InvalidProviderDomainUrl` or `InvalidSignatureAlgorithm`.
    pub code: &'static str,
    /// What is wrong, with the provider's issuer.
    pub message: String,
}

/// Most providers of one auth config.
pub const PROVIDERS_MAX: usize = 100;

#[derive(Deserialize)]
struct ConfigForm {
    providers: Vec<ProviderForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProviderForm {
    #[serde(rename = "type")]
    kind: Option<String>,
    domain: Option<String>,
    #[serde(rename = "applicationID")]
    application_id: Option<String>,
    issuer: Option<String>,
    jwks: Option<String>,
    algorithm: Option<String>,
}

/// The providers of `{"providers":[…]}`, in order.
pub fn parse_config(json: &serde_json::Value) -> Result<Vec<Provider>, ConfigError> {
    let form = ConfigForm::deserialize(json).map_err(|error| invalid(error.to_string()))?;
    if form.providers.len() > PROVIDERS_MAX {
        return Err(invalid(format!("more than {PROVIDERS_MAX} auth providers")));
    }
    form.providers.into_iter().map(Provider::from_form).collect()
}

impl Provider {
    fn from_form(form: ProviderForm) -> Result<Provider, ConfigError> {
        match form.kind.as_deref() {
            None | Some("oidc") => Ok(Provider::Oidc {
                domain: Issuer::configured(&required(form.domain, "domain")?)?,
                application_id: required(form.application_id, "applicationID")?,
            }),
            Some("customJwt") => {
                let issuer = Issuer::configured(&required(form.issuer, "issuer")?)?;
                let algorithm = match required(form.algorithm, "algorithm")?.as_str() {
                    "RS256" => Algorithm::RS256,
                    "ES256" => Algorithm::ES256,
                    other => return Err(wrong_algorithm(other)),
                };
                let jwks = jwks_url(&required(form.jwks, "jwks")?)?;
                let application_id = form.application_id;
                Ok(Provider::CustomJwt { issuer, jwks, algorithm, application_id })
            }
            Some(other) => {
                Err(invalid(format!("unknown type {} of an auth provider", quoted(other))))
            }
        }
    }

    /// The issuer of its tokens.
    pub fn issuer(&self) -> &Issuer {
        match self {
            Provider::Oidc { domain, .. } => domain,
            Provider::CustomJwt { issuer, .. } => issuer,
        }
    }

    /// What the audience of its tokens must hold.
    pub fn application_id(&self) -> Option<&str> {
        match self {
            Provider::Oidc { application_id, .. } => Some(application_id),
            Provider::CustomJwt { application_id, .. } => application_id.as_deref(),
        }
    }

    /// Where its keys come from over plain http and not from this machine: anybody on the way can
    /// replace them.
    pub fn plain_urls(&self) -> Vec<&str> {
        let url = match self {
            Provider::Oidc { domain, .. } => domain.as_str(),
            Provider::CustomJwt { jwks, .. } => jwks,
        };
        Some(url).into_iter().filter(|url| is_plain_and_far(url)).collect()
    }

    /// Whether a token with this issuer and audience is its own.
    pub fn matches(&self, issuer: &Issuer, audience: &[String]) -> bool {
        let audience_fits =
            self.application_id().is_none_or(|id| audience.iter().any(|one| one == id));
        self.issuer() == issuer && audience_fits
    }
}

impl Issuer {
    /// The issuer that a token names: any text, so that a strange one simply matches nobody.
    pub fn of_token(text: &str) -> Issuer {
        let has_scheme = text.starts_with("https://") || text.starts_with("http://");
        let text = text.trim_end_matches('/');
        Issuer(if has_scheme { text.to_owned() } else { format!("https://{text}") })
    }

    /// An issuer of the config: an http or https URL, whose scheme may be missing.
    pub fn configured(text: &str) -> Result<Issuer, ConfigError> {
        let issuer = Issuer::of_token(text);
        if text.starts_with('"') || !is_web_url(&issuer.0) {
            let message =
                format!("invalid provider domain URL {}: must be an http(s) URL", quoted(text));
            return Err(ConfigError { code: "InvalidProviderDomainUrl", message });
        }
        Ok(issuer)
    }

    /// With scheme, without trailing slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where its discovery document is.
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0)
    }
}

/// Whether `text` is an absolute http or https URL.
pub(crate) fn is_web_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    has_scheme
        && uri.authority().is_some_and(|authority| {
            let text = authority.as_str();
            !authority.host().is_empty() && !text.ends_with(':') && !text.contains('@')
        })
}

fn is_plain_and_far(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let is_near = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("http") && !is_near
}

fn jwks_url(text: &str) -> Result<String, ConfigError> {
    let is_data = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if is_data {
        return Ok(text.to_owned());
    }
    let url = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    if is_web_url(&url) {
        Ok(url)
    } else {
        Err(invalid(format!("invalid jwks URL {}", quoted(text))))
    }
}

fn required(field: Option<String>, name: &str) -> Result<String, ConfigError> {
    match field {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => Err(invalid(format!("an auth provider has no {name}"))),
    }
}

fn invalid(message: String) -> ConfigError {
    ConfigError { code: "InvalidAuthConfig", message }
}

fn wrong_algorithm(name: &str) -> ConfigError {
    let message =
        format!("signature algorithm {} is not supported: use RS256 or ES256", quoted(name));
    ConfigError { code: "InvalidSignatureAlgorithm", message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn issuers_are_compared_in_one_form() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Issuer::configured(text).unwrap().as_str(), expected);
            assert_eq!(Issuer::of_token(text).as_str(), expected);
        };
        check("https://issuer.example", "https://issuer.example");
        check("https://issuer.example/", "https://issuer.example");
        check("https://issuer.example//", "https://issuer.example");
        check("issuer.example", "https://issuer.example");
        check("http://localhost:3211", "http://localhost:3211");
        check("https://issuer.example/realms/a/", "https://issuer.example/realms/a");
        let url = Issuer::of_token("issuer.example/").discovery_url();
        assert_eq!(url, "https://issuer.example/.well-known/openid-configuration");
    }

    #[test]
    fn strange_domains_are_refused() {
        for text in [
            "\"https://a\"",
            "",
            "/",
            "https://u@a",
            "a:",
            "https://",
            "ftp://a",
            "a b",
            "https://a b",
            "é",
        ] {
            let error = Issuer::configured(text).unwrap_err();
            assert_eq!(error.code, "InvalidProviderDomainUrl", "{text}");
        }
    }

    #[test]
    fn configs() {
        let both = json!({"providers":[
            {"domain":"https://a.example/","applicationID":"convex"},
            {"type":"customJwt","issuer":"b.example","jwks":"https://b.example/jwks.json",
             "algorithm":"ES256"},
        ]});
        let parsed = parse_config(&both).unwrap();
        assert_eq!(parsed[0].issuer().as_str(), "https://a.example");
        assert_eq!(parsed[0].application_id(), Some("convex"));
        assert_eq!(parsed[1].application_id(), None);
        let check = |provider: serde_json::Value, code: &str| {
            let error = parse_config(&json!({ "providers": [provider] })).unwrap_err();
            assert_eq!(error.code, code, "{error}");
        };
        let custom = |jwks: &str, algorithm: &str| json!({"type":"customJwt","issuer":"https://b","jwks":jwks,"algorithm":algorithm});
        check(json!({"domain":"https://a"}), "InvalidAuthConfig");
        check(json!({"applicationID":"x"}), "InvalidAuthConfig");
        check(json!({"type":"saml","domain":"https://a"}), "InvalidAuthConfig");
        check(json!({"domain":"\"x","applicationID":"x"}), "InvalidProviderDomainUrl");
        for algorithm in ["HS256", "none", "EdDSA", "RS512", "es256"] {
            check(custom("https://b/k", algorithm), "InvalidSignatureAlgorithm");
        }
        check(custom("file:///etc/passwd", "RS256"), "InvalidAuthConfig");
        check(custom("http://", "RS256"), "InvalidAuthConfig");
        assert!(parse_config(&json!({})).is_err());
        let many = vec![json!({"domain":"https://a","applicationID":"x"}); PROVIDERS_MAX + 1];
        assert!(parse_config(&json!({ "providers": many })).is_err());
    }

    #[test]
    fn audience_decides_between_providers_of_one_issuer() {
        let config = json!({"providers":[
            {"domain":"https://a","applicationID":"one"},
            {"domain":"https://a","applicationID":"two"},
            {"type":"customJwt","issuer":"https://b","jwks":"https://b/k","algorithm":"RS256"},
        ]});
        let providers = parse_config(&config).unwrap();
        let check = |issuer: &str, audience: &[&str], expected: Option<usize>| {
            let audience: Vec<String> = audience.iter().map(|one| one.to_string()).collect();
            let issuer = Issuer::of_token(issuer);
            assert_eq!(providers.iter().position(|p| p.matches(&issuer, &audience)), expected);
        };
        check("https://a/", &["two"], Some(1));
        check("a", &["two", "one"], Some(0));
        check("https://a", &["three"], None);
        check("https://a", &[], None);
        check("https://b", &[], Some(2));
        check("http://b", &[], None);
        check("https://B", &[], None);
    }

    #[test]
    fn plain_http_of_other_machines_is_named() {
        let check = |provider: serde_json::Value, expected: &[&str]| {
            let config = parse_config(&json!({ "providers": [provider] })).unwrap();
            assert_eq!(config[0].plain_urls(), expected);
        };
        let oidc = |domain: &str| json!({ "domain": domain, "applicationID": "a" });
        check(oidc("http://id.example"), &["http://id.example"]);
        check(oidc("http://10.0.0.1:80/x"), &["http://10.0.0.1:80/x"]);
        check(oidc("http://localhost.example"), &["http://localhost.example"]);
        for near in ["https://id.example", "id.example", "http://localhost:1", "http://a.localhost"]
        {
            check(oidc(near), &[]);
        }
        check(oidc("http://127.0.0.9"), &[]);
        check(oidc("http://[::1]:3"), &[]);
        let custom = |issuer: &str, jwks: &str| json!({ "type": "customJwt", "issuer": issuer, "jwks": jwks, "algorithm": "RS256" });
        check(custom("https://a", "http://b/keys"), &["http://b/keys"]);
        // Tokens of this one are checked with keys that nobody can replace.
        check(custom("http://a", "https://b/keys"), &[]);
        check(custom("http://a", "data:text/plain,{}"), &[]);
    }
}
