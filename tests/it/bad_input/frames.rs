//! What sockets carry. Source of what each gets: the sync protocol, and COMPAT.md.

use serde_json::json;
use tests::wire::{body, exchange, post};

use super::{Row, Target, after_connect, at_once};

/// Cursors of pages: one of room `a`, one of another server.
pub(super) async fn cursors(target: &Target) -> Vec<(&'static str, String)> {
    for n in 0..3 {
        let args = json!({ "room": "a", "author": "x", "body": "hi", "n": f64::from(n) });
        let call = json!({ "path": "messages:send", "args": args }).to_string();
        exchange(&target.address, post("/api/mutation", "", &call).as_bytes()).await;
    }
    let options = json!({ "numItems": 1.0, "cursor": null });
    let args = json!({ "room": "a", "paginationOpts": options });
    let call = json!({ "path": "messages:page", "args": args }).to_string();
    let answer = exchange(&target.address, post("/api/query", "", &call).as_bytes()).await;
    let cursor = body(&answer)["value"]["continueCursor"].as_str().unwrap().to_owned();
    vec![("<cursor-cut>", cursor[..cursor.len() - 2].to_owned()), ("<cursor>", cursor)]
}

const ENDS: &str = "closed without a code";
const INTERNAL: &str = "closed 1011 InternalServerError";
const NO_JSON: &str = "fatal error Received Invalid JSON on websocket: *";

pub(super) fn rows() -> Vec<Row> {
    [malformed(), versions(), functions(), values(), tokens(), pages()]
        .into_iter()
        .flatten()
        .collect()
}

/// The first frame is no message.
fn malformed() -> Vec<Row> {
    let fatal = |name, frame: &str| at_once(name, &[frame], &[NO_JSON, ENDS]);
    let session = "\"sessionId\":\"00000000-0000-4000-8000-000000000001\"";
    let connect = |rest: &str| format!("{{\"type\":\"Connect\",{rest}}}");
    vec![
        fatal("no JSON", "{"),
        fatal("an empty frame", ""),
        fatal("null", "null"),
        fatal("a list", "[]"),
        fatal("no type", "{}"),
        fatal("an unknown type", r#"{"type":"Nonsense"}"#),
        fatal("a type that is no text", r#"{"type":7}"#),
        fatal("half a character", &call(r"a\ud800:b")),
        fatal("more after the end", r#"{"type":"Event","eventType":"x","event":null}}"#),
        fatal("a hundred thousand brackets", &"[".repeat(100_000)),
        fatal("a session that is no UUID", &connect(r#""sessionId":"x","connectionCount":0"#)),
        fatal("no session", &connect(r#""connectionCount":0"#)),
        fatal("a count below nothing", &connect(&format!(r#"{session},"connectionCount":-1"#))),
        fatal("a count with a fraction", &connect(&format!(r#"{session},"connectionCount":0.5"#))),
        fatal("a count above all", &connect(&format!(r#"{session},"connectionCount":4294967296"#))),
        fatal(
            "a time with a fraction",
            &connect(&format!(r#"{session},"connectionCount":0,"clientTs":1.5"#)),
        ),
        fatal(
            "a timestamp that is none",
            &connect(&format!(r#"{session},"connectionCount":0,"maxObservedTimestamp":"x"#)),
        ),
        fatal(
            "a mutation without arguments",
            r#"{"type":"Mutation","requestId":0,"udfPath":"a:b"}"#,
        ),
        fatal("a mutation without a number", r#"{"type":"Mutation","udfPath":"a:b","args":[{}]}"#),
        fatal(
            "a number below nothing",
            r#"{"type":"Mutation","requestId":-1,"udfPath":"a:b","args":[{}]}"#,
        ),
        fatal("no modifications", r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1}"#),
        fatal(
            "an unknown modification",
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"X"}]}"#,
        ),
        fatal("a path with another ending", &call("foo.ts:bar")),
        fatal("a path with a dash", &call("foo-bar:x")),
        fatal("a path from the root", &call("/x:y")),
        fatal("a path upward", &call("../x:y")),
        fatal("an empty path", &call("")),
        fatal("a path with a NUL", &call(r"a\u0000:b")),
        fatal(
            "an unknown kind of token",
            r#"{"type":"Authenticate","baseVersion":0,"tokenType":"X"}"#,
        ),
    ]
}

fn call(path: &str) -> String {
    format!(r#"{{"type":"Mutation","requestId":0,"udfPath":"{path}","args":[{{}}]}}"#)
}

fn modify(base: u32, new: u32, modifications: &str) -> String {
    format!(
        r#"{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{new},"modifications":[{modifications}]}}"#
    )
}

fn add(query: u32, path: &str, args: &str) -> String {
    format!(r#"{{"type":"Add","queryId":{query},"udfPath":"{path}","args":[{args}]}}"#)
}

/// Numbers of versions, queries and requests that do not fit to what came before.
fn versions() -> Vec<Row> {
    let count = add(0, "counters:count", r#"{"name":"none"}"#);
    let value = "query 0 = null";
    let connect = r#"{"type":"Connect","sessionId":"00000000-0000-4000-8000-000000000001","connectionCount":0}"#;
    vec![
        after_connect(
            "a query set from the future",
            &[&modify(5, 6, "")],
            &["fatal error Base version 5 passed up doesn't match the current version 0", ENDS],
        ),
        after_connect(
            "a query set twice",
            &[&modify(0, 1, ""), &modify(0, 1, "")],
            &["fatal error Base version 0 passed up doesn't match the current version 1", ENDS],
        ),
        at_once(
            "a query set from the future, without a session",
            &[&modify(5, 6, "")],
            &[INTERNAL],
        ),
        after_connect("a version that does not grow", &[&modify(0, 0, "")], &[INTERNAL]),
        after_connect("a query twice", &[&modify(0, 1, &format!("{count},{count}"))], &[INTERNAL]),
        after_connect(
            "the end of an unknown query",
            &[&modify(0, 1, r#"{"type":"Remove","queryId":9}"#)],
            &[INTERNAL],
        ),
        after_connect("a second session", &[connect], &[INTERNAL]),
        after_connect(
            "a request twice",
            &[&call("counters:incr"), &call("counters:incr")],
            &[INTERNAL],
        ),
        after_connect(
            "an identity from the future",
            &[r#"{"type":"Authenticate","baseVersion":3,"tokenType":"None"}"#],
            &[INTERNAL],
        ),
        at_once(
            "a timestamp that was never given out",
            &[
                r#"{"type":"Connect","sessionId":"00000000-0000-4000-8000-000000000001","connectionCount":0,"maxObservedTimestamp":"/////////38="}"#,
                &modify(0, 1, &count),
            ],
            &[INTERNAL],
        ),
        after_connect("a step of many versions", &[&modify(0, 900, &count)], &[value]),
    ]
}

/// Functions that are not there, or not for this caller, or called wrongly.
#[expect(clippy::too_many_lines, reason = "a table")]
fn functions() -> Vec<Row> {
    let missing = "0 failed Could not find public function for 'no:where'.";
    let fails = |name, frame: &str, gets: &str| after_connect(name, &[frame], &[gets]);
    let query = |add: &str| modify(0, 1, add);
    vec![
        fails("an unknown mutation", &call("no:where"), missing),
        fails(
            "an unknown action",
            r#"{"type":"Action","requestId":0,"udfPath":"no:where","args":[{}]}"#,
            missing,
        ),
        fails(
            "an unknown query",
            &query(&add(0, "no:where", "{}")),
            "query 0 failed Could not find public function for 'no:where'.",
        ),
        fails(
            "an internal query",
            &query(&add(0, "users:internal", "{}")),
            "query 0 failed Could not find public function for 'users:internal'.",
        ),
        fails(
            "a function of the system",
            &query(&add(0, "_system/cli/tables:default", "{}")),
            "query 0 failed Could not find public function for '_system/cli/tables:default'.",
        ),
        fails(
            "a mutation as a query",
            &query(&add(0, "counters:incr", "{}")),
            "query 0 failed Trying to execute counters.js:incr as Query, but it is defined as Mutation.",
        ),
        fails(
            "a query as a mutation",
            &call("counters:count"),
            "0 failed Trying to execute counters.js:count as Mutation, but it is defined as Query.",
        ),
        fails(
            "a missing field",
            &call("counters:incr"),
            "0 failed ArgumentValidationError: Object is missing the required field `name`. *",
        ),
        fails(
            "a field too many",
            &query(&add(0, "counters:count", r#"{"name":"a","more":1}"#)),
            "query 0 failed ArgumentValidationError: Object contains extra field `more` that is not in the validator. *",
        ),
        fails(
            "a field of another type",
            &query(&add(0, "counters:count", r#"{"name":7}"#)),
            "query 0 failed ArgumentValidationError: Value does not match validator. *",
        ),
        fails(
            "an id of another table",
            &query(&add(0, "messages:get", r#"{"id":"x"}"#)),
            "query 0 failed ArgumentValidationError: Value does not match validator. *",
        ),
        fails(
            "no object of arguments",
            &query(r#"{"type":"Add","queryId":0,"udfPath":"counters:count","args":[]}"#),
            "query 0 failed ArgumentValidationError: a function with an argument validator takes exactly one argument, got 0",
        ),
        fails(
            "two arguments",
            &query(
                r#"{"type":"Add","queryId":0,"udfPath":"counters:count","args":[{"name":"a"},{}]}"#,
            ),
            "query 0 failed ArgumentValidationError: a function with an argument validator takes exactly one argument, got 2",
        ),
        fails(
            "another component",
            &query(r#"{"type":"Add","queryId":0,"udfPath":"a:b","args":[{}],"componentPath":"x"}"#),
            "query 0 failed components are not supported: x",
        ),
    ]
}

/// Values that are too large, too deep, or none.
fn values() -> Vec<Row> {
    let send = |body: &str| {
        let args = format!(r#"{{"room":"z","author":"x","n":1,"body":{body}}}"#);
        format!(r#"{{"type":"Mutation","requestId":0,"udfPath":"messages:send","args":[{args}]}}"#)
    };
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let fails = |name, body: &str, gets: &[&str]| after_connect(name, &[&send(body)], gets);
    vec![
        fails("a text of 100 KB", &text(100_000), &["0 = \"*\""]),
        fails(
            "a document above 1 MiB",
            &text(1 << 20),
            &["0 failed Uncaught Error: document has 1048675 bytes, the limit is 1048576"],
        ),
        fails(
            "a text of 5 MB",
            &text(5_000_000),
            &["0 failed Uncaught Error: document has 5000099 bytes, the limit is 1048576"],
        ),
        fails(
            "70 levels",
            &deep(70),
            &["0 failed invalid arguments: value is nested deeper than 64 levels"],
        ),
        fails(
            "10,000 levels",
            &deep(10_000),
            &["0 failed invalid arguments: value is nested deeper than 64 levels"],
        ),
        fails(
            "a list of 8,193",
            &format!("[{}0]", "0,".repeat(8192)),
            &["0 failed invalid arguments: array has 8193 items, the limit is 8192"],
        ),
        fails(
            "a name with a dollar",
            r#"{"$x":1}"#,
            &["0 failed invalid arguments: field name \"$x\" starts with '$', which is reserved"],
        ),
        fails(
            "an integer that is none",
            r#"{"$integer":"x"}"#,
            &["0 failed invalid arguments: $integer does not hold padded base64"],
        ),
        fails(
            "bytes that are none",
            r#"{"$bytes":"*"}"#,
            &["0 failed invalid arguments: $bytes does not hold padded base64"],
        ),
        fails(
            "a number above all",
            "1e999",
            &["0 failed invalid arguments: invalid JSON: number out of range *"],
        ),
    ]
}

/// Tokens and keys that are not good here.
fn tokens() -> Vec<Row> {
    let user = |name, token: &str, gets: &str| {
        let frame = json!({ "type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token });
        let gets = format!("auth error {gets} (attempted: true)");
        after_connect(name, &[&frame.to_string()], &[&gets, ENDS])
    };
    let admin = |name, key: &str, gets: &str| {
        let frame =
            json!({ "type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": key });
        let gets = format!("auth error {gets} (attempted: true)");
        after_connect(name, &[&frame.to_string()], &[&gets, ENDS])
    };
    vec![
        user("an empty token", "", "token does not have three parts"),
        user("a token that is none", "x", "token does not have three parts"),
        user("three empty parts", "..", "token header is not valid: *"),
        user("an expired token", "<expired>", "token has expired"),
        user(
            "a token of somebody else's key",
            "<foreign>",
            "token is not signed by a key of its provider",
        ),
        user("alg none", "<alg-none>", "token is signed with an algorithm that is not accepted"),
        user(
            "alg none with a signature",
            "<alg-none-signed>",
            "token is signed with an algorithm that is not accepted",
        ),
        user("alg None", "<alg-None>", "token is signed with an algorithm that is not accepted"),
        user(
            "the public key as a secret",
            "<alg-hs256>",
            "token is signed with an algorithm that is not accepted",
        ),
        user(
            "another algorithm",
            "<alg-rs256>",
            "token is signed with an algorithm that is not accepted",
        ),
        user("no algorithm", "<alg-missing>", "token header has no alg"),
        user("an unknown key", "<kid-other>", "token is not signed by a key of its provider"),
        user("changed claims", "<claims-changed>", "token is not signed by a key of its provider"),
        user("a cut signature", "<signature-cut>", "token is not signed by a key of its provider"),
        user("no signature", "<signature-gone>", "token does not have three parts"),
        user("four parts", "<four-parts>", "token does not have three parts"),
        user("an admin key as a token", "<admin>", "token does not have three parts"),
        admin(
            "a token as an admin key",
            "<token>",
            "the admin key is not valid for this deployment",
        ),
        admin("an empty key", "", "the admin key is not valid for this deployment"),
        admin(
            "a key of another deployment",
            "<admin-other-name>",
            "the admin key is for another deployment",
        ),
        admin(
            "a key of another secret",
            "<admin-other-secret>",
            "the admin key is not valid for this deployment",
        ),
        admin("a cut key", "<admin-cut>", "the admin key is not valid for this deployment"),
    ]
}

/// Cursors and journals of others.
fn pages() -> Vec<Row> {
    let page = |room: &str, cursor: &str, rest: &str, journal: &str| {
        let args = format!(
            r#"{{"room":"{room}"{rest},"paginationOpts":{{"numItems":1,"cursor":"{cursor}"}}}}"#
        );
        modify(
            0,
            1,
            &format!(
                r#"{{"type":"Add","queryId":0,"udfPath":"messages:page","args":[{args}],"journal":{journal}}}"#
            ),
        )
    };
    let invalid = "query 0 failed *InvalidCursor: Tried to run a query starting from a cursor, but it looks like this cursor is from a different query., data {\"isConvexSystemError\":true,\"paginationError\":\"InvalidCursor\"}";
    let row = |name, frame: &str| after_connect(name, &[frame], &[invalid]);
    vec![
        row("a cursor of another room", &page("b", "<cursor>", "", "null")),
        row("a cursor of the other order", &page("a", "<cursor>", r#","descending":true"#, "null")),
        row("a cursor of another filter", &page("a", "<cursor>", r#","author":"x""#, "null")),
        row("a cut cursor", &page("a", "<cursor-cut>", "", "null")),
        row("a cursor that is none", &page("a", "no cursor", "", "null")),
        row("a token as a cursor", &page("a", "<token>", "", "null")),
        row("a journal that is none", &page("a", "<cursor>", "", "\"no journal\"")),
        row("a cursor as a journal", &page("a", "<cursor>", "", "\"<cursor>\"")),
        after_connect(
            "a journal that is no text",
            &[&page("a", "<cursor>", "", "7")],
            &[NO_JSON, ENDS],
        ),
    ]
}
