//! Exports as connectors walk them.

use serde_json::{Value as Tree, json};
use value::object;

use super::*;
use crate::http::testing::{World, admin, refused};
use axum::http::Request;
use functions::Runtime;

const HOUR_NS: u64 = 3_600_000_000_000;

fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

/// Inserts in one commit; the ids.
fn insert(world: &World, name: &str, bodies: Vec<value::Object>) -> Vec<String> {
    let engine = world.runtime.engine();
    let insert = |tx: &mut engine::Transaction| {
        let ids = bodies.iter().map(|body| tx.insert(&table(name), body.clone()));
        ids.map(|id| id.map(|id| id.to_string())).collect::<Result<Vec<_>, _>>()
    };
    engine.transact(insert).unwrap().0
}

fn delete(world: &World, id: &str) {
    let id = id.parse().unwrap();
    world.runtime.engine().transact(|tx| tx.delete(id).map(drop)).unwrap();
}

async fn get(world: &World, path: &str) -> (u16, Tree) {
    let request = Request::get(path).header("authorization", admin(true));
    let response = world.send(request, "").await;
    (response.status().as_u16(), crate::http::testing::json_body(response).await)
}

async fn post(world: &World, path: &str, body: Tree) -> (u16, Tree) {
    world.post(path, &[("authorization", &admin(true))], body).await
}

async fn code(world: &World, path: &str) -> (u16, String) {
    let (status, body) = get(world, path).await;
    assert!(body["message"].is_string(), "{body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// All pages of a snapshot: its values, and how many pages.
async fn snapshot(world: &World, more: &str) -> (Vec<Tree>, u64, usize) {
    let (mut values, mut pages, mut path) = (Vec::new(), 0, format!("/api/list_snapshot?{more}"));
    loop {
        let (status, page) = get(world, &path).await;
        assert_eq!(status, 200, "{page}");
        values.extend(page["values"].as_array().unwrap().clone());
        pages += 1;
        let at = page["snapshot"].as_u64().unwrap();
        if page["hasMore"] == false {
            assert_eq!(page["cursor"], Tree::Null);
            return (values, at, pages);
        }
        let cursor = escaped(page["cursor"].as_str().unwrap());
        path = format!("/api/list_snapshot?{more}&snapshot={at}&cursor={cursor}");
    }
}

fn numbers(values: &[Tree]) -> Vec<f64> {
    values.iter().map(|value| value["n"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_snapshot_then_its_deltas() {
    let world = World::new();
    for batch in 0..5 {
        insert(
            &world,
            "a",
            (0..300).map(|n| object! {"n" => f64::from(batch * 300 + n)}).collect(),
        );
    }
    let b = insert(&world, "b", vec![object! {"n" => 1e4}]);
    let (values, at, pages) = snapshot(&world, "").await;
    assert_eq!((values.len(), pages), (1501, 2));
    let mut found = numbers(&values);
    found.sort_by(f64::total_cmp);
    found.dedup();
    assert_eq!(found.len(), 1501, "each document once");
    let last = values.last().unwrap();
    assert_eq!(last["_table"], "b");
    assert_eq!(last["_component"], "");
    assert_eq!(last["_id"], json!(b[0]));
    assert!(last["_creationTime"].is_f64() && last["_ts"].as_u64().unwrap() <= at);
    assert!(last.get("_deleted").is_none());

    // Nothing happened: the cursor stands at the head.
    let (_, idle) = get(&world, &format!("/api/document_deltas?cursor={at}")).await;
    assert_eq!(idle, json!({"values":[],"cursor":at,"hasMore":false}));

    let added = insert(&world, "a", (0..200).map(|n| object! {"n" => f64::from(n)}).collect());
    delete(&world, &b[0]);
    // The one commit is larger than a page, and is not split.
    let (_, first) = get(&world, &format!("/api/document_deltas?cursor={at}")).await;
    assert_eq!(first["values"].as_array().unwrap().len(), 200);
    assert_eq!((&first["hasMore"], &first["values"][0]["_deleted"]), (&json!(true), &json!(false)));
    let ids: std::collections::BTreeSet<_> =
        first["values"].as_array().unwrap().iter().map(|v| v["_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), added.len());
    let cursor = first["cursor"].as_u64().unwrap();
    let (_, second) = post(&world, "/api/document_deltas", json!({"cursor": cursor})).await;
    let ts = world.runtime.durable().0;
    let tombstone = json!({"_component":"","_table":"b","_ts":ts,"_deleted":true,"_id":b[0]});
    assert_eq!(second, json!({"values":[tombstone],"cursor":ts,"hasMore":false}));
    // The snapshot is as it was.
    let path = format!("/api/list_snapshot?snapshot={at}&tableName=b");
    assert_eq!(get(&world, &path).await.1["values"][0]["_id"], json!(b[0]));
}

#[tokio::test]
async fn selections_in_all_forms() {
    let world = World::new();
    insert(&world, "a", vec![object! {"n" => 1.0, "secret" => "x"}]);
    insert(&world, "b", vec![object! {"n" => 2.0}]);
    let at = world.runtime.durable().0;
    let check = async |form: &str, expected: &[f64]| {
        let (values, ..) = snapshot(&world, form).await;
        assert_eq!(numbers(&values), expected, "{form}");
        let (_, deltas) =
            get(&world, &format!("/api/document_deltas?cursor={}&{form}", at - 10)).await;
        assert_eq!(numbers(deltas["values"].as_array().unwrap()).len(), expected.len(), "{form}");
    };
    check("", &[1.0, 2.0]).await;
    check("component=", &[1.0, 2.0]).await;
    check("tableName=b", &[2.0]).await;
    check("table_name=b", &[2.0]).await;
    check("table_name=b&component=", &[2.0]).await;
    check("tableName=unknown", &[]).await;
    check("unknown=1", &[1.0, 2.0]).await;
    let selection = json!({"_other":"excluded","":{"_other":"excluded",
        "a":{"_other":"included","secret":"excluded","_creationTime":"excluded"}}});
    let (_, page) = post(&world, "/api/list_snapshot", json!({"selection": selection})).await;
    let value = &page["values"][0];
    assert_eq!(page["values"].as_array().unwrap().len(), 1);
    let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["_component", "_id", "_table", "_ts", "n"]);
    assert_eq!(
        code(&world, "/api/list_snapshot?component=x").await,
        refused(400, "InvalidComponentPath")
    );
    assert_eq!(
        code(&world, "/api/list_snapshot?selection=%7B%7D").await,
        refused(400, "BadQueryArgs")
    );
    let (status, body) = post(&world, "/api/list_snapshot", json!({"selection": {}})).await;
    assert_eq!((status, &body["code"]), (400, &json!("BadJsonBody")));
}

#[tokio::test]
async fn formats() {
    let world = World::new();
    let body = object! {"i" => 5_i64, "f" => f64::NAN, "b" => value::Value::Bytes(vec![1])};
    insert(&world, "a", vec![body]);
    let check = async |form: &str, expected: Tree| {
        let (values, ..) = snapshot(&world, form).await;
        let found = json!([values[0]["i"], values[0]["f"], values[0]["b"]]);
        assert_eq!(found, expected, "{form}");
    };
    let (nan, one) = (json!({"$float":"AAAAAAAA+H8="}), json!({"$bytes":"AQ=="}));
    check("", json!(["5", "NaN", "AQ=="])).await;
    check("format=json", json!(["5", "NaN", "AQ=="])).await;
    check("format=export_json", json!([5, nan, one])).await;
    check("format=convex_encoded_json", json!([{"$integer":"BQAAAAAAAAA="}, nan, one])).await;
    assert_eq!(code(&world, "/api/list_snapshot?format=xml").await, refused(400, "BadFormat"));
}

#[tokio::test]
async fn what_is_refused() {
    let world = World::new();
    let id = insert(&world, "a", vec![object! {}]).remove(0);
    let old = world.runtime.durable().0;
    let future = old + 1;
    for (path, expected) in [
        ("list_snapshot?snapshot=x".to_owned(), "BadQueryArgs"),
        (format!("list_snapshot?snapshot={future}"), "SnapshotTooNew"),
        ("list_snapshot?cursor=x".to_owned(), "InvalidListSnapshotCursor"),
        (format!("list_snapshot?snapshot={old}&cursor=x"), "InvalidListSnapshotCursor"),
        (
            format!(
                "list_snapshot?snapshot={old}&cursor={}",
                escaped(r#"{"tablet":"1","id":"x"}"#)
            ),
            "InvalidListSnapshotCursor",
        ),
        (
            format!("list_snapshot?cursor={}", escaped(r#"{"tablet":"1","id":null}"#)),
            "InvalidListSnapshotCursor",
        ),
        ("document_deltas".to_owned(), "DocumentDeltasCursorRequired"),
        ("document_deltas?cursor=1.5".to_owned(), "BadQueryArgs"),
        (format!("document_deltas?cursor={future}"), "InvalidWindowToReadDocuments"),
        ("json_schemas?deltaSchema=7".to_owned(), "BadQueryArgs"),
    ] {
        assert_eq!(code(&world, &format!("/api/{path}")).await, refused(400, expected), "{path}");
    }
    // Older than the kept history, as soon as something newer is there.
    world.clock.advance_ns(2 * HOUR_NS);
    assert_eq!(get(&world, &format!("/api/list_snapshot?snapshot={old}")).await.0, 200);
    delete(&world, &id);
    for (path, expected) in [
        (format!("list_snapshot?snapshot={old}"), "SnapshotTooOld"),
        (format!("document_deltas?cursor={old}"), "InvalidWindowToReadDocuments"),
        ("document_deltas?cursor=-1".to_owned(), "InvalidWindowToReadDocuments"),
    ] {
        assert_eq!(code(&world, &format!("/api/{path}")).await, refused(400, expected), "{path}");
    }
}

const SCHEMA: &str = r#"{"schemaValidation":true,"tables":[
  {"tableName":"empty","indexes":[]},
  {"tableName":"notes","indexes":[],"documentType":{"type":"object","value":{
     "i":{"fieldType":{"type":"bigint"},"optional":false},
     "who":{"fieldType":{"type":"id","tableName":"notes"},"optional":true}}}},
  {"tableName":"kinds","indexes":[],"documentType":{"type":"union","value":[
     {"type":"object","value":{"k":{"fieldType":{"type":"literal","value":"a"},"optional":false},
                               "x":{"fieldType":{"type":"number"},"optional":false}}},
     {"type":"object","value":{"k":{"fieldType":{"type":"literal","value":"b"},"optional":false}}}]}}]}"#;

fn with_schema(runtime: &Runtime) {
    let schema = value::schema::Schema::from_json(SCHEMA).unwrap();
    runtime.engine().apply_schema(schema).unwrap();
}

#[tokio::test]
async fn schemas_of_what_is_declared_or_there() {
    let world = World::new();
    with_schema(&world.runtime);
    insert(&world, "loose", vec![object! {"n" => 1.0}, object! {"n" => "x", "m" => true}]);
    let (_, schemas) = get(&world, "/api/json_schemas").await;
    let names: Vec<_> = schemas.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["empty", "kinds", "loose", "notes"]);
    let notes = &schemas["notes"];
    assert_eq!(notes["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(notes["required"], json!(["_creationTime", "_id", "i"]));
    assert_eq!(notes["properties"]["i"]["type"], "string");
    assert_eq!(notes["properties"]["who"]["$description"], "Id(notes)");
    let export = get(&world, "/api/json_schemas?format=export_json").await.1;
    assert_eq!(export["notes"]["properties"]["i"], json!({"type": "integer"}));
    let empty: Vec<_> =
        schemas["empty"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(empty, ["_creationTime", "_id"]);
    let kinds = &schemas["kinds"];
    assert_eq!(kinds["properties"]["k"], json!({"anyOf": [{"const": "a"}, {"const": "b"}]}));
    assert_eq!(kinds["required"], json!(["_creationTime", "_id", "k"]));
    let loose = &schemas["loose"]["properties"];
    assert_eq!(loose["m"], json!({"type": "boolean"}));
    assert_eq!(loose["n"]["anyOf"][1], json!({"type": "string"}));

    let path = "/api/json_schemas?deltaSchema=true&byComponent=true";
    let deltas = &get(&world, path).await.1[""]["notes"];
    assert_eq!(deltas["properties"]["_deleted"], json!({"type": "boolean"}));
    assert_eq!(deltas["properties"]["_ts"], json!({"type": "integer"}));
    assert_eq!(deltas["required"], json!(["_component", "_id", "_table", "_ts"]));
    let (_, columns) = get(&world, "/api/get_table_column_names").await;
    let notes = json!({"name":"notes","columns":["_id","_creationTime","i","who"]});
    assert_eq!(columns["byComponent"][""][3], notes);
}

/// One page, and its cursor.
async fn sync(world: &World, cursor: Option<&str>, selection: Tree) -> (Tree, String) {
    let body = json!({"cursor": cursor, "selection": selection});
    let headers = [("authorization", &*admin(true)), ("convex-client", "fivetran-export-1.0.0")];
    let (status, page) = world.post("/api/v1/data/sync", &headers, body).await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["pagination"]["hasMore"], true);
    let cursor = page["pagination"]["nextCursor"].as_str().unwrap().to_owned();
    (page, cursor)
}

#[tokio::test]
async fn a_sync_is_built_and_then_kept() {
    let world = World::new();
    insert(&world, "a", (0..1500).map(|n| object! {"n" => f64::from(n)}).collect());
    let b = insert(&world, "b", vec![object! {"n" => 5_i64}]).remove(0);
    let (first, cursor) = sync(&world, None, Tree::Null).await;
    assert_eq!(first["status"], json!({"type": "snapshotting"}));
    assert_eq!(first["truncates"], json!([{"component":"","table":"a"}]));
    assert!(first["syncId"].as_str().unwrap().starts_with("fivetran-"));
    let walked = first["values"].as_array().unwrap().clone();
    assert_eq!(walked.len(), 1024);

    // While it is built, one that was walked goes, and one that was not.
    let id = |n: usize, values: &[Tree]| values[n]["value"]["_id"].as_str().unwrap().to_owned();
    let gone = id(0, &walked);
    delete(&world, &gone);
    let (second, cursor) = sync(&world, Some(&cursor), Tree::Null).await;
    assert_eq!(second["truncates"], json!([{"component":"","table":"b"}]));
    assert_eq!(second["values"].as_array().unwrap().len(), 477);
    let number = second["values"].as_array().unwrap().last().unwrap();
    assert_eq!(number["value"]["n"], json!(5));
    assert_eq!((&number["table"], &number["deleted"]), (&json!("b"), &json!(false)));
    // All walked, but the deletion is not told yet.
    assert_eq!(second["status"]["type"], "stale");
    let (third, cursor) = sync(&world, Some(&cursor), Tree::Null).await;
    let head = world.runtime.durable().0;
    assert_eq!(third["status"], json!({"type": "upToDate", "snapshotTs": head}));
    let tombstone =
        json!({"component":"","table":"a","ts":head,"deleted":true,"value":{"_id":gone}});
    assert_eq!(third["values"], json!([tombstone]));
    assert_eq!(third["syncId"], first["syncId"]);

    // A table that leaves the selection is forgotten; it comes back as a new one.
    let only_a = json!({"_other":"excluded","":{"_other":"excluded","a":"included"}});
    let (_, cursor) = sync(&world, Some(&cursor), only_a).await;
    delete(&world, &b);
    let c = insert(&world, "b", vec![object! {"n" => 6_i64}]).remove(0);
    let (back, cursor) = sync(&world, Some(&cursor), Tree::Null).await;
    assert_eq!(back["truncates"], json!([{"component":"","table":"b"}]));
    let ids = |page: &Tree| -> Vec<(Tree, Tree)> {
        let values = page["values"].as_array().unwrap().iter();
        values.map(|v| (v["value"]["_id"].clone(), v["deleted"].clone())).collect()
    };
    assert_eq!(ids(&back), [(json!(b), json!(false))], "as of the cursor");
    assert_eq!(back["status"]["type"], "stale");
    let (last, _) = sync(&world, Some(&cursor), Tree::Null).await;
    assert_eq!(ids(&last), [(json!(b), json!(true)), (json!(c), json!(false))]);
}

#[tokio::test]
async fn a_sync_that_fell_behind_catches_up_before_it_walks_on() {
    let world = World::new();
    insert(&world, "a", (0..1100).map(|n| object! {"n" => f64::from(n)}).collect());
    let (first, cursor) = sync(&world, None, Tree::Null).await;
    assert_eq!(first["values"].as_array().unwrap().len(), 1024);
    world.clock.advance_ns(60_000_000_000);
    let new = insert(&world, "z", vec![object! {}]);
    let (second, cursor) = sync(&world, Some(&cursor), Tree::Null).await;
    assert_eq!(second["values"], json!([]), "the log has nothing of what was walked");
    assert_eq!(second["status"], json!({"type": "snapshotting"}));
    let (third, _) = sync(&world, Some(&cursor), Tree::Null).await;
    assert_eq!(third["values"].as_array().unwrap().len(), 77);
    assert_eq!(third["values"][76]["value"]["_id"], json!(new[0]));
    assert_eq!(third["status"]["type"], "upToDate");
}

#[tokio::test]
async fn cursors_of_syncs() {
    let world = World::new();
    let id = insert(&world, "a", vec![object! {}]).remove(0);
    let at = world.runtime.durable().0;
    let (_, made) = post(&world, "/api/data_sync_cursor_from_deltas", json!({"cursor": at})).await;
    delete(&world, &id);
    let (page, cursor) = sync(&world, made["cursor"].as_str(), Tree::Null).await;
    assert_eq!((&page["truncates"], &page["values"][0]["deleted"]), (&json!([]), &json!(true)));
    let refusal = async |path: &str, body: Tree| {
        let (status, body) = post(&world, path, body).await;
        (status, body["code"].as_str().unwrap().to_owned())
    };
    let mut changed = cursor.clone();
    let other = if changed.ends_with('0') { "1" } else { "0" };
    changed.replace_range(changed.len() - 1.., other);
    for cursor in ["", "x", &changed] {
        let answer = refusal("/api/v1/data/sync", json!({"cursor": cursor})).await;
        assert_eq!(answer, refused(400, "InvalidDataSyncCursor"), "{cursor}");
    }
    let answer = refusal("/api/v1/data/sync", json!({"selection": {"": 7}})).await;
    assert_eq!(answer, refused(400, "InvalidDataSyncSelection"));
    let ahead = json!({"cursor": world.runtime.durable().0 + 1});
    let answer = refusal("/api/data_sync_cursor_from_deltas", ahead).await;
    assert_eq!(answer, refused(400, "InvalidDataSyncCursor"));
    world.clock.advance_ns(2 * HOUR_NS);
    insert(&world, "a", vec![object! {}]);
    let answer = refusal("/api/v1/data/sync", json!({"cursor": cursor})).await;
    assert_eq!(answer, refused(400, "DataSyncCursorExpired"));
}
