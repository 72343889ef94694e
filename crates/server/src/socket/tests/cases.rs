//! What breaks others: lost answers, stampedes, subscriptions that stay. The numbers name the cases.

use protocol::limits::{BURST_FREE, BURST_INTERVAL_MS};

use super::*;

/// A client's socket that comes back with everything it wants.
async fn come_back(world: &World, count: u32, queries: &[(u32, &str, Json)]) -> Client {
    let mut client = world.open(None);
    let session = "00000000-0000-4000-8000-000000000001";
    client.send(&json!({"type":"Connect","sessionId":session,"connectionCount":count})).await;
    client.add(queries).await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_mutation_whose_answer_is_lost_runs_once() {
    let world = World::new();
    let list = [(0, "notes:list", json!({}))];
    for request in 0..200 {
        let text = request.to_string();
        let mut client = come_back(&world, request * 2, &list).await;
        client.mutate(request, "notes:add", json!({"text":text})).await;
        world.settle().await;
        // It has committed; the answer is on the wire when that is cut.
        drop(client);
        let mut client = come_back(&world, request * 2 + 1, &list).await;
        client.mutate(request, "notes:add", json!({"text":text})).await;
        world.settle().await;
        let mut answers = 0;
        let shown = loop {
            let message = client.message().await;
            match message["type"].as_str().unwrap() {
                "MutationResponse" => {
                    assert_eq!(
                        (&message["success"], &message["requestId"]),
                        (&json!(true), &json!(request))
                    );
                    answers += 1;
                }
                "Transition" if answers > 0 => break message["modifications"][0]["value"].clone(),
                other => panic!("{other} before the answer"),
            }
        };
        let texts = shown.as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap());
        assert_eq!(texts.filter(|shown| *shown == text).count(), 1, "{request}");
        assert_eq!((shown.as_array().unwrap().len(), answers), (request as usize + 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stampede_runs_each_query_once() {
    const CLIENTS: u32 = 300;
    let world = World::new();
    let queries = [
        (0, "notes:list", json!({})),
        (1, "notes:number", json!({"n":1.0})),
        (2, "notes:number", json!({"n":2.0})),
    ];
    let runs = || world.service.runtime.live().stats().runs;
    for round in 0..3 {
        let before = runs();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(come_back(&world, round, &queries).await);
        }
        world.settle().await;
        for client in &mut clients {
            assert_eq!(client.transition().await.len(), 3);
        }
        assert!(runs() - before <= if round == 0 { 3 } else { 0 }, "of 900: {}", runs() - before);
        // Everybody is there, and somebody writes.
        let before = runs();
        clients[0].mutate(round, "notes:add", json!({"text":"x"})).await;
        world.settle().await;
        assert_eq!(runs() - before, 1);
        for client in &mut clients {
            assert_eq!(client.transition().await.len(), 1);
        }
        // All are cut at once.
        drop(clients);
        while world.open_sockets() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unsubscribed_means_stopped() {
    let world = World::new();
    let mut writer = world.open(None);
    writer.connect().await;
    for round in 0..20 {
        let mut clients = Vec::new();
        for n in 0..10_u32 {
            let mut client = world.open(None);
            let own = |id: u32| f64::from(round * 1000 + n * 20 + id);
            let adds: Vec<_> =
                (0..20).map(|id| (id, "notes:countFrom", json!({"n":own(id)}))).collect();
            client.add(&adds).await;
            clients.push(client);
        }
        world.settle().await;
        for (n, mut client) in clients.into_iter().enumerate() {
            assert_eq!(client.transition().await.len(), 20);
            if n % 2 == 0 {
                let gone: Vec<Json> =
                    (0..20).map(|id| json!({"type":"Remove","queryId":id})).collect();
                client.send(&json!({"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":gone})).await;
                world.settle().await;
                assert_eq!(client.transition().await.len(), 20);
            }
        }
        while world.open_sockets() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let before = world.service.runtime.live().stats();
        assert_eq!((before.entries, before.sessions), (0, 1), "round {round}");
        writer.mutate(round, "notes:add", json!({"text":"x"})).await;
        world.settle().await;
        while writer.message().await["type"] != "MutationResponse" {}
        let after = world.service.runtime.live().stats();
        assert_eq!(
            (after.runs - before.runs, after.entries, after.idle),
            (0, 0, 0),
            "round {round}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_from_the_future_is_sent_away() {
    let world = World::new();
    let mut client = world.open(None);
    let session = "00000000-0000-4000-8000-000000000001";
    let future = Timestamp(START.0 * 2).to_wire();
    client.send(&json!({"type":"Connect","sessionId":session,"connectionCount":1,"maxObservedTimestamp":future})).await;
    let start = tokio::time::Instant::now();
    client.add(&[]).await;
    assert_eq!(client.end().await, [closed(1011, "InternalServerError")]);
    // It was given the time in which a server that is only behind would have caught up.
    assert!((5..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn mutations_of_one_socket_run_in_the_order_sent() {
    let world = World::new();
    let mut client = world.open(None);
    client.connect().await;
    for n in 0..100 {
        client.mutate(n, "notes:add", json!({"text":n.to_string()})).await;
    }
    client.add(&[(0, "notes:list", json!({}))]).await;
    world.settle().await;
    let mut last = String::new();
    for n in 0..100 {
        let answer = loop {
            let message = client.message().await;
            if message["type"] == "MutationResponse" {
                break message;
            }
        };
        assert_eq!((&answer["requestId"], &answer["success"]), (&json!(n), &json!(true)));
        let ts = Timestamp::from_wire(answer["ts"].as_str().unwrap()).unwrap();
        let ts = format!("{:020}", ts.0);
        assert!(ts > last, "{n} has committed before the one sent before it");
        last = ts;
    }
}

/// How many transitions each of 30 watchers gets of 2,000 heartbeats in two seconds. What comes alone
/// after them is there at once.
async fn burst(burst_interval_ms: i64) -> Vec<usize> {
    let mut world = World::new();
    world.service.options.socket.session.burst_interval_ms = burst_interval_ms;
    let mut writer = world.open(None);
    writer.connect().await;
    writer.mutate(0, "notes:add", json!({"text":"0"})).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(come_back(&world, 0, &[(0, "notes:list", json!({}))]).await);
    }
    world.settle().await;
    for client in &mut clients {
        assert_eq!(client.transition().await[0]["value"][0]["text"], "0");
    }
    for heartbeat in 1..=2000 {
        writer.mutate(heartbeat, "notes:replace", json!({"text":heartbeat.to_string()})).await;
        world.settle().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut counts = Vec::new();
    for client in &mut clients {
        // The newest state comes to everybody, whatever was left out before it.
        let mut count = 1;
        while client.transition().await[0]["value"][0]["text"] != "2000" {
            count += 1;
        }
        counts.push(count);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = tokio::time::Instant::now();
    writer.mutate(2001, "notes:replace", json!({"text":"alone"})).await;
    world.settle().await;
    for client in &mut clients {
        assert_eq!(client.transition().await[0]["value"][0]["text"], "alone");
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    counts
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_heartbeats_reaches_watchers_ten_times_a_second() {
    let counts = burst(BURST_INTERVAL_MS).await;
    let most = 2000 / BURST_INTERVAL_MS + BURST_FREE;
    assert!(counts.iter().all(|count| (20..=most as usize).contains(count)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_a_burst_reaches_watchers_with_every_commit() {
    let counts = burst(0).await;
    assert_eq!(counts, [2000; 30]);
}
