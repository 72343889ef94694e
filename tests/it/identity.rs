//! What must not cross identities, at the door of the runtime and on whole connections.

use functions::{CallEnd, Caller, ClientCall, Parent, RequestKey};
use parking_lot::Mutex;
use std::sync::Arc;
use tests::app::base;
use tests::world::{World, user};
use value::{Object, Value};

fn world() -> World {
    World::new(base().build().unwrap(), 1, engine::Options::default())
}

fn callers() -> Vec<Caller> {
    let as_alice = Caller { admin: true, ..user("alice") };
    vec![Caller::default(), user("alice"), user("bob"), Caller::ADMIN, as_alice]
}

/// Runs a mutation to its end.
fn mutate(world: &World, caller: &Caller, key: RequestKey, name: &str) -> CallEnd {
    let mut args = Object::new();
    args.insert("name", Value::from(name));
    let args = vec![Value::Object(args)];
    let call = ClientCall { path: "counters:incr".into(), args, caller: caller.clone() };
    let end = Arc::new(Mutex::new(None));
    let told = Arc::clone(&end);
    let done = Box::new(move |end| *told.lock() = Some(end));
    world.runtime.mutation(call, Some(key), Parent::default(), done);
    world.settle();
    let end = end.lock().take();
    end.expect("every mutation ends")
}

#[test]
fn a_record_of_a_request_is_its_callers_alone() {
    let world = world();
    let key = RequestKey { session: [5; 16], request: 3 };
    let first: Vec<CallEnd> =
        callers().iter().map(|caller| mutate(&world, caller, key, "a")).collect();
    let values = |ends: &[CallEnd]| -> Vec<Value> {
        ends.iter().map(|end| end.result.clone().unwrap()).collect()
    };
    // Each ran, though all of them say that they are request 3 of the same session.
    let counted: Vec<Value> = (1..=callers().len()).map(|n| Value::from(n as f64)).collect();
    assert_eq!(values(&first), counted);
    // Sent again, each gets its own answer, and nothing runs: nobody replaced the record of another.
    let runs = world.runtime.stats().executions;
    let again: Vec<CallEnd> =
        callers().iter().map(|caller| mutate(&world, caller, key, "a")).collect();
    assert_eq!(values(&again), counted);
    assert_eq!(world.runtime.stats().executions, runs);
}
