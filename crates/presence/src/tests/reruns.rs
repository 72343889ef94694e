use serde_json::json;

use super::world::{ADMIN, Watch, World, user};
use crate::presence::STALE_AFTER_MS;

/// Two rooms, with everything that bob can watch.
struct Rooms {
    world: World,
    lobby: String,
    attic: String,
    watches: Vec<Watch>,
}

impl Rooms {
    fn new() -> Rooms {
        let world = World::new();
        let lobby = world.conversation(&["alice", "bob"]);
        let attic = world.conversation(&["alice", "bob", "carol"]);
        world.set("alice", &lobby, "online");
        world.set("carol", &attic, "online");
        let bob = user("bob");
        let mut watches = vec![world.watch(&bob, "conversations:list", &json!({}))];
        for room in [&lobby, &attic] {
            let presence = json!({ "conversationId": room });
            watches.push(world.watch(&bob, "presence:getPresence", &presence));
            let options = json!({ "numItems": 10, "cursor": null });
            let messages = json!({ "conversationId": room, "paginationOpts": options });
            watches.push(world.watch(&bob, "messages:list", &messages));
        }
        Rooms { world, lobby, attic, watches }
    }

    /// Which queries ran again, as "path room".
    fn check(&mut self, step: impl FnOnce(&World), expected: &[&str]) {
        let mut watches: Vec<&mut Watch> = self.watches.iter_mut().collect();
        let reran = self.world.reran(&mut watches, || step(&self.world));
        let label = |query: &String| {
            let (path, args) = query.split_once(' ').unwrap();
            let rooms = [(&self.lobby, " lobby"), (&self.attic, " attic")];
            let room = rooms.iter().find(|(id, _)| args.contains(id.as_str()));
            format!("{path}{}", room.map_or("", |(_, name)| name))
        };
        let mut reran: Vec<String> = reran.iter().map(label).collect();
        reran.sort();
        assert_eq!(reran, expected);
    }
}

#[test]
fn a_message_wakes_its_list_and_the_order_of_conversations() {
    let mut rooms = Rooms::new();
    let lobby = rooms.lobby.clone();
    rooms.check(
        |world| drop(world.say("alice", &lobby, "hi")),
        &["conversations:list", "messages:list lobby"],
    );
    let message = rooms.world.say("alice", &lobby, "again");
    let remove = json!({ "messageId": message });
    rooms.check(
        |world| drop(world.mutate(&user("alice"), "messages:remove", &remove).unwrap()),
        &["conversations:list", "messages:list lobby"],
    );
}

#[test]
fn presence_wakes_the_lists_of_its_rooms_alone() {
    let mut rooms = Rooms::new();
    let (lobby, attic) = (rooms.lobby.clone(), rooms.attic.clone());
    rooms.check(|world| world.set("bob", &lobby, "online"), &["presence:getPresence lobby"]);
    rooms.check(|world| world.set("alice", &lobby, "typing"), &["presence:getPresence lobby"]);
    rooms.check(|world| world.set("carol", &attic, "typing"), &["presence:getPresence attic"]);
    // From room to room: gone in one, here in the other.
    rooms.check(
        |world| world.set("alice", &attic, "typing"),
        &["presence:getPresence attic", "presence:getPresence lobby"],
    );
    let nowhere = json!({ "status": "online" });
    rooms.check(
        |world| drop(world.mutate(&user("dave"), "presence:setPresence", &nowhere).unwrap()),
        &[],
    );
}

#[test]
fn a_renewal_wakes_since_the_record_shows_when() {
    let mut rooms = Rooms::new();
    let lobby = rooms.lobby.clone();
    rooms.world.clock.advance_ms(30_000);
    rooms.check(|world| world.set("alice", &lobby, "online"), &["presence:getPresence lobby"]);
    // In the same millisecond it is the same record, and nothing is written.
    rooms.check(|world| world.set("alice", &lobby, "online"), &[]);
}

#[test]
fn members_wake_what_shows_their_room() {
    let mut rooms = Rooms::new();
    let change = |path: &'static str, room: &str, name: &str| {
        let args = json!({ "conversationId": room, "userId": name });
        move |world: &World| drop(world.mutate(&user("alice"), path, &args).unwrap())
    };
    let attic = rooms.attic.clone();
    let all = ["conversations:list", "messages:list attic", "presence:getPresence attic"];
    rooms.check(change("conversations:removeMember", &attic, "carol"), &all);
    rooms.check(change("conversations:addMember", &attic, "carol"), &all);
    // Who is a member already, and who is none.
    rooms.check(change("conversations:addMember", &attic, "carol"), &[]);
    rooms.check(change("conversations:removeMember", &attic, "dave"), &[]);
}

#[test]
fn somebody_elses_conversation_wakes_nobody() {
    let mut rooms = Rooms::new();
    rooms.check(|world| drop(world.conversation(&["carol", "dave"])), &[]);
    rooms.check(|world| drop(world.conversation(&["carol", "bob"])), &["conversations:list"]);
}

#[test]
fn a_clean_up_wakes_the_lists_that_lose_a_record() {
    let mut rooms = Rooms::new();
    let attic = rooms.attic.clone();
    let clean = |world: &World| {
        drop(world.mutate(&ADMIN, "presence:cleanupPresence", &json!({})).unwrap());
    };
    rooms.check(clean, &[]);
    rooms.world.clock.advance_ms(STALE_AFTER_MS as u64 + 1);
    rooms.check(|world| world.set("carol", &attic, "online"), &["presence:getPresence attic"]);
    rooms.check(clean, &["presence:getPresence lobby"]);
    rooms.check(clean, &[]);
}
