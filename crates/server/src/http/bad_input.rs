//! Bad input over a real socket: what each request gets, and that nobody else notices.
//!
//! A row per request. A refusal of an endpoint is JSON with a code; what is no HTTP, or names nothing,
//! gets a status with an empty body. After each row a good request is served.

use std::net::SocketAddr;

use serde_json::Value as Tree;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::request::BODY_BYTES_MAX;
use super::testing::{World, admin};
use crate::listen::{self, ConnectionLimits, HEAD_BYTES_MAX, HEADERS_MAX};

struct Row {
    name: &'static str,
    request: Vec<u8>,
    status: u16,
    /// `None`: the body is empty.
    code: Option<&'static str>,
}

fn raw(name: &'static str, request: impl Into<Vec<u8>>, status: u16) -> Row {
    Row { name, request: request.into(), status, code: None }
}

/// A request with a head that is right, but for `headers`.
fn ask(
    name: &'static str,
    line: &str,
    headers: &str,
    status: u16,
    code: impl Into<Option<&'static str>>,
) -> Row {
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    Row { code: code.into(), ..raw(name, request, status) }
}

/// A call with this body.
fn call(name: &'static str, body: impl AsRef<[u8]>, code: &'static str) -> Row {
    let length = body.as_ref().len();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    let mut row = ask(name, "POST /api/query", &headers, 400, code);
    row.request.extend_from_slice(body.as_ref());
    row
}

/// A call whose body comes in chunks.
fn chunked(name: &'static str, chunks: impl AsRef<[u8]>) -> Row {
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let mut row = ask(name, "POST /api/query", headers, 400, "BadJsonBody");
    row.request.extend_from_slice(chunks.as_ref());
    row
}

fn no_http() -> Vec<Row> {
    let hello = "GET /version HTTP/1.1\r\n";
    let long = |bytes| "x".repeat(bytes);
    let many: String = (0..=HEADERS_MAX).map(|n| format!("X-{n}: 1\r\n")).collect();
    let head = |headers: &str| format!("{hello}Host: x\r\n{headers}\r\n");
    vec![
        raw("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        raw("a word", "hello\r\n\r\n", 400),
        raw("a line of two words", "GET /version\r\n\r\n", 400),
        raw("a method that is none", "G{T /version HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        raw("another version", "GET /version HTTP/3.7\r\nHost: x\r\n\r\n", 400),
        raw("a space in the path", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        raw("a NUL in the path", b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        raw("a header without a colon", head("X\r\n"), 400),
        raw("a header with a space in its name", head("X Y: 1\r\n"), 400),
        raw("a header that goes on in the next line", head("X: 1\r\n 2\r\n"), 400),
        raw("a NUL in a header", head("X: \0\r\n"), 400),
        raw(
            "a path that is too long",
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(70_000)),
            414,
        ),
        raw("a header that is too long", head(&format!("X: {}\r\n", long(HEAD_BYTES_MAX))), 431),
        raw("too many headers", head(&many), 431),
        raw("a length that is no number", head("Content-Length: x\r\n"), 400),
        raw("a negative length", head("Content-Length: -1\r\n"), 400),
        raw("a length with a plus", head("Content-Length: +1\r\n"), 400),
        raw("a length above all", head("Content-Length: 99999999999999999999\r\n"), 400),
        raw("two lengths", head("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        raw(
            "an encoding that does not end in chunked",
            head("Transfer-Encoding: chunked, gzip\r\n"),
            400,
        ),
        raw(
            "chunks before HTTP/1.1",
            "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
    ]
}

fn paths() -> Vec<Row> {
    let json = "Content-Type: application/json\r\nContent-Length: 11\r\n";
    let run = |name, path: &str, code: &'static str| {
        let mut row = ask(name, &format!("POST /api/run/{path}"), json, 400, code);
        row.request.extend_from_slice(b"{\"args\":{}}");
        row
    };
    let get =
        |name, path: &str, code: &'static str| ask(name, &format!("GET {path}"), "", 400, code);
    let bad = "BadConvexFunctionIdentifier";
    vec![
        ask("a path that is none", "GET /unknown", "", 404, None),
        ask("two slashes at the start", "GET //version", "", 404, None),
        ask("two slashes inside", "POST /api//query", "", 404, None),
        ask("a slash at the end", "POST /api/query/", "", 404, None),
        ask("a step up", "GET /api/../version", "", 404, None),
        ask("a step up, escaped", "GET /api/%2e%2e/version", "", 404, None),
        ask("a backslash", "GET /api\\..\\version", "", 404, None),
        ask("an escaped letter", "GET /ver%73ion", "", 404, None),
        ask("all, but not for options", "GET *", "", 404, None),
        ask("another method", "DELETE /api/query", "", 405, None),
        ask("a method of nobody", "BREW /api/query", "", 405, None),
        ask("a tunnel", "CONNECT x:443", "", 404, None),
        run("a function of one segment", "a", "MissingIdentifier"),
        run("a function of none", "", "MissingIdentifier"),
        run("a module that is a step up", "%2e%2e/x", bad),
        run("an empty module", "/x", bad),
        run("an empty function", "a/", bad),
        run("a NUL in a module", "a%00/x", bad),
        run("bytes that are no text", "%ff/x", "BadPathArgs"),
        get("arguments that are missing", "/api/query?path=a:b", "BadQueryArgs"),
        get("arguments that are no JSON", "/api/query?path=a:b&args=%7B", "BadJsonBody"),
        get(
            "a parameter that is there twice",
            "/api/query?path=a:b&path=c:d&args=%7B%7D",
            "BadQueryArgs",
        ),
        get("a socket without an upgrade", "/api/1.48.0/sync", "InvalidConnectionHeader"),
        get("a socket of a version that is none", "/api/x/sync", "InvalidClientVersion"),
    ]
}

fn headers() -> Vec<Row> {
    let host = |name, hosts: &str| {
        let request = format!("GET /version HTTP/1.1\r\n{hosts}\r\n");
        Row { code: Some("BadHostHeader"), ..raw(name, request, 400) }
    };
    let get = |name, headers: &str, status, code: &'static str| {
        ask(name, "GET /api/query?path=notes:count&args=%7B%7D", headers, status, code)
    };
    let twice = format!("Authorization: {0}\r\nAuthorization: {0}\r\n", admin(false));
    let mut binary = get("a credential that is no text", "", 400, "HeaderParseFailure");
    let end = binary.request.len() - 2;
    binary.request.splice(end..end, *b"Authorization: Bearer \xff\xfe\r\n");
    vec![
        host("no host", ""),
        host("two hosts", "Host: a\r\nHost: b\r\n"),
        host("a host with a path", "Host: a/b\r\n"),
        host("a host with a user", "Host: a@b\r\n"),
        host("a host with a space", "Host: a b\r\n"),
        get("two credentials", &twice, 400, "HeaderParseFailure"),
        get("a credential that is too short", "Authorization: x\r\n", 400, "InvalidHeaderFailure"),
        get(
            "a credential of another kind",
            "Authorization: Basic dTpw\r\n",
            400,
            "InvalidAdminKey",
        ),
        get("a token that is none", "Authorization: Bearer x.y.z\r\n", 401, "InvalidAuthHeader"),
        get("a key that is none", "Authorization: Convex inst|00\r\n", 401, "BadAdminKey"),
        binary,
        get("a client without a version", "Convex-Client: npm\r\n", 400, "InvalidClientVersion"),
        get(
            "a client that is too old",
            "Convex-Client: npm-0.1.0\r\n",
            400,
            "ClientVersionUnsupported",
        ),
        ask(
            "a body without its type",
            "POST /api/query",
            "Content-Length: 0\r\n",
            400,
            "BadJsonBody",
        ),
        ask(
            "a body of text",
            "POST /api/query",
            "Content-Type: text/plain\r\n",
            400,
            "BadJsonBody",
        ),
        ask("no administrator", "GET /api/list_snapshot", "", 403, "BadDeployKey"),
        get("a format of nobody", "", 400, "BadFormat")
            .with("args=%7B%7D", "args=%7B%7D&format=xml"),
    ]
}

fn bodies() -> Vec<Row> {
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let deep =
        format!(r#"{{"path":"notes:count","args":{}1{}}}"#, "[".repeat(9000), "]".repeat(9000));
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20)).repeat(17);
    let extension = format!("1;{}\r\n{{\r\n", "x".repeat(40_000));
    let bad = "BadJsonBody";
    vec![
        call("no body", "", bad),
        call("half a body", "{", bad),
        call("another type", "[]", bad),
        call("a field that is missing", r#"{"path":"a:b"}"#, bad),
        call("a field that is there twice", r#"{"path":"a:b","path":"a:b","args":{}}"#, bad),
        call("a body with a tail", r#"{"path":"a:b","args":{}}x"#, bad),
        call("a body that is no text", b"{\"path\":\"\xff\",\"args\":{}}", bad),
        call("a body that is too deep", deep, bad),
        call("arguments that are no object", r#"{"path":"a:b","args":7}"#, bad),
        call("a value that is none", r#"{"path":"a:b","args":{"a":{"$integer":"x"}}}"#, bad),
        call("a format of nobody", r#"{"path":"a:b","args":{},"format":"xml"}"#, "BadFormat"),
        call(
            "a path that is none",
            r#"{"path":"../a:b","args":{}}"#,
            "BadConvexFunctionIdentifier",
        ),
        call("a body that is too large", large, bad),
        chunked("chunks that are too many", format!("{chunk}0\r\n\r\n")),
        chunked("a chunk of no length", "zz\r\n{}\r\n"),
        chunked("a chunk of a length above all", "fffffffffffffffff\r\n{}\r\n"),
        chunked("a chunk that is longer than it says", "1\r\n{}\r\n0\r\n\r\n"),
        chunked("a chunk with a long remark", extension),
    ]
}

impl Row {
    fn with(mut self, old: &str, new: &str) -> Row {
        let text = String::from_utf8(self.request).unwrap();
        self.request = text.replace(old, new).into_bytes();
        self
    }
}

/// Sends all, and reads until the server closes: head and body.
async fn exchange(address: SocketAddr, request: &[u8]) -> (String, String) {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let request = request.to_vec();
    let sending = tokio::spawn(async move {
        // The server may be done before it has read all.
        let _ = writer.write_all(&request).await;
        writer
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    drop(sending.await.unwrap());
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn bad_requests_get_clear_errors_and_nobody_else_notices() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = watch::channel(false);
    let limits = ConnectionLimits::default();
    tokio::spawn(listen::serve(listener, world.router.clone(), limits, stopping));
    let mut good = TcpStream::connect(address).await.unwrap();
    for row in [no_http(), paths(), headers(), bodies()].into_iter().flatten() {
        let (head, body) = exchange(address, &row.request).await;
        let name = row.name;
        assert_eq!(head.split(' ').nth(1), Some(row.status.to_string().as_str()), "{name}: {head}");
        match row.code {
            None => assert_eq!(body, "", "{name}"),
            Some(code) => {
                assert!(head.contains("content-type: application/json"), "{name}: {head}");
                let body: Tree = serde_json::from_str(&body).unwrap();
                assert_eq!(body["code"], code, "{name}: {body}");
                assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
                assert_eq!(body.as_object().unwrap().len(), 2, "{name}: {body}");
            }
        }
        // Somebody else, on a connection that stays.
        good.write_all(b"GET /instance_name HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\ninst") {
            let mut byte = [0];
            good.read_exact(&mut byte).await.unwrap();
            answer.push(char::from(byte[0]));
        }
        assert!(answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
    }
    let counted = world.call("query", "notes:count", serde_json::json!({})).await;
    assert_eq!(counted["value"], 0.0, "nothing ran");
}
