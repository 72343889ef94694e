//! Limits and intervals of one connection. "official" marks numbers of the reference backend.

/// What an operator may set of one connection; the default is what the constants say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Queries subscribed.
    pub queries_max: usize,
    /// Bytes that the connection makes the session hold.
    pub held_bytes_max: usize,
    /// How long one mutation may take, in milliseconds.
    pub mutation_ms_max: i64,
    /// Least time between two transitions of a burst, in milliseconds; 0: none.
    pub burst_interval_ms: i64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            queries_max: QUERIES_MAX,
            held_bytes_max: HELD_BYTES_MAX,
            mutation_ms_max: MUTATION_MS_MAX,
            burst_interval_ms: BURST_INTERVAL_MS,
        }
    }
}

/// Bytes of one incoming WebSocket frame (official). The socket enforces it.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Bytes of one incoming message of several frames (official). The socket enforces it.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Bytes of the arguments of one call, as decoded values (official).
pub use value::limits::ARGUMENTS_BYTES_MAX as ARGS_BYTES_MAX;

/// Mutations that wait for their turn (official).
pub const MUTATIONS_QUEUED_MAX: usize = 1000;

/// How long one mutation may take from its start, repetitions included (official). The client comes
/// back and sends it again; if it has committed meanwhile, that is its answer.
pub const MUTATION_MS_MAX: i64 = 60_000;

/// Actions that run at the same time (official).
pub const ACTIONS_RUNNING_MAX: usize = 1000;

/// Queries subscribed by one connection. Far above any known application.
pub const QUERIES_MAX: usize = 10_000;

/// Modifications of one `ModifyQuerySet`: each query removed, and as many added.
pub const MODIFICATIONS_MAX: usize = 2 * QUERIES_MAX;

/// Messages that wait while a token is verified.
pub const MESSAGES_WAITING_MAX: usize = 4096;

/// Bytes of everything a connection makes the session hold: messages that wait for a
/// verification, arguments of queued mutations and of subscribed queries. As frame bytes.
pub const HELD_BYTES_MAX: usize = 128 << 20;

/// Bytes of answers that wait behind a transition which the peer does not read.
pub const ANSWER_BYTES_WAITING_MAX: usize = 64 << 20;

/// Transitions handed to the writer and not yet written. While it is reached no other one is
/// computed, so a slow client gets fewer and newer ones. The reference allows 2; one is enough
/// since the next starts as soon as the writer has taken this one.
pub const TRANSITIONS_WAITING_MAX: u32 = 1;

/// Bytes of one part of a chunked transition (official).
pub const CHUNK_BYTES_MAX: usize = 5_000_000;

/// Bytes of an error text that quotes what the client sent.
pub const ERROR_TEXT_BYTES_MAX: usize = 2000;

/// Bytes of a close reason (official; RFC 6455 allows 123).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Silence after which the session sends a `Ping` message (official).
pub const PING_AFTER_MS: i64 = 15_000;

/// Interval of WebSocket ping frames (official). The socket sends them.
pub const PING_FRAME_EVERY_MS: i64 = 5_000;

/// Least time between two transitions that bring nothing but changes, once a burst has used up
/// [`BURST_FREE`].
pub const BURST_INTERVAL_MS: i64 = 100;

/// Transitions of a burst that are not held back.
pub const BURST_FREE: i64 = 3;

/// Time without any frame from the peer after which it counts as gone (official).
pub const PEER_SILENT_MS_MAX: i64 = 120_000;

/// How long the first transition of a reconnected client waits for what the client shows, and for
/// the mutations that came with it. They are replays more often than not: a transition that shows
/// one before its answer makes the client's optimistic row appear twice, and one without the query
/// that shows it settles it too early.
pub const REPLAY_WAIT_MS: i64 = 500;
