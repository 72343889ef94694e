//! Peers that ask for much, read little, or talk without end.

use protocol::limits::QUERIES_MAX;

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_subscriptions_on_one_socket() {
    let world = World::new();
    let (mut client, mut other) = (world.open_with(None, 64 << 20), world.open(None));
    client.connect().await;
    // One message for each, as clients send them.
    for n in 0..QUERIES_MAX as u32 {
        client.add(&[(n, "notes:number", json!({"n":f64::from(n)}))]).await;
    }
    other.connect().await;
    other.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    let mut shown = vec![false; QUERIES_MAX];
    while shown.contains(&false) {
        for change in client.transition().await {
            let id = change["queryId"].as_u64().unwrap() as usize;
            assert_eq!(change["value"], json!(id as f64), "{change}");
            assert!(!std::mem::replace(&mut shown[id], true), "{id} twice");
        }
    }
    other.transition().await;
    client.add(&[(QUERIES_MAX as u32, "notes:number", json!({"n":0.0}))]).await;
    assert_eq!(client.end().await, [closed(1013, "TooManyConcurrentRequests")]);
    other.mutate(0, "notes:add", json!({"text":"x"})).await;
    world.settle().await;
    assert_eq!(other.transition().await[0]["value"][0]["text"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_fewer_and_newer_transitions() {
    let world = World::new();
    let (mut slow, mut quick) = (world.open_with(None, 1 << 10), world.open(None));
    for client in [&mut slow, &mut quick] {
        client.connect().await;
        client.add(&[(0, "notes:list", json!({}))]).await;
    }
    quick.mutate(0, "notes:add", json!({"text":"x".repeat(50_000)})).await;
    world.settle().await;
    let text = |n: u32| format!("{n}{}", "x".repeat(50_000));
    let mut seen = 0;
    for n in 0..50 {
        quick.mutate(n + 1, "notes:replace", json!({"text":text(n)})).await;
        world.settle().await;
        while quick.transition().await.is_empty() {}
        seen += 1;
    }
    assert_eq!(seen, 50);
    // Now it reads: what was on its way, and then the newest.
    let (mut transitions, mut last) = (0, Json::Null);
    while last != text(49) {
        for change in slow.transition().await {
            last = change["value"][0]["text"].clone();
        }
        transitions += 1;
        world.settle().await;
    }
    assert!(transitions <= 4, "{transitions}");
}

#[tokio::test(start_paused = true)]
async fn pings_that_nobody_reads_the_answers_of_do_not_pile_up() {
    let world = World::new();
    let mut client = world.open_with(None, 64);
    let (pings, last) = (10_000_u32, 9_999_u32);
    for n in 0..pings {
        client.raw(&frame(0x89, &n.to_be_bytes())).await;
    }
    let mut pongs = 0;
    loop {
        let got = client.next().await;
        pongs += usize::from(matches!(got, Got::Pong(_)));
        if got == Got::Pong(last.to_be_bytes().to_vec()) {
            break;
        }
    }
    assert!(pongs < 100, "only those that fit, and the last: {pongs}");
}

#[tokio::test(start_paused = true)]
async fn one_burst_is_one_step() {
    let world = World::new();
    let mut client = world.open(None);
    let mut burst = Vec::new();
    let session = "00000000-0000-4000-8000-000000000001";
    let connect = json!({"type":"Connect","sessionId":session,"connectionCount":0});
    burst.extend(frame(0x81, connect.to_string().as_bytes()));
    for n in 0..100 {
        let add =
            json!({"type":"Add","queryId":n,"udfPath":"notes:number","args":[{"n":n as f64}]});
        let step = json!({"type":"ModifyQuerySet","baseVersion":n,"newVersion":n + 1,"modifications":[add]});
        burst.extend(frame(0x81, step.to_string().as_bytes()));
    }
    client.raw(&burst).await;
    world.settle().await;
    let message = client.message().await;
    assert_eq!(message["endVersion"]["querySet"], 100);
    assert_eq!(message["modifications"].as_array().unwrap().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn one_that_talks_without_end_keeps_nobody_waiting() {
    let world = World::new();
    let (mut loud, mut other) = (world.open(None), world.open(None));
    let talk = tokio::spawn(async move {
        let event = frame(0x81, br#"{"type":"Event"}"#);
        loop {
            loud.raw(&event.repeat(500)).await;
        }
    });
    other.connect().await;
    other.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    other.transition().await;
    talk.abort();
}

#[tokio::test(start_paused = true)]
async fn a_large_result_goes_in_parts_that_all_clients_can_read() {
    let world = World::new();
    let mut client = world.open_with(None, 16 << 20);
    client.connect().await;
    for n in 0..7 {
        client.mutate(n, "notes:add", json!({"text":"é".repeat(450_000)})).await;
    }
    world.settle().await;
    client.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    let mut parts = Vec::new();
    loop {
        let message = client.message().await;
        if message["type"] != "TransitionChunk" {
            continue;
        }
        parts.push(message["chunk"].as_str().unwrap().to_owned());
        if message["partNumber"].as_u64().unwrap() + 1 == message["totalParts"].as_u64().unwrap() {
            break;
        }
    }
    assert!(parts.len() > 1);
    let whole: Json = serde_json::from_str(&parts.concat()).unwrap();
    assert_eq!(whole["modifications"][0]["value"].as_array().unwrap().len(), 7);
}
