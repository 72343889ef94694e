//! Cases that users of other servers met: many callers of one row, over real sockets, and what they see.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use engine::Options;
use functions::{Caller, ClientCall, Parent, Runtime};
use serde_json::{Value as Json, json};
use tests::app::{base, on_pause, without_pauses};
use tests::process::{Process, base_server};
use tests::wire::{Frame, Wire, body, exchange, mutation, post};
use tests::world::World;
use tokio::task::JoinSet;
use value::{Object, Value, object};

struct Server {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let command = base_server(&folder.path().join("data"));
        let process = Process::start(command, &folder.path().join("log"));
        Server { process, _folder: folder }
    }

    fn address(&self) -> String {
        self.process.address.clone()
    }

    async fn socket(&self, number: u64) -> Wire {
        open(&self.process.address, number).await
    }

    /// Calls a function over HTTP.
    async fn ask(&self, kind: &str, path: &str, args: Json) -> Json {
        let call = json!({ "path": path, "args": args }).to_string();
        let request = post(&format!("/api/{kind}"), "", &call);
        let answer = body(&exchange(&self.process.address, request.as_bytes()).await);
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["value"].clone()
    }
}

async fn open(address: &str, number: u64) -> Wire {
    let mut wire = Wire::open(address).await.unwrap();
    wire.connect(number, 0).await;
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_counter_counts_each_call_and_fails_nobody() {
    let server = Server::start();
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let address = server.address();
        clients.spawn(async move {
            let mut wire = open(&address, number).await;
            for request in 0..50 {
                wire.send(&mutation(request, "counters:incr", json!({ "name": "x" }))).await;
            }
            let mut values = Vec::new();
            for request in 0..50 {
                let answer = wire.answer(request).await;
                assert_eq!(answer["success"], true, "{answer}");
                values.push(answer["result"].as_f64().unwrap() as u32);
            }
            values
        });
    }
    let values: BTreeSet<u32> = clients.join_all().await.into_iter().flatten().collect();
    assert!(values.into_iter().eq(1..=1000), "each call had its turn");
    assert_eq!(server.ask("query", "counters:count", json!({ "name": "x" })).await, 1000.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_inserts_what_is_absent_finds_one_row() {
    let server = Server::start();
    let mut clients = JoinSet::new();
    for number in 0..100 {
        let address = server.address();
        clients.spawn(async move {
            let mut wire = open(&address, number).await;
            wire.mutate(0, "counters:getOrCreate", json!({ "name": "x" })).await["result"].clone()
        });
    }
    let ids: BTreeSet<String> = clients.join_all().await.iter().map(Json::to_string).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let mut clients = JoinSet::new();
    let call = json!({ "path": "counters:getOrCreate", "args": { "name": "y" } }).to_string();
    for _ in 0..100 {
        let (address, request) = (server.address(), post("/api/mutation", "", &call));
        clients.spawn(async move {
            body(&exchange(&address, request.as_bytes()).await)["value"].clone()
        });
    }
    let ids: BTreeSet<String> = clients.join_all().await.iter().map(Json::to_string).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    for name in ["x", "y"] {
        assert_eq!(server.ask("query", "counters:strict", json!({ "name": name })).await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_and_its_count_agree_in_every_step() {
    let server = Server::start();
    let mut reader = server.socket(100).await;
    let queries = [
        tests::wire::add(0, "messages:list", json!({ "room": "a" })),
        tests::wire::add(1, "counters:count", json!({ "name": "a" })),
    ];
    reader.modify(queries.into()).await;
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let address = server.address();
        writers.spawn(async move {
            let mut wire = open(&address, number).await;
            for request in 0..125 {
                let args = json!({ "room": "a", "author": "x", "body": "", "n": 0.0 });
                let answer = wire.mutate(request, "messages:sendAndCount", args).await;
                assert_eq!(answer["success"], true, "{answer}");
            }
        });
    }
    let (mut rows, mut count) = (0, 0);
    while count < 1000 {
        for (query, value) in reader.values().await {
            match query {
                0 => rows = value.as_array().unwrap().len(),
                _ => count = value.as_f64().unwrap_or_default() as usize,
            }
        }
        assert_eq!(rows, count, "two queries of one step disagree");
    }
    writers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_before_the_step_that_shows_it_and_that_step_comes() {
    let server = Server::start();
    let mut wire = server.socket(0).await;
    // The first request of a session fails, and is answered, too.
    let answer = wire.mutate(0, "counters:fail", json!({ "name": "a" })).await;
    assert_eq!((&answer["success"], &answer["ts"]), (&json!(false), &Json::Null));
    wire.subscribe(0, "counters:count", json!({ "name": "a" })).await;
    assert_eq!(wire.values().await, [(0, Json::Null)]);
    for request in 1..=500 {
        let answer = wire.mutate(request, "counters:incr", json!({ "name": "a" })).await;
        let ts = answer["ts"].as_str().unwrap().to_owned();
        let step = loop {
            let message = wire.next().await;
            let Frame::Message(message) = message else { panic!("{message:?}") };
            if message["modifications"].as_array().is_some_and(|changes| !changes.is_empty()) {
                break message;
            }
        };
        let value = &step["modifications"][0]["value"];
        assert_eq!(*value, f64::from(request), "shown before it was answered, or not at once");
        let read = |text: &str| value::Timestamp::from_wire(text).unwrap();
        assert!(read(step["endVersion"]["ts"].as_str().unwrap()) >= read(&ts));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_function_does_not_run_as_who_scheduled_it() {
    let server = Server::start();
    let request = post("/dev-auth/token", "", r#"{"user":"alice"}"#);
    // It gives tokens to those who are near.
    let request = request.replace("Host: x", "Host: localhost");
    let token = body(&exchange(&server.process.address, request.as_bytes()).await)["token"].clone();
    let mut wire = server.socket(0).await;
    wire.send(&json!({
        "type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token,
    }))
    .await;
    wire.subscribe(0, "users:me", json!({})).await;
    assert_eq!(wire.values().await, [(0, json!("alice"))]);
    wire.subscribe(1, "tables:all", json!({ "table": "ticks" })).await;
    assert_eq!(wire.values().await, [(1, json!([]))]);
    wire.send(&mutation(0, "jobs:later", json!({ "name": "mine", "ms": 0.0 }))).await;
    assert_eq!(wire.values().await[0].1[0]["name"], "mine", "it ran as nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_arguments_reach_functions_of_every_kind() {
    let server = Server::start();
    let mut wire = server.socket(0).await;
    let mut request = 0;
    for bytes in [100_000, 1_000_000, 5_000_000] {
        let name = json!({ "name": "x".repeat(bytes) });
        assert_eq!(server.ask("query", "counters:count", name.clone()).await, Json::Null);
        for (kind, path) in [("Mutation", "counters:drop"), ("Action", "counters:echo")] {
            let args = json!([name.clone()]);
            let call = json!({ "type": kind, "requestId": request, "udfPath": path, "args": args });
            wire.send(&call).await;
            let answer = wire.answer(request).await;
            assert_eq!(answer["success"], true, "{kind} of {bytes}");
            request += 1;
        }
        wire.subscribe(request, "counters:count", name).await;
        assert_eq!(wire.values().await, [(request, Json::Null)]);
    }
}

fn call(runtime: &Arc<Runtime>, path: &str, args: Object) {
    let call = ClientCall {
        path: path.to_owned(),
        args: vec![Value::Object(args)],
        caller: Caller::default(),
    };
    let done = Box::new(|end: functions::CallEnd| drop(end.result.unwrap()));
    runtime.mutation(call, None, Parent::default(), done);
}

/// How many bodies run when somebody writes into `other` while somebody else has read `room` and is about
/// to write there.
fn runs(room: &'static str, other: &'static str) -> u64 {
    let world = World::new(base().build().unwrap(), 1, Options::default());
    let before = world.runtime.stats().executions;
    let (runtime, first) = (Arc::clone(&world.runtime), Cell::new(true));
    on_pause(Some(Rc::new(move || {
        if first.replace(false) {
            without_pauses(|| {
                call(&runtime, "messages:sendNext", object! { "room" => other });
                assert!(runtime.run_work(0));
            });
        }
    })));
    call(&world.runtime, "messages:sendNext", object! { "room" => room });
    world.settle();
    on_pause(None);
    world.runtime.stats().executions - before
}

#[test]
fn writers_of_different_rooms_do_not_meet() {
    assert_eq!(runs("a", "b"), 2, "each ran once");
    assert_eq!(runs("a", "a"), 3, "who read the room before runs again");
}
