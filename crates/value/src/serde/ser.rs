//! Rust values to values.

use std::collections::BTreeMap;

use serde::ser::{self, Serialize};

use super::Error;
use crate::json::{Payload, decode_special};
use crate::limits::check_field_name;
use crate::object::Object;
use crate::value::Value;

pub(super) struct ValueSerializer;

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Error(message.to_string())
    }
}

fn int64<I: TryInto<i64> + std::fmt::Display + Copy>(i: I) -> Result<Value, Error> {
    i.try_into().map(Value::Int64).map_err(|_| Error(format!("{i} is out of the range of int64")))
}

/// An array, possibly the content of an enum variant.
pub(super) struct Items {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

/// An object, possibly the content of an enum variant.
pub(super) struct Fields {
    variant: Option<&'static str>,
    name: Option<String>,
    fields: BTreeMap<String, Value>,
}

impl Items {
    fn new(variant: Option<&'static str>, length: usize) -> Self {
        Items { variant, items: Vec::with_capacity(length.min(crate::limits::ARRAY_LENGTH_MAX)) }
    }

    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
        self.items.push(item.serialize(ValueSerializer)?);
        Ok(())
    }

    fn finish(self) -> Result<Value, Error> {
        in_variant(self.variant, Value::Array(self.items))
    }
}

impl Fields {
    fn new(variant: Option<&'static str>) -> Self {
        Fields { variant, name: None, fields: BTreeMap::new() }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), Error> {
        self.fields.insert(name, value.serialize(ValueSerializer)?);
        Ok(())
    }

    /// The object; `{"$integer": …}` and its like are what they stand for, as values write
    /// themselves that way.
    fn finish(self) -> Result<Value, Error> {
        if self.fields.len() == 1
            && let Some((name, payload)) = self.fields.first_key_value()
            && name.starts_with('$')
        {
            let payload = match payload {
                Value::String(text) => Payload::Text(text.clone()),
                Value::Null => Payload::Null,
                Value::Int64(_)
                | Value::Float64(_)
                | Value::Boolean(_)
                | Value::Bytes(_)
                | Value::Array(_)
                | Value::Object(_) => Payload::Other,
            };
            let value = decode_special(name, &payload);
            return in_variant(self.variant, value.map_err(|error| Error(error.message))?);
        }
        for name in self.fields.keys() {
            check_field_name(name).map_err(|error| Error(error.message))?;
        }
        in_variant(self.variant, Value::Object(self.fields.into()))
    }
}

fn in_variant(variant: Option<&'static str>, value: Value) -> Result<Value, Error> {
    let Some(variant) = variant else {
        return Ok(value);
    };
    check_field_name(variant).map_err(|error| Error(error.message))?;
    let mut object = Object::new();
    object.insert(variant, value);
    Ok(Value::Object(object))
}

macro_rules! floats {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Value, Error> {
            Ok(Value::Float64(f64::from(number)))
        })*
    };
}

macro_rules! ints {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, number: $type) -> Result<Value, Error> {
            int64(number)
        })*
    };
}

impl ser::Serializer for ValueSerializer {
    type Ok = Value;
    type Error = Error;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    floats! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_f32: f32, serialize_f64: f64
    }
    ints! {
        serialize_i64: i64, serialize_u64: u64, serialize_i128: i128, serialize_u128: u128
    }

    fn serialize_bool(self, b: bool) -> Result<Value, Error> {
        Ok(Value::Boolean(b))
    }

    fn serialize_char(self, c: char) -> Result<Value, Error> {
        Ok(Value::String(c.to_string()))
    }

    fn serialize_str(self, s: &str) -> Result<Value, Error> {
        Ok(Value::String(s.to_owned()))
    }

    fn serialize_bytes(self, b: &[u8]) -> Result<Value, Error> {
        Ok(Value::Bytes(b.to_vec()))
    }

    fn serialize_none(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Error> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, Error> {
        Ok(Value::String(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Error> {
        in_variant(Some(variant), value.serialize(ValueSerializer)?)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items, Error> {
        Ok(Items::new(None, length.unwrap_or(0)))
    }

    fn serialize_tuple(self, length: usize) -> Result<Items, Error> {
        Ok(Items::new(None, length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Items, Error> {
        Ok(Items::new(None, length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items, Error> {
        Ok(Items::new(Some(variant), length))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Error> {
        Ok(Fields::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Error> {
        Ok(Fields::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Error> {
        Ok(Fields::new(Some(variant)))
    }
}

macro_rules! items {
    ($($trait:ident $method:ident),*) => {
        $(impl ser::$trait for Items {
            type Ok = Value;
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Error> {
                self.push(item)
            }

            fn end(self) -> Result<Value, Error> {
                self.finish()
            }
        })*
    };
}

items! {
    SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Fields {
            type Ok = Value;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Error> {
                self.put(name.to_owned(), value)
            }

            fn end(self) -> Result<Value, Error> {
                self.finish()
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Fields {
    type Ok = Value;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match key.serialize(ValueSerializer)? {
            Value::String(name) => self.name = Some(name),
            other => {
                return Err(Error(format!(
                    "keys of a map must be text, not {}",
                    other.type_name()
                )));
            }
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let name = self.name.take().ok_or_else(|| Error("map value without a key".to_owned()))?;
        self.put(name, value)
    }

    fn end(self) -> Result<Value, Error> {
        self.finish()
    }
}
