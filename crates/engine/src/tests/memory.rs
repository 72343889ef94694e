//! What is kept in memory, and for how long: ranges, versions, the write log.

use std::sync::Arc;

use store::{IndexId, MemoryStore, Order, TabletId};
use value::{Interval, Timestamp, Value, object};

use super::world::{World, collect, index, indexed, numbers, table, tables};
use crate::write_log::{LOG_BYTES_MAX, LOG_COMMITS_MAX, LogEntry, WriteLog};
use crate::{Document, Head, IndexWrite, Options, WriteKind};

const ROWS: u32 = 2_000;

/// A world with a table of a few megabytes, as the cache counts, read back by a fresh engine.
fn big(cache_bytes: usize) -> World {
    let store = Arc::new(MemoryStore::new());
    let options = Options { cache_bytes, ..Options::default() };
    let world = World::over(Arc::clone(&store) as _, options);
    world.engine.apply_schema(tables(&[indexed("t", &[("by_n", &["n"])])])).unwrap();
    for chunk in 0..ROWS / 500 {
        world.commit(|tx| {
            for n in 0..500 {
                let body = object! { "n" => f64::from(chunk * 500 + n), "pad" => "x".repeat(400) };
                tx.insert(&table("t"), body).unwrap();
            }
        });
    }
    World::over(store, options)
}

#[test]
fn a_table_of_ten_budgets_is_read_within_the_budget() {
    // A page is 100 rows of about two kilobytes.
    let (budget, page) = (400_000, 300_000);
    let world = big(budget);
    let held = || {
        assert_eq!(world.engine.cache.held().bytes, world.engine.cache.bytes());
        world.engine.cache.bytes()
    };
    let expected: Vec<f64> = (0..ROWS).map(f64::from).collect();
    for order in [Order::Asc, Order::Desc, Order::Asc] {
        let mut tx = world.engine.begin(Head::Durable);
        let by_n = index(&mut tx, "t", "by_n");
        let mut scan = tx.scan(&by_n, Interval::all(), order);
        let mut found = Vec::new();
        while let Some(row) = tx.next(&mut scan).unwrap() {
            found.push(row.document);
            assert!(held() <= budget + page, "{} bytes", held());
        }
        let mut found = numbers(&found, "n");
        if order == Order::Desc {
            found.reverse();
        }
        assert_eq!(found, expected);
    }
    assert!(world.engine.stats().rows_loaded >= u64::from(3 * ROWS) - 1000);
    let mut tx = world.engine.begin(Head::Durable);
    let ids: Vec<_> = collect(&mut tx, "t", "by_id", Order::Asc).iter().map(|d| d.id()).collect();
    for id in ids {
        let mut tx = world.engine.begin(Head::Durable);
        assert_eq!(tx.get(id).unwrap().unwrap().id(), id);
        assert!(held() <= budget + page);
    }
}

#[test]
fn what_fits_is_read_once() {
    let world = big(64 << 20);
    for _ in 0..3 {
        let mut tx = world.engine.begin(Head::Durable);
        assert_eq!(collect(&mut tx, "t", "by_n", Order::Asc).len(), ROWS as usize);
        assert_eq!(collect(&mut tx, "t", "by_n", Order::Desc).len(), ROWS as usize);
    }
    let loaded = world.engine.stats().rows_loaded;
    assert_eq!(loaded, u64::from(ROWS));
}

/// Two hundred sessions that write for ever: one version each stays.
#[test]
fn heartbeats_leave_no_versions_behind() {
    let world = World::with(Options { retention_ns: 1_000_000, ..Options::default() });
    let ids: Vec<_> = (0..20).map(|_| world.insert("t", object! { "n" => 0.0 })).collect();
    let mut tx = world.begin();
    collect(&mut tx, "t", "by_id", Order::Asc);
    drop(tx);
    let beat = |n: u32| {
        for id in &ids {
            world.commit(|tx| {
                tx.patch(*id, [("n".to_owned(), Some(Value::from(f64::from(n))))].into()).unwrap();
            });
        }
        world.engine.take_published();
        world.clock.advance_ms(1);
        while !world.engine.collect(50).unwrap() {}
    };
    beat(1);
    let held = world.engine.cache.held();
    assert_eq!(held.versions, held.keys);
    for n in 2..20 {
        beat(n);
    }
    assert_eq!(world.engine.cache.held(), held);
    assert!(world.store.log(world.engine.durable().pred(), 1000).unwrap().len() <= 1);

    // A snapshot that is being read keeps what it sees, and no more once it is gone.
    let mut reader = world.engine.begin(Head::Durable);
    beat(20);
    beat(21);
    assert!(world.engine.cache.held().versions > held.versions);
    assert_eq!(numbers(&collect(&mut reader, "t", "by_id", Order::Asc), "n"), [19.0; 20]);
    drop(reader);
    beat(22);
    assert_eq!(world.engine.cache.held(), held);
}

/// Rows that come and go must not use up the budget for ever.
#[test]
fn rows_that_come_and_go_give_back_their_bytes() {
    let world = World::new();
    world.insert("t", object! {});
    let mut tx = world.begin();
    collect(&mut tx, "t", "by_creation_time", Order::Asc);
    drop(tx);
    world.commit(|tx| drop(tx.insert(&table("other"), object! {}).unwrap().to_string()));
    let before = world.engine.cache.held();
    for _ in 0..30 {
        let id = world.insert("t", object! { "pad" => "x".repeat(1000) });
        world.commit(|tx| {
            let pad = "y".repeat(5000);
            tx.patch(id, [("pad".to_owned(), Some(Value::from(pad)))].into()).unwrap();
        });
        world.commit(|tx| tx.delete(id).unwrap());
    }
    let mut after = world.engine.cache.held();
    // Lookups of ids leave ranges, each of one key and small.
    assert!(after.bytes - before.bytes < 30 * 1500, "{before:?} {after:?}");
    assert_eq!(after.bytes, world.engine.cache.bytes());
    after.garbage = 0;
    assert_eq!(after.versions, before.versions);
}

/// A snapshot that is older than the write log reads the store.
#[test]
fn a_long_transaction_outlives_the_write_log() {
    let world = World::new();
    let id = world.insert("t", object! { "n" => 1.0 });
    let mut old = world.engine.begin(Head::Durable);
    // Each of them fills a good part of the log with bytes.
    let pad = "x".repeat(900_000);
    for n in 2..LOG_BYTES_MAX / 900_000 + 10 {
        world.commit(|tx| {
            let body = object! { "n" => n as f64, "pad" => pad.clone() };
            tx.replace(id, body).unwrap();
        });
        world.engine.take_published();
    }
    assert!(world.engine.log_between(old.snapshot_ts(), world.engine.applied()).is_none());
    let before = world.engine.stats().rows_loaded;
    assert_eq!(numbers(&collect(&mut old, "t", "by_creation_time", Order::Desc), "n"), [1.0]);
    assert_eq!(world.engine.stats().rows_loaded, before + 1, "read once, not again and again");
    assert_eq!(old.get(id).unwrap().unwrap().body().get("n"), Some(&Value::from(1.0)));
    // Its writes can no longer be validated, so it runs again.
    old.insert(&table("t"), object! {}).unwrap();
    assert!(matches!(
        world.engine.commit(&mut old, None),
        Err(crate::CommitError::Conflict { table: None, .. })
    ));
}

#[test]
fn the_write_log_forgets_only_what_is_durable_and_too_much() {
    let log = WriteLog::new(Timestamp(10));
    let entry = |ts: u64| {
        Arc::new(LogEntry {
            ts: Timestamp(ts),
            writes: vec![IndexWrite {
                index: IndexId(1),
                key: Arc::from([1].as_slice()),
                kind: WriteKind::Appeared,
                document: None::<Arc<Document>>,
            }],
            tablets: vec![TabletId(1)],
            source: None,
        })
    };
    let count = LOG_COMMITS_MAX as u64 + 10;
    for ts in 11..11 + count {
        log.push(entry(ts));
    }
    let all = Timestamp(u64::MAX);
    assert!(log.between(Timestamp(9), all).is_none());
    assert_eq!(log.between(Timestamp(10), all).unwrap().len(), count as usize);
    log.purge(Timestamp(15));
    assert!(log.between(Timestamp(14), all).is_none());
    assert_eq!(log.between(Timestamp(15), Timestamp(17)).unwrap().len(), 2);
    log.purge(all);
    assert_eq!(log.between(Timestamp(20), all).unwrap().len(), LOG_COMMITS_MAX);
    assert!(log.between(Timestamp(19), all).is_none() && log.reaches(Timestamp(20)));
    assert_eq!(log.between(Timestamp(30), Timestamp(25)).unwrap().len(), 0);
    let dropped = log.take_back(Timestamp(10 + count - 1));
    assert_eq!(dropped.iter().map(|entry| entry.ts.0).collect::<Vec<_>>(), [10 + count]);
}

/// The snapshot of a reader stays whole while everything around it is changed and collected.
#[test]
fn pinned_history_is_not_collected() {
    let world = World::with(Options { retention_ns: 1, ..Options::default() });
    world.engine.apply_schema(tables(&[indexed("t", &[("by_n", &["n"])])])).unwrap();
    let ids: Vec<_> = (0..5).map(|n| world.insert("t", object! { "n" => f64::from(n) })).collect();
    let mut reader = world.engine.begin(Head::Durable);
    let ts = reader.snapshot_ts();
    for id in &ids {
        world.commit(|tx| tx.delete(*id).unwrap());
        world.clock.advance_ms(10);
        world.engine.collect(100).unwrap();
    }
    assert_eq!(
        numbers(&collect(&mut reader, "t", "by_n", Order::Asc), "n"),
        [0.0, 1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(reader.count(&table("t")).unwrap(), 5);
    drop(reader);
    world.engine.collect(100).unwrap();
    let Err(error) = world.engine.begin_at(ts) else { panic!("the history is gone") };
    assert_eq!(error.code, "OutOfRetention");
}

#[test]
fn a_disk_that_does_not_keep_up_refuses_commits_in_the_end() {
    use crate::PENDING_BYTES_MAX;
    let world = World::new();
    let body = object! { "pad" => "x".repeat(1_000_000) };
    let mut accepted = 0;
    let refused = loop {
        let mut tx = world.begin();
        for _ in 0..16 {
            tx.insert(&table("t"), body.clone()).unwrap();
        }
        match world.engine.commit(&mut tx, None) {
            Ok(_) => accepted += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, crate::CommitError::Unavailable(_)), "{refused}");
    assert!(
        (PENDING_BYTES_MAX / 17_000_000..=PENDING_BYTES_MAX / 16_000_000 + 1).contains(&accepted)
    );
    // One group on, there is room again.
    world.engine.append_pending();
    world.insert("t", object! {});
}
