//! The program as whoever operates it meets it: signals, flags, its own tokens.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::crash::Server;

fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_that_never_end_do_not_keep_it_from_stopping() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let half = |request: &str| {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let head = "POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let open = [half(head), half(&format!("{head}Content-Length: 100\r\n\r\n{{")), half("")];
    // One whole request after them: the others have been accepted by then.
    assert!(ask(&server, "GET /version HTTP/1.0\r\n\r\n").contains(" 200 "));
    assert!(server.terminate().success());
    drop(open);
}

#[test]
fn it_serves_again_after_it_ran_out_of_file_descriptors() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(64, data.path());
    let open: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let log = data.path().join("log");
    while !std::fs::read_to_string(&log).unwrap().contains("no connections can be accepted") {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(open);
    assert!(ask(&server, "GET /version HTTP/1.0\r\n\r\n").contains(" 200 "));
    assert!(server.terminate().success());
}

#[test]
fn the_development_issuer_gives_tokens_on_this_machine() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let body = "{\"user\":\"bob\"}";
    let request = format!(
        "POST /dev-auth/token HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(&server, &request);
    assert!(answer.contains(" 200 ") && answer.contains("\"token\":\"ey"), "{answer}");
}

#[test]
fn open_sockets_are_told_that_it_stops() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let upgrade = "GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(server.terminate().success());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"\x88\x10\x03\xe9ServerShutdown"), "{}", rest.escape_ascii());
}
