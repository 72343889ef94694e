//! Timestamps: the order of commits.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::limits::{INVALID_VALUE, ValueError};

/// Nanoseconds since the Unix epoch; the position of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before every commit.
    pub const MIN: Timestamp = Timestamp(0);
    /// After every commit.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The next timestamp; [`Timestamp::MAX`] stays.
    #[must_use]
    pub const fn succ(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1))
    }

    /// The timestamp before; [`Timestamp::MIN`] stays.
    #[must_use]
    pub const fn pred(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(1))
    }

    /// Milliseconds with a fraction, the unit of `_creationTime`.
    pub fn as_ms_f64(self) -> f64 {
        (self.0 / 1_000_000) as f64 + (self.0 % 1_000_000) as f64 * 1e-6
    }

    /// The form in sync frames: base64 of eight bytes, little endian.
    pub fn to_wire(self) -> String {
        STANDARD.encode(self.0.to_le_bytes())
    }

    /// Reads the form in sync frames.
    pub fn from_wire(text: &str) -> Result<Timestamp, ValueError> {
        let bytes = STANDARD.decode(text).ok().and_then(|b| <[u8; 8]>::try_from(b).ok());
        let bytes = bytes.ok_or_else(|| {
            ValueError::new(INVALID_VALUE, "timestamp is not the base64 of eight bytes")
        })?;
        Ok(Timestamp(u64::from_le_bytes(bytes)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
