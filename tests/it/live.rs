//! Live queries when their runs end in an order that a quiet server never shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::Options;
use functions::{Caller, ClientCall, LiveOutcome, LiveSession, Parent, QuerySpec};
use tests::app::base;
use tests::world::World;
use value::{Object, Timestamp, Value, json, object};

fn world() -> World {
    World::new(base().build().unwrap(), 1, Options::default())
}

fn spec(path: &str, args: Object) -> QuerySpec {
    QuerySpec { path: Arc::from(path), args: vec![Value::Object(args)], journal: None }
}

/// Commits a mutation; what it makes stale is queued, and not run.
fn commit(world: &World, path: &str, args: Object) -> Timestamp {
    let call = ClientCall {
        path: path.to_owned(),
        args: vec![Value::Object(args)],
        caller: Caller::default(),
    };
    let before = world.runtime.stats().work_waiting;
    world.runtime.mutation(
        call,
        None,
        Parent::default(),
        Box::new(|end| drop(end.result.unwrap())),
    );
    assert!(world.runtime.run_work(before));
    assert!(world.runtime.append());
    world.runtime.live().head()
}

fn message(author: &str, n: f64) -> Object {
    object! { "room" => "a", "author" => author, "body" => "hi", "n" => n }
}

/// A session that counts how often it is woken.
fn session(world: &World) -> (LiveSession, Arc<AtomicU32>) {
    let woken = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&woken);
    let waker = Arc::new(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    (LiveSession::new(&world.runtime, waker), woken)
}

fn value(session: &mut LiveSession, at_least: Timestamp, query: u32) -> Option<(Timestamp, Value)> {
    let covered = session.poll(at_least).unwrap()?;
    let (_, result) = covered.results.iter().find(|(id, _)| *id == query).unwrap();
    match &result.outcome {
        LiveOutcome::Value(text) => Some((covered.ts, json::parse(text).unwrap())),
        LiveOutcome::Failed(error) => panic!("{error}"),
    }
}

#[test]
fn a_session_that_got_an_older_timestamp_hears_of_the_newer_one() {
    let world = world();
    commit(&world, "messages:send", message("x", 5.0));
    let (mut session, woken) = session(&world);
    session.subscribe(0, spec("messages:list", object! { "room" => "a" }));
    session.subscribe(1, spec("messages:firstBy", object! { "room" => "a", "author" => "x" }));
    assert!(value(&mut session, Timestamp(0), 0).is_none());
    world.settle();
    let (first, _) = value(&mut session, Timestamp(0), 0).unwrap();
    // Both read the row; only the list shows something else.
    let second = commit(&world, "messages:send", message("y", 1.0));
    assert_eq!(world.runtime.stats().work_waiting, 2);
    // The list is first in the queue: it was subscribed first.
    assert!(world.runtime.run_work(0));
    let (common, list) = value(&mut session, Timestamp(0), 0).unwrap();
    assert!(first <= common && common < second, "all queries at one timestamp");
    assert_eq!(list.as_array().unwrap().len(), 1);
    let before = woken.load(Ordering::Relaxed);
    assert!(world.runtime.run_work(0));
    assert!(woken.load(Ordering::Relaxed) > before, "the list at its timestamp can be shown now");
    let (newest, list) = value(&mut session, Timestamp(0), 0).unwrap();
    assert_eq!((newest, list.as_array().unwrap().len()), (second, 2));
}

#[test]
fn first_runs_of_a_page_that_overlap_give_it_one_end() {
    let world = world();
    for n in 1..6 {
        commit(&world, "messages:send", message("x", f64::from(n)));
    }
    let (mut session, _) = session(&world);
    let options = object! { "numItems" => 2.0, "cursor" => () };
    let args = object! { "room" => "a", "paginationOpts" => options };
    session.subscribe(0, spec("messages:page", args));
    assert!(value(&mut session, Timestamp(0), 0).is_none());
    // Into the page, while its first run is under way; the session insists on what is newest.
    let head = commit(&world, "messages:send", message("x", 1.5));
    for _ in 0..2 {
        assert!(value(&mut session, head, 0).is_none());
    }
    assert_eq!(world.runtime.stats().work_waiting, 2, "two first runs");
    assert!(world.runtime.run_work(0));
    let (first, page) = value(&mut session, Timestamp(0), 0).unwrap();
    assert!(first < head);
    world.settle();
    let (second, again) = value(&mut session, head, 0).unwrap();
    assert_eq!(second, head);
    let end = |page: &Value| page.as_object().unwrap().get("continueCursor").unwrap().clone();
    assert_eq!(end(&page), end(&again), "the page ends where the client was told");
    let rows =
        |page: &Value| page.as_object().unwrap().get("page").unwrap().as_array().unwrap().len();
    assert_eq!((rows(&page), rows(&again)), (2, 3));
}

#[test]
fn who_was_answered_subscribes_to_nothing_older_than_the_answer() {
    let world = world();
    let counter = || spec("counters:count", object! { "name" => "x" });
    let (mut first, _) = session(&world);
    first.subscribe(0, counter());
    assert!(value(&mut first, Timestamp(0), 0).is_none());
    world.settle();
    assert!(value(&mut first, Timestamp(0), 0).is_some(), "a result from before is at hand");

    // The answer leaves before live queries hear of the commit; the client is as quick as it can be.
    let runtime = Arc::clone(&world.runtime);
    let (mut answered, _) = session(&world);
    let early = Arc::new(AtomicU32::new(0));
    let (seen, (tell, told)) = (Arc::clone(&early), std::sync::mpsc::channel());
    let call = ClientCall {
        path: "counters:incr".to_owned(),
        args: vec![Value::Object(object! { "name" => "x" })],
        caller: Caller::default(),
    };
    let done = Box::new(move |end: functions::CallEnd| {
        end.result.unwrap();
        answered.subscribe(0, counter());
        seen.fetch_add(
            u32::from(answered.poll(Timestamp(0)).unwrap().is_some()),
            Ordering::Relaxed,
        );
        tell.send(answered).unwrap();
    });
    runtime.mutation(call, None, Parent::default(), done);
    world.settle();
    let mut answered = told.recv().unwrap();
    assert_eq!(early.load(Ordering::Relaxed), 0, "a result from before the answer");
    let (_, count) = value(&mut answered, Timestamp(0), 0).unwrap();
    assert_eq!(count, Value::from(1.0));
}

#[test]
fn a_session_of_many_queries_is_not_woken_by_each_of_them() {
    let world = world();
    let (mut session, woken) = session(&world);
    for query in 0..500 {
        let room = format!("room {query}");
        session.subscribe(query, spec("messages:list", object! { "room" => room }));
    }
    assert!(session.poll(Timestamp(0)).unwrap().is_none());
    let (mut polls, mut covered) = (0, None);
    while covered.is_none() {
        let before = woken.load(Ordering::Relaxed);
        assert!(world.runtime.run_work(0), "somebody is waited for");
        if woken.load(Ordering::Relaxed) > before {
            polls += 1;
            covered = session.poll(Timestamp(0)).unwrap();
        }
    }
    assert_eq!(covered.unwrap().results.len(), 500);
    assert!(polls <= 2, "{polls} looks at 500 queries");
    // Whatever is shown then wakes it again.
    let before = woken.load(Ordering::Relaxed);
    let ts = commit(
        &world,
        "messages:send",
        object! { "room" => "room 7", "author" => "x", "body" => "hi", "n" => 1.0 },
    );
    world.settle();
    assert!(woken.load(Ordering::Relaxed) > before);
    let covered = session.poll(ts).unwrap().unwrap();
    assert_eq!((covered.ts, covered.results.len()), (ts, 500));
}

#[test]
fn two_queries_of_one_session_share_an_entry_until_both_are_gone() {
    let world = world();
    let (mut session, _) = session(&world);
    let list = || spec("messages:list", object! { "room" => "a" });
    session.subscribe(0, list());
    session.subscribe(1, list());
    // Again under the same number: still two.
    session.subscribe(1, list());
    assert!(session.poll(Timestamp(0)).unwrap().is_none());
    world.settle();
    assert_eq!(session.poll(Timestamp(0)).unwrap().unwrap().results.len(), 2);
    assert_eq!(world.runtime.live().stats().entries, 1);
    session.unsubscribe(0);
    let ts = commit(&world, "messages:send", message("x", 5.0));
    world.settle();
    let (shown, list) = value(&mut session, ts, 1).unwrap();
    assert_eq!((shown, list.as_array().unwrap().len()), (ts, 1));
    session.unsubscribe(1);
    assert_eq!(world.runtime.live().stats().entries, 0);
}
