//! How sockets end, and that nobody else notices.

use super::*;

/// What a client gets that sends these bytes, and whether others are still served then.
async fn check(offer: Option<&str>, bytes: &[u8], expected: &[Got]) {
    let world = World::new();
    let (mut client, mut other) = (world.open_with(offer, 256), world.open(offer));
    other.connect().await;
    client.connect().await;
    let (mut read, mut write) = tokio::io::split(client.io);
    let sent = bytes.to_vec();
    // It goes on sending: what it said wrong is found before the end of it.
    tokio::spawn(async move { write.write_all(&sent).await });
    let mut reading = Client::new(tokio::io::join(&mut read, tokio::io::sink()));
    assert_eq!(reading.end().await, expected);
    other.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    assert_eq!(other.transition().await[0]["value"], json!([]));
    while world.open_sockets() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn bomb() -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 << 20);
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let zeros = vec![b' '; (64 << 20) + 1];
    compress.compress_vec(&zeros, &mut payload, flate2::FlushCompress::Sync).unwrap();
    assert_eq!(compress.total_in(), zeros.len() as u64);
    payload.truncate(payload.len() - 4);
    frame(0xc1, &payload)
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_rules_of_frames() {
    let last = |code, reason| vec![closed(code, reason)];
    let plain = async |bytes: &[u8], code, reason| check(None, bytes, &last(code, reason)).await;
    plain(&frame(0x91, b"{}"), 1002, "a reserved bit is set").await;
    plain(&frame(0xc1, b"{}"), 1002, "a reserved bit is set").await;
    plain(&frame(0x83, b"{}"), 1002, "a reserved opcode").await;
    plain(&frame(0x8b, b""), 1002, "a reserved opcode").await;
    plain(&[0x81, 2, b'{', b'}'], 1002, "a frame is not masked").await;
    plain(&frame(0x09, b""), 1002, "a control frame is in parts").await;
    plain(&frame(0x80, b"{}"), 1002, "a message goes on that never began").await;
    plain(&frame(0x81, b"\xff"), 1007, "the text is not UTF-8").await;
    plain(&frame(0x88, b"\x03"), 1002, "half a close code").await;
    // One byte more than 16 MiB is announced, and nothing of it has to come.
    let header = [0x81, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0];
    plain(&header, 1009, "the frame is too large").await;
    let parts = [frame(0x01, b"{"), vec![0x80, 0xff, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]].concat();
    plain(&parts, 1009, "the frame is too large").await;
    let packed = async |bytes: &[u8], code, reason| {
        check(Some(OFFER), bytes, &last(code, reason)).await;
    };
    packed(&bomb(), 1009, "the message is too large").await;
    packed(&frame(0xc1, &[0xff; 20]), 1007, "the message cannot be decompressed").await;
    packed(&frame(0xc9, b""), 1002, "only the first frame of a message is marked").await;
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_rules_of_messages() {
    let fatal = |cause: &str| {
        let error = format!("Received Invalid JSON on websocket: {cause}");
        [Got::Text(json!({"type":"FatalError","error":error})), Got::Close(None, String::new())]
    };
    check(None, &frame(0x81, b""), &fatal("expected an object")).await;
    check(None, &frame(0x81, b"[]"), &fatal("expected an object")).await;
    let unknown = fatal("unknown message type \"Hi\"");
    check(None, &frame(0x81, br#"{"type":"Hi"}"#), &unknown).await;
    // In three frames with a ping between them, it is the same message.
    let parts = [frame(0x01, br#"{"type""#), frame(0x89, b"x"), frame(0x00, br#":"Hi""#)];
    let parts = [parts.concat(), frame(0x80, b"}")].concat();
    check(None, &parts, &unknown).await;
    let internal = [closed(1011, "InternalServerError")];
    check(None, &frame(0x82, b"{}"), &internal).await;
    let again = json!({"type":"Connect","sessionId":"00000000-0000-4000-8000-000000000002","connectionCount":0});
    check(None, &frame(0x81, again.to_string().as_bytes()), &internal).await;
    // Deep values: an error, not a stack that overflows.
    let deep = format!(
        r#"{{"type":"Mutation","requestId":0,"udfPath":"a","args":[{}{}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let world = World::new();
    let mut client = world.open(None);
    client.raw(&frame(0x81, deep.as_bytes())).await;
    world.settle().await;
    let got = client.next().await;
    let Got::Text(message) = &got else { panic!("{got:?}") };
    assert!(matches!(message["type"].as_str(), Some("FatalError" | "MutationResponse")), "{got:?}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_step_is_fatal_and_the_next_socket_begins_at_zero() {
    let world = World::new();
    let (mut first, mut other) = (world.open(None), world.open(None));
    for client in [&mut first, &mut other] {
        client.connect().await;
        client.add(&[(0, "notes:list", json!({}))]).await;
    }
    world.settle().await;
    first.query_set = 0;
    first.add(&[(1, "notes:list", json!({}))]).await;
    first.transition().await;
    let error = "Base version 0 passed up doesn't match the current version 1";
    let fatal = Got::Text(json!({"type":"FatalError","error":error}));
    assert_eq!(first.end().await, [fatal, Got::Close(None, String::new())]);
    let mut second = world.open(None);
    let session = "00000000-0000-4000-8000-000000000001";
    second.send(&json!({"type":"Connect","sessionId":session,"connectionCount":1})).await;
    second.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    let message = second.message().await;
    let start = json!({"querySet":0,"identity":0,"ts":"AAAAAAAAAAA="});
    assert_eq!((&message["startVersion"], &message["endVersion"]["querySet"]), (&start, &json!(1)));
    other.transition().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_gets_its_close_back() {
    let world = World::new();
    let payload = |code: u16| code.to_be_bytes().to_vec();
    for (sent, got) in [
        (vec![], Got::Close(None, String::new())),
        (payload(1000), closed(1000, "")),
        (payload(4001), closed(4001, "")),
    ] {
        let mut client = world.open(None);
        client.connect().await;
        client.raw(&frame(0x88, &sent)).await;
        assert_eq!(client.end().await, [got]);
        while world.open_sockets() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_half_is_gone() {
    let world = World::new();
    let mut client = world.open(None);
    client.connect().await;
    client.add(&[(0, "notes:list", json!({}))]).await;
    client.io.shutdown().await.unwrap();
    assert!(matches!(client.end().await.last(), Some(Got::Close(None, _))));
    let half = world.open(None);
    drop(half);
    let mut cut = world.open(None);
    // In the middle of a frame.
    cut.raw(&frame(0x81, br#"{"type":"Event"}"#)[..9]).await;
    drop(cut);
    while world.open_sockets() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_so() {
    let world = World::new();
    let mut clients: Vec<_> = (0..3).map(|_| world.open(Some(OFFER))).collect();
    for client in &mut clients {
        client.connect().await;
    }
    world.settle().await;
    world.stop.send(true).unwrap();
    for client in &mut clients {
        assert_eq!(client.end().await, [closed(1001, "ServerShutdown")]);
    }
    // Those that answer nothing are waited for, but not for long.
    let start = tokio::time::Instant::now();
    while world.open_sockets() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
