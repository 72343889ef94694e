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
fn errors_repeat_only_the_beginning_of_a_long_text() {
    assert_eq!(quoted("a\"\u{7f}"), "\"a\\\"\\u{7f}\"");
    assert_eq!(quoted(&"é".repeat(100)).len(), 202);
    assert_eq!(quoted(&"é".repeat(101)), format!("\"{}\"…", "é".repeat(100)));

    // Each of these is at most a few times the quoted beginning, not of the text.
    let long = "\u{7f}".repeat(100_000);
    let check = |error: String| assert!(error.len() < 3000, "{} bytes", error.len());
    check(crate::TableName::new(&long).unwrap_err().to_string());
    check(crate::FieldPath::new(&long).unwrap_err().to_string());
    check(crate::FunctionPath::new(&long).unwrap_err().to_string());
    check(crate::FunctionPath::new(&format!("{long}.x:f")).unwrap_err().to_string());
    check(crate::FunctionPath::new(&format!("m:{long}")).unwrap_err().to_string());
    check(crate::ComponentPath::new(&long).unwrap_err().to_string());
    check(check_field_name(&long).unwrap_err().message);
    check(check_document_field_name(&format!("_{}", "x".repeat(1000))).unwrap_err().message);
    check(crate::json::parse(&format!("{{\"${long}\":1,\"a\":1}}")).unwrap_err().message);
    check(crate::json::parse(&format!("{{\"${long}\":1}}")).unwrap_err().message);
    check(long.parse::<crate::json::Format>().unwrap_err().message);
    let validator = format!("{{\"type\":\"{long}\"}}");
    check(crate::validator::Validator::parse(&validator).unwrap_err().message);
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
