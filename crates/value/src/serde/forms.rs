//! How our own types take part in serde.
//!
//! In text formats a [`Value`] is its encoded JSON form; ids, names and paths are their text.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::ids::DocumentId;
use crate::json::{Faults, Form, ValueSeed};
use crate::names::{FieldPath, IndexName, TableName};
use crate::object::Object;
use crate::paths::{ComponentPath, FunctionPath};
use crate::value::Value;

/// The newtype by which [`super::from_value`] knows that a [`Value`] is asked for.
pub(super) const VALUE_NEWTYPE: &str = "value::Value";

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Boolean(b) => serializer.serialize_bool(*b),
            Value::Float64(f) if f.is_finite() && f.to_bits() != (-0.0f64).to_bits() => {
                serializer.serialize_f64(*f)
            }
            Value::Float64(f) => serialize_special(serializer, "$float", &f.to_le_bytes()),
            Value::Int64(i) => serialize_special(serializer, "$integer", &i.to_le_bytes()),
            Value::String(s) => serializer.serialize_str(s),
            Value::Bytes(b) => serialize_special(serializer, "$bytes", b),
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Value::Object(object) => object.serialize(serializer),
        }
    }
}

fn serialize_special<S: Serializer>(
    serializer: S,
    name: &str,
    bytes: &[u8],
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, &STANDARD.encode(bytes))?;
    map.end()
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(VALUE_NEWTYPE, NewtypeVisitor)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?.into_object();
        object.map_err(|other| {
            de::Error::custom(format!("expected an object, got {}", other.type_name()))
        })
    }
}

struct NewtypeVisitor;

impl<'de> Visitor<'de> for NewtypeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(ValueSeed::new(Form::Encoded, &Faults::default()))
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {
        $(impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        })*
    };
}

as_text! { DocumentId, TableName, IndexName, FieldPath, FunctionPath, ComponentPath }
