//! What goes into a session and what comes out of it.

use std::sync::Arc;

use value::{ComponentPath, FunctionPath, Timestamp, Value};

use crate::client::{Connect, Token};
use crate::client_version::ClientVersion;
use crate::error::SystemError;
use crate::ids::{QueryId, RequestId, SessionId};
use crate::limits::SessionLimits;
use crate::outgoing::Outgoing;
use crate::result::{CallError, QueryResult};

/// What a session is told when it is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides whether transitions are chunked.
    pub client: ClientVersion,
    /// Fresh random bytes: request ids that no session gives a name to are made from them.
    pub entropy: [u8; 16],
    /// Whether errors that the session itself answers carry their text, or only a request id.
    pub show_errors: bool,
    /// What the connection may take.
    pub limits: SessionLimits,
}

/// Results by query, in any order.
pub type Results = Vec<(QueryId, Arc<QueryResult>)>;

/// What happens to a connection. `I` is the server's handle of an identity.
#[derive(Clone, Debug)]
pub enum Input<'a, I> {
    /// A text message came.
    Frame(&'a str),
    /// A binary message came: a protocol failure.
    BinaryFrame,
    /// A WebSocket ping or pong came: the peer lives.
    Alive,
    /// Answers `Output::Verify`.
    Verified(Verified<I>),
    /// The mutation that runs has committed at `ts`; its answer follows. Optional, see rule 4.
    MutationCommitted {
        /// The mutation.
        request: RequestId,
        /// Its commit.
        ts: Timestamp,
    },
    /// Answers `Output::Mutation`.
    MutationDone {
        /// The mutation.
        request: RequestId,
        /// What came of it.
        outcome: MutationOutcome,
    },
    /// Answers `Output::Action`.
    ActionDone {
        /// The action.
        request: RequestId,
        /// What came of it.
        outcome: ActionOutcome,
    },
    /// A subscribed result is stale since `ts`: a refresh at `ts` or later is possible and due.
    Changed {
        /// The commit that made it stale.
        ts: Timestamp,
    },
    /// Answers `Output::Refresh`: results as of `ts`, see rule 3.
    Refreshed {
        /// The snapshot of all results.
        ts: Timestamp,
        /// The results that may differ from the last ones.
        results: Results,
    },
    /// The writer has written one transition.
    Drained,
    /// Time has passed.
    Tick,
    /// Something failed that ends the connection: a refresh, the socket, a frame too large.
    Failed(SystemError),
    /// The server stops.
    Shutdown,
    /// The peer has closed, or the socket broke.
    PeerClosed,
}

/// What came of a token.
#[derive(Clone, Debug)]
pub enum Verified<I> {
    /// It is good.
    Accepted {
        /// Whose it is. For `Token::None` the anonymous identity.
        identity: I,
        /// When it ends, Unix milliseconds. `None`: never.
        expires_at_ms: Option<i64>,
    },
    /// It is not: `AuthError` with this text.
    Rejected {
        /// Why, for the client.
        message: String,
    },
    /// The provider can not be asked now. Use a class that clients retry.
    Unavailable(SystemError),
}

/// What came of a mutation.
#[derive(Clone, Debug)]
pub enum MutationOutcome {
    /// It committed, now or in an earlier life (a replay answered from its record).
    Success {
        /// The returned value as encoded JSON.
        value: String,
        /// The commit; of a replay the original one.
        ts: Timestamp,
        /// `[LEVEL] text`.
        log_lines: Vec<String>,
    },
    /// It wrote nothing.
    Failure {
        /// Why.
        error: CallError,
        /// `[LEVEL] text`.
        log_lines: Vec<String>,
    },
    /// Ends the connection; the client sends the mutation again.
    System(SystemError),
}

/// What came of an action.
#[derive(Clone, Debug)]
pub enum ActionOutcome {
    /// It returned.
    Success {
        /// The returned value as encoded JSON.
        value: String,
        /// `[LEVEL] text`.
        log_lines: Vec<String>,
    },
    /// It failed.
    Failure {
        /// Why.
        error: CallError,
        /// `[LEVEL] text`.
        log_lines: Vec<String>,
    },
    /// Ends the connection.
    System(SystemError),
}

/// What is to be done for a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<I> {
    /// Hand it to the writer.
    Send(Outgoing),
    /// The client has opened its session. For the log and whoever follows sessions; the session
    /// itself makes the first refresh wait for `max_observed`.
    Connected(Connect),
    /// Verify these credentials, then feed `Verified`.
    Verify(Token),
    /// Run this mutation, then feed `MutationDone`. One at a time.
    Mutation(Call<I>),
    /// Run this action, then feed `ActionDone`. Any number at a time.
    Action(Call<I>),
    /// Keep the result of this query ready. Replaces a subscription of the same query, which
    /// happens when the identity has changed.
    Subscribe(Subscription<I>),
    /// Forget this query.
    Unsubscribe(QueryId),
    /// Take all subscribed queries to one timestamp, then feed `Refreshed`.
    Refresh {
        /// The timestamp must not be less. Above the newest one: wait briefly, then `Failed`.
        at_least: Timestamp,
    },
    /// The connection is over.
    Close(Close),
}

/// A mutation or an action to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<I> {
    /// Names the answer.
    pub request: RequestId,
    /// The function.
    pub path: FunctionPath,
    /// Its arguments.
    pub args: Vec<Value>,
    /// Whose call it is: the identity when the message came.
    pub identity: I,
    /// With `request` the key of the record that makes a replay harmless. `None`: no record.
    pub session: Option<SessionId>,
    /// The request id for logs and error texts, 16 hex digits.
    pub call_id: String,
    /// Always the root for now; calls into other components are answered by the session.
    pub component: ComponentPath,
}

/// A query to be kept ready.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription<I> {
    /// Names its results.
    pub query: QueryId,
    /// The function.
    pub path: FunctionPath,
    /// Its arguments.
    pub args: Arc<Vec<Value>>,
    /// What the run must repeat.
    pub journal: Option<Arc<str>>,
    /// Who looks.
    pub identity: I,
    /// Always the root for now; queries of other components are answered by the session.
    pub component: ComponentPath,
}

/// The close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// `None`: a close frame without a code. After `PeerClosed`: the echo, if one can be sent.
    pub code: Option<u16>,
    /// At most 123 bytes.
    pub reason: String,
}
