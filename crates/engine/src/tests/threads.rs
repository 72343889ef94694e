//! Several threads at once: optimistic first, under a reservation after a conflict, as a runner does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use store::Order;
use value::{DocumentId, Value, object};

use super::faults::{Fault, FaultyStore};
use super::world::{World, all, collect, index, indexed, numbers, table, tables};
use crate::{
    CommitError, Committed, Engine, Fate, Head, Options, RESERVATION_NS_MAX, Reservation,
    Transaction,
};

/// Runs `body` until it is committed. Counts the attempts that were refused.
fn until_committed(
    engine: &Arc<Engine>,
    refused: &AtomicUsize,
    mut body: impl FnMut(&mut Transaction),
) -> Committed {
    let mut turn: Option<Reservation> = None;
    loop {
        let mut tx = engine.begin(Head::Applied);
        body(&mut tx);
        match engine.commit(&mut tx, turn.as_ref()) {
            Ok(committed) => return committed,
            Err(CommitError::Conflict { .. }) if turn.is_some() => {
                refused.fetch_add(1, Ordering::Relaxed);
                turn.as_ref().unwrap().extend(&tx.footprint());
            }
            Err(CommitError::Conflict { .. } | CommitError::Reserved) => {
                refused.fetch_add(1, Ordering::Relaxed);
                drop(turn.take());
                let (granted, wait) = mpsc::channel();
                engine.reserve(tx.footprint(), Box::new(move |turn| granted.send(turn).unwrap()));
                turn = Some(wait.recv().unwrap());
            }
            Err(CommitError::Aborted) => {}
            Err(CommitError::Unavailable(_)) => thread::yield_now(),
        }
    }
}

/// Runs `work` on so many threads while one more appends; returns when all of it is on disk.
fn with_appender(engine: &Arc<Engine>, threads: usize, work: impl Fn(usize) + Sync) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                engine.wait_for_work(Duration::from_millis(1));
                engine.append_pending();
                engine.take_published();
            }
        });
        let work = &work;
        let workers: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Ordering::Release);
        for end in ended {
            end.unwrap();
        }
    });
    while engine.applied() > engine.durable() {
        engine.append_pending();
    }
}

fn add(tx: &mut Transaction, id: DocumentId, amount: f64) {
    let n = tx.get(id).unwrap().unwrap().body().get("n").and_then(Value::as_f64).unwrap();
    tx.patch(id, [("n".to_owned(), Some(Value::from(n + amount)))].into()).unwrap();
}

fn value_of(world: &World, id: DocumentId) -> f64 {
    let document = world.engine.begin(Head::Durable).get(id).unwrap().unwrap();
    document.body().get("n").and_then(Value::as_f64).unwrap()
}

#[test]
fn a_hot_counter_counts_every_increment() {
    let world = World::new();
    let id = world.insert("counters", object! { "n" => 0.0 });
    let refused = AtomicUsize::new(0);
    with_appender(&world.engine, 8, |_| {
        for _ in 0..100 {
            until_committed(&world.engine, &refused, |tx| add(tx, id, 1.0));
        }
    });
    assert_eq!(value_of(&world, id), 800.0);
    assert_eq!(world.engine.stats().reservations, 0);
}

#[test]
fn one_row_is_inserted_however_many_find_none() {
    let world = World::new();
    let by = [("by_name", &["name"][..])];
    world.engine.apply_schema(tables(&[indexed("rooms", &by)])).unwrap();
    let refused = AtomicUsize::new(0);
    with_appender(&world.engine, 8, |_| {
        for round in 0..20 {
            until_committed(&world.engine, &refused, |tx| {
                let by_name = index(tx, "rooms", "by_name");
                let name = Value::from(format!("room {round}"));
                let prefix = value::key::encode_all([Some(&name)]);
                let scan = tx.scan(&by_name, crate::range::continuing(&prefix), Order::Asc);
                if all(tx, scan).is_empty() {
                    tx.insert(&table("rooms"), object! { "name" => name }).unwrap();
                }
            });
        }
    });
    assert_eq!(world.begin().count(&table("rooms")).unwrap(), 20);
}

#[test]
fn disjoint_documents_and_ranges_are_never_refused() {
    let world = World::new();
    let by = [("by_room", &["room"][..])];
    world.engine.apply_schema(tables(&[indexed("messages", &by)])).unwrap();
    let counters: Vec<_> =
        (0..6).map(|_| world.insert("counters", object! { "n" => 0.0 })).collect();
    let refused = AtomicUsize::new(0);
    with_appender(&world.engine, 6, |thread| {
        for n in 0..40_usize {
            until_committed(&world.engine, &refused, |tx| {
                add(tx, counters[thread], 1.0);
                let by_room = index(tx, "messages", "by_room");
                let prefix = value::key::encode_all([Some(&Value::from(thread as f64))]);
                let scan = tx.scan(&by_room, crate::range::continuing(&prefix), Order::Desc);
                assert_eq!(all(tx, scan).len(), n);
                tx.insert(&table("messages"), object! { "room" => thread as f64 }).unwrap();
            });
        }
    });
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    assert_eq!(world.engine.stats().conflicts, 0);
    assert_eq!(world.begin().count(&table("messages")).unwrap(), 240);
}

/// Every snapshot, through every index and in both orders, has the same total.
#[test]
fn transfers_keep_the_total_in_every_snapshot() {
    for cache_bytes in [0, 4_000, 64 << 20] {
        let world = World::with(Options { cache_bytes, ..Options::default() });
        let by = [("by_n", &["n"][..])];
        world.engine.apply_schema(tables(&[indexed("accounts", &by)])).unwrap();
        let accounts: Vec<_> =
            (0..12).map(|_| world.insert("accounts", object! { "n" => 100.0 })).collect();
        let refused = AtomicUsize::new(0);
        with_appender(&world.engine, 6, |thread| {
            for n in 0..60_usize {
                if thread < 4 {
                    let from = (n * 5 + thread) % accounts.len();
                    let to = (n * 7 + thread * 3 + 1) % accounts.len();
                    until_committed(&world.engine, &refused, |tx| {
                        add(tx, accounts[from], -1.0);
                        add(tx, accounts[to], 1.0);
                    });
                    continue;
                }
                let head = if n % 2 == 0 { Head::Applied } else { Head::Durable };
                let mut tx = world.engine.begin(head);
                for by in ["by_n", "by_id", "by_creation_time"] {
                    for order in [Order::Asc, Order::Desc] {
                        let found = numbers(&collect(&mut tx, "accounts", by, order), "n");
                        assert_eq!(found.len(), accounts.len());
                        assert_eq!(found.iter().sum::<f64>(), 1200.0);
                    }
                }
            }
        });
        let held = world.engine.cache.held();
        assert_eq!(held.bytes, world.engine.cache.bytes());
        assert_eq!(world.engine.stats().reservations, 0);
    }
}

/// What is told to be durable is there in the end, once; what was taken back is not.
#[test]
fn failing_appends_lose_nothing_that_was_acknowledged() {
    let store = Arc::new(FaultyStore::new());
    let world = World::over(Arc::clone(&store) as _, Options::default());
    let id = world.insert("counters", object! { "n" => 0.0 });
    let (refused, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let commits = AtomicUsize::new(0);
    with_appender(&world.engine, 4, |_| {
        for _ in 0..60 {
            loop {
                let committed = until_committed(&world.engine, &refused, |tx| add(tx, id, 1.0));
                match commits.fetch_add(1, Ordering::Relaxed) % 9 {
                    2 => store.fail_next(Fault::NotWritten),
                    5 => store.fail_next(Fault::UnknownLost),
                    8 => store.fail_next(Fault::UnknownWritten),
                    _ => {}
                }
                let fate = || world.engine.fate(&committed);
                while fate() == Fate::Waiting {
                    thread::yield_now();
                }
                if fate() == Fate::Durable {
                    break;
                }
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert!(lost.load(Ordering::Relaxed) > 0, "nothing failed");
    assert_eq!(value_of(&world, id), 240.0);
}

#[test]
fn a_turn_that_lasts_too_long_lets_the_next_one_go() {
    let world = World::new();
    let id = world.insert("counters", object! { "n" => 0.0 });
    let mut slow = world.begin();
    add(&mut slow, id, 1.0);
    let ask = || {
        let (granted, turn) = mpsc::channel();
        world.engine.reserve(slow.footprint(), Box::new(move |turn| granted.send(turn).unwrap()));
        turn
    };
    let (first, second) = (ask(), ask());
    let first = first.try_recv().unwrap();
    assert!(second.try_recv().is_err());
    // While it holds, commits of others are refused.
    let mut other = world.begin();
    add(&mut other, id, 1.0);
    assert_eq!(world.engine.commit(&mut other, None), Err(CommitError::Reserved));
    world.clock.advance_ns(RESERVATION_NS_MAX);
    world.engine.append_pending();
    let second = second.try_recv().unwrap();
    world.engine.commit(&mut other, Some(&second)).unwrap();
    assert!(matches!(
        world.engine.commit(&mut slow, Some(&first)),
        Err(CommitError::Conflict { .. })
    ));
    drop((first, second));
    assert_eq!(world.engine.stats().reservations, 0);
}

#[test]
fn thousands_who_have_left_the_queue_do_not_fill_the_stack() {
    let world = World::new();
    let id = world.insert("counters", object! { "n" => 0.0 });
    let mut tx = world.begin();
    add(&mut tx, id, 1.0);
    let (granted, first) = mpsc::channel();
    world.engine.reserve(tx.footprint(), Box::new(move |turn| granted.send(turn).unwrap()));
    let told = Arc::new(AtomicUsize::new(0));
    for _ in 0..3000 {
        let told = Arc::clone(&told);
        let leave = Box::new(move |turn| {
            told.fetch_add(1, Ordering::Relaxed);
            drop(turn);
        });
        world.engine.reserve(tx.footprint(), leave);
    }
    assert_eq!(world.engine.stats().reservations, 3001);
    drop(first.recv().unwrap());
    assert_eq!(told.load(Ordering::Relaxed), 3000);
    assert_eq!(world.engine.stats().reservations, 0);
}

/// Two who each extend to what the other holds: the older one goes first, nobody waits for ever.
#[test]
fn turns_that_grow_into_each_other_both_end() {
    let world = World::new();
    let ids = [0, 1].map(|_| world.insert("counters", object! { "n" => 0.0 }));
    let refused = AtomicUsize::new(0);
    with_appender(&world.engine, 4, |thread| {
        for n in 0..50 {
            // What is read first decides what is reserved first; the rest comes as an extension.
            let (a, b) = if (thread + n) % 2 == 0 { (0, 1) } else { (1, 0) };
            let mut attempts = 0;
            until_committed(&world.engine, &refused, |tx| {
                attempts += 1;
                add(tx, ids[a], 1.0);
                if attempts > 1 {
                    add(tx, ids[b], 1.0);
                    add(tx, ids[b], -1.0);
                }
            });
        }
    });
    assert_eq!(value_of(&world, ids[0]) + value_of(&world, ids[1]), 200.0);
    assert_eq!(world.engine.stats().reservations, 0);
}
