//! Why a caller is not who it says, or why that can not be told now.
//!
//! The two must not be confused: a rejected token signs its user out, a provider that does not
//! answer says nothing about the token, and the client should come back with it.

/// What an `Authorization` header or an `Authenticate` message came to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The credential will never be accepted.
    #[error("{message}")]
    Rejected {
        /// Which kind of refusal.
        code: AuthCode,
        /// For the developer. Never holds the token.
        message: String,
    },
    /// The caller is known, and may not do this.
    #[error("{message}")]
    Forbidden {
        /// Which kind of refusal.
        code: AuthCode,
        /// For the developer.
        message: String,
    },
    /// The provider's keys can not be had now: try the same credential again.
    /// The short code is `AuthProviderDiscoveryFailed`.
    #[error("{message}")]
    Unavailable {
        /// The HTTP status for a caller over HTTP; a socket closes 1013 whatever it is.
        status: u16,
        /// What failed, with the URL.
        message: String,
    },
}

/// The short codes of refusals. Source: spec/engine.md 16.1 and 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthCode {
    /// No configured provider has the issuer and audience of the token.
    NoAuthProvider,
    /// Malformed, or refused by a provider of custom tokens.
    InvalidAuthHeader,
    /// Refused by an OIDC provider's rules.
    Unauthenticated,
    /// The provider's discovery document is another issuer's: a fault of the configuration or of the
    /// provider, which no waiting heals.
    ForeignDiscovery,
    /// Accepted once, expired since.
    TokenExpired,
    /// The admin key does not open or belongs to another instance.
    BadAdminKey,
    /// Only an administrator may do this, and the caller is none.
    BadDeployKey,
    /// The admin key is read-only.
    OperationNotPermitted,
}

/// The short code of `AuthError::Unavailable` and `AuthCode::ForeignDiscovery`.
pub const DISCOVERY_FAILED: &str = "AuthProviderDiscoveryFailed";

impl AuthCode {
    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            AuthCode::NoAuthProvider => "NoAuthProvider",
            AuthCode::InvalidAuthHeader => "InvalidAuthHeader",
            AuthCode::Unauthenticated => "Unauthenticated",
            AuthCode::ForeignDiscovery => DISCOVERY_FAILED,
            AuthCode::TokenExpired => "TokenExpired",
            AuthCode::BadAdminKey => "BadAdminKey",
            AuthCode::BadDeployKey => "BadDeployKey",
            AuthCode::OperationNotPermitted => "OperationNotPermitted",
        }
    }
}

impl AuthError {
    /// A refusal with `code`.
    pub fn rejected(code: AuthCode, message: impl Into<String>) -> AuthError {
        AuthError::Rejected { code, message: message.into() }
    }

    /// A known caller without the right, with `code`.
    pub fn forbidden(code: AuthCode, message: impl Into<String>) -> AuthError {
        AuthError::Forbidden { code, message: message.into() }
    }

    /// The short code, also the close reason of a socket.
    pub fn code(&self) -> &'static str {
        match self {
            AuthError::Rejected { code, .. } | AuthError::Forbidden { code, .. } => code.as_str(),
            AuthError::Unavailable { .. } => DISCOVERY_FAILED,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            AuthError::Rejected { code: AuthCode::ForeignDiscovery, .. } => 400,
            AuthError::Rejected { .. } => 401,
            AuthError::Forbidden { .. } => 403,
            AuthError::Unavailable { status, .. } => *status,
        }
    }

    /// Whether the same credential may be accepted later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            AuthError::Rejected { .. } | AuthError::Forbidden { .. } => false,
            AuthError::Unavailable { .. } => true,
        }
    }
}
