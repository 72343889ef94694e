use serde_json::Value as Json;
use serde_json::json;
use value::DocumentId;

use super::*;

/// Every operation that npm sends for the database, with what it must be for us.
#[test]
fn what_npm_sends_is_understood() {
    let vectors: Json =
        serde_json::from_str(include_str!("../../../vectors/query-json.json")).unwrap();
    let mut seen = [0; 3];
    for case in vectors["cases"].as_array().unwrap() {
        for call in case["calls"].as_array().unwrap() {
            let (name, args) = (case["name"].as_str().unwrap(), &call["args"]);
            match call["op"].as_str().unwrap() {
                "1.0/queryStream" | "1.0/queryPage" => {
                    query(name, &args["query"]);
                    seen[0] += 1;
                }
                "1.0/insert" | "1.0/replace" => {
                    let read = value::json::from_json(args["value"].clone());
                    let placeholder = name.starts_with("commitTs");
                    assert_eq!(read.is_err(), placeholder, "{name}: {read:?}");
                    seen[1] += 1;
                }
                "1.0/shallowMerge" => {
                    let patch = value::json::patch_from_json(args["value"].clone()).unwrap();
                    let removed = patch.values().filter(|value| value.is_none()).count();
                    assert_eq!(removed, usize::from(name == "patch"), "{name}");
                    seen[1] += 1;
                }
                "1.0/get" | "1.0/remove" => {
                    args["id"].as_str().unwrap().parse::<DocumentId>().unwrap();
                    seen[2] += 1;
                }
                "1.0/db/normalizeId" => {
                    assert!(args["idString"].as_str().unwrap().parse::<DocumentId>().is_err());
                    seen[2] += 1;
                }
                "1.0/schedule" => {
                    args["name"].as_str().unwrap().parse::<value::FunctionPath>().unwrap();
                    seen[2] += 1;
                }
                // What follows a query, and what npm refuses itself, has nothing to be read.
                "1.0/queryStreamNext" | "1.0/queryCleanup" | "throws" => {}
                other => panic!("{name}: nobody reads {other}"),
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 2), "{seen:?}");
}

fn query(name: &str, json: &Json) {
    let plan = QueryPlan::from_json(json);
    if json["source"]["type"] == "Search" {
        assert!(plan.unwrap_err().message().contains("search"), "{name}");
        return;
    }
    if name.starts_with("commitTs") {
        assert!(plan.unwrap_err().message().contains("placeholder"), "{name}");
        return;
    }
    let plan = plan.unwrap();
    let mut canonical = json.clone();
    if canonical["source"]["order"].is_null() {
        canonical["source"]["order"] = json!("asc");
    }
    assert_eq!(as_floats(plan.to_json()), as_floats(canonical), "{name}");
    assert_eq!(QueryPlan::from_json(&plan.to_json()).unwrap(), plan, "{name}");
}

/// JSON numbers are floats, however they are written.
fn as_floats(json: Json) -> Json {
    match json {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(items) => items.into_iter().map(as_floats).collect(),
        Json::Object(fields) => {
            Json::Object(fields.into_iter().map(|(name, json)| (name, as_floats(json))).collect())
        }
        other => other,
    }
}

#[test]
fn what_is_no_query_is_an_error_that_names_it() {
    let check = |json: Json, part: &str| {
        let error = QueryPlan::from_json(&json).unwrap_err();
        assert!(error.message().contains(part), "{json}: {error}");
    };
    check(json!(null), "source");
    check(json!({"source": {"type": "x"}, "operators": []}), "unknown source");
    let table = |order: Json| json!({"type": "FullTableScan", "tableName": "t", "order": order});
    check(json!({"source": table(json!("up")), "operators": []}), "unknown order");
    check(json!({"source": table(json!(null)), "operators": [{}]}), "filter");
    check(json!({"source": table(json!(null)), "operators": [{"limit": -1}]}), "whole number");
    let many = vec![json!({"limit": 1}); OPERATORS_MAX + 1];
    check(json!({"source": table(json!(null)), "operators": many}), "too many operators");
    let index = |name: &str, range: Json| {
        json!({"source": {"type": "IndexRange", "indexName": name,
        "range": range}, "operators": []})
    };
    check(index("t", json!([])), "does not name its table");
    check(index("t.i", json!([{"type": "Ne"}])), "unknown bound");
    check(index("t.i", json!([{"type": "Eq", "fieldPath": "", "value": 1}])), "");
}
