//! The writing half of a socket: one task, in order. The session bounds what can be waiting here.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use protocol::{Close, Outgoing};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::service::Service;

/// How long the last frames may take.
const FINISH: Duration = Duration::from_secs(5);

/// What the writer tells the loop.
pub(super) enum Written {
    /// A transition is out.
    Transition,
    /// The socket takes no more.
    Broken,
}

enum Item {
    Outgoing(Outgoing),
    Ping,
    Close(Close),
}

/// The loop's end of the writer.
pub(super) struct Writer {
    items: mpsc::UnboundedSender<Item>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(super) fn start(
        sink: SplitSink<WebSocket, Message>,
        service: Service,
        written: mpsc::UnboundedSender<Written>,
    ) -> Self {
        let (items, waiting) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            if write(sink, waiting, &service, &written).await.is_err() {
                let _ = written.send(Written::Broken);
            }
        });
        Self { items, task }
    }

    pub(super) fn send(&self, outgoing: Outgoing) {
        let _ = self.items.send(Item::Outgoing(outgoing));
    }

    pub(super) fn ping(&self) {
        let _ = self.items.send(Item::Ping);
    }

    pub(super) fn close(&self, close: Close) {
        let _ = self.items.send(Item::Close(close));
    }

    /// Waits until everything is written, or the peer is too slow for it.
    pub(super) async fn finish(mut self) {
        drop(self.items);
        if tokio::time::timeout(FINISH, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut waiting: mpsc::UnboundedReceiver<Item>,
    service: &Service,
    written: &mpsc::UnboundedSender<Written>,
) -> Result<(), axum::Error> {
    while let Some(item) = waiting.recv().await {
        match item {
            Item::Outgoing(outgoing) => {
                let transition = matches!(outgoing, Outgoing::Transition(_));
                for frame in outgoing.into_frames(service.now_ns()) {
                    sink.feed(Message::Text(Utf8Bytes::from(frame))).await?;
                }
                if transition {
                    sink.flush().await?;
                    let _ = written.send(Written::Transition);
                }
            }
            Item::Ping => sink.feed(Message::Ping(axum::body::Bytes::new())).await?,
            Item::Close(close) => {
                let frame = close
                    .code
                    .map(|code| CloseFrame { code, reason: Utf8Bytes::from(close.reason) });
                sink.send(Message::Close(frame)).await?;
                return Ok(());
            }
        }
        if waiting.is_empty() {
            sink.flush().await?;
        }
    }
    sink.flush().await
}
