//! What compression saves, and that nothing else changes by it.

use super::*;

/// Twenty times the words of a note, no two notes the same.
fn text(n: usize) -> String {
    format!("note {n}: the quick brown fox jumps over the lazy dog. ").repeat(40)
}

#[tokio::test(start_paused = true)]
async fn updates_of_a_large_result_cost_a_twentieth() {
    let world = World::new();
    let (mut packed, mut plain) = (world.open(Some(OFFER)), world.open(None));
    for n in 0..100 {
        packed.mutate(n, "notes:add", json!({"text":text(n as usize)})).await;
    }
    world.settle().await;
    for client in [&mut packed, &mut plain] {
        client.connect().await;
        client.add(&[(0, "notes:list", json!({}))]).await;
    }
    world.settle().await;
    let size = plain.transition().await[0].to_string().len();
    assert!(size > 200_000, "{size}");
    while packed.transition().await.is_empty() {}
    for n in 0..100 {
        let before = (packed.bytes, packed.compressed, plain.bytes);
        plain.mutate(n, "notes:replace", json!({"text":format!("another one: {n}")})).await;
        world.settle().await;
        let (shown, expected) = (packed.transition().await, plain.transition().await);
        assert_eq!(shown, expected);
        assert!(shown[0]["value"][0]["text"].as_str().unwrap().ends_with(&format!(" {n}")));
        let packed = (packed.bytes - before.0, packed.compressed - before.1);
        let plain = plain.bytes - before.2;
        assert!(packed.0 * 20 < plain && packed.1 == 1, "{packed:?} of {plain}");
    }
    assert_eq!(plain.compressed, 0);
}

#[tokio::test(start_paused = true)]
async fn both_sides_may_compress_and_nobody_must() {
    let world = World::new();
    let offers = [
        None,
        Some(OFFER),
        Some("permessage-deflate; server_no_context_takeover"),
        Some("permessage-deflate; server_max_window_bits=9"),
    ];
    for offer in offers {
        let mut client = world.open(offer);
        client.connect().await;
        client.add(&[(0, "notes:list", json!({}))]).await;
        world.settle().await;
        client.transition().await;
    }
    // What a client compresses stands alone: the same bytes twice are the same message.
    let mut client = world.open(Some(OFFER));
    let event = json!({"type":"Event","eventType":"x".repeat(100),"event":null}).to_string();
    let mut payload = Vec::with_capacity(1000);
    let mut compress = flate2::Compress::new(flate2::Compression::default(), false);
    compress.compress_vec(event.as_bytes(), &mut payload, flate2::FlushCompress::Sync).unwrap();
    payload.truncate(payload.len() - 4);
    for _ in 0..2 {
        client.raw(&frame(0xc1, &payload)).await;
    }
    client.raw(&frame(0x89, b"still there")).await;
    while client.next().await != Got::Pong(b"still there".to_vec()) {}
}

#[tokio::test(start_paused = true)]
async fn a_quiet_socket_keeps_no_compressor() {
    let world = World::new();
    let mut client = world.open(Some(OFFER));
    client.mutate(0, "notes:add", json!({"text":text(0)})).await;
    client.connect().await;
    client.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    while client.transition().await.is_empty() {}
    assert!(world.service.codecs.contexts_bytes() > 0);
    let mut pings = 0;
    while world.service.codecs.contexts_bytes() > 0 {
        pings += usize::from(client.next().await == Got::Ping);
    }
    assert!((12..15).contains(&pings), "after a minute: {pings}");
}
