//! How many requests are handled at once, and for how long.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

/// Most requests that are handled at once; more wait. Source: spec/http-api.md section 2.
pub const REQUESTS_MAX: usize = 128;
/// A request without an answer after this is ended. Source: spec/http-api.md section 2.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);

/// Room for `REQUESTS_MAX` requests.
pub(super) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(REQUESTS_MAX))
}

/// Answers 408 with an empty body when the time is over, waiting included.
pub(super) async fn limit(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let answer = async {
        let _permit = permits.acquire().await.expect("this semaphore is never closed");
        next.run(request).await
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::testing::body_text;

    fn app(permits: usize) -> Router {
        let permits = Arc::new(Semaphore::new(permits));
        Router::new()
            .route("/fast", get(|| async { "fast" }))
            .route("/hangs", get(std::future::pending::<String>))
            .layer(middleware::from_fn_with_state(permits, limit))
    }

    fn ask(app: &Router, path: &str) -> impl Future<Output = Response> + use<> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request);
        async { answer.await.unwrap() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_ends() {
        let start = tokio::time::Instant::now();
        let response = ask(&app(1), "/hangs").await;
        assert_eq!(response.status(), 408);
        assert_eq!(body_text(response).await, "");
        assert_eq!(start.elapsed(), REQUEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn more_requests_than_room_wait() {
        let app = app(1);
        let hangs = tokio::spawn(ask(&app, "/hangs"));
        tokio::task::yield_now().await;
        let waits = tokio::spawn(ask(&app, "/fast"));
        tokio::time::advance(Duration::from_secs(299)).await;
        assert!(!waits.is_finished());
        hangs.abort();
        assert_eq!(body_text(waits.await.unwrap()).await, "fast");
    }
}
