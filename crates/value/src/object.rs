//! Objects: fields sorted by name.

use std::collections::BTreeMap;
use std::fmt;

use crate::names::FieldPath;
use crate::value::Value;

/// A map from field name to value, in ascending byte order of the names.
///
/// Names are not checked on insert: [`crate::json`] and [`mod@crate::serde`] check what comes
/// from outside, [`crate::limits::check_value`] checks what code has built.
/// The order of objects is that of their sequences of (name, value) pairs.
///
/// A sorted list and no tree: most objects are small, and a tree takes hundreds of bytes for its first
/// field, so that a frame of many small objects would become a hundred times as large in memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(Vec<(String, Value)>);

/// The fields of an object in ascending order of name.
pub type Fields<'a> = std::iter::Map<
    std::slice::Iter<'a, (String, Value)>,
    fn(&'a (String, Value)) -> (&'a String, &'a Value),
>;

/// The names of an object's fields in ascending order.
pub type Names<'a> =
    std::iter::Map<std::slice::Iter<'a, (String, Value)>, fn(&'a (String, Value)) -> &'a String>;

impl Object {
    /// An object without fields.
    pub const fn new() -> Self {
        Object(Vec::new())
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.position(name).ok()?;
        Some(&self.0[at].1)
    }

    /// The value of a field, to change in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.position(name).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Where the field is, or where it would be.
    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(name))
    }

    /// The value at `path`; `None` when a field on the way is absent or not an object.
    pub fn get_path(&self, path: &FieldPath) -> Option<&Value> {
        let mut segments = path.segments();
        let mut value = self.get(segments.next()?)?;
        for segment in segments {
            value = value.as_object()?.get(segment)?;
        }
        Some(value)
    }

    /// Sets a field; gives back the value it had.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        match self.position(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Removes a field; gives back the value it had.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.position(name).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Whether the field is present.
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_ok()
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
    pub fn iter(&self) -> Fields<'_> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Names in ascending order.
    pub fn keys(&self) -> Names<'_> {
        self.0.iter().map(|(name, _)| name)
    }

    /// As [`Value::size`].
    pub fn size(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + 1 + value.size()).sum::<usize>()
    }

    /// As [`Value::nesting`].
    pub fn nesting(&self) -> usize {
        1 + self.0.iter().map(|(_, value)| value.nesting()).max().unwrap_or(0)
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
        // Collecting would make room for four at least.
        let mut list = Vec::with_capacity(fields.len());
        list.extend(fields);
        Object(list)
    }
}

impl From<Object> for BTreeMap<String, Value> {
    fn from(object: Object) -> Self {
        object.0.into_iter().collect()
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(fields: I) -> Self {
        fields.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl Extend<(String, Value)> for Object {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.insert(name, value);
        }
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = (&'a String, &'a Value);
    type IntoIter = Fields<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_take_no_more_room_than_they_are() {
        let parsed = crate::json::parse(r#"[{"a":1},[1],{}]"#).unwrap();
        let Value::Array(items) = parsed else { panic!("an array") };
        let (Value::Object(object), Value::Array(list)) = (&items[0], &items[1]) else {
            panic!("an object and an array");
        };
        assert_eq!((object.0.capacity(), list.capacity(), items.capacity()), (1, 1, 3));
    }

    proptest! {
        #[test]
        fn an_object_is_a_map(steps in prop::collection::vec(("[a-d]{0,2}", any::<bool>()), 0..40)) {
            let (mut object, mut map) = (Object::new(), BTreeMap::new());
            for (place, (name, set)) in steps.iter().enumerate() {
                let value = Value::Float64(place as f64);
                if *set {
                    let before = map.insert(name.clone(), value.clone());
                    prop_assert_eq!(object.insert(name.as_str(), value), before);
                } else {
                    prop_assert_eq!(object.remove(name), map.remove(name));
                }
                prop_assert_eq!(object.get(name), map.get(name));
                prop_assert_eq!(object.contains_key(name), map.contains_key(name));
            }
            prop_assert!(object.iter().eq(map.iter()) && object.keys().eq(map.keys()));
            let pairs = steps.iter().enumerate();
            let pairs = pairs.map(|(place, (name, _))| (name.clone(), Value::from(place as f64)));
            let collected: Object = pairs.clone().collect();
            let expected: BTreeMap<String, Value> = pairs.clone().collect();
            prop_assert_eq!(&collected, &Object::from(expected));
            let mut extended = Object::new();
            extended.extend(pairs);
            prop_assert_eq!(extended, collected);
        }
    }
}
