//! Objects: fields sorted by name.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fmt;

use crate::names::FieldPath;
use crate::value::Value;

/// A map from field name to value, in ascending byte order of the names.
///
/// Names are not checked on insert: [`crate::json`] and [`mod@crate::serde`] check what comes
/// from outside, [`crate::limits::check_value`] checks what code has built.
/// The order of objects is that of their sequences of (name, value) pairs.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(BTreeMap<String, Value>);

impl Object {
    /// An object without fields.
    pub const fn new() -> Self {
        Object(BTreeMap::new())
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value of a field, to change in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name)
    }

    /// The value at `path`; `None` when a field on the way is absent or not an object.
    pub fn get_path(&self, path: &FieldPath) -> Option<&Value> {
        let mut segments = path.segments();
        let mut value = self.0.get(segments.next()?)?;
        for segment in segments {
            value = value.as_object()?.get(segment)?;
        }
        Some(value)
    }

    /// Sets a field; gives back the value it had.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.0.insert(name.into(), value.into())
    }

    /// Removes a field; gives back the value it had.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// Whether the field is present.
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fields in ascending order of name.
    pub fn iter(&self) -> btree_map::Iter<'_, String, Value> {
        self.0.iter()
    }

    /// Names in ascending order.
    pub fn keys(&self) -> btree_map::Keys<'_, String, Value> {
        self.0.keys()
    }

    /// As [`Value::size`].
    pub fn size(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + 1 + value.size()).sum::<usize>()
    }

    /// As [`Value::nesting`].
    pub fn nesting(&self) -> usize {
        1 + self.0.values().map(Value::nesting).max().unwrap_or(0)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}", if i == 0 { "" } else { ", " })?;
            if crate::names::is_identifier(name) {
                write!(f, "{name}: {value}")?;
            } else {
                write!(f, "{name:?}: {value}")?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<BTreeMap<String, Value>> for Object {
    fn from(fields: BTreeMap<String, Value>) -> Self {
        Object(fields)
    }
}

impl From<Object> for BTreeMap<String, Value> {
    fn from(object: Object) -> Self {
        object.0
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        Object(fields.into_iter().collect())
    }
}

impl Extend<(String, Value)> for Object {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, fields: I) {
        self.0.extend(fields);
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a String, &'a Value);
    type IntoIter = btree_map::Iter<'a, String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// An [`Object`] from `name => value` pairs; values are anything that is `Into<Value>`.
///
/// ```
/// let user = value::object! { "name" => "ann", "age" => 31.0, "nick" => () };
/// assert_eq!(user.to_string(), r#"{age: 31.0, name: "ann", nick: null}"#);
/// ```
#[macro_export]
macro_rules! object {
    ($($name:expr => $value:expr),* $(,)?) => {
        <$crate::Object as ::std::iter::FromIterator<_>>::from_iter([
            $((::std::string::String::from($name), $crate::Value::from($value))),*
        ])
    };
}
