//! Values: three JSON forms, key bytes, order, sizes, and the bridge to Rust types.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use value::json::Format;
use value::limits::{self, VALUE_NESTING_MAX};
use value::{Interval, Value, json, key};

/// Most values of one input that are compared with each other.
const COMPARED_MAX: usize = 16;

/// Every line as a value in each form, all against all, and the whole input as key bytes.
pub fn values(data: &[u8]) {
    key_bytes(data);
    let mut all = Vec::new();
    for line in super::lines(data) {
        for value in read(line) {
            accepted(&value);
            all.push(value);
        }
    }
    all.truncate(COMPARED_MAX);
    for (place, left) in all.iter().enumerate() {
        for right in &all[place..] {
            compared(left, right);
        }
    }
}

/// The values that a text stands for, by every reader.
fn read(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    let encoded = json::parse(text).ok();
    let optional = json::parse_undefined(text).ok();
    match (&encoded, &optional) {
        (Some(value), Some(Some(same))) => assert_eq!(value, same),
        (Some(_), Some(None) | None) => panic!("a value is no optional value: {text}"),
        (None, Some(Some(value))) => panic!("only optional: {value}"),
        (None, Some(None) | None) => {}
    }
    if let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) {
        let from_tree = json::from_json(tree.clone());
        // A tree keeps one of two fields with the same name: it may accept more.
        assert!(from_tree.is_ok() || encoded.is_none(), "refused as a tree: {text}");
        values.extend(from_tree);
        let _ = json::from_json_undefined(tree.clone());
        let _ = json::patch_from_json(tree);
    }
    values.extend(encoded);
    values.extend(json::parse_export(text));
    if let Ok(args) = json::parse_args(text) {
        values.extend(args);
    }
    if let Ok(patch) = json::parse_patch(text) {
        values.extend(patch.into_values().flatten());
    }
    values
}

/// What holds for each value that a reader has let in.
fn accepted(value: &Value) {
    limits::check_value(value).expect("a reader keeps the limits");
    assert!(value.nesting() <= VALUE_NESTING_MAX);
    let text = json::to_string(value);
    assert_eq!(json::to_json(value).to_string(), text, "two ways to write differ");
    assert_eq!(json::parse(&text).as_ref(), Ok(value), "encoded form: {text}");
    assert_eq!(json::from_json(json::to_json(value)).as_ref(), Ok(value), "tree: {text}");
    let export = Format::Export.to_json(value).to_string();
    assert_eq!(json::parse_export(&export).as_ref(), Ok(value), "export form: {export}");
    let clean = Format::Clean.to_json(value).to_string();
    assert!(json::parse(&clean).is_ok(), "clean form: {clean}");
    assert!(!value.to_string().is_empty());
    let _ = value.as_object().map(limits::check_document);

    let bytes = key::encode_all([Some(value)]);
    assert_eq!(key::decode_all(&bytes).as_deref(), Ok([Some(value.clone())].as_slice()));
    assert!(Interval::prefix(&bytes).contains(&bytes) && Interval::point(&bytes).contains(&bytes));
    // Each float and int64 of nine bytes takes at most as many, each byte of a text at most two.
    assert!(bytes.len() <= 2 * value.size() + 16, "{} of {}", bytes.len(), value.size());
    typed(value);
}

/// Order, equality, hash and key bytes agree.
fn compared(left: &Value, right: &Value) {
    let order = left.cmp(right);
    let keys = [left, right].map(|value| key::encode_all([Some(value)]));
    assert_eq!(keys[0].cmp(&keys[1]), order, "{left} and {right}");
    assert_eq!(right.cmp(left), order.reverse());
    assert_eq!(left == right, order == Ordering::Equal);
    if order == Ordering::Equal {
        assert_eq!(hash(left), hash(right));
    }
    // As parts of longer keys, too, and above the key of what is missing.
    let pair = key::encode_all([Some(left), Some(right)]);
    let swapped = key::encode_all([Some(right), Some(left)]);
    assert_eq!(pair.cmp(&swapped), order);
    assert!(key::encode_all([None, Some(left)]) < pair);
    assert!(Interval::prefix(&keys[0]).contains(&pair));
}

/// Bytes that are no key are refused; others are written back to the same bytes.
fn key_bytes(data: &[u8]) {
    if let Ok(values) = key::decode_all(data) {
        assert_eq!(key::encode_all(values.iter().map(Option::as_ref)), data);
        for value in values.iter().flatten() {
            assert!(value.nesting() <= VALUE_NESTING_MAX);
        }
    }
    if let Some(next) = key::increment(data) {
        assert!(next.as_slice() > data && !next.starts_with(data));
        assert_eq!(Interval::prefix(data).end, Some(next));
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A shape with every kind of field.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    #[serde(default)]
    text: String,
    number: Option<f64>,
    whole: Option<i64>,
    small: Option<u8>,
    flag: Option<bool>,
    list: Option<Vec<Sample>>,
    map: Option<BTreeMap<String, Choice>>,
    any: Option<Value>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Choice {
    Nothing,
    One(f64),
    Two(String, i64),
    Fields { a: Option<Value> },
}

/// Through Rust types and back.
fn typed(value: &Value) {
    let same: Value = value::serde::from_value(value.clone()).expect("a value is a value");
    assert_eq!(same, *value);
    assert_eq!(value::serde::to_value(value).as_ref(), Ok(value));
    if let Ok(sample) = value::serde::from_value::<Sample>(value.clone()) {
        let written = value::serde::to_value(&sample).expect("what was read can be written");
        let again: Sample = value::serde::from_value(written.clone()).expect("and read again");
        assert_eq!(value::serde::to_value(&again), Ok(written));
    }
    let _ = value::serde::from_value::<Choice>(value.clone());
    let _ = value::serde::from_value::<(f64, String)>(value.clone());
}
