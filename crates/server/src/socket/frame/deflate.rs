//! Compression, and how much memory all sockets together may spend on it.
//!
//! A message that refers to earlier ones needs the compressor that made those: [`CONTEXT_BYTES`] for one
//! socket. A socket gets one of its own with its first message worth it while [`CONTEXTS_BYTES_MAX`]
//! lasts, and gives it back when it has been quiet for a while. Without one it borrows a compressor and
//! its messages stand alone, which the other side reads just as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use parking_lot::Mutex;

use super::Extension;

/// Bytes of all compressors that remember what their sockets were sent, unless an operator says
/// otherwise.
pub const CONTEXTS_BYTES_MAX: usize = 64 << 20;

/// Bytes of one compressor with the largest window, in round terms: the window twice, its hash chains,
/// and what is not yet written.
const CONTEXT_BYTES: usize = 320 << 10;

/// Messages below are sent as they are: they fit one packet either way.
pub(crate) const DEFLATE_BYTES_MIN: usize = 1024;

/// Rests after which a compressor is given back. A rest is the time between two pings.
const RESTS_MAX: u8 = 12;

/// Borrowed compressors and decompressors that are kept for the next one.
const LENT_KEPT_MAX: usize = 8;

/// How hard to try. Results are JSON with much repetition: more costs time and saves little.
const LEVEL: u32 = 3;

/// What ends a flush, and is left away on the wire (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes to begin an output buffer with.
const ROOM: usize = 4096;

/// Compressors and decompressors of all sockets.
pub struct Codecs {
    contexts_bytes: AtomicUsize,
    contexts_bytes_max: usize,
    compressors: Mutex<Vec<Compress>>,
    decompressors: Mutex<Vec<Decompress>>,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    TooLarge,
    Broken,
}

impl Default for Codecs {
    fn default() -> Self {
        Self::new(CONTEXTS_BYTES_MAX)
    }
}

impl Codecs {
    /// None lent, none remembered. Contexts take at most `contexts_bytes_max`.
    pub fn new(contexts_bytes_max: usize) -> Codecs {
        Codecs {
            contexts_bytes: AtomicUsize::new(0),
            contexts_bytes_max,
            compressors: Mutex::default(),
            decompressors: Mutex::default(),
        }
    }

    /// A message that stands alone. Never makes more than `bytes_max`, however little it takes.
    pub(super) fn inflate(
        &self,
        message: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, InflateError> {
        let lent = self.decompressors.lock().pop();
        let mut decompress = lent.unwrap_or_else(|| Decompress::new(false));
        let read = inflate(&mut decompress, message, bytes_max);
        decompress.reset(false);
        keep(&self.decompressors, decompress);
        read
    }

    /// Bytes of the compressors that sockets have of their own.
    pub fn contexts_bytes(&self) -> usize {
        self.contexts_bytes.load(Ordering::Relaxed)
    }

    fn context(self: &Arc<Self>, window_bits: u8) -> Option<Context> {
        let take = |bytes: usize| {
            let after = bytes + CONTEXT_BYTES;
            (after <= self.contexts_bytes_max).then_some(after)
        };
        self.contexts_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Context { compress: compressor(window_bits), codecs: Arc::clone(self) })
    }
}

/// A compressor that remembers, and its place in the budget.
struct Context {
    compress: Compress,
    codecs: Arc<Codecs>,
}

impl Drop for Context {
    fn drop(&mut self) {
        self.codecs.contexts_bytes.fetch_sub(CONTEXT_BYTES, Ordering::Relaxed);
    }
}

/// The compressing half of one socket.
pub(in crate::socket) struct Deflater {
    codecs: Arc<Codecs>,
    extension: Extension,
    context: Option<Context>,
    rests: u8,
}

impl Deflater {
    /// Compression as agreed on.
    pub(in crate::socket) fn new(codecs: Arc<Codecs>, extension: Extension) -> Deflater {
        Deflater { codecs, extension, context: None, rests: 0 }
    }

    /// The payload of a compressed message, or nothing where it is not worth it.
    pub(super) fn deflate(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() < DEFLATE_BYTES_MIN {
            return None;
        }
        self.rests = 0;
        if self.extension.takeover && self.context.is_none() {
            self.context = self.codecs.context(self.extension.window_bits);
        }
        if let Some(context) = &mut self.context {
            // It has to go: the compressor takes for granted that the other side has seen it.
            return Some(deflate(&mut context.compress, message));
        }
        let lent = (self.extension.window_bits == 15).then(|| self.codecs.compressors.lock().pop());
        let mut compress = lent.flatten().unwrap_or_else(|| compressor(self.extension.window_bits));
        let payload = deflate(&mut compress, message);
        if self.extension.window_bits == 15 {
            compress.reset();
            keep(&self.codecs.compressors, compress);
        }
        Some(payload).filter(|payload| payload.len() < message.len())
    }

    /// Some time has passed. A socket that was quiet for long gives its compressor back.
    pub(super) fn rest(&mut self) {
        self.rests = self.rests.saturating_add(1);
        if self.rests >= RESTS_MAX {
            self.context = None;
        }
    }
}

fn compressor(window_bits: u8) -> Compress {
    Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits)
}

fn keep<T>(kept: &Mutex<Vec<T>>, codec: T) {
    let mut kept = kept.lock();
    if kept.len() < LENT_KEPT_MAX {
        kept.push(codec);
    }
}

fn deflate(compress: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROOM + message.len() / 8);
    let mut rest = message;
    // Space that is left at the end says that everything is out.
    while !rest.is_empty() || out.len() == out.capacity() || out.is_empty() {
        out.reserve(ROOM.max(out.len() / 2));
        let before = compress.total_in();
        let status = compress.compress_vec(rest, &mut out, FlushCompress::Sync);
        status.expect("memory is the only thing a compressor can lack");
        rest = &rest[usize::try_from(compress.total_in() - before).unwrap_or(rest.len())..];
    }
    debug_assert!(out.ends_with(&TAIL), "a flush ends with its tail");
    out.truncate(out.len().saturating_sub(TAIL.len()));
    out
}

fn inflate(
    decompress: &mut Decompress,
    message: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    for mut rest in [message, &TAIL] {
        loop {
            if out.len() == out.capacity() {
                // One more than allowed, to see whether there is one.
                let room = ROOM.max(out.len()).min(bytes_max + 1 - out.len());
                out.reserve_exact(room);
            }
            let before = decompress.total_in();
            let status = decompress.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            let status = status.map_err(|_| InflateError::Broken)?;
            let taken = usize::try_from(decompress.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken..];
            if out.len() > bytes_max {
                return Err(InflateError::TooLarge);
            }
            match status {
                // A block that called itself the last one. Another may follow, from a new start.
                Status::StreamEnd => decompress.reset(false),
                Status::Ok | Status::BufError => {}
            }
            let full = out.len() == out.capacity();
            if !full && rest.is_empty() {
                break;
            }
            if !full && taken == 0 && status != Status::StreamEnd {
                return Err(InflateError::Broken);
            }
        }
    }
    Ok(out)
}
