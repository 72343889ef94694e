//! Actions, and functions that throw data: what the presence application does not have.

use convex::Value;
use rust_client_tests::stage::{Stage, action, connect, mutation, query, within};
use rust_client_tests::watch::{Args, Watch, args, data, error, value};

const CALLS: usize = 20;

fn counter(name: &str) -> Args {
    args([("name", name.into())])
}

#[tokio::test]
async fn an_action_runs_a_mutation_and_watchers_see_it() {
    let stage = Stage::base().await;
    let (client, mut other) = (stage.anonymous().await, stage.anonymous().await);
    let mut watch = Watch::new(&mut other, "counters:count", counter("seen")).await;
    assert_eq!(value(watch.next().await), Value::Null);
    let calls = (0..CALLS).map(|_| {
        let mut client = client.clone();
        async move { value(action(&mut client, "counters:act", counter("seen")).await) }
    });
    let answers = within(futures::future::join_all(calls)).await;
    for n in 1..=CALLS {
        assert!(answers.contains(&Value::Float64(n as f64)), "{n} is missing: {answers:?}");
    }
    watch.until(|value| value == &Value::Float64(CALLS as f64)).await;
}

#[tokio::test]
async fn what_a_function_throws_arrives_with_its_data() {
    let stage = Stage::base().await;
    let mut client = stage.anonymous().await;
    let named = || counter("thrown");
    let mut strict = Watch::new(&mut client, "counters:strict", named()).await;
    let missing = args([("code", "missing".into()), ("name", "thrown".into())]);
    assert_eq!(data(strict.next().await), Value::Object(missing));
    for before in [0.0, 1.0] {
        let failed = data(mutation(&mut client, "counters:fail", named()).await);
        assert_eq!(failed, Value::Object(args([("value", before.into())])));
        let thrown = data(action(&mut client, "counters:actAndThrow", named()).await);
        assert_eq!(thrown, Value::Object(args([("code", "thrown".into())])));
        // What an action did stays, what a mutation did not.
        let count = value(query(&mut client, "counters:count", named()).await);
        assert_eq!(count, Value::Float64(before + 1.0));
    }
    strict.until(|value| value == &Value::Float64(2.0)).await;
}

#[tokio::test]
async fn an_action_in_flight_is_sent_again_when_the_connection_is_lost() {
    let stage = Stage::base().await;
    let proxy = stage.proxy().await;
    let mut client = connect(&proxy.url()).await;
    proxy.cut_at(r#""type":"ActionResponse""#, 1);
    let answer = action(&mut client, "counters:act", counter("in flight")).await;
    assert_eq!((value(answer), proxy.counts().attempts), (Value::Float64(2.0), 2));
}

#[tokio::test]
async fn wrong_calls() {
    let stage = Stage::base().await;
    let mut client = stage.anonymous().await;
    let number = args([("name", 1.0.into())]);
    for (result, expected) in [
        (action(&mut client, "counters:act", number).await, "ArgumentValidationError"),
        (
            action(&mut client, "counters:incr", counter("wrong")).await,
            "as Action, but it is defined as Mutation.",
        ),
        (
            mutation(&mut client, "counters:act", counter("wrong")).await,
            "as Mutation, but it is defined as Action.",
        ),
    ] {
        let text = error(result);
        assert!(text.contains(expected), "{text}");
    }
    let count = value(query(&mut client, "counters:count", counter("wrong")).await);
    assert_eq!(count, Value::Null);
}
