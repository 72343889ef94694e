//! Exports: pages of a snapshot and of the log, whatever their budget.

use value::object;

use super::world::{World, table};
use crate::*;
use value::{DocumentId, Timestamp, Value};

const ALL: ExportBudget = ExportBudget { rows: usize::MAX, bytes: usize::MAX };

fn rows(rows: usize) -> ExportBudget {
    ExportBudget { rows, ..ALL }
}

fn any(_: &TableDef) -> bool {
    true
}

/// Table, id, timestamp, and field `n`; `None` where it was deleted.
type Seen = (String, DocumentId, Timestamp, Option<f64>);

fn seen(revision: &Revision) -> Seen {
    let n = revision.document.as_ref().and_then(|d| d.body().get("n").and_then(Value::as_f64));
    (revision.table.name.to_string(), revision.id, revision.ts, n)
}

fn snapshot(world: &World, at: Timestamp, budget: ExportBudget) -> (Vec<Seen>, usize) {
    let (mut found, mut pages, mut position) = (Vec::new(), 0, None);
    loop {
        let page = world.engine.snapshot_page(at, position, &any, budget).unwrap();
        found.extend(page.rows.iter().map(seen));
        pages += 1;
        position = page.next;
        if position.is_none() {
            return (found, pages);
        }
    }
}

fn log(world: &World, after: Timestamp, budget: ExportBudget) -> (Vec<Vec<Seen>>, Timestamp) {
    let (mut pages, mut through) = (Vec::new(), after);
    loop {
        let page = world.engine.log_page(through, &any, budget).unwrap();
        pages.push(page.rows.iter().map(seen).collect());
        through = page.through;
        if !page.more {
            return (pages, through);
        }
    }
}

#[test]
fn a_snapshot_is_the_same_in_pages_of_any_size() {
    let world = World::new();
    for n in 0..70 {
        world.insert(if n % 3 == 0 { "a" } else { "b" }, object! {"n" => f64::from(n)});
    }
    let at = world.engine.durable();
    let (whole, _) = snapshot(&world, at, ALL);
    assert_eq!(whole.len(), 70);
    let ids: Vec<_> = whole.iter().map(|(table, id, ..)| (table.clone(), *id)).collect();
    assert!(ids.is_sorted(), "tables in the order they were made, then ids");
    for (table, id, _, n) in &whole[..9] {
        world.commit(|tx| match n {
            Some(n) if *n < 9.0 => tx.delete(*id).unwrap(),
            Some(_) | None => drop(tx.insert(&table.parse().unwrap(), object! {})),
        });
    }
    for budget in [rows(1), rows(7), rows(33), ExportBudget { bytes: 100, ..ALL }] {
        let (found, pages) = snapshot(&world, at, budget);
        assert_eq!(found, whole, "{budget:?}");
        assert!(pages > 2, "{budget:?}");
    }
}

#[test]
fn the_log_tells_what_changed_and_splits_no_commit() {
    let world = World::new();
    let before = world.insert("a", object! {"n" => 0.0});
    let start = world.engine.durable();
    let (first, second) = world.commit(|tx| {
        let name = table("a");
        let first = tx.insert(&name, object! {"n" => 1.0}).unwrap();
        (first, tx.insert(&name, object! {"n" => 2.0}).unwrap())
    });
    world.commit(|tx| tx.replace(before, object! {"n" => 3.0}).unwrap());
    world.insert("b", object! {"n" => 4.0});
    world.commit(|tx| tx.delete(before).unwrap());
    let head = world.engine.durable();

    let (pages, through) = log(&world, start, ALL);
    assert_eq!((pages.len(), through), (1, head));
    let mut expected = [first, second];
    expected.sort_by_key(|id| id.internal);
    let ids: Vec<_> = pages[0].iter().map(|row| row.1).collect();
    assert_eq!(ids[..3], [expected[0], expected[1], before]);
    let values: Vec<_> = pages[0].iter().skip(2).map(|row| row.3).collect();
    assert_eq!(values, [Some(3.0), Some(4.0), None]);

    let (small, through) = log(&world, start, rows(1));
    assert_eq!((small.concat(), through), (pages[0].clone(), head));
    assert_eq!(small[0].len(), 2, "one commit");

    // What is not wanted counts, and is passed.
    let page = world.engine.log_page(start, &|t: &TableDef| t.name == table("b"), ALL).unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!((page.through, page.more), (head, false));
    let empty = world.engine.log_page(head, &any, ALL).unwrap();
    assert!(empty.rows.is_empty() && empty.through == head && !empty.more);
}

#[test]
fn what_is_not_on_disk_is_not_exported() {
    let world = World::new();
    world.insert("a", object! {"n" => 0.0});
    let head = world.engine.durable();
    world.apply(|tx| {
        tx.insert(&table("a"), object! {"n" => 1.0}).unwrap();
    });
    assert!(world.engine.applied() > head);
    let page = world.engine.log_page(head, &any, ALL).unwrap();
    assert!(page.rows.is_empty() && page.through == head);
}

#[test]
fn history_that_is_gone_and_times_to_come() {
    let world = World::new();
    let id = world.insert("a", object! {"n" => 0.0});
    let start = world.engine.durable();
    // However old, the newest state can be read.
    world.clock.advance_ns(10 * 3_600_000_000_000);
    assert_eq!(snapshot(&world, start, ALL).0.len(), 1);
    assert_eq!(log(&world, start, ALL).1, start);
    world.commit(|tx| tx.replace(id, object! {"n" => 1.0}).unwrap());
    let check = |ts: Timestamp, expected: &str| {
        let snapshot = world.engine.snapshot_page(ts, None, &any, ALL).unwrap_err();
        let log = world.engine.log_page(ts, &any, ALL).unwrap_err();
        assert_eq!((snapshot.code, log.code), (expected, expected));
    };
    check(start, "OutOfRetention");
    check(world.engine.durable().succ(), "TimestampInFuture");
}

#[test]
fn the_store_has_the_last_word_on_what_is_kept() {
    let world = World::new();
    let id = world.insert("a", object! {"n" => 0.0});
    let start = world.engine.durable();
    world.commit(|tx| tx.replace(id, object! {"n" => 1.0}).unwrap());
    world.store.collect(world.engine.durable(), usize::MAX).unwrap();
    let error = world.engine.log_page(start, &any, ALL).unwrap_err();
    assert_eq!((error.code, error.kind), ("OutOfRetention", TxErrorKind::OutOfRetention));
}
