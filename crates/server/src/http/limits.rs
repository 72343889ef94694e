//! How many requests are handled at once, for how long, and how much of them is held.
//!
//! A request waits for its turn when all of it is here: one whose body is still coming keeps nobody
//! else waiting.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Body as _;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::request::BODY_BYTES_MAX;

/// Most requests that are handled at once; more wait. As the next one, unless an operator says
/// otherwise. Source: spec/http-api.md section 2.
pub const REQUESTS_MAX: usize = 128;
/// A request without an answer after this is ended. Source: spec/http-api.md section 2.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Most bytes of large bodies that are held at once; more wait.
pub const BODIES_BYTES_MAX: usize = 256 << 20;
/// The unit of that budget, in bytes.
const UNIT: usize = 1 << 10;

/// What requests may take; the default is what the constants say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Most requests that are handled at once.
    pub requests_max: usize,
    /// A request without an answer after this is ended.
    pub request_timeout: Duration,
    /// Largest body of a function endpoint, in bytes.
    pub body_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            requests_max: REQUESTS_MAX,
            request_timeout: REQUEST_TIMEOUT,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

/// Room for `REQUESTS_MAX` requests and `BODIES_BYTES_MAX` of their bodies.
pub(crate) struct Room {
    turns: Arc<Semaphore>,
    units: Arc<Semaphore>,
    timeout: Duration,
    body_bytes_max: usize,
}

impl Room {
    pub(super) fn new(limits: &HttpLimits) -> Arc<Room> {
        Room::with(limits, BODIES_BYTES_MAX)
    }

    pub(super) fn with(limits: &HttpLimits, bytes: usize) -> Arc<Room> {
        Arc::new(Room {
            turns: Arc::new(Semaphore::new(limits.requests_max)),
            units: Arc::new(Semaphore::new(bytes / UNIT)),
            timeout: limits.request_timeout,
            body_bytes_max: limits.body_bytes_max,
        })
    }
}

/// What one request holds of the room until it is answered.
#[derive(Clone)]
pub(super) struct Turn {
    room: Arc<Room>,
    held: Arc<Mutex<Vec<OwnedSemaphorePermit>>>,
}

impl Turn {
    pub(super) fn new(room: &Arc<Room>) -> Turn {
        Turn { room: Arc::clone(room), held: Arc::default() }
    }

    /// Largest body of a function endpoint, in bytes.
    pub(super) fn body_bytes_max(&self) -> usize {
        self.room.body_bytes_max
    }

    /// Waits for one of the turns.
    pub(super) async fn begin(&self) {
        let turn = Arc::clone(&self.room.turns).acquire_owned().await;
        self.held.lock().push(turn.expect("this semaphore is never closed"));
    }

    /// Waits until `bytes` of a body may be held.
    pub(super) async fn reserve(&self, bytes: usize) {
        let units = bytes.div_ceil(UNIT).min(BODIES_BYTES_MAX / UNIT);
        let units = u32::try_from(units).expect("the budget has fewer units");
        let held = Arc::clone(&self.room.units).acquire_many_owned(units).await;
        self.held.lock().push(held.expect("this semaphore is never closed"));
    }
}

/// Answers 408 with an empty body when the time is over, waiting included.
pub(super) async fn limit(
    State(room): State<Arc<Room>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (turn, timeout) = (Turn::new(&room), room.timeout);
    request.extensions_mut().insert(turn.clone());
    let answer = async {
        if request.body().is_end_stream() {
            turn.begin().await;
        }
        next.run(request).await
    };
    match tokio::time::timeout(timeout, answer).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use axum::{Router, middleware};
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::body::collect;
    use crate::http::testing::body_text;

    fn app(permits: usize) -> Router {
        let room = Room::with(&HttpLimits { requests_max: permits, ..HttpLimits::default() }, 0);
        Router::new()
            .route("/fast", get(|| async { "fast" }))
            .route("/body", post(|request: Request| collect(request, 100)))
            .route("/hangs", get(std::future::pending::<String>))
            .layer(middleware::from_fn_with_state(room, limit))
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
    async fn a_body_that_is_still_coming_keeps_nobody_waiting() {
        let app = app(1);
        let body = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, axum::Error>>());
        let request = Request::post("/body").body(body).unwrap();
        let coming = tokio::spawn(app.clone().oneshot(request));
        tokio::task::yield_now().await;
        assert_eq!(body_text(ask(&app, "/fast").await).await, "fast");
        assert!(!coming.is_finished());
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
