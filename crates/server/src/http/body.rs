//! Bodies: how fast they must come, and how much of them may be held.
//!
//! A peer that sends a little now and then would else keep a request, and its memory, for ever. So a
//! body has `GRACE`, and a second more for every `BYTES_PER_SECOND_MIN` that came. Small bodies are
//! bounded by the number of connections alone; larger ones reserve all they may become at once, from
//! one budget, so that those who wait for it hold nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::limits::Turn;
use super::request::bad_body;
use crate::errors::HttpError;

/// How long a body may take whatever comes of it.
pub const GRACE: Duration = Duration::from_secs(30);
/// What a body must bring, over its whole life, beyond the grace.
pub const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// Largest body that is held without a reservation, in bytes.
pub const SMALL_BYTES_MAX: usize = 64 << 10;

/// A body that fails when it is slower than the rule of this module.
pub struct Paced {
    body: Body,
    started: Instant,
    received: u64,
    deadline: Pin<Box<Sleep>>,
}

/// A body came too slowly.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly")]
pub struct TooSlow;

impl Paced {
    /// The time of `body` begins now.
    pub fn new(body: Body) -> Paced {
        let deadline = Box::pin(tokio::time::sleep(GRACE));
        Paced { body, started: Instant::now(), received: 0, deadline }
    }

    fn count(&mut self, bytes: usize) {
        self.received += bytes as u64;
        let earned = Duration::from_millis(self.received * 1000 / BYTES_PER_SECOND_MIN);
        self.deadline.as_mut().reset(self.started + GRACE + earned);
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.count(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending if self.deadline.as_mut().poll(cx).is_ready() => {
                Poll::Ready(Some(Err(axum::Error::new(TooSlow))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The whole body, at most `bytes_max`; then waits for the request's turn.
///
/// Errors: 400 `BadJsonBody` for a body that is too large or broken off, 408 for one that is too slow.
pub async fn collect(request: Request, bytes_max: usize) -> Result<Bytes, HttpError> {
    let turn = request.extensions().get::<Turn>().cloned();
    let body = request.into_body();
    let too_large = || bad_body(format!("the body is larger than {bytes_max} bytes"));
    let declared = body.size_hint();
    if declared.lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let largest = declared.exact().map_or(bytes_max, |exact| exact as usize);
    let mut reserved = false;
    let mut body = Paced::new(body);
    let mut bytes = Vec::new();
    loop {
        if let Some(turn) = &turn
            && !reserved
            && (bytes.len() > SMALL_BYTES_MAX || declared.lower() > SMALL_BYTES_MAX as u64)
        {
            turn.reserve(largest).await;
            reserved = true;
        }
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| failed(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    if let Some(turn) = &turn {
        turn.begin().await;
    }
    Ok(bytes.into())
}

fn failed(error: &axum::Error) -> HttpError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<TooSlow>() {
            let text = error.to_string();
            return HttpError::new(StatusCode::REQUEST_TIMEOUT, "ClientDisconnected", text);
        }
        source = error.source();
    }
    bad_body(error.to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt as _;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::http::limits::{HttpLimits, Room};

    /// A body that gives what is sent.
    fn channel() -> (mpsc::UnboundedSender<Bytes>, Body) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream = UnboundedReceiverStream::new(receiver).map(Ok::<Bytes, axum::Error>);
        (sender, Body::from_stream(stream))
    }

    fn request(body: Body, turn: Option<Turn>) -> Request<Body> {
        let mut request = Request::post("/").body(body).unwrap();
        request.extensions_mut().extend(
            turn.map(|turn| {
                let mut extensions = axum::http::Extensions::new();
                extensions.insert(turn);
                extensions
            })
            .unwrap_or_default(),
        );
        request
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_ends() {
        let (sender, body) = channel();
        let start = Instant::now();
        let drip = tokio::spawn(async move {
            while sender.send(Bytes::from_static(b"x")).is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let error = collect(request(body, None), 1 << 20).await.unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.code), (408, "ClientDisconnected"));
        assert!(start.elapsed() < GRACE + Duration::from_secs(1), "{:?}", start.elapsed());
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_is_fast_enough_comes_through() {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for _ in 0..120 {
                sender.send(Bytes::from(vec![b'x'; 16 << 10])).unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        let bytes = collect(request(body, None), 16 << 20).await.unwrap();
        assert_eq!(bytes.len(), 120 * (16 << 10));
        assert_eq!(start.elapsed(), Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_that_drip_do_not_keep_small_ones_out() {
        let room = Room::with(&HttpLimits { requests_max: 1, ..HttpLimits::default() }, 16 << 20);
        let (sender, body) = channel();
        let first = tokio::spawn(collect(request(body, Some(Turn::new(&room))), 16 << 20));
        sender.send(Bytes::from(vec![b'x'; SMALL_BYTES_MAX + 1])).unwrap();
        tokio::task::yield_now().await;
        let small = collect(request(Body::from("small"), Some(Turn::new(&room))), 16 << 20);
        assert_eq!(small.await.unwrap(), "small");
        // One as large waits until the first is given up.
        let (start, large) = (Instant::now(), Body::from(vec![b'x'; SMALL_BYTES_MAX + 1]));
        let turn = Turn::new(&room);
        assert!(collect(request(large, Some(turn)), 16 << 20).await.is_ok());
        assert!(start.elapsed() >= GRACE);
        assert_eq!(first.await.unwrap().unwrap_err().status, 408);
    }

    #[tokio::test]
    async fn a_declared_length_that_is_too_large_is_refused_at_once() {
        let body = Body::from(vec![0; 11]);
        let error = collect(request(body, None), 10).await.unwrap_err();
        assert!(error.message.contains("larger than 10 bytes"), "{}", error.message);
    }
}
