//! `Shape`: what values a Rust type stands for, as a validator.
//!
//!     f64 f32 i8..i32 u8..u32   v.number()      i64   v.int64()        Id<T>     v.id("t")
//!     bool String Bytes ()      as named        Vec   v.array()        Doc<T>    v.object() with _id
//!     Option<T>   a field that may be absent; elsewhere null           BTreeMap  v.record()
//!     Nullable<T> v.union(…, v.null())                                 Value     v.any()
//!
//! Write `#[serde(default, skip_serializing_if = "Option::is_none")]` on optional fields that are
//! stored or returned: serde else writes null, which an optional field does not accept.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use value::validator::Validator;
use value::{Object, Value};

/// A type that has a validator. Derive it for structs and enums.
pub trait Shape {
    /// Whether a field of this type may be absent.
    const OPTIONAL: bool = false;

    /// What values are accepted.
    fn validator() -> Validator;

    /// What a field of this type accepts when it is present.
    fn field_validator() -> Validator {
        Self::validator()
    }

    /// What arguments a function with this type takes.
    fn args_validator() -> Validator {
        Self::validator()
    }

    /// Reads validated arguments. Errors: the type is narrower than its validator, such as `u8`.
    fn from_args(args: Value) -> Result<Self, value::serde::Error>
    where
        Self: DeserializeOwned,
    {
        value::serde::from_value(args)
    }

    /// Whether this value stands for an absent field.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A type whose values are the documents of a table. Derived with `#[table("name")]`.
pub trait Table: Shape {
    /// The name of the table.
    const NAME: &'static str;
}

/// What the derive is made of. Not for use by hand.
pub mod build {
    use value::validator::{FieldValidator, ObjectValidator, Validator};
    use value::{TableName, Value};

    use super::Shape;

    /// A field of an object: its name and what it accepts.
    pub fn field<T: Shape>(name: &str, optional: bool) -> (String, FieldValidator) {
        let validator = T::field_validator();
        (name.to_string(), FieldValidator { validator, optional: optional || T::OPTIONAL })
    }

    /// `v.object({…})`.
    pub fn object(fields: Vec<(String, FieldValidator)>) -> Validator {
        Validator::Object(ObjectValidator { fields: fields.into_iter().collect() })
    }

    /// `v.literal("…")`.
    pub fn literal(text: &str) -> Validator {
        Validator::Literal(Value::from(text))
    }

    /// `v.null()`.
    pub fn null() -> Validator {
        Validator::Null
    }

    /// `v.union(…)`; a single member stands for itself.
    pub fn union(mut members: Vec<Validator>) -> Validator {
        if members.len() == 1 {
            return members.remove(0);
        }
        Validator::Union(members)
    }

    /// `content` with a field `tag` that holds `name`.
    ///
    /// Panics where `content` is no object: serde cannot tag it either.
    pub fn tagged(tag: &str, name: &str, content: Validator) -> Validator {
        match content {
            Validator::Object(mut object) => {
                let field = FieldValidator { validator: literal(name), optional: false };
                object.fields.insert(tag.to_string(), field);
                Validator::Object(object)
            }
            other => panic!("variant {name:?} has the tag {tag:?} and is no object: {other}"),
        }
    }

    /// The documents of `table`: `content` with the two system fields.
    pub(crate) fn document(table: &str, content: Validator) -> Validator {
        match content {
            Validator::Object(mut object) => {
                object.fields.insert("_id".to_string(), required(id(table)));
                object.fields.insert("_creationTime".to_string(), required(Validator::Number));
                Validator::Object(object)
            }
            Validator::Union(members) => {
                union(members.into_iter().map(|member| document(table, member)).collect())
            }
            _ => Validator::Any,
        }
    }

    /// `v.id("table")`. Panics on a text that is no table name: it is written in the program.
    pub(crate) fn id(table: &str) -> Validator {
        match TableName::new(table) {
            Ok(name) => Validator::Id(name),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn required(validator: Validator) -> FieldValidator {
        FieldValidator { validator, optional: false }
    }
}

/// A value or null; unlike `Option`, a field of this type must be present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nullable<T>(pub Option<T>);

/// Bytes, `ArrayBuffer` in JavaScript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// `impl Shape` for types that have one validator.
macro_rules! shapes {
    ($($validator:ident: $($type:ty),+;)+) => { $($(
        impl Shape for $type {
            fn validator() -> Validator { Validator::$validator }
        }
    )+)+ };
}

shapes! {
    Number: f64, f32, i8, i16, i32, u8, u16, u32;
    Bigint: i64;
    Boolean: bool;
    String: String, str;
    Bytes: Bytes;
    Any: Value;
}

impl Shape for () {
    fn validator() -> Validator {
        Validator::Null
    }

    fn args_validator() -> Validator {
        build::object(Vec::new())
    }

    fn from_args(_: Value) -> Result<Self, value::serde::Error> {
        Ok(())
    }
}

impl Shape for Object {
    fn validator() -> Validator {
        let values = Box::new(Validator::Any);
        Validator::Record { keys: Box::new(Validator::String), values }
    }

    fn args_validator() -> Validator {
        Validator::Any
    }
}

impl<T: Shape + ?Sized> Shape for &T {
    const OPTIONAL: bool = T::OPTIONAL;

    fn validator() -> Validator {
        T::validator()
    }

    fn field_validator() -> Validator {
        T::field_validator()
    }

    fn is_absent(&self) -> bool {
        T::is_absent(self)
    }
}

impl<T: Shape> Shape for Option<T> {
    const OPTIONAL: bool = true;

    fn validator() -> Validator {
        Nullable::<T>::validator()
    }

    fn field_validator() -> Validator {
        T::validator()
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Shape> Shape for Nullable<T> {
    fn validator() -> Validator {
        match T::validator() {
            Validator::Union(mut members) => {
                members.push(Validator::Null);
                Validator::Union(members)
            }
            other => Validator::Union(vec![other, Validator::Null]),
        }
    }
}

impl<T: Shape> Shape for Box<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn validator() -> Validator {
        T::validator()
    }

    fn field_validator() -> Validator {
        T::field_validator()
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn validator() -> Validator {
        Validator::Array(Box::new(T::validator()))
    }
}

impl<T: Shape> Shape for [T] {
    fn validator() -> Validator {
        Vec::<T>::validator()
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn validator() -> Validator {
        let values = Box::new(T::validator());
        Validator::Record { keys: Box::new(Validator::String), values }
    }
}

#[cfg(test)]
mod tests;
