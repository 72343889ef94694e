//! A TCP stream that gives up on a peer that takes too long.
//!
//!     head    from the first byte (or the connection) until a request begins: 408, then the end
//!     answer  while the peer reads nothing of it
//!     end     after the last answer, while the peer still sends: what it sends is thrown away
//!
//! A socket that was upgraded has its own rules, in `protocol`; here it has none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::ConnectionLimits;

/// What a peer that did not finish its head is told.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Most bytes that are thrown away after the last answer.
const LINGER_BYTES_MAX: usize = 64 << 20;

/// What happens on a connection, as far as its stream must know.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have begun.
    requests: AtomicU64,
    busy: AtomicBool,
    upgraded: AtomicBool,
    stopping: AtomicBool,
}

impl Activity {
    /// A request begins; it ends with what this gives.
    pub(super) fn begin(activity: &Arc<Activity>) -> Busy {
        activity.requests.fetch_add(1, Ordering::AcqRel);
        activity.busy.store(true, Ordering::Release);
        Busy(Arc::clone(activity))
    }

    /// From now on this is no HTTP.
    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    /// No request begins any more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }
}

/// A request that is being handled.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// A point in time that may be set.
#[derive(Default)]
struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    fn after(duration: Duration) -> Deadline {
        Deadline(Some(Box::pin(tokio::time::sleep(duration))))
    }

    fn set_unless_set(&mut self, duration: Duration) {
        if self.0.is_none() {
            *self = Deadline::after(duration);
        }
    }

    fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether it has passed; else the task is woken when it does.
    fn has_passed(&mut self, cx: &mut Context<'_>) -> bool {
        self.0.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

/// The stream of one connection, with its place among all.
pub(super) struct Guarded {
    stream: TcpStream,
    limits: ConnectionLimits,
    activity: Arc<Activity>,
    head: Deadline,
    /// Something of the head that is awaited has come.
    head_begun: bool,
    /// Requests that had begun when this was last looked at.
    requests: u64,
    write: Deadline,
    linger: Deadline,
    lingered_bytes: usize,
    _place: OwnedSemaphorePermit,
}

impl Guarded {
    pub(super) fn new(
        stream: TcpStream,
        limits: ConnectionLimits,
        activity: Arc<Activity>,
        place: OwnedSemaphorePermit,
    ) -> Guarded {
        Guarded {
            stream,
            head: Deadline::after(limits.head_timeout),
            head_begun: false,
            requests: 0,
            write: Deadline::default(),
            linger: Deadline::default(),
            lingered_bytes: 0,
            limits,
            activity,
            _place: place,
        }
    }

    /// Whether a head is awaited, rather than a body or nothing.
    fn awaits_head(&mut self) -> bool {
        // One may have begun and ended since.
        let requests = self.activity.requests.load(Ordering::Acquire);
        if requests != self.requests {
            self.requests = requests;
            self.head.clear();
            self.head_begun = false;
        }
        !self.activity.is_busy() && !self.activity.is_upgraded()
    }

    /// Tells the peer, unless it already does not listen.
    fn give_up_on_head(&mut self) -> io::Error {
        if self.head_begun && self.write.0.is_none() {
            // It fits into an empty send buffer; where it does not, nobody is told.
            let _ = self.stream.try_write(TOO_SLOW);
        }
        too_long("the head of a request took too long")
    }

    fn watch_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.activity.is_upgraded() {
            self.write.clear();
            return written;
        }
        self.write.set_unless_set(self.limits.write_timeout);
        if self.write.has_passed(cx) {
            return Poll::Ready(Err(too_long("the peer read nothing for too long")));
        }
        Poll::Pending
    }

    /// Until the peer has closed too: closing while it sends would take the answer from it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.linger.set_unless_set(self.limits.linger);
        let mut space = [0; 16 << 10];
        loop {
            if self.linger.has_passed(cx) || self.lingered_bytes > LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.lingered_bytes += buffer.filled().len();
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

fn too_long(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if !self.awaits_head() {
            return read;
        }
        if buffer.filled().len() > before {
            let head_timeout = self.limits.head_timeout;
            self.head.set_unless_set(head_timeout);
            self.head_begun = true;
        }
        if read.is_pending() && self.activity.is_stopping() {
            return Poll::Ready(Err(io::Error::other("the server stops")));
        }
        if read.is_pending() && self.head.has_passed(cx) {
            return Poll::Ready(Err(self.give_up_on_head()));
        }
        read
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.0.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if !self.activity.is_upgraded() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
