//! Limits that an operator sets: each small value takes effect in the program.

use serde_json::{Value as Json, json};
use tests::wire::{Frame, Wire, add, exchange, post};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as Raw;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::operate::{Running, concave, output};

/// A server with these settings, and its admin key.
fn start(data: &std::path::Path, settings: &[&str]) -> (Running, String) {
    let mut command = concave();
    command.args(["serve", "--port", "0", "--site-port", "0", "--data"]).arg(data).args(settings);
    let server = Running::start(&mut command);
    let (code, key) = output(concave().args(["admin-key", "--data"]).arg(data));
    assert_eq!(code, Some(0), "{key}");
    (server, key.trim().to_owned())
}

#[tokio::test]
async fn small_limits_of_sockets_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--frame-bytes-max",
        "4000",
        "--message-bytes-max",
        "6000",
        "--session-queries-max",
        "1",
        "--session-bytes-max",
        "2000",
    ];
    let (server, _) = start(folder.path(), &settings);
    let open = async || Wire::open(&server.address).await.unwrap();
    let long = |length: usize| "x".repeat(length);
    let too_many = Frame::Closed(Some(1013), "TooManyConcurrentRequests".to_owned());
    let ends_with = async |mut wire: Wire, code: u16| {
        let end = wire.next().await;
        assert!(matches!(&end, Frame::Closed(Some(got), _) if *got == code), "{end:?}");
    };

    let mut wire = open().await;
    wire.text(long(4001)).await;
    ends_with(wire, 1009).await;

    let mut wire = open().await;
    for (first, end) in [(true, false), (false, false), (false, true)] {
        let kind = if first { Data::Text } else { Data::Continue };
        let part = Raw::message(long(2500), OpCode::Data(kind), end);
        wire.raw(Message::Frame(part)).await;
    }
    ends_with(wire, 1009).await;

    let mut wire = open().await;
    wire.connect(1, 0).await;
    let list = |query| add(query, "conversations:list", json!({}));
    wire.modify(vec![list(0), list(1)]).await;
    assert_eq!(wire.next().await, too_many);

    let mut wire = open().await;
    wire.connect(1, 0).await;
    wire.modify(vec![add(0, "conversations:list", json!({ "x": long(2500) }))]).await;
    assert_eq!(wire.next().await, too_many);
}

#[tokio::test]
async fn small_limits_of_requests_take_effect() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--body-bytes-max", "300", "--request-seconds", "1", "--executions-kept", "1"];
    let (server, key) = start(folder.path(), &settings);
    let ask = async |path: &str, body: &str| {
        exchange(&server.address, post(path, "", body).as_bytes()).await
    };
    let call = |filler: usize| {
        let text = r#"{"path":"no:such","args":{}}"#;
        format!("{text}{}", " ".repeat(filler - text.len()))
    };
    assert!(ask("/api/query", &call(300)).await.contains("Could not find"));
    let answer = ask("/api/query", &call(301)).await;
    assert!(answer.contains(" 400 ") && answer.contains("larger than 300 bytes"), "{answer}");

    ask("/api/query", &call(100)).await;
    let executions = |rest: &str| format!("/api/concave/v1/executions?{rest}");
    let (status, page) = server.get(&executions("after=0"), Some(&key));
    let page: Json = serde_json::from_str(&page).unwrap();
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["executions"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(page["missed"], true, "{page}");

    // It would wait for a minute, for what does not come.
    let after = format!("after={}&waitMs=60000", page["after"]);
    assert_eq!(server.get(&executions(&after), Some(&key)), (408, String::new()));
}

/// The soft limit of open files becomes the hard one, and what does not fit is said.
#[cfg(target_os = "linux")]
#[test]
fn it_takes_all_open_files_that_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let line = "ulimit -n 4096 && ulimit -S -n 128 && exec \"$@\"";
    let auth = json!({"providers": [{"domain": "http://id.example", "applicationID": "a"}]});
    let mut command = std::process::Command::new("sh");
    command.args(["-c", line, "sh"]).arg(crate::crash::program());
    command.args(["serve", "--port", "0", "--site-port", "0", "--data"]).arg(&data);
    command.args(["--auth-config", &auth.to_string()]);
    let server = Running::start(&mut command);
    let limits = format!("/proc/{}/limits", server.child.id());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["4096", "4096"]);
    let log = server.log();
    assert!(log.contains("fewer open files than connections"), "{log}");
    assert!(log.contains("plain http") && log.contains("http://id.example"), "{log}");
    // All fit, and keys come by a safe way.
    let settings = ["--max-connections", "10", "--log", "warn"];
    let (server, _) = start(&data, &settings);
    let log = server.log();
    assert!(!log.contains("WARN"), "{log}");
}
