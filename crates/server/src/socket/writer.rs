//! The writing half of a socket: one task, in order. The session bounds what can be waiting here; pings
//! and pongs wait at most once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::{Close, Outgoing};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{Encoder, Frame, close_payload};
use crate::service::Service;
use crate::watching::SocketFigures;

/// How long the last frames may take.
const FINISH: Duration = Duration::from_secs(5);

/// Payloads up to this size are gathered, so that frames which belong together go out together. Larger
/// ones are written from where they are.
const GATHER_BYTES_MAX: usize = 16 << 10;

/// What the writer tells the loop.
pub(super) enum Written {
    /// A transition is out.
    Transition,
    /// The socket takes no more.
    Broken,
}

enum Item {
    Outgoing(Outgoing),
    /// Look at `Beats`.
    Beat,
    Close(Close),
}

/// Pings and pongs that wait: at most one of each. Of several pings the last one may be answered alone.
#[derive(Default)]
struct Beats {
    ping: bool,
    pong: Option<Vec<u8>>,
}

/// The loop's end of the writer.
pub(super) struct Writer {
    items: mpsc::UnboundedSender<Item>,
    beats: Arc<Mutex<Beats>>,
    task: JoinHandle<()>,
    figures: Arc<SocketFigures>,
}

impl Writer {
    pub(super) fn start<W: AsyncWrite + Unpin + Send + 'static>(
        io: W,
        encoder: Encoder,
        service: Service,
        written: mpsc::UnboundedSender<Written>,
        figures: Arc<SocketFigures>,
    ) -> Self {
        let (items, waiting) = mpsc::unbounded_channel();
        let beats = Arc::default();
        let out = Out {
            io,
            encoder,
            beats: Arc::clone(&beats),
            service,
            written,
            figures: Arc::clone(&figures),
            bytes: Vec::new(),
            unsent: 0,
        };
        let task = tokio::spawn(async move {
            let written = out.written.clone();
            if let Err(error) = out.run(waiting).await {
                tracing::debug!(%error, "a socket takes no more");
                let _ = written.send(Written::Broken);
            }
        });
        Self { items, beats, task, figures }
    }

    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Outgoing::Message(text) = &outgoing {
            self.figures.queued(text.len());
        }
        let _ = self.items.send(Item::Outgoing(outgoing));
    }

    pub(super) fn ping(&self) {
        self.beat(|beats| beats.ping = true);
    }

    pub(super) fn pong(&self, payload: Vec<u8>) {
        self.beat(|beats| beats.pong = Some(payload));
    }

    pub(super) fn close(&self, close: Close) {
        let _ = self.items.send(Item::Close(close));
    }

    /// Waits until everything is written, or the peer is too slow for it. Tells whether it is.
    pub(super) async fn finish(mut self) -> bool {
        drop(self.items);
        let finished = tokio::time::timeout(FINISH, &mut self.task).await.is_ok();
        if !finished {
            self.task.abort();
        }
        finished
    }

    fn beat(&self, change: impl FnOnce(&mut Beats)) {
        let mut beats = self.beats.lock();
        let waits = beats.ping || beats.pong.is_some();
        change(&mut beats);
        if !waits {
            let _ = self.items.send(Item::Beat);
        }
    }
}

/// The task's end.
struct Out<W> {
    io: W,
    encoder: Encoder,
    beats: Arc<Mutex<Beats>>,
    service: Service,
    written: mpsc::UnboundedSender<Written>,
    figures: Arc<SocketFigures>,
    /// Gathered, and not written yet.
    bytes: Vec<u8>,
    /// Bytes of messages, before compression, of which nobody knows yet whether they are out.
    unsent: usize,
}

impl<W: AsyncWrite + Unpin> Out<W> {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Item>) -> io::Result<()> {
        while let Some(item) = waiting.recv().await {
            match item {
                Item::Outgoing(outgoing) => self.message(outgoing).await?,
                Item::Beat => self.beat().await?,
                Item::Close(close) => {
                    self.frame(&Frame::close(&close_payload(close.code, &close.reason))).await?;
                    break;
                }
            }
            if waiting.is_empty() {
                self.flush().await?;
            }
        }
        self.flush().await?;
        self.io.shutdown().await
    }

    async fn message(&mut self, outgoing: Outgoing) -> io::Result<()> {
        let is_transition = matches!(outgoing, Outgoing::Transition(_));
        let texts = outgoing.into_frames(self.service.now_ns());
        if is_transition {
            self.figures.queued(texts.iter().map(String::len).sum());
        }
        for text in texts {
            self.unsent += text.len();
            self.figures.sent_message();
            let message = self.encoder.text(text);
            for frame in message.frames() {
                self.frame(&frame).await?;
            }
        }
        if is_transition {
            self.flush().await?;
            let _ = self.written.send(Written::Transition);
        }
        Ok(())
    }

    async fn beat(&mut self) -> io::Result<()> {
        let Beats { ping, pong } = std::mem::take(&mut *self.beats.lock());
        if ping {
            self.encoder.rest();
            self.frame(&Frame::ping()).await?;
        }
        if let Some(payload) = pong {
            self.frame(&Frame::pong(&payload)).await?;
        }
        Ok(())
    }

    async fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.bytes.extend_from_slice(frame.header.as_bytes());
        if frame.payload.len() > GATHER_BYTES_MAX {
            self.write().await?;
            return self.io.write_all(frame.payload).await;
        }
        self.bytes.extend_from_slice(frame.payload);
        if self.bytes.len() > GATHER_BYTES_MAX { self.write().await } else { Ok(()) }
    }

    /// Writes what was gathered, and keeps no room for more.
    async fn write(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.io.write_all(&bytes).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write().await?;
        self.io.flush().await?;
        self.figures.sent(std::mem::take(&mut self.unsent));
        Ok(())
    }
}
