//! The writing half of a socket: one task, in order. The session bounds what can be waiting here.

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use protocol::{Close, Outgoing};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::service::Service;
use crate::watching::SocketFigures;

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
    figures: Arc<SocketFigures>,
}

impl Writer {
    pub(super) fn start(
        sink: SplitSink<WebSocket, Message>,
        service: Service,
        written: mpsc::UnboundedSender<Written>,
        figures: Arc<SocketFigures>,
    ) -> Self {
        let (items, waiting) = mpsc::unbounded_channel();
        let counts = Arc::clone(&figures);
        let task = tokio::spawn(async move {
            if write(sink, waiting, &service, &written, &counts).await.is_err() {
                let _ = written.send(Written::Broken);
            }
        });
        Self { items, task, figures }
    }

    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Outgoing::Message(text) = &outgoing {
            self.figures.queued(text.len());
        }
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
    figures: &SocketFigures,
) -> Result<(), axum::Error> {
    // Bytes handed over, of which nobody knows yet whether they are out.
    let mut fed = 0;
    while let Some(item) = waiting.recv().await {
        match item {
            Item::Outgoing(outgoing) => {
                let transition = matches!(outgoing, Outgoing::Transition(_));
                let frames = outgoing.into_frames(service.now_ns());
                if transition {
                    figures.queued(frames.iter().map(String::len).sum());
                }
                for frame in frames {
                    fed += frame.len();
                    figures.sent_message();
                    sink.feed(Message::Text(Utf8Bytes::from(frame))).await?;
                }
                if transition {
                    sink.flush().await?;
                    figures.sent(std::mem::take(&mut fed));
                    let _ = written.send(Written::Transition);
                }
            }
            Item::Ping => sink.feed(Message::Ping(axum::body::Bytes::new())).await?,
            Item::Close(close) => {
                let frame = close
                    .code
                    .map(|code| CloseFrame { code, reason: Utf8Bytes::from(close.reason) });
                sink.send(Message::Close(frame)).await?;
                figures.sent(fed);
                return Ok(());
            }
        }
        if waiting.is_empty() {
            sink.flush().await?;
            figures.sent(std::mem::take(&mut fed));
        }
    }
    sink.flush().await?;
    figures.sent(fed);
    Ok(())
}
