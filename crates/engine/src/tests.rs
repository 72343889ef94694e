//! Tests of the engine as a whole.

use std::sync::Arc;

use store::MemoryStore;
use value::{Interval, TableName, Timestamp, object};

use crate::{Engine, Env, Head, ManualClock, Options, Order, SeededRandom};

fn engine() -> Arc<Engine> {
    let env = Env {
        clock: Arc::new(ManualClock::new(Timestamp(1_700_000_000_000_000_000))),
        random: Arc::new(SeededRandom::new(1)),
    };
    Engine::open(Arc::new(MemoryStore::default()), env, Options::default()).unwrap()
}

fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

#[test]
fn what_is_committed_is_read_back() {
    let engine = engine();
    let mut tx = engine.begin(Head::Applied);
    let id = tx.insert(&table("rooms"), object! { "name" => "a" }).unwrap();
    assert_eq!(tx.get(id).unwrap().unwrap().body().get("name").unwrap().as_str(), Some("a"));
    engine.commit(&mut tx, None).unwrap();
    assert!(engine.begin(Head::Durable).get(id).unwrap().is_none());
    engine.flush();
    let mut tx = engine.begin(Head::Durable);
    let index = tx.index(&table("rooms"), &"by_creation_time".parse().unwrap()).unwrap();
    let mut scan = tx.scan(&index, Interval::all(), Order::Desc);
    assert_eq!(tx.next(&mut scan).unwrap().unwrap().document.id(), id);
    assert!(tx.next(&mut scan).unwrap().is_none());
    assert_eq!(tx.count(&table("rooms")).unwrap(), 1);
}
