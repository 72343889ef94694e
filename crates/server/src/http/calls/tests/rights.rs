//! Every endpoint, asked with every kind of credential.
//!
//! A new endpoint fails this test until it has a row here: so somebody has said who may use it.

use std::path::Path;

use base64::Engine as _;
use functions::InstanceSecret;

use super::*;
use crate::auth::{Admin, Holder, Operation, admin_key};
use crate::http::testing::{NOW, SECRET};

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Nobody looks at credentials.
    Open,
    /// Everybody whose credential is good, or who shows none.
    Anyone,
    /// As `Anyone`, but no read-only key.
    Acting,
    /// Administrators whose key allows it.
    Admin(Operation),
    /// Whoever is near (`dev_auth`); credentials say nothing.
    Near,
    /// Not here: the socket, where the credential comes in a message.
    Socket,
}

struct Row {
    /// As in the router.
    route: &'static str,
    /// As a client asks: method, path, body.
    ask: (&'static str, &'static str, Tree),
    rule: Rule,
}

fn rows() -> Vec<Row> {
    let row = |route, method, path, body, rule| Row { route, ask: (method, path, body), rule };
    let call = |path: &str| json!({"path":path,"args":{"text":"x"}});
    let count = json!({"path":"notes:count","args":{}});
    let batch = json!({"queries":[count]});
    let at = json!({"path":"notes:count","args":{},"ts":NOW.to_wire()});
    let get = "/api/query?path=notes:count&args=%7B%7D";
    let run = json!({"args":{"text":"x"}});
    vec![
        row("/", "GET", "/", json!(null), Rule::Open),
        row("/version", "GET", "/version", json!(null), Rule::Open),
        row("/instance_version", "GET", "/instance_version", json!(null), Rule::Open),
        row("/instance_name", "GET", "/instance_name", json!(null), Rule::Open),
        row("/echo", "POST", "/echo", json!(null), Rule::Open),
        row("/api/query_ts", "POST", "/api/query_ts", json!(null), Rule::Open),
        row("/api/query", "POST", "/api/query", count.clone(), Rule::Anyone),
        row("/api/query", "GET", get, json!(null), Rule::Anyone),
        row("/api/query_at_ts", "POST", "/api/query_at_ts", at, Rule::Anyone),
        row("/api/query_batch", "POST", "/api/query_batch", batch, Rule::Anyone),
        row("/api/mutation", "POST", "/api/mutation", call("notes:add"), Rule::Acting),
        row("/api/action", "POST", "/api/action", call("dir/jobs:run"), Rule::Acting),
        row("/api/run/{*path}", "POST", "/api/run/notes/count", json!({"args":{}}), Rule::Anyone),
        row("/api/run/{*path}", "POST", "/api/run/notes/add", run, Rule::Acting),
        row("/api/run/", "POST", "/api/run/", json!(null), Rule::Open),
        row(
            "/api/function",
            "POST",
            "/api/function",
            count,
            Rule::Admin(Operation::RunInternalQuery),
        ),
        row(
            "/api/function",
            "POST",
            "/api/function",
            call("notes:add"),
            Rule::Admin(Operation::RunInternalMutation),
        ),
        row(
            "/api/function",
            "POST",
            "/api/function",
            call("dir/jobs:run"),
            Rule::Admin(Operation::RunInternalAction),
        ),
        row("/metrics", "GET", "/metrics", json!(null), Rule::Admin(Operation::ViewMetrics)),
        row("/dev-auth/token", "POST", "/dev-auth/token", json!({"user":"x"}), Rule::Near),
        row(
            "/dev-auth/.well-known/jwks.json",
            "GET",
            "/dev-auth/.well-known/jwks.json",
            json!(null),
            Rule::Near,
        ),
        row("/api/sync", "GET", "/api/sync", json!(null), Rule::Socket),
        row("/api/{version}/sync", "GET", "/api/1.48.0/sync", json!(null), Rule::Socket),
    ]
    .into_iter()
    .chain(operator_rows())
    .chain(export_rows())
    .chain(admin_rows())
    .collect()
}

/// What operators and their tools ask.
fn operator_rows() -> Vec<Row> {
    let row = |route, method, path, body, rule| Row { route, ask: (method, path, body), rule };
    vec![
        row("/livez", "GET", "/livez", json!(null), Rule::Open),
        row("/readyz", "GET", "/readyz", json!(null), Rule::Open),
        row(
            "/api/v1/get_canonical_urls",
            "GET",
            "/api/v1/get_canonical_urls",
            json!(null),
            Rule::Admin(Operation::ViewMetrics),
        ),
        row(
            "/api/check_admin_key",
            "GET",
            "/api/check_admin_key",
            json!(null),
            Rule::Admin(Operation::ViewMetrics),
        ),
    ]
}

/// Streaming export.
fn export_rows() -> Vec<Row> {
    let view = |route, method, body| Row {
        route,
        ask: (method, route, body),
        rule: Rule::Admin(Operation::ViewData),
    };
    vec![
        view("/api/list_snapshot", "GET", json!(null)),
        view("/api/list_snapshot", "POST", json!({})),
        view("/api/document_deltas", "POST", json!({"cursor":NOW.0})),
        view("/api/json_schemas", "GET", json!(null)),
        view("/api/get_table_column_names", "GET", json!(null)),
        view("/api/test_streaming_export_connection", "GET", json!(null)),
        view("/api/v1/data/sync", "POST", json!({})),
        view("/api/data_sync_cursor_from_deltas", "POST", json!({"cursor":NOW.0})),
    ]
}

/// The admin endpoints. What is named does not exist where it must not be changed.
fn admin_rows() -> Vec<Row> {
    use Operation::{Control, CreateBackup, RunInternalMutation, RunInternalQuery, WriteData};
    use Operation::{ViewData, ViewLogs, ViewMetrics};
    let none = json!(null);
    let note = json!({"document":{"text":"x"}});
    let run = |path: &str| json!({"path":path,"args":{"text":"x"}});
    let count = json!({"path":"notes:count","args":{}});
    let (tables, table) = ("tables", "tables/{table}/documents");
    let (documents, document) = ("documents", "documents/{id}");
    [
        ("summary", "GET", "summary", none.clone(), ViewMetrics),
        (tables, "GET", tables, none.clone(), ViewData),
        (table, "GET", "tables/notes/documents", none.clone(), ViewData),
        (table, "POST", "tables/notes/documents", note.clone(), WriteData),
        (documents, "POST", documents, json!({"writes":[]}), WriteData),
        (document, "GET", "documents/x", none.clone(), ViewData),
        (document, "PATCH", "documents/x", json!({"fields":{}}), WriteData),
        (document, "PUT", "documents/x", note, WriteData),
        (document, "DELETE", "documents/x", none.clone(), WriteData),
        ("functions", "GET", "functions", none.clone(), ViewData),
        ("functions/run", "POST", "functions/run", count, RunInternalQuery),
        ("functions/run", "POST", "functions/run", run("notes:add"), RunInternalMutation),
        ("crons", "GET", "crons", none.clone(), ViewData),
        ("scheduled", "GET", "scheduled", none.clone(), ViewData),
        ("scheduled/cancel", "POST", "scheduled/cancel", json!({"all":true}), Control),
        ("sessions", "GET", "sessions", none.clone(), ViewData),
        ("live", "GET", "live", none.clone(), ViewData),
        ("live/{number}", "GET", "live/x", none.clone(), ViewData),
        ("backup", "POST", "backup", none.clone(), CreateBackup),
        ("executions", "GET", "executions", none, ViewLogs),
    ]
    .into_iter()
    .map(|(route, method, path, body, operation)| {
        // Once for each test process: a handful of short texts.
        let whole = |rest: &str| -> &'static str {
            Box::leak(format!("/api/concave/v1/{rest}").into_boxed_str())
        };
        Row { route: whole(route), ask: (method, whole(path), body), rule: Rule::Admin(operation) }
    })
    .collect()
}

/// What a credential is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Nothing,
    User,
    Admin {
        read_only: bool,
    },
    /// Refused wherever credentials are looked at, with this status and code.
    Bad(u16, &'static str),
}

/// Every kind of credential, as headers and as query parameter.
fn credentials(world: &World) -> Vec<(Option<String>, Option<String>, Shown)> {
    let header = |text: String, shown| (Some(text), None, shown);
    let acting = |read_only| {
        let user = json!({"issuer":"i","subject":"s"}).to_string();
        format!("{}:{}", admin(read_only), base64::engine::general_purpose::STANDARD.encode(user))
    };
    let full = Shown::Admin { read_only: false };
    let reader = Shown::Admin { read_only: true };
    let parameter = |read_only| admin(read_only).replace("Convex ", "").replace('|', "%7C");
    let of_other = |secret: [u8; 32], name: &str| {
        let admin = Admin { holder: Holder::System, issued_s: 1, is_read_only: false };
        format!("Convex {}", admin_key::issue(&InstanceSecret::new(secret), name, &admin, [3; 12]))
    };
    let bad_key = Shown::Bad(401, "BadAdminKey");
    let bad_token = Shown::Bad(401, "InvalidAuthHeader");
    let mut flipped = admin(false);
    let last = if flipped.pop() == Some('0') { '1' } else { '0' };
    flipped.push(last);
    vec![
        (None, None, Shown::Nothing),
        header(format!("Bearer {}", world.token), Shown::User),
        header(admin(false), full),
        header(admin(true), reader),
        header(acting(false), full),
        header(acting(true), reader),
        header(admin(false).replace("inst|", "prod:inst|"), full),
        header(admin(false).replace("inst|", ""), full),
        (None, Some(parameter(false)), full),
        (None, Some(parameter(true)), reader),
        // The header wins, also one that is worth less.
        (Some(format!("Bearer {}", world.token)), Some(parameter(false)), Shown::User),
        header(of_other([8; 32], "inst"), bad_key),
        header(of_other(SECRET, "other"), bad_key),
        header(admin(false).replace("inst|", "other|"), bad_key),
        header(flipped, bad_key),
        (None, Some("inst%7C00".into()), bad_key),
        header(format!("Bearer {}", admin(false).replace("Convex ", "")), bad_token),
        header("Bearer a.b.c".into(), bad_token),
        header(format!("Convex {}", world.token), bad_key),
        header("Basic aW5zdDp4".into(), Shown::Bad(400, "InvalidAdminKey")),
        header("Bearer".into(), Shown::Bad(400, "InvalidHeaderFailure")),
        header("Convex inst|00:W10=".into(), Shown::Bad(400, "HeaderParseFailure")),
    ]
}

/// The status and code that the rule demands; None: the endpoint does its work.
fn demanded(rule: Rule, shown: Shown) -> Option<(u16, &'static str)> {
    let not_permitted = Some((403, "OperationNotPermitted"));
    match (rule, shown) {
        (Rule::Open | Rule::Near | Rule::Socket, _) => None,
        (_, Shown::Bad(status, code)) => Some((status, code)),
        (Rule::Anyone, _) => None,
        (Rule::Acting, Shown::Admin { read_only: true }) => not_permitted,
        (Rule::Acting, _) => None,
        (Rule::Admin(_), Shown::Nothing | Shown::User) => Some((403, "BadDeployKey")),
        (Rule::Admin(operation), Shown::Admin { read_only }) => {
            if read_only && !operation.only_looks() { not_permitted } else { None }
        }
    }
}

#[tokio::test]
async fn every_endpoint_with_every_credential() {
    let world = World::new();
    // Rows that read at a timestamp read this commit.
    world.call("mutation", "notes:add", json!({"text":"x"})).await;
    for Row { ask: (method, path, body), rule, .. } in rows() {
        for (header, parameter, shown) in credentials(&world) {
            let mark = if path.contains('?') { '&' } else { '?' };
            let uri = match &parameter {
                Some(key) => format!("{path}{mark}adminKey={key}"),
                None => path.to_owned(),
            };
            let mut request = Request::builder().method(method).uri(&uri);
            request = request.header("content-type", "application/json");
            request = request.header("origin", "http://localhost:1");
            if let Some(header) = &header {
                request = request.header("authorization", header);
            }
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let response = world.send(request, &body).await;
            let status = response.status().as_u16();
            let what = format!("{method} {uri} {header:?}");
            match demanded(rule, shown) {
                None => assert!(!matches!(status, 401 | 403 | 404 | 405 | 500), "{what}: {status}"),
                Some(expected) => {
                    let answer = json_body(response).await;
                    assert_eq!((status, answer["code"].as_str().unwrap()), expected, "{what}");
                    let text = answer.to_string();
                    for secret in [header.as_deref(), parameter.as_deref()].into_iter().flatten() {
                        let secret = secret.rsplit([' ', '|', ':']).next().unwrap();
                        assert!(secret.len() < 3 || !text.contains(secret), "{what}: {text}");
                    }
                }
            }
        }
    }
}

/// The routes that are written in the source of this crate, tests left out.
fn routes_in(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_test {
            routes_in(&path, found);
        } else if !is_test && path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let routes = code.split(".route(").skip(1);
            found.extend(routes.map(|rest| rest.split('"').nth(1).unwrap().to_owned()));
        }
    }
}

#[test]
fn every_route_has_a_row() {
    let mut found = Vec::new();
    routes_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 15);
    let rows = rows();
    for route in &found {
        assert!(
            rows.iter().any(|row| row.route == route),
            "say in {} who may use {route}",
            file!()
        );
    }
    for row in &rows {
        assert!(found.iter().any(|route| route == row.route), "there is no route {}", row.route);
    }
}
