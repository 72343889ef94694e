//! How documents of providers are had: over the network, or from this very deployment.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{Response, Uri};
use futures_util::future::BoxFuture;

/// Largest document of a provider, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A way to GET a document. It follows no redirects: a provider's documents are where it says.
pub trait Fetch: Send + Sync {
    /// The answer of `url` (absolute, http or https), whatever its status, with at most
    /// `DOCUMENT_BYTES_MAX` bytes of body. The caller sets the time limit and may drop the future.
    fn get(&self, url: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>>;
}

/// Why a document of a provider is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The provider answered with this status.
    #[error("status {0}")]
    Status(u16),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that is too large or is not what it should be.
    #[error("{0}")]
    Unusable(String),
}

/// Answers for origins that this process serves itself, before the network is asked: a deployment
/// need not reach its own public address, nor wait for its own listener.
pub struct Origins {
    own: Vec<(String, Arc<dyn Fetch>)>,
    network: Arc<dyn Fetch>,
}

impl Origins {
    /// All from `network`.
    pub fn new(network: Arc<dyn Fetch>) -> Origins {
        Origins { own: Vec::new(), network }
    }

    /// URLs of `origin` (`https://host[:port]`) from `fetch`.
    pub fn with(mut self, origin: &str, fetch: Arc<dyn Fetch>) -> Origins {
        if let Some(origin) = origin.parse::<Uri>().ok().and_then(|uri| origin_of(&uri)) {
            self.own.push((origin, fetch));
        }
        self
    }
}

impl Fetch for Origins {
    fn get(&self, url: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>> {
        let origin = origin_of(&url);
        match self.own.iter().find(|(own, _)| Some(own) == origin.as_ref()) {
            Some((_, fetch)) => fetch.get(url),
            None => self.network.get(url),
        }
    }
}

/// Scheme, host in lower case, and the port that is meant.
fn origin_of(url: &Uri) -> Option<String> {
    let (scheme, host) = (url.scheme_str()?, url.host()?.to_ascii_lowercase());
    let port = match (url.port_u16(), scheme) {
        (Some(port), _) => port,
        (None, "https") => 443,
        (None, _) => 80,
    };
    Some(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Answers with its own name.
    struct Named(&'static str);

    impl Fetch for Named {
        fn get(&self, _: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>> {
            let name = self.0;
            async move { Ok(Response::new(Bytes::from_static(name.as_bytes()))) }.boxed()
        }
    }

    #[test]
    fn own_origins_are_asked_before_the_network() {
        let origins = Origins::new(Arc::new(Named("network")))
            .with("https://Chat.example", Arc::new(Named("own")))
            .with("http://127.0.0.1:3211/", Arc::new(Named("site")))
            .with("not a url", Arc::new(Named("never")));
        let check = |url: &str, expected: &str| {
            let answer = origins.get(url.parse().unwrap()).now_or_never().unwrap().unwrap();
            assert_eq!(answer.body(), expected, "{url}");
        };
        check("https://chat.example/.well-known/openid-configuration", "own");
        check("https://chat.example:443/jwks", "own");
        check("https://chat.example:8443/jwks", "network");
        check("http://chat.example/jwks", "network");
        check("http://127.0.0.1:3211/x?y", "site");
        check("https://chat.example.evil/x", "network");
    }
}
