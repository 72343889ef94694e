//! What must not cross identities, at the door of the runtime and on whole connections.

use functions::{CallEnd, Caller, ClientCall, Parent, RequestKey};
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use tests::app::base;
use tests::client::{Client, Outcome, Seen, Who};
use tests::world::{Fresh, World, user};
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

/// A server and its clients, driven until nothing moves.
struct Room {
    world: World,
    clients: Vec<Client>,
    seen: Vec<(usize, Seen)>,
}

impl Room {
    fn new(names: &[String]) -> Room {
        let numbered = (1..).zip(names);
        let clients = numbered.map(|(number, name)| Client::new(name, number)).collect();
        Room { world: world(), clients, seen: Vec::new() }
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for (place, client) in self.clients.iter_mut().enumerate() {
                if let Some(link) = &mut client.link {
                    while link.verify() || link.receive() {
                        moved = true;
                    }
                    link.turn();
                    while link.write(self.world.runtime.now()) {
                        moved = true;
                    }
                }
                while let Some(seen) = client.read() {
                    moved = true;
                    self.seen.push((place, seen));
                }
            }
            moved |= self.world.runtime.run_work(0);
            moved |= self.world.runtime.append();
            if !moved {
                return;
            }
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.world.runtime.now().0 / 1_000_000).unwrap()
    }

    fn runs_of(&self, path: &str) -> u64 {
        let entries = self.world.runtime.live().entries();
        entries.iter().filter(|entry| &*entry.path == path).map(|entry| entry.runs).sum()
    }
}

/// Whether a client was told that its token ended, which may happen to those alone who are late. Nobody
/// is shown a user other than itself, or nobody, in between.
fn ended(seen: &Seen, name: &str, is_late: bool, version: u32) -> bool {
    match seen {
        Seen::AuthError { text, attempted, base } => {
            assert!(is_late, "{name} renewed in time");
            assert_eq!((text.as_str(), *attempted), ("Convex token identity expired", false));
            assert_eq!(*base, version);
            return true;
        }
        Seen::Closed(code, _) => assert_eq!((*code, is_late), (None, true)),
        Seen::Transition { changes, .. } => {
            let me = Some(Outcome::Value(json!(name)));
            assert!(changes.iter().all(|(_, outcome)| *outcome == me), "{changes:?}");
        }
        Seen::Answer { outcome, .. } | Seen::AnsweredAgain { outcome, .. } => {
            assert!(matches!(outcome, Outcome::Value(_)), "{outcome:?}");
        }
        Seen::Ping | Seen::FatalError(_) => panic!("{seen:?}"),
    }
    false
}

/// Tokens end and are replaced while every client calls mutations all the time.
#[test]
fn tokens_end_under_load_and_nobody_is_signed_out() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 100;
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("user{number}")).collect();
    let mut room = Room::new(&names);
    // Tokens live 4 to 7 s. Every third client renews them too late.
    let life_ms = |place: usize| 4_000 + 250 * i64::try_from(place).unwrap();
    let is_late = |place: usize| place.is_multiple_of(3);
    let mut ends = [0; CLIENTS];
    let mut refused = [0_u32; CLIENTS];
    let now_ms = room.now_ms();
    for place in 0..CLIENTS {
        ends[place] = now_ms + life_ms(place);
        let who = Who::UserUntil(names[place].clone(), ends[place]);
        let client = &mut room.clients[place];
        client.sign_in(who);
        client.connect(&room.world);
        client.subscribe("users:me", json!({}));
    }
    room.settle();
    room.seen.clear();
    for round in 0..ROUNDS {
        room.world.clock.advance_ms(500);
        let now_ms = room.now_ms();
        for place in 0..CLIENTS {
            let renew_at = if is_late(place) { i64::MAX } else { ends[place] - 1_000 };
            if now_ms >= renew_at {
                ends[place] = now_ms + life_ms(place);
                let who = Who::UserUntil(names[place].clone(), ends[place]);
                room.clients[place].sign_in(who);
            }
            // Two of three at a time, so that some are idle when their token ends.
            if !(place + round).is_multiple_of(3) {
                room.clients[place].call("counters:incr", json!({"name": names[place]}), true);
            }
        }
        room.settle();
        for (place, seen) in std::mem::take(&mut room.seen) {
            let version = room.clients[place].version.1;
            refused[place] += u32::from(ended(&seen, &names[place], is_late(place), version));
        }
        // Whoever was refused comes back with a fresh token, as the official client does.
        let now_ms = room.now_ms();
        for place in 0..CLIENTS {
            if room.clients[place].link.is_none() {
                ends[place] = now_ms + life_ms(place);
                let client = &mut room.clients[place];
                client.sign_in(Who::UserUntil(names[place].clone(), ends[place]));
                client.connect(&room.world);
            }
        }
        room.settle();
    }
    for place in 0..CLIENTS {
        assert_eq!(refused[place] > 3, is_late(place), "{place}: {}", refused[place]);
        let client = &room.clients[place];
        assert!(client.is_quiet(), "{place}: every mutation was answered and shown");
        // Late ones were cut in the middle of a mutation each time: each ran once all the same.
        let sent = (0..ROUNDS).filter(|round| !(place + round).is_multiple_of(3)).count();
        let judge = room.world.judge();
        let args = json!([{"name": names[place]}]);
        let count = judge.run(judge.head(), "counters:count", &args, &Caller::default(), None);
        assert_eq!(count, Fresh::Value(json!(sent as f64)), "{place}");
    }
}

/// 150 sockets of three identities.
#[test]
fn results_are_shared_by_those_who_may_see_them() {
    let names: Vec<String> = (0..150).map(|number| format!("socket{number}")).collect();
    let mut room = Room::new(&names);
    let who = |place: usize| match place % 3 {
        0 => Who::User("alice".into()),
        1 => Who::User("bob".into()),
        _ => Who::Nobody,
    };
    let mine = |place: usize| match place % 3 {
        0 => json!("alice"),
        1 => json!("bob"),
        _ => json!(null),
    };
    for place in 0..names.len() {
        let client = &mut room.clients[place];
        client.sign_in(who(place));
        client.connect(&room.world);
        client.subscribe("users:me", json!({}));
        client.subscribe("messages:list", json!({"room":"a"}));
    }
    room.settle();
    let mine_is_shown = |room: &Room| {
        for (place, client) in room.clients.iter().enumerate() {
            let me = client.queries[&0].result.as_ref().unwrap();
            assert_eq!(*me, Outcome::Value(mine(place)), "{place}");
        }
    };
    mine_is_shown(&room);
    assert_eq!((room.runs_of("users:me"), room.runs_of("messages:list")), (3, 1));
    for n in 1..=5_u32 {
        let body = json!({"room":"a","author":"x","body":"hi","n":f64::from(n)});
        room.clients[0].call("messages:send", body, true);
        room.settle();
        let runs = (room.runs_of("users:me"), room.runs_of("messages:list"));
        assert_eq!(runs, (3, 1 + u64::from(n)));
    }
    // Fresh tokens of alice: nothing runs. Another identity: what reads it runs, once for all of hers.
    for to in ["alice", "carol"] {
        for place in (0..names.len()).step_by(3) {
            room.clients[place].sign_in(Who::User(to.into()));
        }
        room.settle();
        let more = u64::from(to == "carol");
        assert_eq!((room.runs_of("users:me"), room.runs_of("messages:list")), (3 + more, 6));
    }
    for place in (0..names.len()).step_by(3) {
        let me = room.clients[place].queries[&0].result.as_ref().unwrap();
        assert_eq!(*me, Outcome::Value(json!("carol")));
    }
}
