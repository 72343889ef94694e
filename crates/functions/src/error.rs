//! Why a call failed, by who must do what about it.
//!
//!     Developer    the function's own fault: bad names, limits, a thrown error
//!     Application  thrown on purpose for the client, with data (a ConvexError)
//!     System       not the function's fault: run again, or tell an operator
//!
//! Texts for clients are put together in the server; here is only what they are made of.

use engine::{TxError, TxErrorKind};
use value::{Value, json};

/// Longest message of an error, in bytes. Source: spec/function-runtime.md 15.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Result of a function, and of every step inside one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The function is at fault. Deterministic: the call fails and nobody retries.
    #[error("{message}")]
    Developer {
        /// The official short code, where there is one.
        code: Option<&'static str>,
        /// What is wrong, for the developer.
        message: String,
    },
    /// Thrown on purpose; `data` reaches the client also where messages are hidden.
    #[error("{message}")]
    Application {
        /// What the client gets.
        data: Value,
        /// What is shown where only a text fits.
        message: String,
    },
    /// Not the function's fault. Never shown as its own failure.
    #[error("{message}")]
    System {
        /// The official short code.
        code: &'static str,
        /// What happened, for an operator.
        message: String,
    },
}

/// An error that a function throws with a text alone: `throw new Error("…")`.
pub fn error(message: impl Into<String>) -> Error {
    Error::Developer { code: None, message: message.into() }
}

/// An error with data for the client: `throw new ConvexError(data)`.
pub fn application_error(data: impl Into<Value>) -> Error {
    let data = data.into();
    let message = match &data {
        Value::String(text) => text.clone(),
        other => json::to_string(other),
    };
    Error::Application { data, message }
}

impl Error {
    /// An error of the developer with an official short code.
    pub fn coded(code: &'static str, message: impl Into<String>) -> Error {
        Error::Developer { code: Some(code), message: message.into() }
    }

    /// An error of the system.
    pub fn system(code: &'static str, message: impl Into<String>) -> Error {
        Error::System { code, message: message.into() }
    }

    /// The official short code, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Error::Developer { code, .. } => *code,
            Error::Application { .. } => None,
            Error::System { code, .. } => Some(code),
        }
    }

    /// What is shown where only a text fits.
    pub fn message(&self) -> &str {
        match self {
            Error::Developer { message, .. }
            | Error::Application { message, .. }
            | Error::System { message, .. } => message,
        }
    }

    /// The data for the client, of an application error.
    pub fn data(&self) -> Option<&Value> {
        match self {
            Error::Application { data, .. } => Some(data),
            Error::Developer { .. } | Error::System { .. } => None,
        }
    }

    /// Whether the same call would fail in the same way again.
    pub fn is_deterministic(&self) -> bool {
        match self {
            Error::Developer { .. } | Error::Application { .. } => true,
            Error::System { .. } => false,
        }
    }

    /// The error as it leaves a body that did not catch it: `Uncaught Error: …`.
    pub(crate) fn uncaught(self) -> Error {
        match self {
            Error::Developer { code, message } => {
                Error::Developer { code, message: cut(format!("Uncaught Error: {message}")) }
            }
            Error::Application { data, message } => Error::Application {
                data,
                message: cut(format!("Uncaught ConvexError: {message}")),
            },
            system @ Error::System { .. } => system,
        }
    }
}

impl From<TxError> for Error {
    fn from(error: TxError) -> Self {
        match error.kind {
            TxErrorKind::Developer => Error::coded(error.code, error.message),
            TxErrorKind::OutOfRetention | TxErrorKind::Store => {
                Error::system(error.code, error.message)
            }
        }
    }
}

/// Cuts a message at its limit, between characters.
fn cut(mut message: String) -> String {
    if message.len() > ERROR_MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(ERROR_MESSAGE_BYTES_MAX));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uncaught_errors_say_what_they_are() {
        let check = |error: Error, expected: &str| assert_eq!(error.uncaught().message(), expected);
        check(error("Not authenticated"), "Uncaught Error: Not authenticated");
        check(application_error("full"), "Uncaught ConvexError: full");
        check(Error::system("Overloaded", "wait"), "wait");
        check(error("x").uncaught(), "Uncaught Error: Uncaught Error: x");
        let long = error("é".repeat(ERROR_MESSAGE_BYTES_MAX)).uncaught();
        assert!(long.message().len() <= ERROR_MESSAGE_BYTES_MAX);
        assert!(long.message().len() > ERROR_MESSAGE_BYTES_MAX - 2);
    }
}
