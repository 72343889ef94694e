//! Filters: the published cases, the JSON form, and what Rust builders make.

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use value::{Object, Value, object};

use super::{Arithmetic, Comparison, EXPR_NESTING_MAX, EvalError, Expr};

const CASES: &str = include_str!("../../vectors/filters.json");

fn document(json: &Json) -> Object {
    match value::json::from_json(json.clone()).unwrap() {
        Value::Object(fields) => fields,
        other => panic!("a document is an object, found {other:?}"),
    }
}

#[test]
fn published_cases() {
    let vectors: Json = serde_json::from_str(CASES).unwrap();
    let document = document(&vectors["document"]);
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 30);
    for case in cases {
        let expr = Expr::from_json(&case["expr"]).unwrap();
        if let Some(value) = case.get("result") {
            let found = expr.value(&document, 1).unwrap();
            let expected = value::json::from_json(value.clone()).unwrap();
            assert_eq!(found.as_deref(), Some(&expected), "{}", case["name"]);
        }
        match case["result"].as_bool() {
            Some(expected) => assert_eq!(expr.eval(&document), Ok(expected), "{}", case["name"]),
            None => {
                let code = case.get("error").or(case.get("asFilter")).unwrap();
                assert_eq!(code, EvalError::CODE, "{}", case["name"]);
                assert!(expr.eval(&document).is_err(), "{}", case["name"]);
            }
        }
        assert_eq!(Expr::from_json(&expr.to_json()), Ok(expr), "{}", case["name"]);
    }
}

fn field(path: &str) -> Expr {
    Expr::field(path)
}

fn int(value: i64) -> Expr {
    Expr::literal(value)
}

fn float(value: f64) -> Expr {
    Expr::literal(value)
}

fn check(expr: Expr, expected: Result<bool, &str>) {
    let document = object! {
        "a" => object! { "b" => 2.0 }, "i" => 7i64, "f" => 1.5, "s" => "x", "yes" => true, "nil" => (),
    };
    let result = expr.eval(&document).map_err(|error| error.message);
    assert_eq!(result, expected.map_err(ToOwned::to_owned), "{expr:?}");
}

#[test]
fn builders_mean_what_they_say() {
    check(field("a.b").eq(float(2.0)), Ok(true));
    check(field(".a.b.").neq(float(2.0)), Ok(false));
    check(field("a.b.c").eq(Expr::missing()), Ok(true));
    check(field("nil").eq(Expr::missing()), Ok(false));
    check(Expr::missing().lt(field("nil")), Ok(true));
    check(field("i").lt(float(f64::NEG_INFINITY)), Ok(true));
    check(field("s").gt(field("yes")), Ok(true));
    check(field("f").gte(field("f")), Ok(true));
    check(field("f").lte(float(1.0)), Ok(false));
    check((field("i") + int(1)).eq(int(8)), Ok(true));
    check((field("i") - int(9)).eq(int(-2)), Ok(true));
    check((field("i") * int(2)).eq(int(14)), Ok(true));
    check((field("i") / int(-2)).eq(int(-3)), Ok(true));
    check((field("i") % int(-2)).eq(int(1)), Ok(true));
    check((field("f") % float(1.0)).eq(float(0.5)), Ok(true));
    check((-field("f")).lt(float(0.0)), Ok(true));
    check(!field("yes"), Ok(false));
    check(field("yes"), Ok(true));
    check(Expr::and([field("yes"), !field("yes"), field("s")]), Ok(false));
    check(Expr::or([!field("yes"), field("yes"), field("s")]), Ok(true));
    check(Expr::and([]), Ok(true));
    check(Expr::or([]), Ok(false));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let zero = || int(0);
    check(field("i") / zero(), Err("division by zero in $div of 7 and 0"));
    check(field("i") % zero(), Err("division by zero in $mod of 7 and 0"));
    let least = || int(i64::MIN);
    check(-least(), Err("int64 overflow in $neg of -9223372036854775808"));
    check(least() / int(-1), Err("int64 overflow in $div of -9223372036854775808 and -1"));
    let mixed = (field("i") + field("f")).eval(&object! { "i" => 1i64, "f" => 1.0 });
    assert!(mixed.unwrap_err().message.starts_with("$add needs two int64 or two float64"));
    check(!field("gone"), Err("$not needs a boolean, found a missing field"));
    check(Expr::and([field("gone")]), Err("$and needs a boolean, found a missing field"));
    check(Expr::or([field("gone")]), Err("$or needs a boolean, found a missing field"));
    check(-field("gone"), Err("$neg needs an int64 or a float64, found a missing field"));
    check(field("gone"), Err("the filter needs a boolean, found a missing field"));
    // An error before the decisive operand counts, one behind it does not.
    check(Expr::and([zero() / zero(), !field("yes")]), Err("division by zero in $div of 0 and 0"));
    check(Expr::and([!field("yes"), zero() / zero()]), Ok(false));
}

#[test]
fn json_that_is_no_filter_is_refused() {
    for (json, text) in [
        (json!(null), "one operator"),
        (json!({}), "one operator"),
        (json!({"$eq": [], "$neq": []}), "one operator"),
        (json!({"$like": 1}), "\"$like\""),
        (json!({"$eq": [{"$field": "a"}]}), "$eq needs an array of two"),
        (json!({"$add": {"$field": "a"}}), "$add needs an array of two"),
        (json!({"$and": {"$field": "a"}}), "$and needs an array"),
        (json!({"$or": [1]}), "one operator"),
        (json!({"$not": [{"$field": "a"}]}), "one operator"),
        (json!({"$field": 1}), "$field needs a path"),
        (json!({"$field": "."}), "$field needs a path"),
        (json!({"$literal": {"$what": 1}}), "$literal"),
    ] {
        let error = Expr::from_json(&json).unwrap_err();
        assert!(error.message.contains(text), "{json}: {error}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        (1..depth).fold(json!({"$literal": true}), |inner, _| json!({ "$not": inner }))
    };
    let deepest = Expr::from_json(&nested(EXPR_NESTING_MAX)).unwrap();
    assert!(deepest.eval(&Object::new()).is_ok());
    assert!(Expr::from_json(&nested(EXPR_NESTING_MAX + 1)).is_err());
    assert!((!deepest).eval(&Object::new()).is_err());
}

#[test]
fn json_form_is_canonical() {
    let expr = Expr::and([Expr::field("a").eq(Expr::missing()), !Expr::field("b")]);
    assert_eq!(
        expr.to_json().to_string(),
        r#"{"$and":[{"$eq":[{"$field":"a"},{"$literal":{"$undefined":null}}]},{"$not":{"$field":"b"}}]}"#
    );
}

fn any_expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        "[a-c](\\.[a-c])?".prop_map(|path| Expr::field(&path)),
        any::<i64>().prop_map(Expr::literal),
        any::<f64>().prop_map(Expr::literal),
        any::<bool>().prop_map(Expr::literal),
        Just(Expr::missing()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let pair = || (inner.clone().prop_map(Box::new), inner.clone().prop_map(Box::new));
        let comparison = prop::sample::select(Comparison::ALL.to_vec());
        let arithmetic = prop::sample::select(Arithmetic::ALL.to_vec());
        let list = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            (comparison, pair()).prop_map(|(op, (l, r))| Expr::Compare(op, l, r)),
            (arithmetic, pair()).prop_map(|(op, (l, r))| Expr::Compute(op, l, r)),
            list().prop_map(Expr::And),
            list().prop_map(Expr::Or),
            inner.clone().prop_map(|operand| -operand),
            inner.prop_map(|operand| !operand),
        ]
    })
}

proptest! {
    #[test]
    fn json_round_trip_keeps_meaning(expr in any_expr(), a in any::<i64>(), b in any::<f64>()) {
        let again = Expr::from_json(&expr.to_json()).unwrap();
        prop_assert_eq!(&again, &expr);
        let document = object! { "a" => a, "b" => b, "c" => object! { "a" => true } };
        prop_assert_eq!(again.eval(&document), expr.eval(&document));
    }
}
