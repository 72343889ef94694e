//! The three JSON forms of a value.
//!
//! | form | loses nothing | int64 5 | float64 5 | used by |
//! |---|---|---|---|---|
//! | encoded | yes | `{"$integer":"BQAAAAAAAAA="}` | `5.0` | sync frames, storage, arguments |
//! | clean | no | `"5"` | `5.0` | HTTP API, format `json` |
//! | export | yes | `5` | `5.0` | snapshot export and import |
//!
//! Writing is deterministic: equal values give equal text. Reading streams into values without
//! an intermediate tree and stops at [`crate::limits::VALUE_NESTING_MAX`] levels.
//! Source: spec/data-model.md, section 2.

mod read;
mod write;

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeSeed;

use self::read::{ArgumentsSeed, PatchSeed, UndefinedSeed};
pub(crate) use self::read::{Faults, Form, Payload, ValueSeed, decode_special};
pub use self::write::{to_clean, to_export, to_json, to_string, write, write_object, write_string};
use crate::limits::{ValueError, check_value_size, quoted};
use crate::value::Value;

/// The fields of a patch: `None` removes the field.
pub type Patch = BTreeMap<String, Option<Value>>;

/// How results are written for a caller of the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lossy plain JSON.
    Clean,
    /// The lossless form of the wire.
    Encoded,
    /// The form of snapshot exports.
    Export,
}

impl Format {
    /// The value in this form.
    pub fn to_json(self, value: &Value) -> serde_json::Value {
        match self {
            Format::Clean => to_clean(value),
            Format::Encoded => to_json(value),
            Format::Export => to_export(value),
        }
    }
}

impl FromStr for Format {
    type Err = ValueError;

    fn from_str(name: &str) -> Result<Self, ValueError> {
        match name {
            "json" | "convex_clean_json" => Ok(Format::Clean),
            "convex_encoded_json" | "convex_json" => Ok(Format::Encoded),
            "export_json" => Ok(Format::Export),
            _ => Err(ValueError::new("BadFormat", format!("unknown format {}", quoted(name)))),
        }
    }
}

/// Reads a value in encoded form; a number is always a float64.
///
/// Errors: `TooNestedError`, `ArrayTooLong`, `TooManyFieldsError`, `ValueTooLargeError`, else
/// [`crate::limits::INVALID_VALUE`]: not JSON, a bad field name, a malformed `$…` object.
pub fn parse(text: &str) -> Result<Value, ValueError> {
    let faults = Faults::default();
    read_text(text, ValueSeed::new(Form::Encoded, &faults), &faults, Value::size)
}

/// As [`parse`], where `{"$undefined":null}` may stand for a missing value (`None`).
pub fn parse_undefined(text: &str) -> Result<Option<Value>, ValueError> {
    let faults = Faults::default();
    read_text(text, UndefinedSeed::new(&faults), &faults, optional_size)
}

/// Reads the object of a patch, whose top-level fields may be `{"$undefined":null}`.
pub fn parse_patch(text: &str) -> Result<Patch, ValueError> {
    let faults = Faults::default();
    read_text(text, PatchSeed::new(&faults), &faults, patch_size)
}

/// Reads the arguments of a call: an array of values, or one object alone.
pub fn parse_args(text: &str) -> Result<Vec<Value>, ValueError> {
    let faults = Faults::default();
    let size = |args: &Vec<Value>| args.iter().map(Value::size).sum();
    read_text(text, ArgumentsSeed::new(&faults), &faults, size)
}

/// Reads a value in export form: a number without a dot that fits is an int64.
pub fn parse_export(text: &str) -> Result<Value, ValueError> {
    let faults = Faults::default();
    read_text(text, ValueSeed::new(Form::Export, &faults), &faults, Value::size)
}

/// As [`parse`], from a tree.
pub fn from_json(json: serde_json::Value) -> Result<Value, ValueError> {
    let faults = Faults::default();
    read_tree(json, ValueSeed::new(Form::Encoded, &faults), &faults, Value::size)
}

/// As [`parse_undefined`], from a tree.
pub fn from_json_undefined(json: serde_json::Value) -> Result<Option<Value>, ValueError> {
    let faults = Faults::default();
    read_tree(json, UndefinedSeed::new(&faults), &faults, optional_size)
}

/// As [`parse_patch`], from a tree.
pub fn patch_from_json(json: serde_json::Value) -> Result<Patch, ValueError> {
    let faults = Faults::default();
    read_tree(json, PatchSeed::new(&faults), &faults, patch_size)
}

fn optional_size(value: &Option<Value>) -> usize {
    value.as_ref().map_or(0, Value::size)
}

fn patch_size(patch: &Patch) -> usize {
    patch.iter().map(|(name, value)| name.len() + 1 + optional_size(value)).sum()
}

fn read_text<'de, S: DeserializeSeed<'de>>(
    text: &'de str,
    seed: S,
    faults: &Faults,
    size: impl FnOnce(&S::Value) -> usize,
) -> Result<S::Value, ValueError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = seed.deserialize(&mut deserializer);
    let value = result.and_then(|value| deserializer.end().map(|()| value));
    sized(value.map_err(|error| faults.take(&error))?, size)
}

fn read_tree<'de, S: DeserializeSeed<'de>>(
    json: serde_json::Value,
    seed: S,
    faults: &Faults,
    size: impl FnOnce(&S::Value) -> usize,
) -> Result<S::Value, ValueError> {
    sized(seed.deserialize(json).map_err(|error| faults.take(&error))?, size)
}

fn sized<T>(value: T, size: impl FnOnce(&T) -> usize) -> Result<T, ValueError> {
    check_value_size(size(&value))?;
    Ok(value)
}

#[cfg(test)]
mod tests;
