//! Names of tables, indexes and fields.
//!
//! Source: spec/data-model.md, section 3.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{IDENTIFIER_BYTES_MAX, quoted};

/// A text that is not a legal name or path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// Whether `text` is `[A-Za-z_][A-Za-z0-9_]*`, not only underscores, at most 64 bytes.
pub fn is_identifier(text: &str) -> bool {
    text.len() <= IDENTIFIER_BYTES_MAX
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && text.bytes().any(|b| b != b'_')
}

/// Checks that `text` is an identifier; `what` names it in the error.
pub(crate) fn check_identifier(what: &str, text: &str) -> Result<(), NameError> {
    if is_identifier(text) {
        return Ok(());
    }
    Err(NameError(format!(
        "{what} {} is not an identifier: letters, digits and underscores, not starting \
         with a digit, at most {IDENTIFIER_BYTES_MAX} bytes",
        quoted(text)
    )))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, if `text` is an identifier.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_identifier($what, text)?;
                Ok($name(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

identifier! {
    /// The name of a table, also of a system table (leading `_`). Cheap to clone.
    TableName, "table name"
}

identifier! {
    /// The name of an index within its table. Cheap to clone.
    IndexName, "index name"
}

impl TableName {
    /// Whether the name is reserved for the system: it starts with `_`.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl IndexName {
    /// The index every table has on its ids.
    pub fn by_id() -> Self {
        IndexName("by_id".into())
    }

    /// The index every table has on `_creationTime`.
    pub fn by_creation_time() -> Self {
        IndexName("by_creation_time".into())
    }
}

/// Identifiers joined by `.`: a field of a document, possibly inside nested objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Arc<str>);

impl FieldPath {
    /// The field `_id`.
    pub fn id() -> Self {
        FieldPath("_id".into())
    }

    /// The field `_creationTime`.
    pub fn creation_time() -> Self {
        FieldPath("_creationTime".into())
    }

    /// Reads a path; dots at both ends are dropped.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let trimmed = text.trim_matches('.');
        if trimmed.is_empty() {
            return Err(NameError("field path is empty".to_owned()));
        }
        for segment in trimmed.split('.') {
            check_identifier("field", segment)?;
        }
        Ok(FieldPath(trimmed.into()))
    }

    /// The fields from the document inward; at least one.
    pub fn segments(&self) -> std::str::Split<'_, char> {
        self.0.split('.')
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests;
