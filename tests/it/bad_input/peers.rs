//! Connections that are slow, half closed, or far too busy.

use std::net::Shutdown;

use serde_json::json;
use tests::wire::{Frame, Wire, add, mutation, post, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Row, Target, answered, run, told};

/// Heads that never end, at a time.
const SLOW_HEADS: usize = 50;
/// Queries that one socket may have.
const QUERIES: u32 = 10_000;

pub(super) fn rows() -> Vec<Row> {
    let mut rows = frames();
    rows.extend(closings());
    rows.extend(crowds());
    rows
}

async fn opened(target: &Target, number: u64) -> Wire {
    let mut wire = Wire::open(&target.address).await.unwrap();
    wire.connect(7_000_000_000 + number, 0).await;
    wire
}

/// Bytes as they stand, behind the handshake of a socket.
async fn bytes(target: Target, bytes: Vec<u8>) -> Vec<String> {
    let mut wire = opened(&target, 0).await;
    wire.stream().write_all(&bytes).await.unwrap();
    told(&mut wire, 1).await
}

/// Frames that are none.
fn frames() -> Vec<Row> {
    let raw = |name, frame: &'static [u8], gets: &str| {
        run(name, &[gets], move |target| bytes(target, frame.to_vec()))
    };
    let internal = "closed 1011 InternalServerError";
    vec![
        run("a binary frame", &[internal], |target| async move {
            let mut wire = opened(&target, 0).await;
            wire.raw(Message::binary(vec![1, 2, 3])).await;
            told(&mut wire, 1).await
        }),
        raw(
            "a frame that says 17 MB",
            &[0x81, 0xff, 0, 0, 0, 0, 1, 16, 0, 0, 1, 2, 3, 4],
            "closed 1009 the frame is too large",
        ),
        raw("a frame without a mask", b"\x81\x02{}", "closed 1002 a frame is not masked"),
        raw("reserved bits", b"\xf1\x80\x01\x02\x03\x04", "closed 1002 a reserved bit is set"),
        raw(
            "an unknown kind of frame",
            b"\x83\x80\x01\x02\x03\x04",
            "closed 1002 a reserved opcode",
        ),
        raw("half a ping", b"\x09\x80\x01\x02\x03\x04", "closed 1002 a control frame is in parts"),
        raw(
            "a part without a beginning",
            b"\x80\x80\x01\x02\x03\x04",
            "closed 1002 a message goes on that never began",
        ),
        raw(
            "text that is none",
            b"\x81\x82\x00\x00\x00\x00\xff\xfe",
            "closed 1007 the text is not UTF-8",
        ),
    ]
}

/// How a socket ends, whatever it says before.
async fn end_of(wire: &mut Wire) -> String {
    loop {
        match wire.next().await {
            Frame::Message(_) => {}
            Frame::Gone => return "gone".to_owned(),
            Frame::Closed(None, _) => return "closed without a code".to_owned(),
            Frame::Closed(Some(code), reason) => return format!("closed {code} {reason}"),
        }
    }
}

/// Ends of many kinds.
fn closings() -> Vec<Row> {
    vec![
        run("a goodbye of a kind of its own", &["closed 4999"], |target| async move {
            let mut wire = opened(&target, 0).await;
            let frame = CloseFrame { code: 4999.into(), reason: "x".into() };
            wire.raw(Message::Close(Some(frame))).await;
            told(&mut wire, 1).await
        }),
        run(
            "a socket that is closed on one side",
            &["closed without a code"],
            |target| async move {
                let mut wire = opened(&target, 0).await;
                wire.stream().shutdown().await.unwrap();
                vec![end_of(&mut wire).await]
            },
        ),
        run("a request that is closed on one side", &["200 {*}"], |target| async move {
            let body = r#"{"path":"counters:count","args":{"name":"none"}}"#;
            let mut stream = TcpStream::connect(&target.address).await.unwrap();
            stream.write_all(post("/api/query", "", body).as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
            vec![answered(&answer)]
        }),
        run(
            "half a body, then the end",
            &["400 BadJsonBody: error reading a body from connection"],
            |target| async move {
                let mut stream = TcpStream::connect(&target.address).await.unwrap();
                let half = post("/api/query", "", &" ".repeat(100));
                stream.write_all(&half.as_bytes()[..half.len() - 50]).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut answer = String::new();
                soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
                vec![answered(&answer)]
            },
        ),
        run("a reset in the middle of a mutation", &[], |target| async move {
            let mut wire = opened(&target, 1).await;
            wire.send(&mutation(0, "counters:incr", json!({ "name": "reset" }))).await;
            let stream = std::mem::replace(
                wire.stream(),
                TcpStream::connect(&target.address).await.unwrap(),
            );
            let stream = stream.into_std().unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
            Vec::new()
        }),
        run(
            "a mutation that is sent again on another socket",
            &["0 = 1.0", "0 = 1.0"],
            |target| async move {
                let mut seen = Vec::new();
                for _ in 0..2 {
                    let mut wire = opened(&target, 2).await;
                    let answer = wire.mutate(0, "counters:incr", json!({ "name": "again" })).await;
                    seen.push(format!("0 = {}", answer["result"]));
                }
                seen
            },
        ),
    ]
}

/// Much of something.
fn crowds() -> Vec<Row> {
    vec![
        run(
            "10,000 queries of one socket, then one more",
            &["10000 values", "closed 1013 TooManyConcurrentRequests"],
            |target| async move {
                let mut wire = opened(&target, 3).await;
                let query =
                    |id: u32| add(id, "counters:count", json!({ "name": format!("q{id}") }));
                wire.modify((0..QUERIES).map(query).collect()).await;
                let values = wire.values().await;
                assert!(values.iter().all(|(_, value)| value.is_null()));
                wire.modify(vec![query(QUERIES)]).await;
                let mut lines = vec![format!("{} values", values.len())];
                lines.extend(told(&mut wire, 1).await);
                lines
            },
        ),
        run("heads that never end", &["408"], |target| async move {
            let mut open = Vec::new();
            for _ in 0..SLOW_HEADS {
                let mut stream = TcpStream::connect(&target.address).await.unwrap();
                stream.write_all(b"POST /api/query HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
                open.push(stream);
            }
            let mut answers = Vec::new();
            for mut stream in open {
                let mut answer = String::new();
                soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
                answers.push(answered(&answer));
            }
            answers.dedup();
            answers
        }),
    ]
}
