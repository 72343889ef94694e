use functions::Caller;
use serde_json::{Value as Json, json};

use super::world::{ADMIN, NOBODY, World, user};

const MUTATIONS: [&str; 6] = [
    "conversations:create",
    "conversations:addMember",
    "conversations:removeMember",
    "messages:send",
    "messages:remove",
    "presence:setPresence",
];

/// Arguments that would be fine for a member.
fn args(path: &str, room: &str, message: &str) -> Json {
    match path {
        "conversations:create" => json!({ "memberIds": [] }),
        "conversations:list" => json!({}),
        "conversations:addMember" => json!({ "conversationId": room, "userId": "x" }),
        "conversations:removeMember" => json!({ "conversationId": room, "userId": "alice" }),
        "messages:send" => json!({ "conversationId": room, "body": "x" }),
        "messages:remove" => json!({ "messageId": message }),
        "messages:list" => json!({
            "conversationId": room, "paginationOpts": { "numItems": 3, "cursor": null },
        }),
        "presence:setPresence" => json!({ "conversationId": room, "status": "online" }),
        "presence:getPresence" => json!({ "conversationId": room }),
        other => panic!("{other}"),
    }
}

/// A conversation of alice with a message and a record of presence.
fn inhabited() -> (World, String, String) {
    let world = World::new();
    let room = world.conversation(&["alice"]);
    let message = world.say("alice", &room, "secret");
    world.set("alice", &room, "online");
    (world, room, message)
}

const TABLES: [&str; 4] = ["conversations", "members", "messages", "presence"];

#[test]
fn mutations_refuse_who_may_not() {
    let (world, room, message) = inhabited();
    let before = TABLES.map(|table| world.rows(table));
    for path in MUTATIONS {
        let args = args(path, &room, &message);
        let refused = Err("Uncaught Error: Not authenticated".to_string());
        assert_eq!(world.mutate(&NOBODY, path, &args), refused, "{path}");
        if path != "conversations:create" {
            let refused = Err("Uncaught Error: Not a member".to_string());
            assert_eq!(world.mutate(&user("mallory"), path, &args), refused, "{path}");
        }
    }
    let anywhere = json!({ "status": "online" });
    assert_eq!(
        world.mutate(&NOBODY, "presence:setPresence", &anywhere),
        Err("Uncaught Error: Not authenticated".to_string())
    );
    assert_eq!(TABLES.map(|table| world.rows(table)), before);
}

#[test]
fn queries_show_nothing_to_who_may_not() {
    let (world, room, message) = inhabited();
    for path in ["conversations:list", "presence:getPresence", "messages:list"] {
        let args = args(path, &room, &message);
        for caller in [NOBODY, user("mallory"), ADMIN] {
            let shown = world.query(&caller, path, &args).unwrap();
            if path == "messages:list" {
                assert_eq!(shown["page"], json!([]));
                assert_eq!(shown["isDone"], json!(true));
            } else {
                assert_eq!(shown, json!([]), "{path}");
            }
        }
        let shown = world.query(&user("alice"), path, &args).unwrap();
        assert_ne!(shown.get("page").unwrap_or(&shown), &json!([]), "{path}");
    }
}

#[test]
fn who_was_removed_may_do_nothing() {
    let world = World::new();
    let room = world.conversation(&["alice", "bob"]);
    let message = world.say("bob", &room, "mine");
    let bob = json!({ "conversationId": room, "userId": "bob" });
    world.mutate(&user("bob"), "conversations:removeMember", &bob).unwrap();
    for path in MUTATIONS.into_iter().filter(|path| *path != "conversations:create") {
        let refused = Err("Uncaught Error: Not a member".to_string());
        assert_eq!(world.mutate(&user("bob"), path, &args(path, &room, &message)), refused);
    }
}

#[test]
fn only_authors_take_back() {
    let (world, room, message) = inhabited();
    let bob = json!({ "conversationId": room, "userId": "bob" });
    world.mutate(&user("alice"), "conversations:addMember", &bob).unwrap();
    let remove =
        |name: &str| world.mutate(&user(name), "messages:remove", &json!({ "messageId": message }));
    assert_eq!(remove("bob"), Err("Uncaught Error: Not your message".to_string()));
    assert_eq!(world.rows("messages").len(), 1);
    assert_eq!(remove("alice"), Ok(Json::Null));
    assert_eq!(world.rows("messages").len(), 0);
}

#[test]
fn the_clean_up_is_internal() {
    let world = World::new();
    let clean = |caller: Caller| world.mutate(&caller, "presence:cleanupPresence", &json!({}));
    let hidden = clean(user("alice")).unwrap_err();
    assert!(
        hidden.starts_with("Could not find public function for 'presence:cleanupPresence'"),
        "{hidden}"
    );
    assert_eq!(clean(ADMIN), Ok(Json::Null));
}

#[test]
fn wrong_arguments_are_named() {
    let (world, room, message) = inhabited();
    let check = |path: &str, args: Json, expected: &str| {
        let run = if path.ends_with("list") || path.ends_with("getPresence") {
            world.query(&user("alice"), path, &args)
        } else {
            world.mutate(&user("alice"), path, &args)
        };
        let text = run.unwrap_err();
        assert!(text.contains("ArgumentValidationError: "), "{text}");
        assert!(text.contains(expected), "{path} {args}:\n{text}");
    };
    let away = json!({ "conversationId": room, "status": "away" });
    check("presence:setPresence", away, "Path: .status\nValue: \"away\"\nValidator: v.union(");
    check("presence:setPresence", json!({ "conversationId": room }), "`status`");
    let null = json!({ "conversationId": null, "status": "online" });
    check("presence:setPresence", null, "Path: .conversationId\nValue: null");
    let message_id = json!({ "conversationId": message });
    check(
        "presence:getPresence",
        message_id,
        "from table `messages`, which does not match the table name in validator `v.id(\"conversations\")`",
    );
    check("presence:getPresence", json!({ "conversationId": "lobby" }), "Path: .conversationId");
    check("presence:getPresence", json!({}), "`conversationId`");
    let extra = json!({ "conversationId": room, "roomToken": "x" });
    check("presence:getPresence", extra, "`roomToken`");
    check("conversations:create", json!({ "memberIds": [1] }), "Path: .memberIds[0]\nValue: 1.0");
    check("conversations:create", json!({ "memberIds": [], "title": 5 }), "Path: .title");
    check("conversations:list", json!({ "userId": "bob" }), "`userId`");
    check("conversations:addMember", json!({ "conversationId": room }), "`userId`");
    check("messages:send", json!({ "conversationId": room, "body": 5 }), "Path: .body\nValue: 5.0");
    check("messages:list", json!({ "conversationId": room }), "`paginationOpts`");
    check("messages:remove", json!({ "messageId": room }), "validator `v.id(\"messages\")`");
}
