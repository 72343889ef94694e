//! `POST /api/concave/v1/backup`: all data of a running server, as of one moment, as one stream.
//!
//! A thread reads the backup and waits for the peer: a few pieces are held at a time. When the peer is
//! gone the thread lets go of the backup, and with it of its room on the disk. One at a time. It waits for
//! no turn and has no end in time, as a request has: a copy takes as long as the data is large, and a
//! peer that reads nothing of it is cut by its connection.

use std::io::Read;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::auth::{Operation, Principal};
use crate::errors::HttpError;
use crate::service::Service;

/// Where it is.
pub const PATH: &str = "/api/concave/v1/backup";
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for the peer.
const PIECES_WAITING_MAX: usize = 4;

/// Makes backups of the data that is served.
pub trait BackupSource: Send + Sync {
    /// All data as of now. Whatever room it takes is given back when the reader is dropped. Blocks.
    ///
    /// Errors: why there is none, for people.
    fn open(&self) -> Result<Box<dyn Read + Send>, String>;
}

/// `router` with backups from `source`.
pub fn beside(router: Router, service: Service, source: Arc<dyn BackupSource>) -> Router {
    let backups = Backups { source, turn: Arc::new(Semaphore::new(1)) };
    let routes = Router::new()
        .route("/api/concave/v1/backup", post(backup))
        .with_state(service)
        .layer(Extension(backups));
    routes.layer(super::cors()).merge(router)
}

#[derive(Clone)]
struct Backups {
    source: Arc<dyn BackupSource>,
    turn: Arc<Semaphore>,
}

async fn backup(
    principal: Principal,
    State(service): State<Service>,
    Extension(backups): Extension<Backups>,
) -> Result<Response, HttpError> {
    principal.require(Operation::CreateBackup)?;
    let Ok(turn) = Arc::clone(&backups.turn).try_acquire_owned() else {
        let text = "another backup is being made";
        return Err(HttpError::new(StatusCode::CONFLICT, "BackupInProgress", text));
    };
    let (pieces, mut made) = mpsc::channel(PIECES_WAITING_MAX);
    tracing::info!(ts = service.runtime.durable().0, "a backup is being made");
    tokio::task::spawn_blocking(move || pump(&*backups.source, &pieces, turn));
    // The first piece says whether there is a backup at all.
    let first = match made.recv().await {
        Some(Ok(first)) => first,
        Some(Err(text)) => return Err(failed(text)),
        None => return Err(failed("the backup was lost".to_owned())),
    };
    let rest = ReceiverStream::new(made);
    let first = tokio_stream::once(Ok(first));
    let body =
        Body::from_stream(first.chain(rest).map(|piece| piece.map_err(std::io::Error::other)));
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

fn failed(text: String) -> HttpError {
    HttpError::new(StatusCode::SERVICE_UNAVAILABLE, "BackupFailed", text)
}

/// Reads a backup to its end, or until nobody takes it.
fn pump(
    source: &dyn BackupSource,
    pieces: &mpsc::Sender<Result<Bytes, String>>,
    turn: OwnedSemaphorePermit,
) {
    let sent = source.open().and_then(|mut backup| {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = backup.read(&mut piece).map_err(|error| error.to_string())?;
            if read == 0
                || pieces.blocking_send(Ok(Bytes::copy_from_slice(&piece[..read]))).is_err()
            {
                return Ok(());
            }
        }
    });
    if let Err(text) = sent {
        tracing::error!(error = %text, "a backup could not be made");
        // An error ends the stream in its midst, which no client takes for its end.
        let _ = pieces.blocking_send(Err(text));
    }
    drop(turn);
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use parking_lot::Mutex;
    use tower::ServiceExt as _;

    use super::*;
    use crate::http::testing::{World, admin, body_text, json_body};

    /// What a source gives next.
    enum Next {
        Text(&'static str),
        Endless,
        Failure,
        NoBackup,
    }

    struct Scripted {
        next: Mutex<Next>,
        /// Told when a backup is let go of.
        gone: mpsc::UnboundedSender<()>,
    }

    struct Backup {
        next: Next,
        read: usize,
        gone: mpsc::UnboundedSender<()>,
    }

    impl BackupSource for Arc<Scripted> {
        fn open(&self) -> Result<Box<dyn Read + Send>, String> {
            let next = std::mem::replace(&mut *self.next.lock(), Next::Text("whole"));
            match next {
                Next::NoBackup => Err("the disk is full".to_owned()),
                next => Ok(Box::new(Backup { next, read: 0, gone: self.gone.clone() })),
            }
        }
    }

    impl Read for Backup {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            self.read += 1;
            match self.next {
                Next::Text(text) if self.read == 1 => {
                    bytes[..text.len()].copy_from_slice(text.as_bytes());
                    Ok(text.len())
                }
                Next::Text(_) | Next::NoBackup => Ok(0),
                Next::Failure if self.read > 3 => Err(std::io::Error::other("the disk is gone")),
                Next::Endless | Next::Failure => Ok(bytes.len()),
            }
        }
    }

    impl Drop for Backup {
        fn drop(&mut self) {
            let _ = self.gone.send(());
        }
    }

    async fn ask(router: &Router, key: &str) -> Response {
        let request = Request::post(PATH).header("authorization", key).body(Body::empty());
        router.clone().oneshot(request.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn one_at_a_time_and_let_go_of_when_the_peer_is_gone() {
        let world = World::new();
        let (gone, mut told) = mpsc::unbounded_channel();
        let source = Arc::new(Scripted { next: Mutex::new(Next::Endless), gone });
        let next = |next| *source.next.lock() = next;
        let router = beside(Router::new(), world.service.clone(), Arc::new(Arc::clone(&source)));
        let endless = ask(&router, &admin(false)).await;
        assert_eq!(endless.status(), 200);
        let second = ask(&router, &admin(false)).await;
        assert_eq!(second.status(), 409);
        assert_eq!(json_body(second).await["code"], "BackupInProgress");
        assert_eq!(ask(&router, &admin(true)).await.status(), 403);
        assert!(told.try_recv().is_err());
        drop(endless);
        told.recv().await.unwrap();
        // The turn follows the backup that was let go of.
        let again = async || loop {
            let response = ask(&router, &admin(false)).await;
            if response.status() != 409 {
                return response;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(body_text(again().await).await, "whole");
        next(Next::NoBackup);
        let refused = again().await;
        assert_eq!(refused.status(), 503);
        assert_eq!(json_body(refused).await["message"], "the disk is full");
        // What breaks off does not look whole.
        next(Next::Failure);
        let broken = again().await;
        assert_eq!(broken.status(), 200);
        assert!(broken.into_body().collect().await.is_err());
    }
}
