//! Checks of validators against the vectors, and of their texts.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::ids::TableNumber;
use crate::{json, object, samples};

/// The tables of the vectors; `_tables` is private, `_storage` is virtual.
struct Fixed(Vec<(TableName, TableNumber)>);

impl Tables for Fixed {
    fn number_of(&self, table: &TableName) -> Option<TableNumber> {
        self.0.iter().find(|(name, _)| name == table).map(|(_, number)| *number)
    }

    fn name_of(&self, number: TableNumber) -> Option<TableName> {
        self.0.iter().find(|(_, other)| *other == number).map(|(name, _)| name.clone())
    }

    fn is_system(&self, number: TableNumber) -> bool {
        number == TableNumber(513)
    }
}

fn vectors() -> Json {
    serde_json::from_str(include_str!("../../vectors/validators.json")).unwrap()
}

fn tables() -> Fixed {
    let vectors = vectors();
    let listed = vectors["tables"].as_object().unwrap().iter();
    let listed = listed.filter_map(|(name, number)| {
        let number = u32::try_from(number.as_u64().unwrap()).unwrap();
        Some((TableName::new(name).ok()?, TableNumber(number)))
    });
    let storage = (TableName::new("_storage").unwrap(), TableNumber(540));
    Fixed(listed.chain([storage]).collect())
}

fn validator(json: Json) -> Validator {
    Validator::from_json(&json).unwrap()
}

fn object_of(fields: Json) -> Json {
    json!({ "type": "object", "value": fields })
}

fn field(field_type: Json, optional: bool) -> Json {
    json!({ "fieldType": field_type, "optional": optional })
}

#[test]
fn listed_cases() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 80);
    for case in cases {
        let validator = validator(case["validator"].clone());
        assert_eq!(validator.to_json(), as_written(&case["validator"]));
        let value = json::from_json(case["value"].clone()).unwrap();
        let checked = validator.check(&value, &tables());
        let name = format!("{} {value}", case["name"]);
        if case["accept"] == json!(true) {
            assert_eq!(checked, Ok(()), "{name}");
        } else {
            let error = checked.expect_err(&name);
            assert_eq!(error.failure.name(), case["error"].as_str().unwrap(), "{name}");
            assert_eq!(error.path.to_string(), case["path"].as_str().unwrap(), "{name}");
        }
    }
}

/// Literal numbers as floats, the form in which we write them.
fn as_written(json: &Json) -> Json {
    match json {
        Json::Number(number) => json!(number.as_f64().unwrap()),
        Json::Array(items) => items.iter().map(as_written).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(k, v)| (k.clone(), as_written(v))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn texts_of_failures() {
    let check = |validator: Json, value: Value, text: &str| {
        let validator = Validator::from_json(&validator).unwrap();
        assert_eq!(validator.check(&value, &tables()).unwrap_err().to_string(), text);
    };
    let string = json!({ "type": "string" });
    check(string.clone(), 1.into(), {
        "Value does not match validator.\nValue: 1\nValidator: v.string()"
    });
    let a = object_of(json!({ "a": field(string, false) }));
    check(a.clone(), object! { "a" => 1.0 }.into(), {
        "Value does not match validator.\nPath: .a\nValue: 1.0\nValidator: v.string()"
    });
    check(a.clone(), object! {}.into(), {
        "Object is missing the required field `a`. If it may be absent, wrap its validator in \
         `v.optional(...)`.\nObject: {}\nValidator: v.object({a: v.string()})"
    });
    check(
        json!({ "type": "array", "value": a }),
        vec![Value::from(object! { "b" => 1.0 })].into(),
        {
            "Object is missing the required field `a`. If it may be absent, wrap its validator in \
         `v.optional(...)`.\nPath: [0]\nObject: {b: 1.0}\nValidator: v.object({a: v.string()})"
        },
    );
    check(object_of(json!({})), object! { "b" => 1.0 }.into(), {
        "Object contains extra field `b` that is not in the validator.\nObject: {b: 1.0}\n\
         Validator: v.object({})"
    });
    let one = object_of(json!({ "k": field(json!({ "type": "literal", "value": "a" }), true) }));
    check(one, object! { "k" => "b" }.into(), {
        "`\"b\"` does not match literal validator `v.literal(\"a\")`. Path: .k"
    });
    let users = json!({ "type": "id", "tableName": "users" });
    check(users.clone(), "j97028t5cy4tqkffzvebn63pah7p6j6v".into(), {
        "Found ID \"j97028t5cy4tqkffzvebn63pah7p6j6v\" from table `rooms`, which does not match \
         the table name in validator `v.id(\"users\")`."
    });
    check(users, "g425vrn1y05qrh4whwf27n2ncs7jq5fd".into(), {
        "Found ID \"g425vrn1y05qrh4whwf27n2ncs7jq5fd\" from a system table, which does not match \
         the table name in validator `v.id(\"users\")`."
    });
}

#[test]
fn virtual_tables_go_by_their_public_name() {
    let id = crate::DocumentId::new(TableNumber(540), crate::InternalId([7; 16])).to_string();
    let storage = validator(json!({ "type": "id", "tableName": "_storage" }));
    assert_eq!(storage.check(&id.as_str().into(), &tables()), Ok(()));
    let users = validator(json!({ "type": "id", "tableName": "users" }));
    let error = users.check(&id.into(), &tables()).unwrap_err();
    assert_eq!(error.failure.name(), "TableNamesDoNotMatch");
}

#[test]
fn display() {
    let check = |json: Json, text: &str| assert_eq!(validator(json).to_string(), text);
    check(json!({ "type": "number" }), "v.float64()");
    check(json!({ "type": "bigint" }), "v.int64()");
    check(json!({ "type": "bytes" }), "v.bytes()");
    check(json!({ "type": "literal", "value": { "$integer": "BQAAAAAAAAA=" } }), {
        "v.literal(<bigint>)"
    });
    check(json!({ "type": "literal", "value": 1 }), "v.literal(1.0)");
    check(json!({ "type": "union", "value": [{ "type": "null" }, { "type": "any" }] }), {
        "v.union(v.null(), v.any())"
    });
    let record = json!({
        "type": "record",
        "keys": { "type": "id", "tableName": "users" },
        "values": field(json!({ "type": "boolean" }), false),
    });
    check(record, "v.record(v.id(\"users\"), v.boolean())");
    let fields = json!({
        "b": field(json!({ "type": "array", "value": { "type": "string" } }), false),
        "a": field(json!({ "type": "commitTs" }), true),
    });
    let text = "v.object({a: v.optional(v.commitTs()), b: v.array(v.string())})";
    check(object_of(fields), text);
}

#[test]
fn definitions_that_are_refused() {
    let check = |json: Json, code: &str| {
        assert_eq!(Validator::from_json(&json).unwrap_err().code, code, "{json}");
    };
    let record = |keys: Json, optional: bool| {
        let values = field(json!({ "type": "any" }), optional);
        json!({ "type": "record", "keys": keys, "values": values })
    };
    check(record(json!({ "type": "number" }), false), "InvalidRecordType");
    check(record(json!({ "type": "any" }), false), "InvalidRecordType");
    check(record(json!({ "type": "literal", "value": "a" }), false), "InvalidRecordType");
    check(record(json!({ "type": "string" }), true), "InvalidRecordType");
    let nan = json!({ "$float": "AAAAAAAA+H8=" });
    check(json!({ "type": "literal", "value": nan }), "UnsupportedFloatLiteral");
    check(json!({ "type": "literal", "value": [1] }), "InvalidValidator");
    check(json!({ "type": "literal" }), "InvalidValidator");
    check(json!({ "type": "id", "tableName": "a-b" }), "InvalidValidator");
    check(json!({ "type": "other" }), "InvalidValidator");
    check(json!({ "type": "array" }), "InvalidValidator");
    check(json!(1), "InvalidValidator");
    check(object_of(json!({ "a b": field(json!({ "type": "any" }), false) })), "InvalidValidator");
    check(object_of(json!({ "a": { "optional": true } })), "InvalidValidator");
    assert_eq!(validator(json!({ "type": "map" })), Validator::Any);
    let bomb = r#"{"type":"array","value":"#.repeat(10_000);
    assert_eq!(Validator::parse(&bomb).unwrap_err().code, "InvalidValidator");
    let nested =
        |n| (0..n).fold(json!({ "type": "any" }), |v, _| json!({ "type": "array", "value": v }));
    assert!(Validator::from_json(&nested(63)).is_ok());
    assert!(Validator::from_json(&nested(64)).is_err());
}

#[test]
fn arguments_and_results() {
    let args = Validator::args_from_json(&object_of(json!({}))).unwrap();
    let check = |values: &[Value], text: &str| {
        assert_eq!(args.check_args(values, &tables()), Err(text.to_owned()));
    };
    assert_eq!(args.check_args(&[object! {}.into()], &tables()), Ok(()));
    check(&[], {
        "ArgumentValidationError: a function with an argument validator takes exactly one \
         argument, got 0"
    });
    check(&[1.0.into()], {
        "ArgumentValidationError: a function with an argument validator takes an object, got 1.0"
    });
    check(&[object! { "x" => 1.0 }.into()], {
        "ArgumentValidationError: Object contains extra field `x` that is not in the validator.\n\
         Object: {x: 1.0}\nValidator: v.object({})"
    });
    assert_eq!(Validator::Any.check_args(&[], &tables()), Ok(()));
    assert!(Validator::args_from_json(&json!({ "type": "string" })).is_err());
    assert_eq!(Validator::returns_from_json(&Json::Null), Ok(None));
    let returns = Validator::returns_from_json(&json!({ "type": "null" })).unwrap().unwrap();
    assert_eq!(returns.check_returns(&Value::Null, &tables()), Ok(()));
    let text = returns.check_returns(&true.into(), &tables()).unwrap_err();
    assert!(text.starts_with("ReturnsValidationError: Value does not match validator."), "{text}");
}

#[test]
fn tables_of_ids() {
    let id = |table: &str| json!({ "type": "id", "tableName": table });
    let union = json!({ "type": "union", "value": [id("b"), { "type": "array", "value": id("a") }, id("b")] });
    let tables = validator(union).id_tables();
    assert_eq!(tables.iter().map(TableName::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn subsets() {
    let check = |a: Json, b: Json, expected: bool| {
        let (a, b) = (validator(a), validator(b));
        assert_eq!(a.is_subset_of(&b), expected, "{a} in {b}");
    };
    let of = |kind: &str| json!({ "type": kind });
    let literal = |value: Json| json!({ "type": "literal", "value": value });
    let union = |members: &[Json]| json!({ "type": "union", "value": members });
    check(of("string"), of("any"), true);
    check(of("any"), of("string"), false);
    check(literal(json!("a")), of("string"), true);
    check(literal(json!(1)), of("number"), true);
    check(literal(json!(1)), of("bigint"), false);
    check(of("string"), literal(json!("a")), false);
    check(json!({ "type": "id", "tableName": "a" }), of("string"), true);
    check(of("string"), json!({ "type": "id", "tableName": "a" }), false);
    check(of("commitTs"), of("bigint"), true);
    check(of("bigint"), of("commitTs"), true);
    check(union(&[]), of("null"), true);
    check(union(&[of("null"), literal(json!("a"))]), union(&[of("string"), of("null")]), true);
    check(union(&[of("null"), of("number")]), union(&[of("string"), of("null")]), false);
    check(of("boolean"), union(&[literal(json!(true)), literal(json!(false))]), true);
    check(of("boolean"), union(&[literal(json!(true))]), false);
    let array = |item: Json| json!({ "type": "array", "value": item });
    check(array(literal(json!(true))), array(of("boolean")), true);
    let a = |optional| object_of(json!({ "a": field(of("string"), optional) }));
    check(a(false), a(true), true);
    check(a(true), a(false), false);
    check(object_of(json!({})), a(true), true);
    check(object_of(json!({})), a(false), false);
    check(a(false), object_of(json!({})), false);
}

/// Any validator, up to a few levels deep.
fn any_validator() -> impl Strategy<Value = Validator> {
    let literal = |value: Value| Validator::Literal(value);
    let leaf = prop_oneof![
        Just(Validator::Null),
        Just(Validator::Number),
        Just(Validator::Bigint),
        Just(Validator::Boolean),
        Just(Validator::String),
        Just(Validator::Any),
        Just(Validator::CommitTs),
        Just(literal("a".into())),
        Just(literal(0.0.into())),
        Just(literal(true.into())),
        Just(literal(false.into())),
        Just(literal(1.into())),
        Just(Validator::Id(TableName::new("users").unwrap())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let field = (inner.clone(), any::<bool>())
            .prop_map(|(validator, optional)| FieldValidator { validator, optional });
        let fields = proptest::collection::btree_map("[ab]", field, 0..3);
        prop_oneof![
            inner.clone().prop_map(|item| Validator::Array(Box::new(item))),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Validator::Union),
            fields.prop_map(|fields| Validator::Object(ObjectValidator { fields })),
            inner.prop_map(|values| Validator::Record {
                keys: Box::new(Validator::String),
                values: Box::new(values),
            }),
        ]
    })
}

/// A value that often matches `validator`.
fn likely(validator: &Validator) -> BoxedStrategy<Value> {
    match validator {
        Validator::Null => Just(Value::Null).boxed(),
        Validator::Number => any::<f64>().prop_map(Value::from).boxed(),
        Validator::Bigint | Validator::CommitTs => any::<i64>().prop_map(Value::from).boxed(),
        Validator::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Validator::String => samples::text().prop_map(Value::from).boxed(),
        Validator::Bytes => samples::bytes().prop_map(Value::from).boxed(),
        Validator::Any => samples::value().boxed(),
        Validator::Literal(value) => Just(value.clone()).boxed(),
        Validator::Id(_) => Just(Value::from("j579mf3y279f0jtrmv0yj3sxe97p6tfp")).boxed(),
        Validator::Array(item) => {
            proptest::collection::vec(likely(item), 0..3).prop_map(Value::Array).boxed()
        }
        Validator::Union(members) if members.is_empty() => samples::value().boxed(),
        Validator::Union(members) => {
            proptest::strategy::Union::new(members.iter().map(likely)).boxed()
        }
        Validator::Record { values, .. } => {
            proptest::collection::btree_map("[abc]", likely(values), 0..3)
                .prop_map(|fields| Value::Object(fields.into()))
                .boxed()
        }
        Validator::Object(object) => {
            let fields: Vec<_> = (object.fields.iter())
                .map(|(name, field)| {
                    let value = likely(&field.validator);
                    let value = if field.optional {
                        proptest::option::of(value).boxed()
                    } else {
                        value.prop_map(Some).boxed()
                    };
                    (Just(name.clone()), value)
                })
                .collect();
            fields
                .prop_map(|fields| {
                    let present = fields.into_iter().filter_map(|(name, v)| Some((name, v?)));
                    Value::Object(present.collect())
                })
                .boxed()
        }
    }
}

proptest! {
    #[test]
    fn a_subset_accepts_no_more(
        (a, value) in any_validator().prop_flat_map(|a| {
            let value = likely(&a);
            (Just(a), value)
        }),
        b in any_validator(),
    ) {
        let tables = tables();
        let matches = |validator: &Validator| validator.check(&value, &tables).is_ok();
        if a.is_subset_of(&b) && matches(&a) {
            prop_assert!(matches(&b), "{} in {}: {}", a, b, value);
        }
        // A union with one more member accepts no less.
        let wider = Validator::Union(vec![b, a.clone()]);
        prop_assert!(a.is_subset_of(&wider));
        prop_assert!(!matches(&a) || matches(&wider));
    }

    #[test]
    fn json_round_trip(a in any_validator()) {
        prop_assert_eq!(Validator::from_json(&a.to_json()), Ok(a));
    }

    #[test]
    fn any_text_is_read_without_panic(text in prop_oneof![
        ".*",
        r#"\{"type":"(any|literal|object|union|record|id)","value":[\[\]{}a-z0-9":]{0,8}\}"#,
    ]) {
        if let Ok(validator) = Validator::parse(&text) {
            prop_assert_eq!(Validator::from_json(&validator.to_json()), Ok(validator));
        }
    }
}
