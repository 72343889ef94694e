//! What one client was told, another one sees from then on.

use std::sync::Arc;

use engine::Options;
use functions::{Caller, ClientCall, Parent};
use parking_lot::Mutex;
use tests::app::base;
use tests::client::{Client, Outcome, Seen};
use tests::world::{START, World};
use value::{Value, object};

#[test]
fn a_query_that_is_added_after_an_answer_shows_what_was_answered() {
    let world = World::new(base().build().unwrap(), 1, Options::default());
    let reader = Arc::new(Mutex::new(Client::new("reader", 1)));
    reader.lock().connect(&world);
    let call = ClientCall {
        path: "counters:incr".to_owned(),
        args: vec![Value::Object(object! { "name" => "a" })],
        caller: Caller::default(),
    };
    // Answers come before live queries hear of the commit: there, somebody else begins to watch.
    let (told, runtime) = (Arc::clone(&reader), Arc::clone(&world.runtime));
    let done = Box::new(move |end: functions::CallEnd| {
        end.result.unwrap();
        let mut reader = told.lock();
        reader.subscribe("counters:count", serde_json::json!({ "name": "a" }));
        let link = reader.link.as_mut().unwrap();
        while let Some(frame) = link.up.pop_front() {
            link.connection.input(protocol::Input::Frame(&frame));
        }
        link.turn();
        while runtime.run_work(0) {}
        link.turn();
    });
    world.runtime.mutation(call, None, Parent::default(), done);
    world.settle();
    let mut reader = reader.lock();
    let mut values = Vec::new();
    for _ in 0..3 {
        let link = reader.link.as_mut().unwrap();
        link.turn();
        while link.write(START) {}
        world.settle();
        while let Some(seen) = reader.read() {
            if let Seen::Transition { changes, .. } = seen {
                values.extend(changes.into_iter().filter_map(|(_, outcome)| outcome));
            }
        }
    }
    assert_eq!(values, [Outcome::Value(serde_json::json!(1.0))]);
}
