//! Each limit, on both sides of its edge.

use super::*;
use crate::object;

fn code(result: Result<(), ValueError>) -> &'static str {
    result.map_or_else(|error| error.code, |()| "ok")
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

#[test]
fn field_names() {
    let check = |name: &str, expected| assert_eq!(code(check_field_name(name)), expected, "{name}");
    check("", "ok");
    check("a b-c", "ok");
    check("_x", "ok");
    check("a$", "ok");
    check("$a", INVALID_VALUE);
    check("a\u{1}", INVALID_VALUE);
    check("a\u{7f}", INVALID_VALUE);
    check("é", INVALID_VALUE);
    check(&"a".repeat(1024), "ok");
    check(&"a".repeat(1025), INVALID_VALUE);
}

#[test]
fn document_field_names() {
    let check = |name, expected| assert_eq!(code(check_document_field_name(name)), expected);
    check("_id", "ok");
    check("_creationTime", "ok");
    check("a", "ok");
    check("_other", "InvalidDocumentError");
    check("$a", INVALID_VALUE);
}

#[test]
fn values() {
    let check = |value: &Value, expected| assert_eq!(code(check_value(value)), expected);
    check(&nested(64), "ok");
    check(&nested(65), "TooNestedError");
    check(&Value::Array(vec![Value::Null; 8192]), "ok");
    check(&Value::Array(vec![Value::Null; 8193]), "ArrayTooLong");
    let fields = |n| Value::Object((0..n).map(|i| (format!("f{i}"), Value::Null)).collect());
    check(&fields(1024), "ok");
    check(&fields(1025), "TooManyFieldsError");
    check(&Value::Bytes(vec![0; VALUE_BYTES_MAX - 2]), "ok");
    check(&Value::Bytes(vec![0; VALUE_BYTES_MAX - 1]), "ValueTooLargeError");
    check(&Value::Object(object! { "$a" => 1.0 }), INVALID_VALUE);
}

#[test]
fn documents() {
    let check = |document: Object, expected| assert_eq!(code(check_document(&document)), expected);
    check(object! { "a" => nested(15) }, "ok");
    check(object! { "a" => nested(16) }, "InvalidDocumentError");
    check(object! { "a" => nested(70) }, "TooNestedError");
    check(object! { "_a" => 1.0 }, "InvalidDocumentError");
    check(object! { "o" => object! { "_a" => 1.0 } }, "ok");
    let of_size = |size: usize| object! { "a" => "x".repeat(size - 2 - 2 - 2) };
    check(of_size(DOCUMENT_BYTES_MAX), "ok");
    check(of_size(DOCUMENT_BYTES_MAX + 1), "ValueTooLargeError");
}
