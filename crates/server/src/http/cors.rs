//! Which pages of other origins may call: all, with credentials. Source: spec/http-api.md section 5.

use std::time::Duration;

use axum::http::{Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// The policy of `/api/*` and the health routes. It answers every preflight, also of unknown paths.
/// HTTP actions do not get it: there the application decides.
pub fn layer() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::OPTIONS,
            Method::PATCH,
            Method::DELETE,
            Method::PUT,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(MAX_AGE)
        .vary([
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::ACCESS_CONTROL_REQUEST_HEADERS,
        ])
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{HeaderMap, Request};
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap) {
        let app = Router::new().route("/known", get(|| async { "" })).layer(layer());
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    }

    #[tokio::test]
    async fn preflights() {
        for path in ["/known", "/unknown"] {
            let asked = [
                ("origin", "http://localhost:5173"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,convex-client,authorization"),
            ];
            let (status, headers) = ask("OPTIONS", path, &asked).await;
            assert_eq!(status, 200);
            let check = |name: &str, expected: &str| assert_eq!(headers[name], expected);
            check("access-control-allow-origin", "http://localhost:5173");
            check("access-control-allow-credentials", "true");
            check("access-control-allow-methods", "GET,POST,OPTIONS,PATCH,DELETE,PUT");
            check("access-control-allow-headers", "content-type,convex-client,authorization");
            check("access-control-max-age", "86400");
            let vary = "origin, access-control-request-method, access-control-request-headers";
            check("vary", vary);
        }
    }

    #[tokio::test]
    async fn other_answers() {
        for (method, path, expected) in
            [("GET", "/known", 200), ("GET", "/unknown", 404), ("POST", "/known", 405)]
        {
            let (status, headers) = ask(method, path, &[("origin", "https://a.example")]).await;
            assert_eq!(status, expected);
            assert_eq!(headers["access-control-allow-origin"], "https://a.example");
            assert_eq!(headers["access-control-allow-credentials"], "true");
            let vary = "origin, access-control-request-method, access-control-request-headers";
            assert_eq!(headers["vary"], vary);
            assert!(!headers.contains_key("access-control-expose-headers"));
            let (_, headers) = ask(method, path, &[]).await;
            assert!(!headers.contains_key("access-control-allow-origin"));
        }
    }
}
