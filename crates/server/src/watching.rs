//! What is counted of sockets and requests, for `/metrics` and the admin pages; and who may scrape.
//!
//!     socket task ──► its own figures (atomics) ──┬─ while it is open: looked at one by one
//!                                                 └─ when it ends: added to the totals
//!
//! Locks are taken when a socket opens and ends and when somebody looks, not on the way of a frame.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use protocol::SessionId;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use value::Timestamp;

/// A close frame without a code.
pub const CLOSED_WITHOUT_CODE: u16 = 1005;
/// No close frame at all: the connection broke.
pub const CLOSED_WITHOUT_FRAME: u16 = 1006;
/// Codes that are counted on their own; all others are one.
pub const CLOSE_CODES: [u16; 12] =
    [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013];
/// Statuses of HTTP answers that are counted on their own; all others are one.
pub const STATUSES: [u16; 18] =
    [101, 200, 204, 301, 304, 400, 401, 403, 404, 405, 408, 410, 413, 414, 429, 500, 501, 503];

/// Who may scrape `/metrics`. Figures say what an application does and how much: not for everybody.
#[derive(Clone, Default)]
pub enum MetricsAccess {
    /// Whoever shows an admin key, a read-only one too.
    #[default]
    AdminKey,
    /// Also whoever shows this token: `Authorization: Bearer <token>`. Kept as its hash.
    Token([u8; 32]),
    /// Everybody who reaches the port.
    Open,
}

impl MetricsAccess {
    /// Also whoever shows `token`.
    pub fn token(token: &str) -> Self {
        Self::Token(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether `shown` is the token. Hashes are compared, so the time tells nothing of it.
    pub(crate) fn accepts(&self, shown: &str) -> bool {
        match self {
            Self::AdminKey | Self::Open => false,
            Self::Token(hash) => *hash == <[u8; 32]>::from(Sha256::digest(shown.as_bytes())),
        }
    }
}

/// What is counted outside functions.
#[derive(Default)]
pub struct Watching {
    /// The sockets.
    pub sockets: Sockets,
    /// Answers over HTTP.
    pub answers: Answers,
    /// Who may scrape.
    pub metrics: MetricsAccess,
    /// When the server started.
    pub started: Timestamp,
    /// Room for those who wait for news.
    pub(crate) followers: Followers,
}

/// Requests that may wait for news at once: each of them holds the turn of a request.
pub const FOLLOWERS_MAX: usize = 16;

/// Room for those who wait for news.
pub(crate) struct Followers(pub(crate) Semaphore);

impl Default for Followers {
    fn default() -> Self {
        Self(Semaphore::new(FOLLOWERS_MAX))
    }
}

impl Watching {
    /// Nothing is counted yet. `started`: when the server started.
    pub fn new(metrics: MetricsAccess, started: Timestamp) -> Self {
        Self { metrics, started, ..Self::default() }
    }
}

/// Answers over HTTP by status.
#[derive(Default)]
pub struct Answers {
    by_status: [AtomicU64; STATUSES.len()],
    other: AtomicU64,
}

impl Answers {
    pub(crate) fn count(&self, status: u16) {
        let at = STATUSES.iter().position(|known| *known == status);
        at.map_or(&self.other, |at| &self.by_status[at]).fetch_add(1, Ordering::Relaxed);
    }

    /// Each status with its number of answers; none: all others.
    pub(crate) fn view(&self) -> impl Iterator<Item = (Option<u16>, u64)> {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let known =
            STATUSES.iter().map(|status| Some(*status)).zip(self.by_status.iter().map(read));
        known.chain([(None, read(&self.other))])
    }
}

/// All sockets.
#[derive(Default)]
pub struct Sockets {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<u64, Arc<SocketFigures>>,
    opened: u64,
    closed: BTreeMap<u16, u64>,
    ended: Traffic,
}

/// Messages and bytes in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that came.
    pub received_messages: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Messages that went.
    pub sent_messages: u64,
    /// Their bytes.
    pub sent_bytes: u64,
}

/// Totals of all sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketTotals {
    /// Sockets now.
    pub open: usize,
    /// Sockets since the start.
    pub opened: u64,
    /// Ends by code; 0: all that are not in [`CLOSE_CODES`].
    pub closed: BTreeMap<u16, u64>,
    /// Traffic since the start.
    pub traffic: Traffic,
    /// Bytes that wait to be sent.
    pub unsent_bytes: u64,
}

/// What is counted of one socket.
pub struct SocketFigures {
    /// The number of its live session.
    pub number: u64,
    /// What the client calls itself.
    pub client: String,
    /// When it opened.
    pub opened: Timestamp,
    session: OnceLock<SessionId>,
    heard: AtomicU64,
    received_messages: AtomicU64,
    received_bytes: AtomicU64,
    sent_messages: AtomicU64,
    sent_bytes: AtomicU64,
    queued_bytes: AtomicU64,
}

/// A socket that is open; gone when dropped.
pub struct OpenSocket {
    state: Arc<Mutex<State>>,
    figures: Arc<SocketFigures>,
    code: AtomicU16,
}

impl Sockets {
    /// Counts a socket until it is dropped.
    pub fn open(&self, number: u64, client: String, now: Timestamp) -> OpenSocket {
        let zero = || AtomicU64::new(0);
        let figures = Arc::new(SocketFigures {
            number,
            client,
            opened: now,
            session: OnceLock::new(),
            heard: AtomicU64::new(now.0),
            received_messages: zero(),
            received_bytes: zero(),
            sent_messages: zero(),
            sent_bytes: zero(),
            queued_bytes: zero(),
        });
        let mut state = self.state.lock();
        state.opened += 1;
        state.open.insert(number, Arc::clone(&figures));
        OpenSocket { state: Arc::clone(&self.state), figures, code: AtomicU16::new(0) }
    }

    /// The socket of a live session.
    pub fn get(&self, number: u64) -> Option<Arc<SocketFigures>> {
        self.state.lock().open.get(&number).cloned()
    }

    /// Totals of all of them.
    pub fn totals(&self) -> SocketTotals {
        let state = self.state.lock();
        let mut totals = SocketTotals {
            open: state.open.len(),
            opened: state.opened,
            closed: state.closed.clone(),
            traffic: state.ended,
            unsent_bytes: 0,
        };
        for socket in state.open.values() {
            totals.traffic.add(socket.traffic());
            totals.unsent_bytes += socket.unsent_bytes();
        }
        totals
    }
}

impl Traffic {
    fn add(&mut self, other: Traffic) {
        self.received_messages += other.received_messages;
        self.received_bytes += other.received_bytes;
        self.sent_messages += other.sent_messages;
        self.sent_bytes += other.sent_bytes;
    }
}

impl SocketFigures {
    pub(crate) fn names_session(&self, session: SessionId) {
        // The first one stays: a session does not change on one socket.
        let _ = self.session.set(session);
    }

    pub(crate) fn heard(&self, now: Timestamp) {
        self.heard.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize, now: Timestamp) {
        self.heard(now);
        self.received_messages.fetch_add(1, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn queued(&self, bytes: usize) {
        self.queued_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent_message(&self) {
        self.sent_messages.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The client's session, once it has said which.
    pub fn session(&self) -> Option<SessionId> {
        self.session.get().copied()
    }

    /// When anything came last.
    pub fn last_heard(&self) -> Timestamp {
        Timestamp(self.heard.load(Ordering::Relaxed))
    }

    /// Bytes that wait to be sent.
    pub fn unsent_bytes(&self) -> u64 {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let sent = read(&self.sent_bytes);
        read(&self.queued_bytes).saturating_sub(sent)
    }

    /// Messages and bytes so far.
    pub fn traffic(&self) -> Traffic {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Traffic {
            received_messages: read(&self.received_messages),
            received_bytes: read(&self.received_bytes),
            sent_messages: read(&self.sent_messages),
            sent_bytes: read(&self.sent_bytes),
        }
    }
}

impl OpenSocket {
    /// Its figures.
    pub fn figures(&self) -> &Arc<SocketFigures> {
        &self.figures
    }

    /// It ends, by whichever side; the first code counts.
    pub fn closed(&self, code: u16) {
        let _ = self.code.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        let code = match *self.code.get_mut() {
            0 => CLOSED_WITHOUT_FRAME,
            code if CLOSE_CODES.contains(&code) => code,
            _ => 0,
        };
        let mut state = self.state.lock();
        state.open.remove(&self.figures.number);
        *state.closed.entry(code).or_default() += 1;
        state.ended.add(self.figures.traffic());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_counted_while_open_and_after() {
        let sockets = Sockets::default();
        let one = sockets.open(1, "npm-1.48.0".to_owned(), Timestamp(5));
        let two = sockets.open(2, "unknown".to_owned(), Timestamp(5));
        one.figures().received(10, Timestamp(9));
        two.figures().queued(7);
        two.figures().sent_message();
        assert_eq!(sockets.totals().unsent_bytes, 7);
        two.figures().sent(7);
        assert_eq!(sockets.get(1).unwrap().last_heard(), Timestamp(9));
        let before = sockets.totals();
        one.closed(1008);
        one.closed(1000);
        two.closed(4242);
        drop((one, two));
        sockets.open(3, String::new(), Timestamp(5));
        let after = sockets.totals();
        assert_eq!(after.traffic, before.traffic);
        assert_eq!((after.open, after.opened, after.unsent_bytes), (0, 3, 0));
        assert_eq!(after.closed, BTreeMap::from([(0, 1), (1006, 1), (1008, 1)]));
        assert!(sockets.get(1).is_none());
    }

    #[test]
    fn tokens_are_compared_whole() {
        let access = MetricsAccess::token("s3cret");
        assert!(access.accepts("s3cret"));
        for wrong in ["", "s3cre", "s3cret ", "S3cret"] {
            assert!(!access.accepts(wrong), "{wrong}");
        }
        assert!(!MetricsAccess::AdminKey.accepts("") && !MetricsAccess::Open.accepts(""));
    }
}
