//! Subscriptions: updates of others, one's own writes, several at once, one snapshot.

use convex::{FunctionResult, QueryResults, Value};
use futures::StreamExt as _;
use rust_client_tests::stage::{
    ALL, Stage, conversation, mutation, query, send, set_presence, within,
};
use rust_client_tests::watch::{
    Args, Watch, args, array, bodies, error, field, ids, page, text, texts, value,
};

const OWN_WRITES: usize = 200;
const MOVES: usize = 40;

#[tokio::test]
async fn a_client_sees_what_another_one_writes() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let mut bob = stage.client_via(&proxy, "bob").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let mut messages = Watch::new(&mut bob, "messages:list", page(&room, ALL, None)).await;
    assert!(bodies(&value(messages.next().await)).is_empty());

    let id = send(&mut alice, &room, "hi").await;
    let result = messages.until(|result| !ids(result).is_empty()).await;
    assert_eq!(field(&result, "isDone"), &Value::Boolean(true));
    let [shown] = array(field(&result, "page")) else { panic!("one message: {result:?}") };
    assert!(matches!(field(shown, "_creationTime"), Value::Float64(_)));
    for (name, expected) in
        [("_id", id.as_str()), ("authorId", "alice"), ("body", "hi"), ("conversationId", &room)]
    {
        assert_eq!(text(field(shown, name)), expected);
    }
    assert_eq!(proxy.counts().attempts, 1);
}

#[tokio::test]
async fn a_mutation_is_in_the_view_when_it_returns() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut messages = Watch::new(&mut alice, "messages:list", page(&room, ALL, None)).await;
    messages.next().await;
    for n in 0..OWN_WRITES {
        let id = send(&mut alice, &room, &n.to_string()).await;
        // A query that is subscribed to answers from what the client holds.
        let held = value(query(&mut alice, "messages:list", page(&room, ALL, None)).await);
        assert_eq!((ids(&held).len(), &ids(&held)[0]), (n + 1, &id));
    }
    // The client opens a new connection whenever a message breaks the rules it checks.
    assert_eq!(proxy.counts().attempts, 1);
}

#[tokio::test]
async fn mutations_that_wait_together_keep_their_order() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    let sends = (0..50).map(|n| {
        let (mut client, room) = (alice.clone(), room.clone());
        async move { send(&mut client, &room, &n.to_string()).await }
    });
    // Polled in order, so that they are asked in order.
    let ids = within(futures::future::join_all(sends)).await;
    let expected: Vec<_> = ids.into_iter().enumerate().map(|(n, id)| (id, n.to_string())).collect();
    assert_eq!(stage.stored("alice", &room).await, expected);
}

#[tokio::test]
async fn several_subscriptions_each_get_their_own() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let (here, there) = (conversation(&mut alice, &[]).await, conversation(&mut alice, &[]).await);
    let list = |room: &str| page(room, ALL, None);
    let mut first = Watch::new(&mut alice, "messages:list", list(&here)).await;
    let mut again = Watch::new(&mut alice, "messages:list", list(&here)).await;
    let mut other = Watch::new(&mut alice, "messages:list", list(&there)).await;
    let mut rooms = Watch::new(&mut alice, "conversations:list", Args::new()).await;
    for watch in [&mut first, &mut again, &mut other, &mut rooms] {
        watch.next().await;
    }
    assert_ne!(first.subscription.id(), again.subscription.id());

    send(&mut alice, &here, "x").await;
    first.until(|result| bodies(result) == ["x"]).await;
    again.until(|result| bodies(result) == ["x"]).await;
    rooms.until(|result| texts(result, "_id") == [here.clone(), there.clone()]).await;
    let unchanged = value(query(&mut alice, "messages:list", list(&there)).await);
    assert!(bodies(&unchanged).is_empty());

    drop(first);
    send(&mut alice, &here, "y").await;
    again.until(|result| bodies(result) == ["y", "x"]).await;
    drop(again);
    send(&mut alice, &here, "z").await;
    let fresh = value(query(&mut alice, "messages:list", list(&here)).await);
    assert_eq!(bodies(&fresh), ["z", "y", "x"]);
}

#[tokio::test]
async fn all_queries_of_a_client_are_one_snapshot() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client("alice").await;
    let mut bob = stage.client_via(&proxy, "bob").await;
    let mut rooms = Vec::new();
    for _ in 0..2 {
        rooms.push(conversation(&mut alice, &["bob"]).await);
    }
    set_presence(&mut alice, &rooms[0], "online").await;
    let mut presence = Vec::new();
    for room in &rooms {
        let fields = args([("conversationId", room.as_str().into())]);
        let mut watch = Watch::new(&mut bob, "presence:getPresence", fields).await;
        watch.next().await;
        presence.push(watch);
    }
    let mut end = Watch::new(&mut bob, "messages:list", page(&rooms[0], ALL, None)).await;
    end.next().await;

    let mut views = bob.watch_all();
    let walk = async {
        for n in 1..=MOVES {
            set_presence(&mut alice, &rooms[n % 2], "online").await;
        }
        send(&mut alice, &rooms[0], "end").await;
    };
    let count = |view: &QueryResults, watch: &Watch| match view.get(watch.subscription.id()) {
        Some(FunctionResult::Value(records)) => array(records).len(),
        other => panic!("no result: {other:?}"),
    };
    let look = async {
        for seen in 1.. {
            let view = within(views.next()).await.expect("the client lives");
            assert_eq!(count(&view, &presence[0]) + count(&view, &presence[1]), 1);
            let list = view.get(end.subscription.id()).cloned().expect("a result");
            if !ids(&value(list)).is_empty() {
                return seen;
            }
        }
        unreachable!("the walk ends")
    };
    let (seen, ()) = futures::future::join(look, walk).await;
    assert!(seen > 1);
    assert_eq!(proxy.counts().attempts, 1);
}

#[tokio::test]
async fn a_query_that_fails_leaves_its_neighbours_alone() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    let mut good = Watch::new(&mut alice, "messages:list", page(&room, ALL, None)).await;
    good.next().await;
    for (path, fields, expected) in [
        ("presence:getPresence", args([("conversationId", 7.0.into())]), "ArgumentValidationError"),
        ("presence:nothing", Args::new(), "Could not find public function for 'presence:nothing'"),
        ("messages:send", Args::new(), "Trying to execute messages.js:send as Query"),
    ] {
        let mut bad = Watch::new(&mut alice, path, fields).await;
        let text = error(bad.next().await);
        assert!(text.contains(expected), "{text}");
    }
    send(&mut alice, &room, "still here").await;
    good.until(|result| bodies(result) == ["still here"]).await;
}

#[tokio::test]
async fn a_long_text_arrives_whole() {
    let stage = Stage::new().await;
    let (mut alice, mut bob) = (stage.client("alice").await, stage.client("bob").await);
    let room = conversation(&mut alice, &["bob"]).await;
    let mut messages = Watch::new(&mut bob, "messages:list", page(&room, ALL, None)).await;
    messages.next().await;
    let body = "\u{e4}\u{1f600}".repeat(60_000);
    send(&mut alice, &room, &body).await;
    let result = messages.until(|result| !bodies(result).is_empty()).await;
    assert!(bodies(&result) == [body]);
    assert_eq!(
        value(
            mutation(
                &mut alice,
                "messages:remove",
                args([("messageId", ids(&result)[0].as_str().into())])
            )
            .await
        ),
        Value::Null
    );
}
