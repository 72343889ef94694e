//! Failures that end a connection, and how each one ends it.
//!
//! One table, `SystemError::ending`, decides the last message, the close code and the reason. A
//! failure inside a function is not here: it answers its own query or request (`CallError`).

use std::borrow::Cow;

/// A failure of the whole connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct SystemError {
    /// Decides what the client sees.
    pub class: ErrorClass,
    /// The short code: the close reason. Clients choose their backoff by its prefix.
    pub code: Cow<'static, str>,
    /// The long text, for `FatalError`, `AuthError` and the log.
    pub message: String,
}

/// What kind of failure ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// A deterministic fault of the client: `FatalError`, which kills an npm client for good.
    BadRequest,
    /// A conflict with the state that the client must resolve: `FatalError`.
    Conflict,
    /// An accepted identity has expired: `AuthError`, update not attempted.
    Unauthenticated,
    /// A token was rejected: `AuthError`, update attempted.
    AuthUpdateFailed,
    /// No right to the whole connection: `FatalError`, close 1000.
    Forbidden,
    /// A page asks for too much: `FatalError`, close 1000.
    PaginationLimit,
    /// The deployment is not here: close 1000.
    NotFound,
    /// The peer is gone, or we go: close 1000.
    ClientDisconnect,
    /// Too many requests of this client: close 1013.
    RateLimited,
    /// The server can not take it now, a retry may succeed: close 1013.
    Overloaded,
    /// A planned stop of the server: close 1001, the code that clients do not log.
    GoingAway,
    /// Anything else: close 1011, reason `InternalServerError` whatever the code says.
    Internal,
}

/// The last message of a connection, before its close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastMessage {
    /// Only the close frame.
    None,
    /// `FatalError`.
    Fatal,
    /// `AuthError` with this `authUpdateAttempted`.
    Auth {
        /// Whether it answers an `Authenticate`.
        attempted: bool,
    },
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What is said before the close frame.
    pub last: LastMessage,
    /// `None`: a close frame without a code, which the peer sees as 1005.
    pub code: Option<u16>,
    /// At most `CLOSE_REASON_BYTES_MAX` bytes. Empty without a code.
    pub reason: String,
}

/// The reason of close 1011.
pub const INTERNAL_CODE: &str = "InternalServerError";

impl SystemError {
    /// A failure of `class`.
    pub fn new(
        class: ErrorClass,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> SystemError {
        SystemError { class, code: code.into(), message: message.into() }
    }

    /// A failure without a better name: close 1011. The message is for the log.
    pub fn internal(message: impl Into<String>) -> SystemError {
        SystemError::new(ErrorClass::Internal, INTERNAL_CODE, message)
    }

    /// The last message, close code and reason. Source: spec/sync-protocol.md section 12.
    pub fn ending(&self) -> Ending {
        let (last, code) = match self.class {
            ErrorClass::BadRequest | ErrorClass::Conflict => (LastMessage::Fatal, None),
            ErrorClass::Unauthenticated => (LastMessage::Auth { attempted: false }, None),
            ErrorClass::AuthUpdateFailed => (LastMessage::Auth { attempted: true }, None),
            ErrorClass::Forbidden | ErrorClass::PaginationLimit => (LastMessage::Fatal, Some(1000)),
            ErrorClass::NotFound | ErrorClass::ClientDisconnect => (LastMessage::None, Some(1000)),
            ErrorClass::GoingAway => (LastMessage::None, Some(1001)),
            ErrorClass::RateLimited | ErrorClass::Overloaded => (LastMessage::None, Some(1013)),
            ErrorClass::Internal => (LastMessage::None, Some(1011)),
        };
        let reason = match (code, self.class) {
            (None, _) => "",
            (Some(_), ErrorClass::Internal) => INTERNAL_CODE,
            (Some(_), _) => &self.code,
        };
        Ending { last, code, reason: cut(reason, crate::limits::CLOSE_REASON_BYTES_MAX).to_owned() }
    }
}

/// The longest beginning of `text` with at most `bytes_max` bytes that ends between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(class: ErrorClass, last: LastMessage, code: Option<u16>, reason: &str) {
        let ending = SystemError::new(class, "ShortCode", "long text").ending();
        assert_eq!(ending, Ending { last, code, reason: reason.to_owned() }, "{class:?}");
    }

    #[test]
    fn every_class_has_its_ending() {
        use ErrorClass::*;
        check(BadRequest, LastMessage::Fatal, None, "");
        check(Conflict, LastMessage::Fatal, None, "");
        check(Unauthenticated, LastMessage::Auth { attempted: false }, None, "");
        check(AuthUpdateFailed, LastMessage::Auth { attempted: true }, None, "");
        check(Forbidden, LastMessage::Fatal, Some(1000), "ShortCode");
        check(PaginationLimit, LastMessage::Fatal, Some(1000), "ShortCode");
        check(NotFound, LastMessage::None, Some(1000), "ShortCode");
        check(ClientDisconnect, LastMessage::None, Some(1000), "ShortCode");
        check(RateLimited, LastMessage::None, Some(1013), "ShortCode");
        check(Overloaded, LastMessage::None, Some(1013), "ShortCode");
        check(GoingAway, LastMessage::None, Some(1001), "ShortCode");
        check(Internal, LastMessage::None, Some(1011), "InternalServerError");
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let reason =
            |code: String| SystemError::new(ErrorClass::Overloaded, code, "").ending().reason;
        assert_eq!(reason("x".repeat(200)).len(), 123);
        assert_eq!(reason("é".repeat(100)).len(), 122);
        assert_eq!(reason("x".repeat(123)).len(), 123);
    }
}
