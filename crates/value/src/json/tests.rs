//! The three forms against the vectors, round trips, and what is refused.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::limits::INVALID_VALUE;
use crate::{key, object, samples};

fn vectors() -> Json {
    serde_json::from_str(include_str!("../../vectors/value-json.json")).unwrap()
}

/// Numbers as floats, so that `1` equals `1.0`.
fn with_floats(json: &Json) -> Json {
    match json {
        Json::Number(number) => json!(number.as_f64().unwrap() + 0.0),
        Json::Array(items) => items.iter().map(with_floats).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(k, v)| (k.clone(), with_floats(v))).collect())
        }
        other => other.clone(),
    }
}

fn code(text: &str) -> &'static str {
    parse(text).map_or_else(|error| error.code, |_| "ok")
}

#[test]
fn listed_values() {
    let vectors = vectors();
    let cases = vectors["accept"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let name = &case["name"];
        let value = parse(&case["json"].to_string()).unwrap();
        assert_eq!(from_json(case["json"].clone()), Ok(value.clone()), "{name}");
        assert_eq!(to_json(&value), with_floats(&case["json"]), "{name}");
        assert_eq!(with_floats(&to_clean(&value)), with_floats(&case["clean"]), "{name}");
        assert_eq!(value.size() as u64, case["size"].as_u64().unwrap(), "{name}");
        let key = key::encode_all([Some(&value)]);
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, case["sortKeyHex"].as_str().unwrap(), "{name}");
    }
}

#[test]
fn listed_texts_are_refused() {
    let vectors = vectors();
    for case in vectors["reject"].as_array().unwrap() {
        let error = parse(&case["json"].to_string()).unwrap_err();
        assert_eq!(error.code, INVALID_VALUE, "{}", case["name"]);
    }
    for case in vectors["lenient"].as_array().unwrap() {
        assert!(from_json(case["json"].clone()).is_ok(), "{}", case["name"]);
    }
    let error = from_json(vectors["pending"]["json"].clone()).unwrap_err();
    assert_eq!(error.message, "the commit timestamp placeholder cannot stand here");
}

#[test]
fn undefined_stands_where_it_may() {
    let forms = &vectors()["undefinedForms"];
    assert_eq!(from_json_undefined(forms["filterLiteral"].clone()), Ok(None));
    let patch = parse_patch(&forms["patch"].to_string()).unwrap();
    assert_eq!(patch, patch_from_json(forms["patch"].clone()).unwrap());
    let expected = [
        ("a".to_owned(), None),
        ("b".to_owned(), Some(Value::from(1.0))),
        ("c".to_owned(), Some(Value::from(object! { "e" => 2.0 }))),
    ];
    assert_eq!(patch, Patch::from(expected));
    let plain = from_json_undefined(forms["plain"].clone());
    assert_eq!(plain, Ok(Some(Value::from(object! { "b" => 1.0 }))));
    for bad in [
        r#"{"$undefined":1}"#,
        r#"{"$undefined":null,"a":1}"#,
        r#"{"a":{"$undefined":null}}"#,
        r#"[{"$undefined":null}]"#,
    ] {
        assert!(parse_undefined(bad).is_err(), "{bad}");
    }
    for good in ["null", "true", "-1", "1", "1.5", r#""a""#, r#""\n""#, "[]", "{}"] {
        assert_eq!(parse_undefined(good), parse(good).map(Some), "{good}");
    }
    assert!(parse_patch("[]").is_err());
    assert!(parse_patch(r#"{"$a":1}"#).is_err());
    assert!(parse_patch(r#"{"a":{"b":{"$undefined":null}}}"#).is_err());
}

#[test]
fn arguments_are_an_array_or_an_object() {
    let object = Value::from(object! { "a" => 1.0 });
    assert_eq!(parse_args(r#"[{"a":1},null]"#), Ok(vec![object.clone(), Value::Null]));
    assert_eq!(parse_args(r#"{"a":1}"#), Ok(vec![object]));
    assert_eq!(parse_args("[]"), Ok(vec![]));
    assert!(parse_args("1").is_err());
    assert!(parse_args(r#"[{"$undefined":null}]"#).is_err());
}

#[test]
fn numbers_are_floats() {
    let check = |text: &str, float: f64| assert_eq!(parse(text), Ok(float.into()), "{text}");
    check("5", 5.0);
    check("-5", -5.0);
    check("1e3", 1000.0);
    check("9007199254740993", 9_007_199_254_740_992.0);
    check("18446744073709551615", 18_446_744_073_709_551_616.0);
    check("-0", -0.0);
    check("-0.0", -0.0);
}

#[test]
fn written_forms() {
    let check = |value: Value, text: &str| assert_eq!(to_string(&value), text);
    check(1.0.into(), "1.0");
    check(1e21.into(), "1e+21");
    check(0.1.into(), "0.1");
    check(5e-324.into(), "5e-324");
    check((-0.0).into(), r#"{"$float":"AAAAAAAAAIA="}"#);
    check(1.into(), r#"{"$integer":"AQAAAAAAAAA="}"#);
    check("a\"\\\n\u{1}\u{7f}é😀".into(), "\"a\\\"\\\\\\n\\u0001\u{7f}é😀\"");
    check(object! { "b" => vec![Value::from(1.0), Value::Null], "a" => true }.into(), {
        r#"{"a":true,"b":[1.0,null]}"#
    });
}

#[test]
fn limits_have_their_codes() {
    let check = |text: &str, expected| assert_eq!(code(text), expected);
    let nested = |n| format!("{}{}", "[".repeat(n), "]".repeat(n));
    check(&nested(64), "ok");
    check(&nested(65), "TooNestedError");
    check(&nested(10_000), "TooNestedError");
    check(&"[".repeat(10_000), "TooNestedError");
    check(&r#"{"a":"#.repeat(10_000), "TooNestedError");
    let integer = r#"{"$integer":"AQAAAAAAAAA="}"#;
    check(&format!("{}{integer}{}", "[".repeat(64), "]".repeat(64)), "ok");
    let list = |n| format!("[{}]", vec!["1"; n].join(","));
    check(&list(8192), "ok");
    check(&list(8193), "ArrayTooLong");
    let fields = |n| {
        let fields: Vec<_> = (0..n).map(|i| format!("\"f{i}\":1")).collect();
        format!("{{{}}}", fields.join(","))
    };
    check(&fields(1024), "ok");
    check(&fields(1025), "TooManyFieldsError");
    let large = format!("[\"{}\"]", "x".repeat(33 << 20));
    check(&large, "ValueTooLargeError");
    for bad in ["", "nul", "[1,]", "1 2", "{\"a\":1}}", "1e999", "\"\\ud800\""] {
        check(bad, INVALID_VALUE);
    }
}

#[test]
fn nested_payloads_do_not_overflow() {
    for name in ["$integer", "$set", "$undefined"] {
        let bomb = format!("{{\"{name}\":{}", "[".repeat(10_000));
        assert!(parse(&bomb).is_err());
        assert!(parse_undefined(&bomb).is_err());
        assert!(parse_patch(&bomb).is_err());
    }
    assert!(parse_args(&"[".repeat(10_000)).is_err());
    assert!(parse_export(&"[".repeat(10_000)).is_err());
    let tree = (0..1000).fold(Json::Null, |inner, _| json!([inner]));
    assert_eq!(from_json(tree).unwrap_err().code, "TooNestedError");
}

#[test]
fn export_tells_numbers_apart() {
    let check = |text: &str, value: Value| {
        assert_eq!(parse_export(text), Ok(value.clone()), "{text}");
        assert_eq!(to_export(&value).to_string(), text);
    };
    check("5", Value::Int64(5));
    check("5.0", Value::Float64(5.0));
    check("-0.0", Value::Float64(-0.0));
    check("9223372036854775807", Value::Int64(i64::MAX));
    check("-9223372036854775808", Value::Int64(i64::MIN));
    check(r#"{"$float":"AAAAAAAA8H8="}"#, Value::Float64(f64::INFINITY));
    check(r#"{"$bytes":"AP8B"}"#, Value::Bytes(vec![0, 255, 1]));
    let over = parse_export("9223372036854775808");
    assert_eq!(over, Ok(Value::Float64(9_223_372_036_854_775_808.0)));
}

#[test]
fn formats_have_names() {
    assert_eq!("json".parse(), Ok(Format::Clean));
    assert_eq!("convex_clean_json".parse(), Ok(Format::Clean));
    assert_eq!("convex_encoded_json".parse(), Ok(Format::Encoded));
    assert_eq!("convex_json".parse(), Ok(Format::Encoded));
    assert_eq!("export_json".parse(), Ok(Format::Export));
    assert_eq!("JSON".parse::<Format>().unwrap_err().code, "BadFormat");
    let value = Value::Int64(5);
    assert_eq!(Format::Clean.to_json(&value), json!("5"));
    assert_eq!(Format::Export.to_json(&value), json!(5));
    assert_eq!(Format::Encoded.to_json(&value), json!({ "$integer": "BQAAAAAAAAA=" }));
    assert_eq!(to_clean(&Value::Float64(f64::NEG_INFINITY)), json!("-Infinity"));
}

proptest! {
    #[test]
    fn values_read_back(value in samples::value()) {
        let text = to_string(&value);
        prop_assert_eq!(parse(&text), Ok(value.clone()));
        prop_assert_eq!(parse_undefined(&text), Ok(Some(value.clone())));
        prop_assert_eq!(from_json(to_json(&value)), Ok(value.clone()));
        prop_assert_eq!(parse_export(&to_export(&value).to_string()), Ok(value));
    }

    #[test]
    fn every_way_to_write_agrees(value in samples::value()) {
        let text = to_string(&value);
        prop_assert_eq!(&to_json(&value).to_string(), &text);
        prop_assert_eq!(&serde_json::to_string(&value).unwrap(), &text);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn clean_form_is_always_json(value in samples::value()) {
        let text = to_clean(&value).to_string();
        prop_assert!(serde_json::from_str::<Json>(&text).is_ok());
    }

    #[test]
    fn any_text_is_read_without_panic(
        text in prop_oneof![
            ".*",
            vec(proptest::sample::select(&[
                "{", "}", "[", "]", ":", ",", "\"a\"", "\"$integer\"", "\"$undefined\"", "\"$x\"",
                "null", "-1", "0.5", "\"AQAAAAAAAAA=\"", " ", "\"",
            ][..]), 0..12).prop_map(|parts| parts.concat()),
        ]
    ) {
        if let Ok(value) = parse(&text) {
            prop_assert_eq!(parse(&to_string(&value)), Ok(value));
        }
        if let Ok(value) = parse_export(&text) {
            prop_assert_eq!(parse_export(&to_export(&value).to_string()), Ok(value));
        }
        prop_assert_eq!(parse(&text).is_ok() && parse_undefined(&text).is_err(), false);
        let _ = (parse_patch(&text), parse_args(&text));
    }
}
