//! What a patch changes: fields to set, and fields to remove.

use std::collections::BTreeMap;

use serde::Serialize;
use value::{Object, Value};

use crate::error::Result;
use crate::query::to_optional;
use crate::shape::Shape;

/// Changes to the top level of a document. Fields that are not named stay as they are.
#[derive(Clone, Debug)]
pub struct Patch(Result<BTreeMap<String, Option<Value>>>);

impl Patch {
    /// Changes nothing.
    pub fn new() -> Patch {
        Patch(Ok(BTreeMap::new()))
    }

    /// Sets a field; `None` of an `Option` removes it. A value that cannot be stored is the error
    /// of the write.
    #[must_use]
    pub fn set<V: Shape + Serialize>(mut self, field: &str, value: V) -> Patch {
        if let Ok(fields) = &mut self.0 {
            match to_optional(&value) {
                Ok(value) => {
                    fields.insert(field.to_string(), value);
                }
                Err(error) => self.0 = Err(error),
            }
        }
        self
    }

    /// Removes a field.
    #[must_use]
    pub fn remove(mut self, field: &str) -> Patch {
        if let Ok(fields) = &mut self.0 {
            fields.insert(field.to_string(), None);
        }
        self
    }

    pub(crate) fn into_fields(self) -> Result<BTreeMap<String, Option<Value>>> {
        self.0
    }
}

impl Default for Patch {
    fn default() -> Self {
        Patch::new()
    }
}

/// Sets every field of the object.
impl From<Object> for Patch {
    fn from(fields: Object) -> Patch {
        Patch(Ok(fields.into_iter().map(|(name, value)| (name, Some(value))).collect()))
    }
}

impl From<BTreeMap<String, Option<Value>>> for Patch {
    fn from(fields: BTreeMap<String, Option<Value>>) -> Patch {
        Patch(Ok(fields))
    }
}

/// A [`Patch`] from `field => value` pairs; `None` removes the field.
///
/// ```
/// let away: Option<String> = None;
/// let patch = functions::patch! { "status" => "online", "away" => away };
/// ```
#[macro_export]
macro_rules! patch {
    ($($field:expr => $value:expr),* $(,)?) => {
        $crate::Patch::new()$(.set($field, $value))*
    };
}
