use serde_json::{Value as Json, json};

use super::world::{World, each, fields, user};
use crate::conversations::{LISTED_MAX, MEMBERS_MAX, TITLE_BYTES_MAX, USER_ID_BYTES_MAX};

fn list(world: &World, name: &str) -> Json {
    world.query(&user(name), "conversations:list", &json!({})).unwrap()
}

fn change(world: &World, path: &str, caller: &str, conversation: &str, name: &str) {
    let args = json!({ "conversationId": conversation, "userId": name });
    assert_eq!(world.mutate(&user(caller), path, &args), Ok(Json::Null));
}

#[test]
fn the_creator_is_a_member_and_everybody_once() {
    let check = |member_ids: &[&str], expected: &[&str]| {
        let world = World::new();
        let args = json!({ "memberIds": member_ids, "title": "plans" });
        let id = world.mutate(&user("alice"), "conversations:create", &args).unwrap();
        let row = json!({ "memberIds": expected, "title": "plans" });
        assert_eq!(world.rows("conversations"), std::slice::from_ref(&row));
        let members: Vec<Json> =
            expected.iter().map(|user| json!({ "userId": user, "conversationId": id })).collect();
        assert_eq!(world.rows("members"), members);
        for name in expected {
            let listed = list(&world, name);
            assert_eq!(each(&listed, "_id"), [id.as_str().unwrap()]);
            assert_eq!(fields(&listed[0]), row);
        }
        assert_eq!(list(&world, "mallory"), json!([]));
    };
    check(&[], &["alice"]);
    check(&["alice"], &["alice"]);
    check(&["bob", "alice", "bob", "carol"], &["alice", "bob", "carol"]);
}

#[test]
fn a_title_may_be_absent() {
    let world = World::new();
    world.conversation(&["alice"]);
    assert_eq!(world.rows("conversations"), [json!({ "memberIds": ["alice"] })]);
}

#[test]
fn the_latest_activity_comes_first() {
    let world = World::new();
    let mut names = std::collections::BTreeMap::new();
    let mut create = |title: &'static str| {
        let id = world.conversation(&["alice", "bob"]);
        world.clock.advance_ms(10);
        names.insert(id.clone(), title);
        id
    };
    let (a, b, c) = (create("a"), create("b"), create("c"));
    let mut watch = world.watch(&user("bob"), "conversations:list", &json!({}));
    let mut check = |expected: &str| {
        let order: String = each(&watch.poll(&world), "_id").iter().map(|id| names[id]).collect();
        assert_eq!(order, expected);
    };
    check("cba");
    world.say("alice", &a, "x");
    check("acb");
    world.say("alice", &b, "x");
    check("bac");
    // Also within one millisecond of the clock.
    world.say("bob", &c, "x");
    check("cba");
    let last = world.say("bob", &b, "y");
    check("bca");
    // What was taken back does not count.
    world.mutate(&user("bob"), "messages:remove", &json!({ "messageId": last })).unwrap();
    check("cba");
}

#[test]
fn members_come_and_go() {
    let world = World::new();
    let room = world.conversation(&["alice"]);
    world.say("alice", &room, "before");
    let page = json!({
        "conversationId": room, "paginationOpts": { "numItems": 10, "cursor": null },
    });
    let mut conversations = world.watch(&user("bob"), "conversations:list", &json!({}));
    let mut messages = world.watch(&user("bob"), "messages:list", &page);
    let mut check = |members: &[&str], sees: bool| {
        assert_eq!(world.rows("conversations"), [json!({ "memberIds": members })]);
        let rows: Vec<Json> = world.rows("members").iter().map(|m| m["userId"].clone()).collect();
        assert_eq!(rows, members);
        assert_eq!(conversations.poll(&world).as_array().unwrap().len(), usize::from(sees));
        assert_eq!(each(&messages.poll(&world)["page"], "body").len(), usize::from(sees));
    };
    check(&["alice"], false);
    for _ in 0..2 {
        change(&world, "conversations:addMember", "alice", &room, "bob");
        check(&["alice", "bob"], true);
        // Once more changes nothing.
        change(&world, "conversations:addMember", "bob", &room, "bob");
        check(&["alice", "bob"], true);
        change(&world, "conversations:removeMember", "alice", &room, "carol");
        check(&["alice", "bob"], true);
        change(&world, "conversations:removeMember", "alice", &room, "bob");
        check(&["alice"], false);
    }
    // Members may leave.
    change(&world, "conversations:removeMember", "alice", &room, "alice");
    check(&[], false);
    assert_eq!(list(&world, "alice"), json!([]));
}

#[test]
fn a_list_answers_however_many_conversations_there_are() {
    let world = World::new();
    let mut newest = Vec::new();
    for _ in 0..LISTED_MAX + 20 {
        newest.push(world.conversation(&["mallory", "alice"]));
    }
    newest.reverse();
    newest.truncate(LISTED_MAX);
    assert_eq!(each(&list(&world, "alice"), "_id"), newest);
}

#[test]
fn conversations_have_limits() {
    let world = World::new();
    let create = |member_ids: Vec<String>, title: &str| {
        let args = json!({ "memberIds": member_ids, "title": title });
        world.mutate(&user("alice"), "conversations:create", &args)
    };
    let names = |count: usize| (0..count).map(|n| format!("u{n}")).collect::<Vec<_>>();
    // The caller is one of them.
    let full = create(names(MEMBERS_MAX - 1), "").unwrap();
    let refused = |result: Result<Json, String>, text: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(text), "{error}");
    };
    refused(create(names(MEMBERS_MAX), ""), "Too many members (limit: 1000)");
    let args = json!({ "conversationId": full, "userId": "late" });
    let added = world.mutate(&user("alice"), "conversations:addMember", &args);
    refused(added, "Too many members (limit: 1000)");
    refused(create(vec!["x".repeat(USER_ID_BYTES_MAX + 1)], ""), "Member id too long");
    refused(create(Vec::new(), &"x".repeat(TITLE_BYTES_MAX + 1)), "Title too long");
}
