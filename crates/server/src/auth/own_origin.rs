//! Documents that this process serves itself, without a socket in between.
//!
//! A deployment whose own functions sign tokens is its own provider. Behind a proxy it often cannot
//! reach its public address; here its router is asked directly, and `Origins` says for which addresses.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, Uri, header};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower::ServiceExt as _;

use super::fetch::{DOCUMENT_BYTES_MAX, Fetch, FetchError};

/// Fetches from a router of this process. The router is given later: it is made of parts that verify
/// tokens, which need this.
#[derive(Clone, Default)]
pub struct RouterFetch(Arc<OnceLock<Router>>);

impl RouterFetch {
    /// Without a router: nothing is there yet.
    pub fn new() -> RouterFetch {
        RouterFetch::default()
    }

    /// Asks `router` from now on. Only the first one counts.
    pub fn serve(&self, router: Router) {
        // A second router would be a second server, with its own authenticator.
        let _ = self.0.set(router);
    }
}

impl Fetch for RouterFetch {
    fn get(&self, url: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>> {
        let router = self.0.get().cloned();
        async move {
            let starting = || FetchError::Unreachable("this server is starting".to_owned());
            let router = router.ok_or_else(starting)?;
            let path = url.path_and_query().map_or("/", |path| path.as_str());
            let host = url.authority().map_or("", |authority| authority.as_str());
            let request = Request::get(path)
                .header(header::HOST, host)
                .header(header::ACCEPT, "application/json, application/jwk-set+json")
                .body(Body::empty())
                .map_err(|error| FetchError::Unusable(error.to_string()))?;
            let Ok(response) = router.oneshot(request).await;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::Unusable(format!("larger than {DOCUMENT_BYTES_MAX} bytes"))
                } else {
                    FetchError::Unreachable(error.to_string())
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Request;
    use axum::routing::get;
    use axum::{Json, response::Redirect};
    use serde_json::{Value, json};
    use value::Timestamp;

    use super::*;
    use crate::auth::testing::{FakeFetch, RSA};
    use crate::auth::{Origins, Verifier, VerifierOptions, parse_config};

    const OWN: &str = "https://chat.example";

    fn router() -> Router {
        let discovery = json!({"issuer":OWN,"jwks_uri":format!("{OWN}/keys?of=convex")});
        let keys = async |request: Request| {
            assert_eq!(request.uri(), "/keys?of=convex");
            assert_eq!(request.headers()["host"], "chat.example");
            Json(json!({"keys":[RSA.jwk("k")]}))
        };
        Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route("/keys", get(keys))
            .route("/elsewhere", get(async || Redirect::to("/keys?of=convex")))
            .route("/large", get(async || " ".repeat(DOCUMENT_BYTES_MAX + 1)))
    }

    fn verifier(own: &RouterFetch, network: &Arc<FakeFetch>) -> Verifier {
        let config: Value = json!({"providers":[{"domain":OWN,"applicationID":"convex"}]});
        let origins = Origins::new(network.clone()).with(OWN, Arc::new(own.clone()));
        let providers = parse_config(&config).unwrap();
        Verifier::new(providers, Arc::new(origins), VerifierOptions::default())
    }

    #[tokio::test(start_paused = true)]
    async fn its_own_tokens_need_no_network() {
        let (own, network) = (RouterFetch::new(), FakeFetch::new());
        let verifier = verifier(&own, &network);
        let token = RSA.token(&json!({"iss":OWN,"sub":"u","aud":"convex","exp":2_000_000_000}));
        let at = |seconds: u64| Timestamp(seconds * 1_000_000_000);
        let early = verifier.verify(&token, at(1_900_000_000)).await.unwrap_err();
        assert!(early.is_unavailable() && early.to_string().ends_with("this server is starting"));
        own.serve(router());
        let user = verifier.verify(&token, at(1_900_000_005)).await.unwrap();
        assert_eq!(user.identity.token_identifier, "https://chat.example|u");
        assert!(network.calls().is_empty());
    }

    #[tokio::test]
    async fn answers_are_given_as_they_are() {
        let own = RouterFetch::new();
        own.serve(router());
        let get = async |path: &str| own.get(format!("{OWN}{path}").parse().unwrap()).await;
        assert_eq!(get("/elsewhere").await.unwrap().status(), 303);
        assert_eq!(get("/nothing").await.unwrap().status(), 404);
        let large = FetchError::Unusable(format!("larger than {DOCUMENT_BYTES_MAX} bytes"));
        assert_eq!(get("/large").await.unwrap_err(), large);
    }
}
