//! Checks of schemas against the vectors, and one table a rule.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// Tables in order of name, literal numbers untouched: the vectors have none.
fn sorted(mut schema: Json) -> Json {
    let tables = schema["tables"].as_array_mut().unwrap();
    tables.sort_by_key(|table| table["tableName"].as_str().unwrap().to_owned());
    schema
}

fn table(members: Json) -> Result<Schema, SchemaError> {
    let mut table = json!({ "tableName": "t" });
    let members = members.as_object().unwrap().clone();
    table.as_object_mut().unwrap().extend(members);
    Schema::from_json(&json!({ "tables": [table] }).to_string())
}

fn index(name: &str, fields: &[&str]) -> Json {
    json!({ "indexDescriptor": name, "fields": fields })
}

#[test]
fn listed_schemas() {
    let vectors: Json =
        serde_json::from_str(include_str!("../../vectors/schema-export.json")).unwrap();
    for name in ["exported", "loose"] {
        let schema = Schema::from_json(&vectors[name].to_string()).unwrap();
        assert_eq!(schema.to_json(), sorted(vectors[name].clone()), "{name}");
        assert_eq!(Schema::from_json_value(schema.to_json()), Ok(schema));
    }
    let schema = Schema::from_json_value(vectors["exported"].clone()).unwrap();
    assert!(schema.validation);
    let presence = &schema.tables["presence"];
    let staged: Vec<bool> = presence.indexes.iter().map(|index| index.staged).collect();
    assert_eq!(staged, [false, false, true]);
}

#[test]
fn absent_members() {
    let schema = Schema::from_json(r#"{"tables":[{"tableName":"t"}],"other":1}"#).unwrap();
    assert!(!schema.validation);
    assert_eq!(schema.tables["t"], TableSchema::default());
    let null = json!({ "indexes": null, "stagedDbIndexes": null, "stagedDocumentType": 1 });
    assert_eq!(table(null), Ok(schema));
}

#[test]
fn ephemeral_tables() {
    let schema = table(json!({ "ephemeral": true })).unwrap();
    assert!(schema.tables["t"].ephemeral);
    assert_eq!(Schema::from_json_value(schema.to_json()), Ok(schema));
    assert!(!table(json!({ "ephemeral": false })).unwrap().tables["t"].ephemeral);
}

#[test]
fn system_fields_of_documents_are_dropped() {
    let object = json!({ "type": "object", "value": {
        "_id": { "fieldType": { "type": "string" }, "optional": false },
        "a": { "fieldType": { "type": "any" }, "optional": false },
    } });
    let schema = table(json!({ "documentType": object })).unwrap();
    let document = schema.tables["t"].document.as_ref().unwrap();
    assert_eq!(document.to_string(), "v.object({a: v.any()})");
}

#[test]
fn refused_names() {
    let check = |name: &str, code: &str| {
        let json = json!({ "tables": [{ "tableName": name }] });
        assert_eq!(Schema::from_json_value(json).unwrap_err().code, code, "{name}");
    };
    check("a-b", "InvalidTableName");
    check("", "InvalidTableName");
    check("_a", "TableNameReserved");
    for bad in ["", "[]", "{}", r#"{"tables":[{}]}"#, r#"{"tables":[{"tableName":1}]}"#] {
        assert_eq!(Schema::from_json(bad).unwrap_err().code, "InvalidSchema", "{bad}");
    }
    let twice = r#"{"tables":[{"tableName":"t"},{"tableName":"t"}]}"#;
    assert_eq!(Schema::from_json(twice).unwrap_err().code, "InvalidSchema");
}

#[test]
fn refused_indexes() {
    let check = |indexes: &[Json], code: &str| {
        let checked = table(json!({ "indexes": indexes }));
        assert_eq!(checked.map_or_else(|error| error.code, |_| "ok"), code, "{indexes:?}");
    };
    check(&[index("i", &["a", "b.c"])], "ok");
    check(&[index("_fivetran_x", &["a"])], "ok");
    check(&[index("i", &[])], "EmptyIndex");
    check(&[index("i", &["_id"])], "IndexFieldsContainId");
    check(&[index("i", &["_creationTime"])], "IndexFieldsContainCreationTime");
    check(&[index("i", &["a._b"])], "IndexFieldNameReserved");
    check(&[index("i", &["a-b"])], "InvalidIndexField");
    check(&[index("i", &["a", "b", "a"])], "FieldsNotUniqueWithinIndex");
    check(&[index("i", &["a"]), index("j", &["a"])], "IndexNotUnique");
    check(&[index("i", &["a"]), index("i", &["b"])], "IndexNamesNotUnique");
    check(&[index("i-j", &["a"])], "InvalidIndexName");
    check(&[index("by_id", &["a"])], "IndexNameReserved");
    check(&[index("by_creation_time", &["a"])], "IndexNameReserved");
    check(&[index("_i", &["a"])], "IndexNameReserved");
    let names: Vec<String> = (0..16).map(|i| format!("f{i}")).collect();
    let fields: Vec<&str> = names.iter().map(String::as_str).collect();
    check(&[index("i", &fields[..15])], "ok");
    check(&[index("i", &fields)], "IndexTooManyFields");
    let many = |n| (0..n).map(|i| index(&format!("i{i}"), &[&format!("f{i}")])).collect::<Vec<_>>();
    check(&many(64), "ok");
    check(&many(65), "TooManyIndexes");
}

#[test]
fn staged_indexes_count_too() {
    let check = |staged: Json, code: &str| {
        let checked =
            table(json!({ "indexes": [index("i", &["a"])], "stagedDbIndexes": [staged] }));
        assert_eq!(checked.unwrap_err().code, code);
    };
    check(index("j", &["a"]), "IndexNotUnique");
    check(index("i", &["b"]), "IndexNamesNotUnique");
}

#[test]
fn refused_search_indexes() {
    let search = |name: &str, field: &str, filters: &[&str]| json!({ "indexDescriptor": name, "searchField": field, "filterFields": filters });
    let check = |indexes: &[Json], code: &str| {
        let checked = table(json!({ "searchIndexes": indexes }));
        assert_eq!(checked.map_or_else(|error| error.code, |_| "ok"), code, "{indexes:?}");
    };
    check(&[search("i", "a", &["b"]), search("j", "a", &[])], "ok");
    check(&[search("i", "a", &["b", "c"]), search("j", "a", &["c", "b"])], {
        "SearchIndexFieldNotUnique"
    });
    check(&[search("i", "", &[])], "InvalidIndexField");
    let names: Vec<String> = (0..17).map(|i| format!("f{i}")).collect();
    let filters: Vec<&str> = names.iter().map(String::as_str).collect();
    check(&[search("i", "a", &filters[..16])], "ok");
    check(&[search("i", "a", &filters)], "IndexTooManyFilterFields");
}

#[test]
fn refused_vector_indexes() {
    let vector = |name: &str, dimensions: Json| json!({ "indexDescriptor": name, "vectorField": "e", "dimensions": dimensions });
    let check = |indexes: &[Json], code: &str| {
        let checked = table(json!({ "vectorIndexes": indexes }));
        assert_eq!(checked.map_or_else(|error| error.code, |_| "ok"), code, "{indexes:?}");
    };
    check(&[vector("i", json!(2)), vector("j", json!(4096.0))], "ok");
    for bad in [json!(1), json!(4097), json!(-1), json!(2.5), json!(1e300)] {
        check(&[vector("i", bad)], "InvalidVectorDimensionError");
    }
    check(&[vector("i", json!(3)), vector("j", json!(3))], "VectorIndexFieldNotUnique");
}

#[test]
fn fields_that_cannot_exist() {
    let of = |kind: &str| json!({ "fieldType": { "type": kind }, "optional": false });
    let array =
        |item: Json| json!({ "fieldType": { "type": "array", "value": item }, "optional": true });
    let any_of = |members: Json| json!({ "type": "union", "value": members });
    let inner = json!({ "type": "object", "value": { "x": of("string") } });
    let document = json!({ "type": "object", "value": {
        "a": of("string"),
        "o": { "fieldType": any_of(json!([{ "type": "null" }, inner])), "optional": true },
        "any": of("any"),
        "e": array(json!({ "type": "number" })),
        "s": array(json!({ "type": "string" })),
        "r": { "fieldType": { "type": "record", "keys": { "type": "string" }, "values": of("any") },
               "optional": false },
    } });
    let check = |field: &str, code: &str| {
        let table = table(json!({ "documentType": document, "indexes": [index("i", &[field])] }));
        assert_eq!(table.map_or_else(|error| error.code, |_| "ok"), code, "{field}");
    };
    check("a", "ok");
    check("o", "ok");
    check("o.x", "ok");
    check("any.deep.down", "ok");
    check("r.key", "ok");
    check("b", "SchemaDefinitionError");
    check("a.b", "SchemaDefinitionError");
    check("o.y", "SchemaDefinitionError");
    let check = |field: &str, code: &str| {
        let vector = json!({ "indexDescriptor": "i", "vectorField": field, "dimensions": 3 });
        let table = table(json!({ "documentType": document, "vectorIndexes": [vector] }));
        assert_eq!(table.map_or_else(|error| error.code, |_| "ok"), code, "{field}");
    };
    check("e", "ok");
    check("any", "ok");
    check("s", "SchemaDefinitionError");
    check("a", "SchemaDefinitionError");
}

#[test]
fn refused_document_types() {
    let check = |json: Json, code: &str| {
        assert_eq!(table(json!({ "documentType": json })).unwrap_err().code, code, "{json}");
    };
    check(json!({ "type": "string" }), "InvalidTopLevelTypeInSchemaError");
    let union = json!({ "type": "union", "value": [{ "type": "null" }] });
    check(union, "InvalidTopLevelTypeInSchemaError");
    check(json!({ "type": "other" }), "InvalidSchema");
    let nan = json!({ "type": "literal", "value": { "$float": "AAAAAAAA+H8=" } });
    check(nan, "UnsupportedFloatLiteral");
    let error = table(json!({ "documentType": { "type": "null" } })).unwrap_err();
    assert!(error.message.starts_with("\"t\": "), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text in prop_oneof![
        ".*",
        r#"\{"tables":\[\{"tableName":"[a-z_]{0,3}","indexes":[\[\]{}a-z":,]{0,20}\}\]\}"#,
    ]) {
        if let Ok(schema) = Schema::from_json(&text) {
            prop_assert_eq!(Schema::from_json_value(schema.to_json()), Ok(schema));
        }
    }
}
