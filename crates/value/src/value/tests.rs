//! Order, equality, hash, size.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use proptest::prelude::*;

use super::*;
use crate::{json, key, object, samples};

#[test]
fn the_listed_values_ascend() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/ordering.json")).unwrap();
    let list = vectors["ascending"].as_array().unwrap();
    assert_eq!(list.len(), 81);
    let mut ascending = Vec::new();
    for case in list {
        let value = json::from_json_undefined(case["json"].clone()).unwrap();
        let key = key::encode_all([value.as_ref()]);
        assert_eq!(hex(&key), case["sortKeyHex"].as_str().unwrap(), "{value:?}");
        ascending.push((value, key));
    }
    for (i, (a, a_key)) in ascending.iter().enumerate() {
        for (j, (b, b_key)) in ascending.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} and {b:?}");
            assert_eq!(a_key.cmp(b_key), i.cmp(&j), "keys of {a:?} and {b:?}");
        }
    }
}

#[test]
fn strings_sort_by_utf8_and_negative_nan_first() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/ordering.json")).unwrap();
    let strings = vectors["strings"]["utf8"].as_array().unwrap();
    let strings: Vec<Value> = strings.iter().map(|s| json::from_json(s.clone()).unwrap()).collect();
    assert!(strings.is_sorted());
    let nan = json::from_json(vectors["negativeNaN"]["json"].clone()).unwrap();
    assert!(nan < Value::Float64(f64::NEG_INFINITY));
    let key = key::encode_all([Some(&nan)]);
    assert_eq!(hex(&key), vectors["negativeNaN"]["sortKeyHex"].as_str().unwrap());
}

#[test]
fn types_do_not_mix() {
    assert_ne!(Value::from(5), Value::from(5.0));
    assert_ne!(Value::from(0.0), Value::from(-0.0));
    assert_eq!(Value::from(f64::NAN), Value::from(f64::NAN));
    assert!(Value::from(i64::MAX) < Value::from(f64::NEG_INFINITY));
    assert!(Value::from(()) < Value::from(i64::MIN));
}

#[test]
fn display_is_for_people() {
    let value = Value::from(object! {
        "a" => vec![Value::from(5), Value::from(5.0), Value::from("x\"y"), Value::from(true)],
        "b" => vec![0u8, 255, 1],
        "with space" => (),
    });
    let text = r#"{a: [5, 5.0, "x\"y", true], b: b"AP8B", "with space": null}"#;
    assert_eq!(value.to_string(), text);
}

#[test]
fn nesting_counts_containers() {
    let check = |text, nesting| assert_eq!(json::parse(text).unwrap().nesting(), nesting, "{text}");
    check("1", 0);
    check("{}", 1);
    check("[]", 1);
    check(r#"{"a":1}"#, 1);
    check(r#"{"a":[{}]}"#, 3);
}

#[test]
fn a_value_is_cheap_to_move() {
    assert!(size_of::<Value>() <= 32);
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

proptest! {
    #[test]
    fn equal_values_hash_alike(a in samples::value(), b in samples::value()) {
        prop_assert_eq!(hash(&a), hash(&a.clone()));
        if a == b {
            prop_assert_eq!(hash(&a), hash(&b));
        }
    }

    #[test]
    fn order_is_antisymmetric_and_transitive(
        a in samples::value(), b in samples::value(), c in samples::value()
    ) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        let mut sorted = [a, b, c];
        sorted.sort();
        prop_assert!(sorted[0] <= sorted[2]);
    }

    #[test]
    fn size_never_panics_and_a_sample_is_a_legal_value(value in samples::value()) {
        prop_assert!(value.size() >= 1);
        prop_assert_eq!(crate::limits::check_value(&value), Ok(()));
    }
}
