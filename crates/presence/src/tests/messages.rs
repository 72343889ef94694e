use serde_json::{Value as Json, json};

use super::world::{World, each, user};

fn page(conversation: &str, items: u32, cursor: &Json) -> Json {
    json!({
        "conversationId": conversation,
        "paginationOpts": { "numItems": items, "cursor": cursor },
    })
}

#[test]
fn a_message_is_stored_as_it_was_said() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob"]);
    let id = world.say("bob", &room, "hi");
    let row = json!({ "conversationId": room, "authorId": "bob", "body": "hi" });
    assert_eq!(world.rows("messages"), [row]);
    let shown = world.query(&user("alice"), "messages:list", &page(&room, 5, &Json::Null)).unwrap();
    assert_eq!(each(&shown["page"], "_id"), [id]);
}

#[test]
fn pages_go_back_in_time() {
    let world = World::new();
    let (room, other) = (world.conversation(&["alice"]), world.conversation(&["alice"]));
    for n in 1..=5 {
        world.say("alice", &room, &n.to_string());
        world.say("alice", &other, "elsewhere");
    }
    let (mut cursor, mut pages) = (Json::Null, Vec::new());
    loop {
        let shown = world.query(&user("alice"), "messages:list", &page(&room, 2, &cursor)).unwrap();
        pages.push(each(&shown["page"], "body").concat());
        cursor = shown["continueCursor"].clone();
        if shown["isDone"] == json!(true) {
            break;
        }
    }
    assert_eq!(pages, ["54", "32", "1"]);
}

#[test]
fn the_newest_page_grows_and_no_message_falls_between_two() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob"]);
    let ids: Vec<String> = (1..=4).map(|n| world.say("alice", &room, &n.to_string())).collect();
    let bob = user("bob");
    let mut newest = world.watch(&bob, "messages:list", &page(&room, 2, &Json::Null));
    let cursor = newest.poll(&world)["continueCursor"].clone();
    let mut older = world.watch(&bob, "messages:list", &page(&room, 2, &cursor));
    let mut check = |expected: [&str; 2]| {
        let bodies = |shown: Json| each(&shown["page"], "body").concat();
        assert_eq!([bodies(newest.poll(&world)), bodies(older.poll(&world))], expected);
    };
    check(["43", "21"]);
    world.say("bob", &room, "5");
    check(["543", "21"]);
    world.say("alice", &room, "6");
    check(["6543", "21"]);
    let remove = |n: usize| {
        let args = json!({ "messageId": ids[n - 1] });
        assert_eq!(world.mutate(&user("alice"), "messages:remove", &args), Ok(Json::Null));
    };
    remove(3);
    check(["654", "21"]);
    remove(1);
    check(["654", "2"]);
    // Gone already.
    remove(1);
    check(["654", "2"]);
}
