//! What an operator sees of the running program: figures after a client came and went, and which commit
//! made its query run again.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use futures_util::SinkExt as _;
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::crash::{Server, Socket, open, program, receive, send, token};

/// One request with the admin key; gives the body of a 200.
fn ask(address: &str, method: &str, path: &str, key: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nAuthorization: Convex {key}\r\n\
         Content-Type: application/json\r\nConvex-Request-Id: from-the-test\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{method} {path}: {answer}");
    body.to_owned()
}

fn admin_key(data: &Path) -> String {
    let data = data.join("data");
    let output = Command::new(program()).args(["admin-key", "--data"]).arg(data).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn figures(address: &str, key: &str) -> BTreeMap<String, f64> {
    let text = ask(address, "GET", "/metrics", key, "");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    samples.map(sample).collect()
}

/// Reads until a query has a value.
async fn value_of(socket: &mut Socket, query: u64) -> Json {
    loop {
        let message = receive(socket).await.unwrap();
        let changes = message["modifications"].as_array().cloned().unwrap_or_default();
        if let Some(change) = changes.into_iter().find(|change| change["queryId"] == query) {
            return change["value"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_and_goes_under_the_eyes_of_an_operator() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (address, key) = (server.address.as_str(), admin_key(data.path()));
    let get = |path: &str| -> Json {
        let body = ask(address, "GET", &format!("/api/concave/v1/{path}"), &key, "");
        serde_json::from_str(&body).unwrap()
    };
    let before = figures(address, &key);
    let mut socket = open(address, 7, 0, &token(data.path())).await.unwrap();
    let add = json!({"type":"Add","queryId":1,"udfPath":"conversations:list","args":[{}]});
    let set = json!({
        "type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[add],
    });
    send(&mut socket, &set).await.unwrap();
    assert_eq!(value_of(&mut socket, 1).await, json!([]));

    // An administrator, as the same user, makes what the client shows.
    let user = get("sessions")["sessions"][0]["identity"].clone();
    assert_eq!(user["subject"], "alice");
    let run = json!({"path":"conversations:create","args":{"memberIds":["bob"],"title":"room"},"actAs":user});
    let ran = ask(address, "POST", "/api/concave/v1/functions/run", &key, &run.to_string());
    let ran: Json = serde_json::from_str(&ran).unwrap();
    assert_eq!(ran["status"], "success", "{ran}");
    assert_eq!(value_of(&mut socket, 1).await.as_array().unwrap().len(), 1);

    let live = &get("live?function=conversations:list")["live"][0];
    let cause = &live["runs"][0]["cause"];
    assert_eq!((&cause["ts"], &cause["function"]), (&ran["ts"], &json!("conversations:create")));
    assert_eq!((&cause["origin"], &cause["request"]), (&json!("admin"), &json!("from-the-test")));
    assert!(cause["document"].is_string() && live["readSet"].as_array().unwrap().len() > 1);
    let session = &get("sessions")["sessions"][0];
    assert_eq!(session["socket"]["session"], "00000000-0000-4000-8000-000000000007");
    assert_eq!(
        (&session["socket"]["client"], &session["subscriptions"]),
        (&json!("npm-1.48.0"), &json!(1))
    );
    assert_eq!(get("crons")["crons"].as_array().unwrap().len(), 1);

    let moved = |after: &BTreeMap<String, f64>, series: &str| {
        let of = |figures: &BTreeMap<String, f64>| figures.get(series).copied().unwrap_or(0.0);
        of(after) - of(&before)
    };
    let during = figures(address, &key);
    assert_eq!(moved(&during, "concave_sockets_open"), 1.0);
    assert_eq!(moved(&during, "concave_socket_received_messages_total"), 3.0);
    let ran = |outcome: &str| {
        format!(
            "concave_function_executions_total{{function=\"conversations:list\",kind=\"query\",outcome=\"{outcome}\"}}"
        )
    };
    // Given up once, when it asked whose list it is; then once for the client and once for the commit.
    assert_eq!(moved(&during, &ran("abandoned")), 1.0);
    assert_eq!(moved(&during, &ran("success")), 2.0);
    let reruns = "concave_function_live_reruns_total{function=\"conversations:list\"}";
    assert_eq!(moved(&during, reruns), 1.0);
    assert!(moved(&during, "concave_socket_sent_bytes_total") > 100.0);

    let frame = CloseFrame { code: 1000.into(), reason: "".into() };
    socket.send(Message::Close(Some(frame))).await.unwrap();
    while receive(&mut socket).await.is_some() {}
    let after = loop {
        let after = figures(address, &key);
        if after["concave_sockets_open"] == 0.0 {
            break after;
        }
    };
    assert_eq!(moved(&after, "concave_sockets_closed_total{code=\"1000\"}"), 1.0);
    assert_eq!(moved(&after, "concave_sockets_opened_total"), 1.0);
    assert_eq!(moved(&after, "concave_sessions"), 0.0);
    assert!(server.terminate().success());
}
