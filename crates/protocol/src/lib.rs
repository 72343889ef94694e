//! The sync protocol: frames, and the session as a state machine without IO.
//!
//!     socket task (server)                      this crate
//!     text frame ───► Input::Frame ───► ClientMessage ─┐
//!     runner, live queries ───► Input ────────────────►│ Session
//!     writer ◄─── Outgoing::into_frames ◄─── Output ◄──┘
//!
//! `client` reads what clients send, `outgoing` writes what they receive, `session` decides what
//! to send and when. Time, identities and entropy are passed in. May use `value` only: it cannot
//! open a socket, verify a token or run a function.
//!
//! Invariants: a transition starts where the one before ended; its timestamp never falls; a
//! mutation is answered before a transition shows it; a transition follows every answer.

pub mod client;
pub mod client_version;
pub mod error;
pub mod ids;
pub mod limits;
pub mod outgoing;
pub mod result;
pub mod session;
#[cfg(test)]
mod wire_examples;

pub use client::{ClientMessage, ImpersonatedUser, Token};
pub use client_version::{ClientKind, ClientVersion, Support};
pub use error::{ErrorClass, SystemError};
pub use ids::{QueryId, RequestId, SessionId, Version};
pub use limits::SessionLimits;
pub use outgoing::{Modification, Outgoing, Transition};
pub use result::{CallError, Digest, QueryResult};
pub use session::{
    ActionOutcome, Call, Close, Input, MutationOutcome, Options, Output, Results, Session,
    Subscription, Verified,
};
