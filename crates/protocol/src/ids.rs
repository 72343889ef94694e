//! The names that one connection uses: queries, requests, its session, and its version vector.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use value::Timestamp;

/// A query of one connection. Chosen by the client, kept across its reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u32);

/// A mutation or an action of one client: one counter for both kinds, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client's session: a UUID. npm keeps it for all reconnects of one client object, Rust and
/// Python take a new one for every socket. With a `RequestId` it names a mutation for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// The text is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid session id: not a UUID")]
pub struct InvalidSessionId;

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    /// Any usual form of a UUID: hyphenated, 32 digits, in braces, or as `urn:uuid:`.
    fn from_str(text: &str) -> Result<SessionId, InvalidSessionId> {
        let uuid = Uuid::parse_str(text).map_err(|_| InvalidSessionId)?;
        Ok(SessionId(uuid.into_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Uuid::from_bytes(self.0).hyphenated())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What a client shows: which query set, under which identity, as of when. Every connection
/// starts at zero in all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Counts changes of the query set.
    pub query_set: u32,
    /// Counts changes of the identity.
    pub identity: u32,
    /// The snapshot that all results belong to.
    pub ts: Timestamp,
}

impl Version {
    /// Where a connection starts.
    pub const START: Version = Version { query_set: 0, identity: 0, ts: Timestamp(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_have_four_spellings() {
        let canonical = "13478595-f848-451a-93d5-7745e5088ed0";
        for text in [
            canonical,
            "13478595-F848-451A-93D5-7745E5088ED0",
            "13478595f848451a93d57745e5088ed0",
            "{13478595-f848-451a-93d5-7745e5088ed0}",
            "urn:uuid:13478595-f848-451a-93d5-7745e5088ed0",
        ] {
            assert_eq!(text.parse::<SessionId>().unwrap().to_string(), canonical, "{text}");
        }
        for text in [
            "",
            "x",
            "13478595-f848-451a-93d5-7745e5088ed",
            "13478595-f848-451a-93d5-7745e5088edg",
            "13478595f848-451a-93d5-7745e5088ed00",
            "13478595-f848-451a-93d5-7745e5088e-0",
            "{13478595f848451a93d57745e5088ed0}",
            "{13478595-f848-451a-93d5-7745e5088ed0",
            "urn:uuid:13478595f848451a93d57745e5088ed0",
            "é3478595f848451a93d57745e5088ed",
        ] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
