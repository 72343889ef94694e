//! Identity: signing in and out, admin keys, tokens that are refused, renewed, expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use convex::base_client::AuthTokenFetcher;
use convex::{AuthenticationToken, Value};
use convex_sync_types::UserIdentityAttributes;
use rust_client_tests::stage::{
    ALL, Stage, connect, conversation, mutation, pause, query, send, set_presence,
};
use rust_client_tests::watch::{
    Args, Watch, args, array, bodies, error, field, page, text, texts, value,
};

const SHORT_TTL_SECONDS: u32 = 1;
/// The server accepts a token for some seconds more.
const LIFE_SECONDS_MAX: u64 = 15;
const CALL_EVERY_MS: u64 = 40;
const REFUSALS: usize = 3;

#[tokio::test]
async fn signing_in_and_out_and_as_another() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut rooms = Vec::new();
    for name in ["alice", "bob"] {
        rooms.push((name, conversation(&mut stage.client(name).await, &[]).await));
    }
    let mut client = connect(&proxy.url()).await;
    let mut list = Watch::new(&mut client, "conversations:list", Args::new()).await;
    assert!(array(&value(list.next().await)).is_empty());
    let create = || args([("memberIds", Value::Array(Vec::new()))]);
    for (name, room) in rooms.iter().cycle().take(4) {
        client.set_auth(Some(stage.server.token(name).await)).await;
        list.until(|result| texts(result, "_id") == [room.as_str()]).await;
        client.set_auth(None).await;
        list.until(|result| array(result).is_empty()).await;
        let text = error(mutation(&mut client, "conversations:create", create()).await);
        assert!(text.contains("Uncaught Error: Not authenticated"), "{text}");
    }
    assert_eq!(proxy.counts().attempts, 1);
}

#[tokio::test]
async fn what_is_asked_right_after_signing_in_runs_as_that_user() {
    let stage = Stage::new().await;
    let mut client = stage.anonymous().await;
    for name in ["alice", "bob", "alice", "bob"] {
        client.set_auth(Some(stage.server.token(name).await)).await;
        let room = conversation(&mut client, &[]).await;
        let rooms = value(query(&mut client, "conversations:list", Args::new()).await);
        let newest = &array(&rooms)[0];
        assert_eq!(text(field(newest, "_id")), room);
        assert_eq!(field(newest, "memberIds"), &Value::Array(vec![name.into()]));
    }
}

#[tokio::test]
async fn an_admin_reaches_internal_functions_and_acts_as_a_user() {
    let stage = Stage::new().await;
    let room = conversation(&mut stage.client("alice").await, &[]).await;
    let mut admin = stage.anonymous().await;
    let key = stage.server.admin_key().await;
    admin.set_admin_auth(key.clone(), None).await;
    let done = mutation(&mut admin, "presence:cleanupPresence", Args::new()).await;
    assert_eq!(value(done), Value::Null);

    let alice = UserIdentityAttributes {
        subject: Some("alice".into()),
        issuer: Some("https://issuer.example".into()),
        ..UserIdentityAttributes::default()
    };
    admin.set_admin_auth(key, Some(alice)).await;
    send(&mut admin, &room, "as alice").await;
    let messages = stage.stored("alice", &room).await;
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_reconnect_asks_for_a_fresh_token() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let token = stage.server.token("alice").await;
    let forced = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&forced);
    let fetcher: AuthTokenFetcher = Box::new(move |force| {
        count.fetch_add(usize::from(force), Ordering::SeqCst);
        let token = token.clone();
        Box::pin(async move { Ok(AuthenticationToken::User(token)) })
    });
    let mut alice = connect(&proxy.url()).await;
    alice.set_auth_callback(Some(fetcher)).await;
    let first = conversation(&mut alice, &[]).await;
    let mut list = Watch::new(&mut alice, "conversations:list", Args::new()).await;
    list.next().await;
    proxy.cut();
    proxy.until(|counts| counts.accepted == 2).await;
    let second = conversation(&mut stage.client("alice").await, &[]).await;
    list.until(|result| texts(result, "_id") == [second.as_str(), first.as_str()]).await;
    assert_eq!((forced.load(Ordering::SeqCst), proxy.counts().attempts), (1, 2));
}

// The client sends a refused token again and again, each time later. It counts a refusal twice, as a
// message and as the close that follows it, and may drop connections that were good: so nothing here
// waits for a refused client to recover.
#[tokio::test]
async fn a_refused_token_is_refused_as_often_as_it_comes() {
    let (stage, other) = (Stage::new().await, Stage::new().await);
    let genuine = stage.server.token("alice").await;
    let (rest, signature) = genuine.rsplit_once('.').expect("a token has three parts");
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{rest}.{first}{}", &signature[1..]);
    let foreign = other.server.token("alice").await;
    let mut refused = Vec::new();
    for bad in ["nonsense", "a.b.c", &forged, &foreign] {
        let proxy = stage.proxy().await;
        let mut client = connect(&proxy.url()).await;
        client.set_auth(Some(bad.to_owned())).await;
        refused.push((client, proxy));
    }
    for (_, proxy) in &refused {
        proxy.until(|counts| counts.ended >= REFUSALS).await;
    }
    conversation(&mut stage.client("alice").await, &[]).await;
}

#[tokio::test]
async fn a_token_expires_unless_it_is_renewed() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    set_presence(&mut alice, &room, "online").await;
    let (keeping, losing) = (stage.proxy().await, stage.proxy().await);
    let mut clients = Vec::new();
    for proxy in [&keeping, &losing] {
        let mut client = connect(&proxy.url()).await;
        client.set_auth(Some(stage.server.short_token("bob", SHORT_TTL_SECONDS).await)).await;
        let fields = args([("conversationId", room.as_str().into())]);
        let mut watch = Watch::new(&mut client, "presence:getPresence", fields).await;
        watch.until(|records| !array(records).is_empty()).await;
        clients.push((client, watch));
    }
    let (renewed, shown) = &mut clients[0];
    renewed.set_auth(Some(stage.server.token("bob").await)).await;

    let mut calls = 0;
    while losing.counts().accepted == 1 {
        set_presence(&mut alice, &room, "online").await;
        pause(CALL_EVERY_MS).await;
        calls += 1;
        assert!(calls * CALL_EVERY_MS < LIFE_SECONDS_MAX * 1000, "the token outlived its time");
    }
    losing.until(|counts| counts.ended >= REFUSALS).await;
    set_presence(&mut alice, &room, "typing").await;
    shown.until(|records| texts(records, "status") == ["typing"]).await;
    send(renewed, &room, "still here").await;
    assert_eq!(keeping.counts().attempts, 1);

    let mut fresh = stage.client("bob").await;
    let list = value(query(&mut fresh, "messages:list", page(&room, ALL, None)).await);
    assert_eq!(bodies(&list), ["still here"]);
}
