//! Random values for property tests, dense where encodings have edges.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::{Object, Value};

const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    1e-5,
    1e16,
    1e21,
    5e-324,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

const INTS: &[i64] = &[
    0,
    1,
    -1,
    0x7f,
    0x80,
    -0x80,
    -0x81,
    0x7fff,
    0x8000,
    -0x8000,
    -0x8001,
    0x7fff_ffff,
    0x8000_0000,
    -0x8000_0000,
    -0x8000_0001,
    i64::MAX,
    i64::MIN,
];

/// Text of characters at the edges of orders and escapes.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let edge = select(&['\0', '\u{1}', '"', '\\', '\n', 'a', '\u{7f}', 'é', '\u{ffff}', '😀'][..]);
    prop_oneof![
        vec(edge, 0..5).prop_map(|chars| chars.into_iter().collect()),
        vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect::<String>()),
    ]
}

/// Bytes at the edges of escapes.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![select(&[0x00, 0x01, 0xff][..]), any::<u8>()], 0..6)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["", "a", "aa", "b", "_id", " ", "~\"\\"][..]).prop_map(str::to_owned),
        vec(select(&["a", "_", "Z", "0", " ", "\"", "~"][..]), 1..4)
            .prop_map(|parts| parts.concat()),
    ]
}

/// Any legal value, up to a few levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        select(INTS).prop_map(Value::Int64),
        any::<i64>().prop_map(Value::Int64),
        select(FLOATS).prop_map(Value::Float64),
        any::<u64>().prop_map(|bits| Value::Float64(f64::from_bits(bits))),
        any::<bool>().prop_map(Value::Boolean),
        text().prop_map(Value::String),
        bytes().prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(name(), inner, 0..4).prop_map(|fields| Value::Object(Object::from(fields))),
        ]
    })
}
