//! Writing values as JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json, json};

use crate::object::Object;
use crate::value::Value;

/// Longer than the shortest form of any float: sign, 17 digits, point, exponent.
const FLOAT_CHARS_MAX: usize = 32;

/// Appends the encoded form: fields in ascending order, no whitespace, floats in the shortest
/// form that reads back the same (`1.0`, `1e+21`).
pub fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(true) => out.push_str("true"),
        Value::Boolean(false) => out.push_str("false"),
        Value::Int64(i) => write_special("$integer", &i.to_le_bytes(), out),
        Value::Float64(f) if is_special(*f) => write_special("$float", &f.to_le_bytes(), out),
        Value::Float64(f) => write_float(*f, out),
        Value::String(s) => write_string(s, out),
        Value::Bytes(b) => write_special("$bytes", b, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => write_object(object, out),
    }
}

/// Appends the encoded form of an object.
pub fn write_object(object: &Object, out: &mut String) {
    out.push('{');
    for (i, (name, field)) in object.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write(field, out);
    }
    out.push('}');
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..i]);
        plain = i + 1;
        if escaped.is_empty() {
            write!(out, "\\u{byte:04x}").expect("a String takes everything");
        } else {
            out.push_str(escaped);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// The encoded form as text.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// The encoded form as a tree.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Int64(i) => json!({ "$integer": STANDARD.encode(i.to_le_bytes()) }),
        Value::Float64(f) if is_special(*f) => special_float(*f),
        Value::Bytes(b) => json!({ "$bytes": STANDARD.encode(b) }),
        other => plain(other, to_json),
    }
}

/// The lossy form: int64 as decimal strings, bytes as base64, non-finite floats by name.
pub fn to_clean(value: &Value) -> Json {
    match value {
        Value::Int64(i) => Json::String(i.to_string()),
        Value::Float64(f) if f.is_nan() => json!("NaN"),
        Value::Float64(f) if f.is_infinite() && *f > 0.0 => json!("Infinity"),
        Value::Float64(f) if f.is_infinite() => json!("-Infinity"),
        Value::Bytes(b) => Json::String(STANDARD.encode(b)),
        other => plain(other, to_clean),
    }
}

/// The export form: int64 without a dot, float64 with one.
pub fn to_export(value: &Value) -> Json {
    match value {
        Value::Int64(i) => Json::Number((*i).into()),
        Value::Float64(f) if !f.is_finite() => special_float(*f),
        Value::Bytes(b) => json!({ "$bytes": STANDARD.encode(b) }),
        other => plain(other, to_export),
    }
}

/// What the three forms have in common; `inner` writes the children.
fn plain(value: &Value, inner: fn(&Value) -> Json) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(b) => Json::Bool(*b),
        Value::Int64(i) => Json::Number((*i).into()),
        Value::Float64(f) => Number::from_f64(*f).map_or(Json::Null, Json::Number),
        Value::String(s) => Json::String(s.clone()),
        Value::Bytes(b) => Json::String(STANDARD.encode(b)),
        Value::Array(items) => Json::Array(items.iter().map(inner).collect()),
        Value::Object(object) => {
            let fields = object.iter().map(|(name, field)| (name.clone(), inner(field)));
            Json::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// Whether a float has no JSON number that reads back as the same bits everywhere.
fn is_special(f: f64) -> bool {
    !f.is_finite() || (f == 0.0 && f.is_sign_negative())
}

fn special_float(f: f64) -> Json {
    json!({ "$float": STANDARD.encode(f.to_le_bytes()) })
}

/// Appends a finite float as serde_json writes it, so that every way to write a value agrees.
fn write_float(f: f64, out: &mut String) {
    let mut buffer = [0; FLOAT_CHARS_MAX];
    let mut rest = buffer.as_mut_slice();
    serde_json::to_writer(&mut rest, &f).expect("the shortest form of a float fits");
    let length = FLOAT_CHARS_MAX - rest.len();
    out.push_str(std::str::from_utf8(&buffer[..length]).expect("numbers are ASCII"));
}

fn write_special(name: &str, bytes: &[u8], out: &mut String) {
    out.push_str("{\"");
    out.push_str(name);
    out.push_str("\":\"");
    STANDARD.encode_string(bytes, out);
    out.push_str("\"}");
}
