//! Tokens, keys and secrets are in no log line and in no answer, however much is logged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::crash::{Server, program};

fn print(args: &[&str], data: &Path) -> String {
    let output = Command::new(program()).args(args).arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Changes the last but one digit, so that nothing checks any more.
fn spoilt(text: &str) -> String {
    let mut bytes = text.to_owned().into_bytes();
    let place = bytes.len() - 2;
    bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
    String::from_utf8(bytes).unwrap()
}

fn query(address: &str, uri: &str, header: &str) -> String {
    let body = r#"{"path":"conversations:list","args":{}}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {header}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The first message of a socket after this `Authenticate`.
async fn authenticate(address: &str, message: Json) -> String {
    let (mut socket, _) = connect_async(format!("ws://{address}/api/sync")).await.unwrap();
    let session = "00000000-0000-4000-8000-000000000001";
    let connect = json!({"type":"Connect","sessionId":session,"connectionCount":0});
    for message in [connect, message] {
        socket.send(Message::text(message.to_string())).await.unwrap();
    }
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return text.to_string();
        }
    }
}

#[tokio::test]
async fn nobody_learns_a_secret_from_logs_or_answers() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_talkative(data.path());
    let folder = data.path().join("data");
    let token = print(&["token", "--user", "alice"], &folder);
    let key = print(&["admin-key"], &folder);
    let encoded = key.replace('|', "%7C");
    let mut heard = String::new();
    for (token, key, uri_key) in
        [(&token, &key, &encoded), (&spoilt(&token), &spoilt(&key), &spoilt(&encoded))]
    {
        let header = |text: String| format!("Authorization: {text}\r\n");
        heard += &query(&server.address, "/api/query", &header(format!("Bearer {token}")));
        heard += &query(&server.address, "/api/query", &header(format!("Convex {key}")));
        heard += &query(&server.address, "/api/query", &header(format!("Convex {key}:e30=")));
        heard += &query(&server.address, "/api/query", &header(format!("Basic {key}")));
        heard += &query(&server.address, &format!("/api/query?adminKey={uri_key}"), "");
        for (kind, value) in [("User", token), ("Admin", key), ("User", key), ("Admin", token)] {
            let message =
                json!({"type":"Authenticate","baseVersion":0,"tokenType":kind,"value":value});
            heard += &authenticate(&server.address, message).await;
        }
    }
    assert_eq!(heard.matches("AuthError").count(), 6, "{heard}");
    assert!(heard.contains("\"status\":\"success\""), "{heard}");
    assert!(server.terminate().success());
    let log = std::fs::read_to_string(data.path().join("log")).unwrap();
    assert!(log.contains("DEBUG") && log.contains("connected"), "it was to log everything");
    let secret = std::fs::read_to_string(folder.join("instance-secret")).unwrap();
    let pem = std::fs::read_to_string(folder.join("dev-issuer.pem")).unwrap();
    // Enough of each that nobody guesses the rest.
    let sealed = &key[key.len() - 40..key.len() - 4];
    let signature = &token[token.len() - 60..token.len() - 4];
    let claims = token.split('.').nth(1).unwrap();
    let private = pem.lines().nth(1).unwrap();
    for (what, text) in [
        ("key", sealed),
        ("signature", signature),
        ("claims", claims),
        ("secret", secret.trim()),
        ("pem", private),
    ] {
        let line = log.lines().find(|line| line.contains(text)).unwrap_or_default();
        assert!(line.is_empty(), "{what} in the log: {}", &line[..line.len().min(200)]);
        assert!(!heard.contains(text), "{what} in an answer");
    }
}
