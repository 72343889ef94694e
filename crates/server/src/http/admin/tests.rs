//! What an operator sees: figures that move by exactly what was done, and the admin endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::functions::{LiveSession, QuerySpec, object};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value as Tree, json};
use tower::ServiceExt as _;
use value::Timestamp;

use crate::http::testing::{World, admin, body_text, json_body};
use crate::watching::{MetricsAccess, Watching};

const V1: &str = "/api/concave/v1";

impl World {
    async fn admin_ask(&self, method: &str, path: &str, body: Tree) -> (u16, Tree) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{V1}/{path}"))
            .header("authorization", admin(false))
            .header("convex-request-id", "id7")
            .header("content-type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.send(request, &body).await;
        (response.status().as_u16(), json_body(response).await)
    }

    async fn admin_get(&self, path: &str) -> Tree {
        let (status, body) = self.admin_ask("GET", path, Tree::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn admin_post(&self, path: &str, body: Tree) -> Tree {
        let (status, body) = self.admin_ask("POST", path, body).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn admin_refused(&self, method: &str, path: &str, body: Tree) -> (u16, String) {
        let (status, body) = self.admin_ask(method, path, body).await;
        (status, body["code"].as_str().unwrap().to_owned())
    }

    async fn scrape(&self) -> BTreeMap<String, f64> {
        let request = Request::get("/metrics").header("authorization", admin(true));
        let response = self.send(request, "").await;
        assert_eq!(response.status(), 200);
        let kind = &response.headers()["content-type"];
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
        parse(&body_text(response).await)
    }
}

/// Samples by name and labels. Every line must be one of the format, every sample in the family that
/// was declared before it.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeMap::new();
    let mut family = "";
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').unwrap().0;
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let suffixes = ["", "_bucket", "_sum", "_count"];
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
        assert!(name.chars().all(plain), "{line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
        }
        let value: f64 = value.parse().unwrap();
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} twice");
    }
    samples
}

#[tokio::test]
async fn figures_move_by_exactly_what_was_done() {
    let world = World::new();
    world.call("mutation", "notes:add", json!({"text":"x"})).await;
    let before = world.scrape().await;
    for _ in 0..3 {
        world.call("mutation", "notes:add", json!({"text":"x"})).await;
    }
    world.call("query", "notes:fail", json!({})).await;
    world.call("query", "notes:count", json!({})).await;
    world.call("action", "dir/jobs:run", json!({})).await;
    let mut session = LiveSession::new(&world.service.runtime, Arc::new(|| {}));
    let spec =
        QuerySpec { path: "notes:count".into(), args: vec![object! {}.into()], journal: None };
    session.subscribe(0, spec.clone());
    session.subscribe(1, spec);
    let (status, _) = world.admin_refused("GET", "live/999999", Tree::Null).await;
    assert_eq!(status, 404);
    let after = world.scrape().await;
    let moved = |series: &str| {
        after.get(series).unwrap_or_else(|| panic!("{series} is missing"))
            - before.get(series).unwrap_or(&0.0)
    };
    let ran = |function: &str, kind: &str, outcome: &str| {
        moved(&format!(
            "concave_function_executions_total{{function=\"{function}\",kind=\"{kind}\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(ran("notes:add", "mutation", "success"), 3.0);
    assert_eq!(ran("notes:add", "mutation", "failure"), 0.0);
    assert_eq!(ran("notes:fail", "query", "failure"), 1.0);
    assert_eq!(ran("dir/jobs:run", "action", "success"), 1.0);
    assert_eq!(ran("notes:count", "query", "success"), 1.0);
    let count = r#"concave_function_seconds_count{function="notes:add",kind="mutation"}"#;
    assert_eq!(moved(count), 3.0);
    assert_eq!(moved("concave_commits_total"), 3.0);
    assert_eq!(moved("concave_documents"), 3.0);
    assert_eq!(moved("concave_group_commits_sum"), 3.0);
    assert_eq!(moved("concave_append_seconds_count"), moved("concave_group_commits_count"));
    assert_eq!(moved("concave_sessions"), 1.0);
    assert_eq!(moved("concave_subscriptions"), 2.0);
    // The second one joined the first one's entry.
    assert_eq!(moved(r#"concave_live_queries{state="shown"}"#), 1.0);
    assert_eq!(moved(r#"concave_live_cache_total{result="miss"}"#), 1.0);
    assert_eq!(moved(r#"concave_live_cache_total{result="join"}"#), 1.0);
    // The first scrape is counted in the second.
    assert_eq!(moved(r#"concave_http_answers_total{status="200"}"#), 7.0);
    assert_eq!(moved(r#"concave_http_answers_total{status="404"}"#), 1.0);
    for series in ["concave_conflicts_total", "concave_sockets_open", "concave_taken_back_total"] {
        assert_eq!(after[series], 0.0, "{series}");
    }
    assert!(after.keys().any(|series| series.starts_with("concave_build_info{version=")));
    assert!(after["concave_store_bytes"] > 0.0 && after["concave_index_cache_bytes"] > 0.0);
}

#[tokio::test]
async fn scraping_without_a_key_is_a_choice() {
    let world = World::new();
    let ask = async |access: MetricsAccess, header: Option<&str>| {
        let mut service = world.service.clone();
        service.watching = Arc::new(Watching { metrics: access, ..Watching::default() });
        let mut request = Request::get("/metrics");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let request = request.body(Body::empty()).unwrap();
        crate::router(service).oneshot(request).await.unwrap().status()
    };
    let token = || MetricsAccess::token("s3cret");
    let user = format!("Bearer {}", world.token);
    assert_eq!(ask(MetricsAccess::AdminKey, None).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(token(), None).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(token(), Some("Bearer s3cret")).await, StatusCode::OK);
    assert_eq!(ask(token(), Some("Bearer s3cre")).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(token(), Some(&user)).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(token(), Some(&admin(true))).await, StatusCode::OK);
    assert_eq!(ask(MetricsAccess::Open, None).await, StatusCode::OK);
}

#[tokio::test]
async fn documents_are_listed_changed_and_checked() {
    let world = World::new();
    let writes: Vec<Tree> = (0..5)
        .map(|n| json!({"op":"insert","table":"notes","document":{"text":"a","n":n as f64}}))
        .collect();
    let written = world.admin_post("documents", json!({ "writes": writes })).await;
    assert_eq!(written["ids"].as_array().unwrap().len(), 5);
    let tables = world.admin_get("tables").await;
    assert_eq!(tables["tables"][0]["name"], "notes");
    assert_eq!(tables["tables"][0]["documents"], 5);
    assert_eq!(tables["tables"][0]["indexes"][1]["name"], "by_creation_time");

    let first = world.admin_get("tables/notes/documents?limit=2").await;
    assert_eq!((first["isDone"].as_bool(), first["rowsRead"].as_u64()), (Some(false), Some(2)));
    assert_eq!(first["ts"], written["ts"]);
    let id = first["documents"][0]["_id"].as_str().unwrap().to_owned();
    // The list goes on at its snapshot.
    assert_eq!(world.admin_ask("DELETE", &format!("documents/{id}"), Tree::Null).await.0, 200);
    let cursor = first["cursor"].as_str().unwrap();
    let rest = world.admin_get(&format!("tables/notes/documents?limit=10&cursor={cursor}")).await;
    assert_eq!(rest["documents"].as_array().unwrap().len(), 3);
    assert_eq!((&rest["isDone"], &rest["ts"]), (&json!(true), &first["ts"]));
    let old =
        world.admin_get(&format!("documents/{id}?at={}", first["ts"].as_str().unwrap())).await;
    assert_eq!(old["document"]["_id"], id.as_str());
    assert_eq!(world.admin_refused("GET", &format!("documents/{id}"), Tree::Null).await.0, 404);

    let filter = "tables/notes/documents?order=desc&equal=%7B%22n%22%3A4%7D";
    let four = world.admin_get(filter).await;
    assert_eq!(four["documents"].as_array().unwrap().len(), 1);
    let id = four["documents"][0]["_id"].as_str().unwrap().to_owned();
    let fields = json!({"fields":{"text":"b","n":{"$undefined":null}}});
    let (status, patched) = world.admin_ask("PATCH", &format!("documents/{id}"), fields).await;
    assert_eq!((status, &patched["ids"]), (200, &json!([id])));
    let now = world.admin_get(&format!("documents/{id}")).await;
    assert_eq!((&now["document"]["text"], now["document"].get("n")), (&json!("b"), None));
    let document = json!({"document":{"big":{"$integer":"AQAAAAAAAAA="}}});
    assert_eq!(world.admin_ask("PUT", &format!("documents/{id}"), document).await.0, 200);
    let now = world.admin_get(&format!("documents/{id}?format=json")).await;
    assert_eq!((&now["document"]["big"], now["document"].get("text")), (&json!("1"), None));

    let check = async |method: &str, path: &str, body: Tree, status: u16, code: &str| {
        let refused = world.admin_refused(method, path, body).await;
        assert_eq!(refused, (status, code.to_owned()), "{method} {path}");
    };
    let insert = json!({"writes":[{"op":"insert","table":"_tables","document":{}}]});
    check("GET", "tables/none/documents", Tree::Null, 404, "TableNotFound").await;
    check("GET", "tables/_index/documents", Tree::Null, 404, "TableNotFound").await;
    check("GET", "tables/notes/documents?index=by_x", Tree::Null, 404, "IndexNotFoundError").await;
    check("GET", "tables/notes/documents?cursor=07", Tree::Null, 400, "InvalidCursor").await;
    check("GET", "tables/notes/documents?limit=0", Tree::Null, 400, "InvalidArgument").await;
    check("GET", "tables/notes/documents?limit=9999", Tree::Null, 400, "InvalidArgument").await;
    check("GET", "tables/notes/documents?at=1", Tree::Null, 410, "OutOfRetention").await;
    check("GET", "tables/notes/documents?order=x", Tree::Null, 400, "InvalidArgument").await;
    check("GET", "tables/notes/documents?equal=7", Tree::Null, 400, "InvalidArgument").await;
    check("GET", "documents/zzz", Tree::Null, 400, "InvalidArgument").await;
    check("POST", "documents", insert, 400, "SystemTableError").await;
    check("POST", "tables/notes/documents", json!({"document":7}), 400, "InvalidArgument").await;
    check("POST", "documents", json!({"writes":[{"op":"x"}]}), 400, "BadJsonBody").await;
}

#[tokio::test]
async fn any_function_runs_as_anybody_and_is_noted() {
    let world = World::new();
    let list = world.admin_get("functions").await;
    let find = |path: &str| {
        let functions = list["functions"].as_array().unwrap();
        functions.iter().find(|function| function["path"] == path).unwrap().clone()
    };
    assert_eq!(find("notes:secret")["visibility"], "internal");
    assert_eq!(find("notes:add")["args"]["value"]["text"]["fieldType"]["type"], "string");
    assert_eq!(
        (&find("dir/jobs:run")["kind"], &find("notes:count")["figures"]["executions"]),
        (&json!("action"), &json!(0))
    );

    let run = async |body: Tree| world.admin_post("functions/run", body).await;
    let secret = run(json!({"path":"notes:secret","args":{}})).await;
    assert_eq!((&secret["status"], &secret["value"]), (&json!("success"), &json!(42.0)));
    let user = json!({"issuer":"i","subject":"bob"});
    let me = run(json!({"path":"notes:me","args":{},"actAs":user})).await;
    assert_eq!(me["value"], "bob");
    let internal = json!({"path":"notes:secret","args":{},"actAs":{"issuer":"i","subject":"bob"}});
    assert_eq!(run(internal).await["value"], 42.0);
    let failed = run(json!({"path":"notes:fail","args":{}})).await;
    assert_eq!(
        (&failed["status"], &failed["errorMessage"]),
        (&json!("error"), &json!("Uncaught Error: boom"))
    );
    let added = run(json!({"path":"notes:add","args":{"text":"hello"}})).await;
    assert_eq!(added["logLines"], json!(["[LOG] hello"]));
    let refused =
        world.admin_refused("POST", "functions/run", json!({"path":"no:no","args":{}})).await;
    assert_eq!(refused, (404, "NotFound".to_owned()));
    let nobody = json!({"path":"notes:me","args":{},"actAs":{}});
    assert_eq!(world.admin_refused("POST", "functions/run", nobody).await.0, 401);

    let all = world.admin_get("executions").await;
    let noted = all["executions"].as_array().unwrap();
    assert_eq!(noted.len(), 5);
    assert_eq!((&noted[1]["function"], &noted[1]["user"]), (&json!("notes:me"), &json!("bob")));
    let said = world.admin_get("executions?said=true").await;
    let noted = said["executions"].as_array().unwrap();
    assert_eq!((noted.len(), &noted[0]["error"]), (2, &json!("Uncaught Error: boom")));
    assert_eq!((&noted[1]["origin"], &noted[1]["request"]), (&json!("admin"), &json!("id7")));
    assert_eq!(noted[1]["logLines"][0]["text"], "hello");
    // Whoever follows is told when something happens.
    let after = said["after"].as_u64().unwrap();
    let follow = format!("executions?said=true&after={after}&waitMs=60000");
    let (news, _) = tokio::join!(world.admin_get(&follow), async {
        tokio::task::yield_now().await;
        world.call("mutation", "notes:add", json!({"text":"news"})).await
    });
    assert_eq!(news["executions"][0]["logLines"][0]["text"], "news");
    assert_eq!(news["executions"][0]["origin"], "client");
    let long = world.admin_refused("GET", "executions?waitMs=60001", Tree::Null).await;
    assert_eq!(long, (400, "InvalidArgument".to_owned()));
}

#[tokio::test]
async fn live_queries_name_their_cause() {
    let world = World::new();
    world.call("mutation", "notes:add", json!({"text":"x"})).await;
    let woken = Arc::new(tokio::sync::Notify::new());
    let wake = Arc::clone(&woken);
    let mut session = LiveSession::new(&world.service.runtime, Arc::new(move || wake.notify_one()));
    let spec =
        QuerySpec { path: "notes:count".into(), args: vec![object! {}.into()], journal: None };
    session.subscribe(4, spec);
    let mut at_least = Timestamp(0);
    for _ in 0..2 {
        while session.poll(at_least).unwrap().is_none() {
            woken.notified().await;
        }
        let insert = json!({"document":{"text":"y"}});
        let written = world.admin_post("tables/notes/documents", insert).await;
        at_least = Timestamp(written["ts"].as_str().unwrap().parse().unwrap());
    }
    while session.poll(at_least).unwrap().is_none() {
        woken.notified().await;
    }
    let list = world.admin_get("live?function=notes:count").await;
    let live = &list["live"][0];
    assert_eq!((&live["subscribers"], &live["executions"]), (&json!(1), &json!(3)));
    assert_eq!((&live["shared"], &live["validToTs"]), (&json!(true), &Tree::Null));
    let cause = &live["runs"][0]["cause"];
    assert_eq!(cause["ts"], at_least.0.to_string());
    assert_eq!((&cause["function"], &cause["origin"]), (&json!("(admin)"), &json!("admin")));
    assert_eq!((&cause["request"], &cause["table"]), (&json!("id7"), &json!("notes")));
    assert_eq!(
        (&cause["index"], &cause["change"]),
        (&json!("by_creation_time"), &json!("appeared"))
    );
    let id = cause["document"].as_str().unwrap();
    assert_eq!(cause["key"]["values"][1], id);
    assert_eq!(live["runs"][2]["cause"], Tree::Null, "somebody came to look");
    let read = live["readSet"].as_array().unwrap();
    let own = read.iter().find(|interval| interval["table"] == "notes").unwrap();
    assert_eq!((&own["kind"], &own["text"]), (&json!("all"), &json!("everything")));
    let number = live["number"].as_u64().unwrap();
    let one = world.admin_get(&format!("live/{number}")).await;
    assert_eq!(one["readSetIntervals"], read.len());
    let sessions = world.admin_get("sessions").await;
    assert_eq!(sessions["sessions"][0]["queries"], json!([{"query":4,"live":number}]));
    assert_eq!(
        (&sessions["isDone"], &sessions["sessions"][0]["identity"]),
        (&json!(true), &Tree::Null)
    );
    drop(session);
    assert_eq!(world.admin_get("sessions").await["sessions"], json!([]));
}

#[tokio::test]
async fn scheduled_functions_are_listed_and_canceled() {
    let world = World::new();
    for _ in 0..3 {
        world.call("mutation", "notes:later", json!({"text":"x"})).await;
    }
    let due = world.admin_get("scheduled?limit=2").await;
    let jobs = due["scheduled"].as_array().unwrap();
    assert_eq!((jobs.len(), &jobs[0]["state"]), (2, &json!("pending")));
    assert_eq!(
        (&jobs[0]["function"], &jobs[0]["args"]),
        (&json!("notes:add"), &json!({"text":"x"}))
    );
    let cursor = due["cursor"].as_str().unwrap();
    let rest = world.admin_get(&format!("scheduled?limit=2&cursor={cursor}")).await;
    assert_eq!(rest["scheduled"].as_array().unwrap().len(), 1);
    let cancel =
        async |body: Tree| world.admin_post("scheduled/cancel", body).await["canceled"].clone();
    assert_eq!(cancel(json!({"id":jobs[0]["id"]})).await, 1);
    assert_eq!(cancel(json!({"function":"notes:count"})).await, 0);
    assert_eq!(cancel(json!({"function":"notes:add"})).await, 2);
    assert_eq!(world.admin_get("scheduled").await["scheduled"], json!([]));
    let finished = world.admin_get("scheduled?list=finished").await;
    assert_eq!(finished["scheduled"].as_array().unwrap().len(), 3);
    assert_eq!(finished["scheduled"][0]["state"], "canceled");
    for body in [json!({}), json!({"all":false}), json!({"all":true,"function":"a:b"})] {
        let refused = world.admin_refused("POST", "scheduled/cancel", body).await;
        assert_eq!(refused, (400, "InvalidArgument".to_owned()));
    }
    assert_eq!(world.admin_get("crons").await["crons"], json!([]));
    let summary = world.admin_get("summary").await;
    assert_eq!((&summary["name"], &summary["data"]["tables"]), (&json!("inst"), &json!(0)));
    assert_eq!(summary["functions"]["executions"], 3);
}
