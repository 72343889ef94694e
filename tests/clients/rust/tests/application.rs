//! Errors, and values on their way to the server: the application echoes what does not fit.

use convex::{ConvexClient, FunctionResult, Value};
use rust_client_tests::stage::{ALL, Stage, action, conversation, message, mutation, query};
use rust_client_tests::watch::{Args, args, array, error, field, page, value};

#[tokio::test]
async fn values_reach_the_server_as_they_are() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let room = conversation(&mut alice, &[]).await;
    for (body, expected) in [
        (Value::Int64(i64::MAX), "9223372036854775807"),
        (Value::Int64(i64::MIN), "-9223372036854775808"),
        (Value::Bytes(vec![0, 255]), r#"b"AP8=""#),
        (Value::Float64(5.0), "5.0"),
        (Value::Float64(0.1), "0.1"),
        (Value::Float64(-0.0), "-0.0"),
        (Value::Float64(f64::NAN), "NaN"),
        (Value::Float64(f64::INFINITY), "inf"),
        (Value::Float64(f64::NEG_INFINITY), "-inf"),
        (Value::Boolean(true), "true"),
        (Value::Null, "null"),
        (Value::Array(vec![1.0.into(), "a".into()]), r#"[1.0, "a"]"#),
        (Value::Object(args([("k", Value::Int64(0))])), "{k: 0}"),
    ] {
        let fields = args([("conversationId", room.as_str().into()), ("body", body)]);
        let text = error(mutation(&mut alice, "messages:send", fields).await);
        let expected = format!("Path: .body\nValue: {expected}\n");
        assert!(text.contains(&expected), "{text} lacks {expected}");
    }
}

#[tokio::test]
async fn plain_errors() {
    let stage = Stage::new().await;
    let mut alice = stage.client("alice").await;
    let foreign = conversation(&mut stage.client("bob").await, &[]).await;
    let own = conversation(&mut alice, &[]).await;
    let without_body = args([("conversationId", own.as_str().into())]);
    for (kind, path, fields, expected) in [
        ("mutation", "messages:send", message(&foreign, "x"), "Uncaught Error: Not a member"),
        ("mutation", "messages:send", without_body, "`body`"),
        ("mutation", "messages:nothing", Args::new(), "function for 'messages:nothing'"),
        ("mutation", "presence:cleanupPresence", Args::new(), "'presence:cleanupPresence'"),
        ("query", "presence:cleanupPresence", Args::new(), "'presence:cleanupPresence'"),
        ("action", "presence:cleanupPresence", Args::new(), "'presence:cleanupPresence'"),
        ("action", "nowhere:nothing", Args::new(), "public function for 'nowhere:nothing'"),
        ("action", "messages:send", Args::new(), "as Action, but it is defined as Mutation."),
        ("query", "messages:send", Args::new(), "as Query, but it is defined as Mutation."),
        ("mutation", "conversations:list", Args::new(), "but it is defined as Query."),
    ] {
        let text = error(call(&mut alice, kind, path, fields).await);
        assert!(text.starts_with("[Request ID: ") && text.contains("] Server Error"), "{text}");
        assert!(text.contains(expected), "{kind} {path}: {text}");
    }
    let rooms = value(query(&mut alice, "conversations:list", Args::new()).await);
    assert_eq!(array(&rooms).len(), 1);
}

async fn call(client: &mut ConvexClient, kind: &str, path: &str, fields: Args) -> FunctionResult {
    match kind {
        "query" => query(client, path, fields).await,
        "mutation" => mutation(client, path, fields).await,
        _ => action(client, path, fields).await,
    }
}

#[tokio::test]
async fn an_error_with_data_keeps_its_data() {
    let stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let mut alice = stage.client_via(&proxy, "alice").await;
    let room = conversation(&mut alice, &[]).await;
    let result = query(&mut alice, "messages:list", page(&room, ALL, Some("broken"))).await;
    let FunctionResult::ConvexError(error) = result else { panic!("no data: {result:?}") };
    assert_eq!(field(&error.data, "isConvexSystemError"), &Value::Boolean(true));
    assert_eq!(field(&error.data, "paginationError"), &"InvalidCursor".into());
    assert!(error.message.contains("InvalidCursor"), "{}", error.message);
    value(query(&mut alice, "messages:list", page(&room, ALL, None)).await);
    assert_eq!(proxy.counts().attempts, 1);
}
