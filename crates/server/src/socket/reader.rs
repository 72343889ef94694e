//! The reading half of a socket. An idle one holds no buffer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::frame::{Decoder, Incoming, Violation};

/// Bytes of one read.
const READ_BYTES: usize = 8 << 10;

/// How long a peer may take to close after we did. What it still sends is read and dropped: a socket
/// that is closed over unread bytes is reset, and then our last message may never arrive.
const LINGER: Duration = Duration::from_secs(2);

/// What comes from the peer.
pub(super) enum Event {
    /// Something whole.
    Incoming(Incoming),
    /// Bytes, and nothing whole yet.
    Bytes,
    /// It broke the rules. Nothing it says counts any more.
    Violation(Violation),
    /// It sends nothing more.
    End,
}

pub(super) struct Reader<R> {
    io: R,
    decoder: Decoder,
    /// Read and not decoded yet: from `taken` on.
    unread: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(io: R, decoder: Decoder) -> Self {
        Self { io, decoder, unread: Vec::new(), taken: 0, ended: false }
    }

    /// The next event. May be dropped and asked again: nothing is lost.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if self.ended {
            return Poll::Ready(Event::End);
        }
        if self.unread.is_empty() {
            match ready!(self.poll_read(context)) {
                Ok(0) => {
                    self.ended = true;
                    return Poll::Ready(Event::End);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a socket failed");
                    self.ended = true;
                    return Poll::Ready(Event::End);
                }
            }
        }
        let mut input = &self.unread[self.taken..];
        let decoded = self.decoder.decode(&mut input);
        self.taken = self.unread.len() - input.len();
        if self.taken == self.unread.len() {
            (self.unread, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(match decoded {
            Ok(Some(incoming)) => Event::Incoming(incoming),
            Ok(None) => Event::Bytes,
            Err(violation) => Event::Violation(violation),
        })
    }

    /// Reads once, into a buffer that is made only when there is something.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer))?;
        self.unread.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(self.unread.len()))
    }

    /// Waits until the peer has closed too, or for [`LINGER`].
    pub(super) async fn linger(&mut self) {
        let _ = tokio::time::timeout(LINGER, async {
            loop {
                match self.next().await {
                    Event::End | Event::Incoming(Incoming::Close(_)) => break,
                    Event::Incoming(_) | Event::Bytes | Event::Violation(_) => {}
                }
            }
        })
        .await;
    }
}
