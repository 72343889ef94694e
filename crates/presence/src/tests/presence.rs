use std::sync::Arc;

use engine::Head;
use functions::crons;
use serde_json::{Value as Json, json};
use value::object;

use super::world::{ADMIN, START_MS, World, fields, statuses, user};
use crate::presence::{CLEANUP_BATCH, STALE_AFTER_MS};

#[test]
fn a_record_is_shown_as_it_is_stored() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob"]);
    world.clock.advance_ms(1234);
    world.set("alice", &room, "online");
    let args = json!({ "conversationId": room });
    let shown = world.query(&user("bob"), "presence:getPresence", &args).unwrap();
    let record = json!({
        "userId": "alice",
        "conversationId": room,
        "status": "online",
        "lastSeen": START_MS + 1234.0,
    });
    assert_eq!(shown.as_array().unwrap().len(), 1);
    assert_eq!(fields(&shown[0]), record);
    assert_eq!(world.rows("presence"), [record]);
}

#[test]
fn a_user_has_one_record_whatever_happens() {
    let world = World::new();
    let (lobby, attic) =
        (world.conversation(&["alice", "bob"]), world.conversation(&["alice", "bob"]));
    let bob = user("bob");
    let here = |status: &str| vec![format!("alice {status}")];
    for status in ["online", "typing", "online", "offline"] {
        world.set("alice", &lobby, status);
        assert_eq!(world.seen_by(&bob, &lobby), here(status));
    }
    world.set("alice", &attic, "online");
    assert_eq!(world.seen_by(&bob, &lobby), Vec::<String>::new());
    assert_eq!(world.seen_by(&bob, &attic), here("online"));
    // Nowhere: the field goes, the record stays.
    world.clock.advance_ms(1);
    let args = json!({ "status": "online" });
    assert_eq!(world.mutate(&user("alice"), "presence:setPresence", &args), Ok(Json::Null));
    assert_eq!(world.seen_by(&bob, &attic), Vec::<String>::new());
    let record = json!({ "userId": "alice", "status": "online", "lastSeen": START_MS + 1.0 });
    assert_eq!(world.rows("presence"), [record]);
}

#[test]
fn two_calls_at_once_of_a_new_user_make_one_record() {
    let world = World::new();
    let room = world.conversation(&["alice"]);
    for status in ["online", "typing"] {
        let args = object! { "conversationId" => room.as_str(), "status" => status };
        let call = functions::ClientCall {
            path: "presence:setPresence".to_string(),
            args: vec![args.into()],
            caller: user("alice"),
        };
        let done = Box::new(|end: functions::CallEnd| assert!(end.result.is_ok()));
        world.runtime.mutation(call, None, functions::Parent::default(), done);
    }
    world.settle();
    assert_eq!(world.seen_by(&user("alice"), &room), ["alice typing"]);
    assert_eq!(world.rows("presence").len(), 1);
}

#[test]
fn members_see_each_other_until_they_are_removed() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob", "carol"]);
    for name in ["alice", "bob", "carol"] {
        world.set(name, &room, "online");
    }
    let mut watch =
        world.watch(&user("alice"), "presence:getPresence", &json!({ "conversationId": room }));
    assert_eq!(statuses(&watch.poll(&world)), ["alice online", "bob online", "carol online"]);
    let bob = json!({ "conversationId": room, "userId": "bob" });
    world.mutate(&user("carol"), "conversations:removeMember", &bob).unwrap();
    assert_eq!(statuses(&watch.poll(&world)), ["alice online", "carol online"]);
    assert_eq!(world.seen_by(&user("bob"), &room), Vec::<String>::new());
}

#[test]
fn clean_up_deletes_exactly_what_is_stale() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob", "carol", "dave"]);
    world.set("alice", &room, "offline");
    world.set("dave", &room, "online");
    world.clock.advance_ms(1);
    world.set("bob", &room, "typing");
    world.clock.advance_ms(STALE_AFTER_MS as u64 - 1);
    world.set("dave", &room, "online");
    let clean = || world.mutate(&ADMIN, "presence:cleanupPresence", &json!({}));
    let seen = || world.seen_by(&user("carol"), &room);
    // Five minutes old to the millisecond is not older than five minutes.
    assert_eq!(clean(), Ok(Json::Null));
    assert_eq!(seen(), ["alice offline", "bob typing", "dave online"]);
    world.clock.advance_ms(1);
    assert_eq!(clean(), Ok(Json::Null));
    assert_eq!(seen(), ["bob typing", "dave online"]);
    world.clock.advance_ms(1);
    assert_eq!(clean(), Ok(Json::Null));
    assert_eq!(seen(), ["dave online"]);
    assert_eq!(world.rows("presence").len(), 1);
}

/// Users without a conversation, last seen at the start.
fn add_records(world: &World, count: usize) {
    let engine = world.runtime.engine();
    let mut tx = engine.begin(Head::Applied);
    for n in 0..count {
        let user_id = format!("user{n}");
        let record = object! {
            "userId" => user_id.as_str(), "status" => "online", "lastSeen" => START_MS,
        };
        tx.insert(&"presence".parse().unwrap(), record).unwrap();
    }
    engine.commit(&mut tx, None).unwrap();
    world.settle();
}

#[test]
fn one_clean_up_deletes_a_batch_and_leaves_the_rest_to_the_next() {
    let world = World::new();
    add_records(&world, CLEANUP_BATCH + 1);
    world.clock.advance_ms(STALE_AFTER_MS as u64 + 1);
    assert_eq!(world.mutate(&ADMIN, "presence:cleanupPresence", &json!({})), Ok(Json::Null));
    assert_eq!(world.rows("presence").len(), 1);
    let jobs = world.rows("_scheduled_jobs");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(world.mutate(&ADMIN, "presence:cleanupPresence", &json!({})), Ok(Json::Null));
    assert_eq!(world.rows("presence").len(), 0);
    assert_eq!(world.rows("_scheduled_jobs").len(), 1, "the last batch schedules nothing");
}

#[tokio::test]
async fn the_cron_cleans_up_every_five_minutes() {
    let world = World::new();
    let specs = crate::app().build().unwrap().crons;
    assert_eq!(specs.len(), 1);
    assert_eq!(specs[0].identifier, "cleanup-presence");
    let mut tx = world.runtime.engine().begin(Head::Applied);
    crons::sync(&mut tx, &specs, world.runtime.now(), || 0).unwrap();
    world.runtime.engine().commit(&mut tx, None).unwrap();
    add_records(&world, 2 * CLEANUP_BATCH + 1);

    let runtime = Arc::clone(&world.runtime);
    let due = tokio::spawn(async move { runtime.run_due().await });
    // What is due now wakes the loop by a commit; nothing waits for the time of the machine.
    let run_until = async |done: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if done() {
                return;
            }
            world.settle();
            tokio::task::yield_now().await;
        }
        panic!("it never happens");
    };
    // The first run is at once, and finds nothing stale.
    run_until(&|| world.rows_by("_cron_job_logs", "by_name_and_ts").len() == 1).await;
    assert_eq!(world.rows("presence").len(), 2 * CLEANUP_BATCH + 1);
    world.clock.advance_ms(STALE_AFTER_MS as u64 + 1);
    // Any commit has the loop look at its clock.
    world.conversation(&["alice"]);
    run_until(&|| world.rows("presence").is_empty()).await;
    run_until(&|| world.rows_by("_cron_job_logs", "by_name_and_ts").len() == 2).await;
    due.abort();
}
