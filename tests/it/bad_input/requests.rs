//! What comes over HTTP. Source of what each gets: the HTTP surface, and COMPAT.md.

use functions::InstanceSecret;
use server::auth::admin_key;
use server::auth::{Admin, Holder};
use tests::wire::post;

use super::{Row, bytes};

/// Admin keys, good and bad ones.
pub(super) fn keys() -> Vec<(&'static str, String)> {
    let admin = Admin { holder: Holder::System, issued_s: 1, is_read_only: false };
    let key = |secret: u8, name: &str| {
        let secret = InstanceSecret::new([secret; 32]);
        admin_key::issue(&secret, name, &admin, [5; 12])
    };
    let good = key(7, "base");
    vec![
        ("<admin-other-name>", key(7, "other")),
        ("<admin-other-secret>", key(8, "base")),
        ("<admin-cut>", good[..good.len() - 3].to_owned()),
        ("<admin>", good),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [bodies(), calls(), paths(), heads(), upgrades(), credentials(), operators()]
        .into_iter()
        .flatten()
        .collect()
}

const QUERY: &str = r#"{"path":"counters:count","args":{"name":"none"}}"#;

/// Bodies that are no call.
fn bodies() -> Vec<Row> {
    let query = |name, body: &str, gets: &str| bytes(name, post("/api/query", "", body), gets);
    let plain = post("/api/query", "", QUERY).replace("application/json", "text/plain");
    let large = post("/api/query", "", "").replace("Content-Length: 0", "Content-Length: 17000000");
    let endless = post("/api/query", "", "")
        .replace("Content-Length: 0", "Content-Length: 99999999999999999999");
    let args = |args: &str| format!(r#"{{"path":"counters:count","args":{args}}}"#);
    vec![
        bytes(
            "a type that is not JSON",
            plain,
            "400 BadJsonBody: Expected request with `Content-Type: application/json`",
        ),
        query("an empty body", "", "400 BadJsonBody: *"),
        query("half a body", "{", "400 BadJsonBody: *"),
        query("no path", r#"{"args":{}}"#, "400 BadJsonBody: missing field `path` *"),
        query("no arguments", r#"{"path":"a:b"}"#, "400 BadJsonBody: missing field `args` *"),
        query("arguments that are a number", &args("7"), "400 BadJsonBody: *"),
        query("a body that is text", "\u{1}\u{2}", "400 BadJsonBody: *"),
        query("a hundred thousand brackets", &"[".repeat(100_000), "400 BadJsonBody: *"),
        query(
            "arguments of 10,000 levels",
            &args(&format!(r#"{{"name":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000))),
            "400 BadJsonBody: value is nested deeper than 64 levels",
        ),
        query(
            "an integer that is none",
            &args(r#"{"name":{"$integer":"x"}}"#),
            "400 BadJsonBody: $integer does not hold padded base64",
        ),
        bytes(
            "a length above the limit",
            large,
            "400 BadJsonBody: the body is larger than 16779216 bytes",
        ),
        bytes("a length above all", endless, "400"),
    ]
}

/// Calls of what is not there, or not for this caller.
#[expect(clippy::too_many_lines, reason = "a table")]
fn calls() -> Vec<Row> {
    let call = |name, path: &str, body: &str, gets: &str| bytes(name, post(path, "", body), gets);
    let batch = format!(r#"{{"queries":[{}]}}"#, [QUERY; 1001].join(","));
    vec![
        call(
            "a path that is none",
            "/api/query",
            r#"{"path":"foo-bar:x","args":{}}"#,
            "400 BadConvexFunctionIdentifier: module \"foo-bar\" is not a path of *",
        ),
        call(
            "an unknown function",
            "/api/query",
            r#"{"path":"no:where","args":{}}"#,
            "200 failed Could not find public function for 'no:where'.",
        ),
        call(
            "an internal function",
            "/api/query",
            r#"{"path":"users:internal","args":{}}"#,
            "200 failed Could not find public function for 'users:internal'.",
        ),
        call(
            "a query as a mutation",
            "/api/mutation",
            QUERY,
            "200 failed Trying to execute counters.js:count as Mutation, but it is defined as Query.",
        ),
        call(
            "wrong arguments",
            "/api/query",
            r#"{"path":"counters:count","args":{"name":7}}"#,
            "200 failed ArgumentValidationError: Value does not match validator. *",
        ),
        call(
            "a format that is none",
            "/api/query",
            r#"{"path":"counters:count","args":{"name":"a"},"format":"xml"}"#,
            "400 BadFormat: unknown format \"xml\"",
        ),
        call(
            "a timestamp that is none",
            "/api/query_at_ts",
            r#"{"path":"counters:count","args":{"name":"a"},"ts":"x"}"#,
            "400 BadTimestamp: timestamp is not the base64 of eight bytes",
        ),
        call(
            "a timestamp of the future",
            "/api/query_at_ts",
            r#"{"path":"counters:count","args":{"name":"a"},"ts":"/////////38="}"#,
            "400 BadTimestamp: ts is in the future",
        ),
        call(
            "a batch of 1,001",
            "/api/query_batch",
            &batch,
            "400 BadJsonBody: more than 1000 queries in one batch",
        ),
        call(
            "a run of nothing",
            "/api/run/x",
            r#"{"args":{}}"#,
            "400 MissingIdentifier: expected /api/run/<module>/<function>",
        ),
        call(
            "any function, by nobody",
            "/api/function",
            QUERY,
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        bytes(
            "any function, by a user",
            post("/api/function", "Authorization: Bearer <token>\r\n", QUERY),
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
    ]
}

/// The first line of a request.
fn paths() -> Vec<Row> {
    let get = |name, target: &str, gets: &str| {
        bytes(name, format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), gets)
    };
    let post = |name, target: &str, gets: &str| bytes(name, post(target, "", QUERY), gets);
    vec![
        get("an unknown path", "/api/nothing", "404"),
        get(
            "a query by GET without arguments",
            "/api/query?path=counters:count",
            "400 BadQueryArgs: *",
        ),
        bytes(
            "a method that is not there",
            "DELETE /api/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "405",
        ),
        post("a path upward", "/api/x/../query", "404"),
        post("a path with empty parts", "/api//query", "404"),
        post("a path in capitals", "/API/query", "404"),
        post("a path with a NUL", "/api/query%00", "404"),
        post("a function that is no text", "/api/run/counters/%ff", "400 BadPathArgs: *"),
        post("a function upward", "/api/run/../count", "400 BadConvexFunctionIdentifier: *"),
        get("a file", "/../../etc/passwd", "404"),
        get("a path of 70 KB", &format!("/{}", "x".repeat(70_000)), "414"),
        bytes("no version", "GET /version\r\n\r\n", "400"),
        bytes("another version", "GET /version HTTP/9.9\r\n\r\n", "400"),
        bytes(
            "no request",
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
            "400",
        ),
        bytes(
            "bytes above ASCII",
            vec![b'G', b'E', b'T', b' ', 0xff, 0xfe, b'\r', b'\n', b'\r', b'\n'],
            "400",
        ),
    ]
}

/// Header lines.
fn heads() -> Vec<Row> {
    let with =
        |name, headers: &str, gets: &str| bytes(name, post("/api/query", headers, QUERY), gets);
    let good = post("/api/query", "", QUERY);
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    vec![
        bytes("no host", good.replace("Host: x\r\n", ""), "400 BadHostHeader: no Host header"),
        with("two hosts", "Host: y\r\n", "400 BadHostHeader: more than one Host header"),
        bytes(
            "a host that is none",
            good.replace("Host: x", "Host: a b"),
            "400 BadHostHeader: the Host header is not a host",
        ),
        with("a head of 200 KB", &format!("X: {}\r\n", "x".repeat(200_000)), "431"),
        with("101 more lines", &many, "431"),
        with("a line with a NUL", "X: a\u{0}b\r\n", "400"),
        with("a line without a colon", "X\r\n", "400"),
        with("a folded line", "X: a\r\n b\r\n", "400"),
        with("two lengths", "Content-Length: 3\r\n", "400"),
        with(
            "a length and chunks",
            "Transfer-Encoding: chunked\r\n",
            "400 BadJsonBody: error reading a body from connection",
        ),
        with("an unknown encoding", "Transfer-Encoding: gzip\r\n", "400"),
        with("a client without a version", "Convex-Client: npm\r\n", "400 InvalidClientVersion: *"),
        with(
            "a client that is too old",
            "Convex-Client: npm-0.1.0\r\n",
            "400 ClientVersionUnsupported: *",
        ),
    ]
}

/// Requests for a socket.
fn upgrades() -> Vec<Row> {
    let upgrade = |name, path: &str, headers: &str, gets: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        bytes(name, head, gets)
    };
    let close = "Connection: close\r\n";
    let key = "Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let whole = format!("{key}Sec-WebSocket-Version: 13\r\n");
    vec![
        upgrade("no upgrade", "/api/sync", close, "400 InvalidConnectionHeader: *"),
        upgrade(
            "another upgrade",
            "/api/sync",
            "Connection: upgrade, close\r\nUpgrade: h2c\r\n",
            "400 InvalidUpgradeHeader: *",
        ),
        upgrade(
            "a socket of another version",
            "/api/sync",
            &format!("{key}Sec-WebSocket-Version: 8\r\n"),
            "400 InvalidWebSocketVersionHeader: *",
        ),
        upgrade(
            "a socket without a key",
            "/api/sync",
            "Connection: upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "400 WebSocketKeyHeaderMissing: *",
        ),
        upgrade(
            "a client version that is none",
            "/api/latest/sync",
            &whole,
            "400 InvalidClientVersion: *",
        ),
        upgrade(
            "a client version that is too old",
            "/api/0.1.0/sync",
            &whole,
            "400 ClientVersionUnsupported: *",
        ),
        bytes(
            "a socket by POST",
            format!("POST /api/sync HTTP/1.1\r\nHost: x\r\n{close}Content-Length: 0\r\n\r\n"),
            "405",
        ),
    ]
}

/// What callers say they are.
fn credentials() -> Vec<Row> {
    let with = |name, value: &str, gets: &str| {
        bytes(name, post("/api/query", &format!("Authorization: {value}\r\n"), QUERY), gets)
    };
    let user =
        |name, token: &str| with(name, &format!("Bearer {token}"), "401 InvalidAuthHeader: *");
    let admin = |name, key: &str| with(name, &format!("Convex {key}"), "401 BadAdminKey: *");
    vec![
        with(
            "a header that is too short",
            "x",
            "400 InvalidHeaderFailure: the Authorization header is too short",
        ),
        with("another scheme", "Basic dXNlcjpwYXNz", "400 InvalidAdminKey: Invalid admin key"),
        with(
            "two of them",
            "Bearer <token>\r\nAuthorization: Bearer <token>",
            "400 HeaderParseFailure: the header is there twice",
        ),
        with(
            "acting as nobody",
            "Convex <admin>:!!",
            "400 HeaderParseFailure: acting-as is not base64",
        ),
        user("a token that is none", "x"),
        user("an expired token", "<expired>"),
        user("a token of somebody else's key", "<foreign>"),
        user("alg none", "<alg-none>"),
        user("the public key as a secret", "<alg-hs256>"),
        user("changed claims", "<claims-changed>"),
        admin("a token as a key", "<token>"),
        admin("a key of another deployment", "<admin-other-name>"),
        admin("a key of another secret", "<admin-other-secret>"),
        admin("a cut key", "<admin-cut>"),
    ]
}

/// What operators ask, by others and wrongly.
#[expect(clippy::too_many_lines, reason = "a table")]
fn operators() -> Vec<Row> {
    let get = |name, target: &str, credential: &str, gets: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let credential = match credential {
            "" => String::new(),
            credential => format!("Authorization: {credential}\r\n"),
        };
        bytes(name, format!("{head}{credential}\r\n"), gets)
    };
    let (user, admin) = ("Bearer <token>", "Convex <admin>");
    let write = |name, body: &str, gets: &str| {
        let key = "Authorization: Convex <admin>\r\n";
        bytes(name, post("/api/concave/v1/documents", key, body), gets)
    };
    vec![
        get(
            "an export by nobody",
            "/api/list_snapshot",
            "",
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        get(
            "an export by a user",
            "/api/list_snapshot",
            user,
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        get(
            "an export at no time",
            "/api/list_snapshot?snapshot=x",
            admin,
            "400 BadQueryArgs: parameter `snapshot` is not an integer of 64 bits",
        ),
        get(
            "an export of the future",
            "/api/list_snapshot?snapshot=9223372036854775807",
            admin,
            "400 SnapshotTooNew: timestamp 9223372036854775807 is above the newest one, *",
        ),
        get(
            "an export from a foreign cursor",
            "/api/list_snapshot?cursor=<cursor>",
            admin,
            "400 InvalidListSnapshotCursor: the cursor is none of this deployment",
        ),
        get(
            "deltas from nowhere",
            "/api/document_deltas",
            admin,
            "400 DocumentDeltasCursorRequired: document_deltas needs a cursor: *",
        ),
        get(
            "deltas of the future",
            "/api/document_deltas?cursor=9223372036854775807",
            admin,
            "400 InvalidWindowToReadDocuments: timestamp 9223372036854775807 is above the newest one, *",
        ),
        get(
            "figures for nobody",
            "/metrics",
            "",
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        get(
            "tables for nobody",
            "/api/concave/v1/tables",
            "",
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        get(
            "sessions for a user",
            "/api/concave/v1/sessions",
            user,
            "403 BadDeployKey: this endpoint needs an admin key",
        ),
        get("a live query that is none", "/api/concave/v1/live/x", admin, "400 InvalidArgument: *"),
        get(
            "a live query that is gone",
            "/api/concave/v1/live/999999999",
            admin,
            "404 NotFound: there is no live query 999999999",
        ),
        get(
            "documents of no table",
            "/api/concave/v1/tables/no-table/documents",
            admin,
            "400 InvalidTableName: table name \"no-table\" is not an identifier: *",
        ),
        get(
            "documents from a foreign cursor",
            "/api/concave/v1/tables/messages/documents?cursor=<cursor>",
            admin,
            "400 InvalidCursor: the cursor belongs to another question, or to another deployment",
        ),
        write(
            "a change that is none",
            r#"{"op":"x"}"#,
            "400 BadJsonBody: missing field `writes` *",
        ),
        write(
            "a change without its kind",
            r#"{"writes":[{"patch":{"id":"x","fields":{}}}]}"#,
            "400 BadJsonBody: missing field `op` *",
        ),
    ]
}
