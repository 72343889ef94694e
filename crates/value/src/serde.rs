//! Rust types to values and back.
//!
//! | Rust | value |
//! |---|---|
//! | `f32`, `f64`, `i8`..`i32`, `u8`..`u32` | float64; back only if integral and in range |
//! | `i64`, `u64`, `i128`, `u128`, `isize`, `usize` | int64; out of range is an error |
//! | `bool`, `char`, `String` | boolean, string, string |
//! | `Option` | null for `None`; an absent field is `None` too |
//! | `()`, unit struct | null |
//! | bytes (`serialize_bytes`) | bytes |
//! | sequence, tuple | array |
//! | struct, map with string keys | object |
//! | unit variant | string |
//! | other variant | object with one field named like the variant |
//! | [`Value`], [`Object`], ids, names | themselves, or their text |
//!
//! So a field that clients see as `v.number()` is `f64` or a small integer, and `v.int64()` is
//! `i64`. In other formats (JSON) a [`Value`] reads and writes its encoded form; only its size is
//! not checked there, the reader of the frame has a limit of its own.
//!
//! Serde buffers what it reads for flattened fields and for tagged and untagged enums, and the
//! buffer forgets which type is asked for. There a small integer must be an `f64` instead, and
//! an int64 inside a [`Value`] arrives as a float64.

mod de;
mod forms;
mod ser;
#[cfg(test)]
mod tests;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::object::Object;
use crate::value::Value;

/// Why a Rust value has no value, or a value does not fit a Rust type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// The value of a Rust value.
///
/// Errors: an integer out of the range of int64, a map key that is not text, a bad field name.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    value.serialize(ser::ValueSerializer)
}

/// As [`to_value`], for what becomes an object.
pub fn to_object<T: Serialize + ?Sized>(value: &T) -> Result<Object, Error> {
    to_value(value)?
        .into_object()
        .map_err(|other| Error(format!("expected an object, got {}", other.type_name())))
}

/// The Rust value of a value.
///
/// Errors: another type than expected, a number that is not integral or out of range, a missing
/// or unknown field as the type decides.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(de::ValueDeserializer(value))
}

/// As [`from_value`], from the fields of an object.
pub fn from_object<T: DeserializeOwned>(object: &Object) -> Result<T, Error> {
    from_value(Value::Object(object.clone()))
}
