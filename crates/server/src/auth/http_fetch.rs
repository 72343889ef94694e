//! `Fetch` over the network: HTTP/1.1 with TLS, one connection pool, no redirects, no proxy.

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, Uri, header};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;

use super::fetch::{DOCUMENT_BYTES_MAX, Fetch, FetchError};

/// Fetches from the network.
#[derive(Clone)]
pub struct HttpFetch {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl HttpFetch {
    /// Trusts the certificates of the system (also `SSL_CERT_FILE`); where it has none, as in a
    /// small container, those of Mozilla.
    pub fn new() -> HttpFetch {
        let builder = HttpsConnectorBuilder::new();
        // The provider is named, so that no other crate's features can take that choice.
        let secure = match builder.with_provider_and_native_roots(ring::default_provider()) {
            Ok(secure) => secure,
            Err(error) => {
                tracing::info!(%error, "no system certificates, using the built-in ones");
                HttpsConnectorBuilder::new()
                    .with_provider_and_webpki_roots(ring::default_provider())
                    .expect("ring has the protocol versions that rustls asks for")
            }
        };
        let connector = secure.https_or_http().enable_http1().build();
        HttpFetch { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl HttpFetch {
    /// Asks for an answer of any length, with this `Authorization`.
    ///
    /// Errors: `Unreachable`; `Unusable` for what cannot stand in a header.
    pub async fn post(&self, url: Uri, authorization: &str) -> Result<Response<Body>, FetchError> {
        let request = Request::post(url)
            .header(header::AUTHORIZATION, authorization)
            .header(header::USER_AGENT, concat!("concave/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Unusable(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
        Ok(response.map(Body::new))
    }
}

impl Default for HttpFetch {
    fn default() -> HttpFetch {
        HttpFetch::new()
    }
}

impl Fetch for HttpFetch {
    fn get(&self, url: Uri) -> BoxFuture<'static, Result<Response<Bytes>, FetchError>> {
        let client = self.client.clone();
        async move {
            let request = Request::get(url)
                .header(header::ACCEPT, "application/json, application/jwk-set+json")
                .header(header::USER_AGENT, concat!("concave/", env!("CARGO_PKG_VERSION")))
                .body(Empty::new())
                .map_err(|error| FetchError::Unusable(error.to_string()))?;
            let response = client.request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await.map_err(|error| {
                let too_large = error.is::<http_body_util::LengthLimitError>();
                if too_large {
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

/// The error with its causes: the first alone says only "client error".
fn unreachable(error: &hyper_util::client::legacy::Error) -> FetchError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    FetchError::Unreachable(text)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What `HttpFetch` makes of one raw answer of a server.
    async fn answer(raw: Vec<u8>) -> Result<Response<Bytes>, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = socket.read(&mut request).await.unwrap();
            // The client may hang up before it has read everything.
            let _ = socket.write_all(&raw).await;
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let url = format!("http://{address}/doc?x=1").parse().unwrap();
        let answer = HttpFetch::new().get(url).await;
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /doc?x=1 HTTP/1.1\r\n"), "{request}");
        answer
    }

    #[tokio::test]
    async fn answers_are_given_as_they_are() {
        let raw = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\netag: x\r\n\r\nhi".to_vec();
        let response = answer(raw).await.unwrap();
        assert_eq!(response.body(), "hi");
        assert_eq!(response.headers()["etag"], "x");
        let raw = b"HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n".to_vec();
        assert_eq!(answer(raw).await.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn large_and_broken_answers_are_errors() {
        let mut raw = b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".to_vec();
        raw.resize(raw.len() + DOCUMENT_BYTES_MAX + 1, b'x');
        let error = answer(raw).await.unwrap_err();
        assert!(matches!(error, FetchError::Unusable(_)), "{error}");
        for raw in ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "hello", ""] {
            let error = answer(raw.as_bytes().to_vec()).await.unwrap_err();
            assert!(matches!(error, FetchError::Unreachable(_)), "{error}");
        }
    }
}
