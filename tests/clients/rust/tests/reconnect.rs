//! Lost connections and lost servers. This client opens each socket with a new session, so that a
//! mutation whose answer was lost runs again; nothing is lost, and every view recovers.

use std::collections::BTreeSet;
use std::time::Duration;

use convex::ConvexClient;
use rust_client_tests::proxy::{Proxy, Side};
use rust_client_tests::stage::{ALL, Stage, conversation, query, send, send_once, set_presence};
use rust_client_tests::watch::{
    Args, Watch, args, array, bodies, field, ids, page, text, texts, value,
};

const CUTS: usize = 6;
const MESSAGES: usize = 40;
const DELAY: Duration = Duration::from_millis(30);

/// `name` behind `proxy`, with the list of messages of `room` on the screen.
async fn viewer(stage: &Stage, proxy: &Proxy, name: &str, room: &str) -> (ConvexClient, Watch) {
    let mut client = stage.client_via(proxy, name).await;
    let mut messages = Watch::new(&mut client, "messages:list", page(room, ALL, None)).await;
    messages.next().await;
    (client, messages)
}

#[tokio::test]
async fn subscriptions_go_on_after_a_cut() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let (mut bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
    let mut rooms = Watch::new(&mut bob, "conversations:list", Args::new()).await;
    rooms.next().await;
    for n in 1..=3 {
        proxy.cut();
        send(&mut alice, &room, &n.to_string()).await;
        messages.until(|result| bodies(result).len() == n).await;
        let other = conversation(&mut alice, &["bob"]).await;
        rooms.until(|result| texts(result, "_id").first() == Some(&other)).await;
    }
    assert_eq!(proxy.counts().attempts, 4);
}

#[tokio::test]
async fn what_was_missed_during_an_outage_is_seen_after_it() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let (mut bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
    let dropped = Watch::new(&mut bob, "conversations:list", Args::new()).await;
    proxy.refuse(4);
    proxy.cut();
    send(&mut alice, &room, "missed").await;
    drop(dropped);
    proxy.until(|counts| counts.attempts == 6).await;
    messages.until(|result| bodies(result) == ["missed"]).await;
    let mut late = Watch::new(&mut bob, "conversations:list", Args::new()).await;
    late.until(|rooms| array(rooms).len() == 1).await;
    assert_eq!(proxy.counts().accepted, 2);
}

#[tokio::test]
async fn calls_during_an_outage_happen_after_it() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut messages = Watch::new(&mut alice, "messages:list", page(&room, ALL, None)).await;
    messages.next().await;
    for n in 0..3 {
        proxy.refuse(2);
        proxy.cut();
        send_once(&mut alice, &room, &n.to_string()).await;
        messages.until(|result| bodies(result).len() == n + 1).await;
    }
    let counts = proxy.counts();
    assert_eq!(counts.attempts - counts.accepted, 6);
}

#[tokio::test]
async fn either_side_half_closes() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    for side in [Side::Client, Side::Server] {
        let proxy = stage.proxy().await;
        let room = conversation(&mut alice, &["bob"]).await;
        let (mut bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
        proxy.half_close(side);
        send(&mut alice, &room, "x").await;
        proxy.until(|counts| counts.accepted == 2).await;
        messages.until(|result| bodies(result) == ["x"]).await;
        send(&mut bob, &room, "y").await;
        messages.until(|result| bodies(result) == ["y", "x"]).await;
    }
}

// The client gives a silent connection 30 seconds; the server's pings are what it listens for.
#[tokio::test]
async fn a_line_that_went_silent_is_given_up() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let (_bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
    proxy.hold();
    send(&mut alice, &room, "x").await;
    proxy.until(|counts| counts.accepted == 2).await;
    messages.until(|result| bodies(result) == ["x"]).await;
}

#[tokio::test]
async fn a_mutation_whose_answer_was_lost_runs_again() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    for losses in [1, 2] {
        let room = conversation(&mut alice, &[]).await;
        proxy.cut_at(r#""type":"MutationResponse""#, losses);
        let id = send(&mut alice, &room, "x").await;
        let stored = stage.stored("alice", &room).await;
        assert_eq!(stored.len(), losses + 1);
        assert_eq!(stored.last(), Some(&(id, "x".to_owned())));
    }
}

// The client holds a mutation back until the next transition. When the connection is cut between the
// two, it asks again on the next one.
#[tokio::test]
async fn an_answer_without_its_transition() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut messages = Watch::new(&mut alice, "messages:list", page(&room, ALL, None)).await;
    messages.next().await;
    proxy.cut_at(r#""type":"QueryUpdated""#, 1);
    let id = send(&mut alice, &room, "x").await;
    messages.until(|result| ids(result).contains(&id)).await;
    assert_eq!(proxy.counts().attempts, 2);
}

#[tokio::test]
async fn connections_cut_anywhere_lose_nothing() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut messages = Watch::new(&mut alice, "messages:list", page(&room, 3.0, None)).await;
    messages.next().await;
    // From inside the answer to the upgrade to some messages later.
    proxy.cut_after([20, 130, 700, 1500, 3100, 5200]);
    proxy.cut();
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        sent.push(send_once(&mut alice, &room, &n.to_string()).await);
    }
    let last = send(&mut alice, &room, &MESSAGES.to_string()).await;
    assert!(proxy.counts().accepted > CUTS);
    messages.until(|result| ids(result)[0] == last).await;

    let stored = stage.stored("alice", &room).await;
    // What was answered is there, in the order of the answers.
    let answered = sent.into_iter().enumerate().filter_map(|(n, id)| Some((id?, n.to_string())));
    let places: Vec<_> = answered.map(|sent| stored.iter().position(|one| *one == sent)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} of {stored:?}");
    // The rest is there too; what the client sends again comes in an order of its own.
    let numbers: BTreeSet<usize> = stored.iter().map(|(_, body)| body.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..=MESSAGES));
}

// What the server did not get whole did not happen, so that here sending it again is right.
#[tokio::test]
async fn a_request_that_is_cut_anywhere_happens_once() {
    let stage = Stage::new().await;
    // From inside the request for the upgrade to inside the mutation.
    for budget in [1, 60, 250, 420, 700, 800, 860] {
        let proxy = stage.proxy().await;
        let room = conversation(&mut stage.client("alice").await, &[]).await;
        proxy.cut_after_sent([budget]);
        let mut alice = stage.client_via(&proxy, "alice").await;
        let sent = send_once(&mut alice, &room, &"x".repeat(1000)).await;
        send(&mut alice, &room, "end").await;
        let stored = stage.stored("alice", &room).await;
        let firsts: String = stored.iter().filter_map(|(_, body)| body.chars().next()).collect();
        assert_eq!(firsts, "xe", "cut after {budget}");
        assert!(sent.is_none_or(|id| id == stored[0].0));
        assert_eq!(proxy.counts().accepted, 2);
    }
}

#[tokio::test]
async fn lines_that_are_late_or_deliver_single_bytes() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    for late in [true, false] {
        let proxy = stage.proxy().await;
        if late {
            proxy.delay(DELAY);
            proxy.delay_up(DELAY);
        }
        let room = conversation(&mut alice, &["bob"]).await;
        let (mut bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
        if !late {
            // Not before: the client takes an answer to the upgrade in many small pieces for an attack.
            proxy.split();
        }
        for n in 0..4 {
            send(&mut alice, &room, &format!("alice {n}")).await;
            send(&mut bob, &room, &format!("bob {n} \u{e4}\u{1f600}")).await;
        }
        let all = messages.until(|result| bodies(result).len() == 8).await;
        let first = value(query(&mut bob, "messages:list", page(&room, 5.0, None)).await);
        let cursor = text(field(&first, "continueCursor"));
        let rest = value(query(&mut bob, "messages:list", page(&room, 5.0, Some(&cursor))).await);
        assert_eq!([bodies(&first), bodies(&rest)].concat(), bodies(&all));
        bob.set_auth(None).await;
        messages.until(|result| bodies(result).is_empty()).await;
        assert_eq!(proxy.counts().attempts, 1);
    }
}

#[tokio::test]
async fn a_token_that_is_being_renewed() {
    let stage = Stage::new().await;
    for before in [true, false] {
        let proxy = stage.proxy().await;
        let mut bob = stage.client_via(&proxy, "bob").await;
        let mut rooms = Watch::new(&mut bob, "conversations:list", Args::new()).await;
        let known = array(&value(rooms.next().await)).len();
        if before {
            proxy.refuse(2);
            proxy.cut();
        } else {
            proxy.cut_at(r#""identity":2"#, 1);
        }
        bob.set_auth(Some(stage.server.short_token("bob", 3000).await)).await;
        let room = conversation(&mut stage.client("bob").await, &[]).await;
        let result = rooms.until(|result| array(result).len() == known + 1).await;
        assert_eq!(texts(&result, "_id")[0], room);
        proxy.until(|counts| counts.accepted == 2).await;
        conversation(&mut bob, &[]).await;
    }
}

#[tokio::test]
async fn live_pages_go_on_after_a_cut_and_a_lost_page() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    for n in 0..12 {
        send(&mut alice, &room, &n.to_string()).await;
    }
    let mut bob = stage.client_via(&proxy, "bob").await;
    let mut first = Watch::new(&mut bob, "messages:list", page(&room, 5.0, None)).await;
    let cursor = text(field(&value(first.next().await), "continueCursor"));
    proxy.cut_at(r#""body":"6""#, 1);
    let second = page(&room, 5.0, Some(&cursor));
    let mut second = Watch::new(&mut bob, "messages:list", second).await;
    second.until(|result| bodies(result) == ["6", "5", "4", "3", "2"]).await;
    assert_eq!(proxy.counts().accepted, 2);
    proxy.cut();
    send(&mut alice, &room, "12").await;
    // This client keeps no journal of a page: after a cut a first page begins anew, with its size.
    first.until(|result| bodies(result) == ["12", "11", "10", "9", "8"]).await;
    second.until(|result| bodies(result) == ["6", "5", "4", "3", "2"]).await;
}

#[tokio::test]
async fn a_slow_line_ends_at_the_newest_state() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let (mut bob, mut messages) = viewer(&stage, &proxy, "bob", &room).await;
    proxy.delay(DELAY);
    let sends = (0..MESSAGES).map(|n| {
        let (mut client, room) = (alice.clone(), room.clone());
        async move { send(&mut client, &room, &n.to_string()).await }
    });
    let mut lengths = Vec::new();
    let watch = messages.until(|result| {
        lengths.push(bodies(result).len());
        lengths.last() == Some(&MESSAGES)
    });
    futures::future::join(futures::future::join_all(sends), watch).await;
    assert!(lengths.is_sorted(), "a step back: {lengths:?}");
    let id = send(&mut bob, &room, "mine").await;
    let result = messages.until(|result| bodies(result)[0] == "mine").await;
    assert_eq!((&ids(&result)[0], proxy.counts().attempts), (&id, 1));
}

#[tokio::test]
async fn subscriptions_and_data_survive_a_kill() {
    let mut stage = Stage::new().await;
    let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    let room = conversation(&mut alice, &["bob"]).await;
    let mut messages = Vec::new();
    let mut presences = Vec::new();
    for client in [&mut alice, &mut bob] {
        messages.push(Watch::new(client, "messages:list", page(&room, ALL, None)).await);
        let fields = args([("conversationId", room.as_str().into())]);
        presences.push(Watch::new(client, "presence:getPresence", fields).await);
    }
    send(&mut alice, &room, "before").await;
    for (n, status) in ["typing", "online", "typing"].into_iter().enumerate() {
        stage.server.kill().await;
        // Asked while nobody is there to answer.
        let body = format!("after {n}");
        let (sent, ()) =
            futures::future::join(send_once(&mut alice, &room, &body), stage.server.restart())
                .await;
        for watch in &mut messages {
            watch.until(|result| bodies(result)[0] == body).await;
        }
        // The client is back: this answer is not lost.
        assert!(sent.is_none_or(|id| !id.is_empty()));
        set_presence(&mut bob, &room, status).await;
        for watch in &mut presences {
            watch.until(|records| texts(records, "status") == [status]).await;
        }
    }
    let stored = stage.stored("bob", &room).await;
    let texts: Vec<_> = stored.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(texts, ["before", "after 0", "after 1", "after 2"]);
}

#[tokio::test]
async fn an_orderly_stop_loses_nothing() {
    let mut stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut messages = Watch::new(&mut alice, "messages:list", page(&room, ALL, None)).await;
    let first = send(&mut alice, &room, "x").await;
    assert!(stage.server.stop().await);
    stage.server.restart().await;
    let second = send_once(&mut alice, &room, "y").await;
    let result = messages.until(|result| bodies(result) == ["y", "x"]).await;
    assert_eq!(ids(&result)[1], first);
    assert!(second.is_none_or(|id| id == ids(&result)[0]));
}
