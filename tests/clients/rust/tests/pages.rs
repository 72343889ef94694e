//! Pages, by cursor and by hand: this client has no other way.

use convex::{ConvexClient, FunctionResult, Value};
use rust_client_tests::stage::{Stage, conversation, mutation, query, send};
use rust_client_tests::watch::{Watch, args, bodies, field, page, text, value};

const COUNT: usize = 12;

async fn fill(client: &mut ConvexClient, room: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..COUNT {
        ids.push(send(client, room, &n.to_string()).await);
    }
    ids
}

async fn page_at(client: &mut ConvexClient, room: &str, size: f64, cursor: Option<&str>) -> Value {
    value(query(client, "messages:list", page(room, size, cursor)).await)
}

fn cursor(page: &Value) -> String {
    text(field(page, "continueCursor"))
}

#[tokio::test]
async fn walking_by_cursor_meets_every_message_once() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    fill(&mut alice, &room).await;
    let newest_first: Vec<_> = (0..COUNT).rev().map(|n| n.to_string()).collect();
    for size in [1.0, 5.0, COUNT as f64, 100.0] {
        let mut met = Vec::new();
        let mut at = None;
        for pages in 1.. {
            let result = page_at(&mut alice, &room, size, at.as_deref()).await;
            assert!(bodies(&result).len() <= size as usize);
            met.extend(bodies(&result));
            if field(&result, "isDone") == &Value::Boolean(true) {
                break;
            }
            assert!(pages <= COUNT, "the walk does not end");
            at = Some(cursor(&result));
        }
        assert_eq!(met, newest_first);
    }
}

#[tokio::test]
async fn a_cursor_outlives_its_message_and_its_client() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &["bob"]).await;
    let ids = fill(&mut alice, &room).await;
    let first = page_at(&mut alice, &room, 5.0, None).await;
    assert_eq!(bodies(&first), ["11", "10", "9", "8", "7"]);
    for n in [7, 6] {
        let fields = args([("messageId", ids[n].as_str().into())]);
        value(mutation(&mut alice, "messages:remove", fields).await);
    }
    for mut client in [alice, stage.client("bob").await] {
        let second = page_at(&mut client, &room, 5.0, Some(&cursor(&first))).await;
        assert_eq!(bodies(&second), ["5", "4", "3", "2", "1"]);
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_is_recognised() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let (here, there) = (conversation(&mut alice, &[]).await, conversation(&mut alice, &[]).await);
    fill(&mut alice, &here).await;
    let foreign = cursor(&page_at(&mut alice, &here, 5.0, None).await);
    for bad in [foreign.as_str(), "broken", ""] {
        let result = query(&mut alice, "messages:list", page(&there, 5.0, Some(bad))).await;
        let FunctionResult::ConvexError(error) = result else { panic!("accepted: {result:?}") };
        assert_eq!(field(&error.data, "paginationError"), &"InvalidCursor".into());
    }
}

#[tokio::test]
async fn a_live_page_keeps_its_end() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    fill(&mut alice, &room).await;
    let mut first = Watch::new(&mut alice, "messages:list", page(&room, 5.0, None)).await;
    let at = cursor(&value(first.next().await));
    let second = page(&room, 5.0, Some(&at));
    let mut second = Watch::new(&mut alice, "messages:list", second).await;
    assert_eq!(bodies(&value(second.next().await)), ["6", "5", "4", "3", "2"]);
    send(&mut alice, &room, "12").await;
    let grown = first.until(|result| bodies(result)[0] == "12").await;
    assert_eq!(bodies(&grown), ["12", "11", "10", "9", "8", "7"], "no gap and no overlap");
}
