//! Read sets: which writes hit what was read, and which do not.

use std::collections::BTreeMap;

use store::Order;
use value::{DocumentId, Interval, Value, key, object};

use super::world::{World, all, index, index_name, indexed, schema, table, tables};
use crate::range::continuing;
use crate::{Head, Row, Transaction};

/// Rooms `a` and `b`, messages n = 1, 2, 3 in a and 2 in b; by author: a/1 of y, the others of x.
struct Chat {
    world: World,
    messages: BTreeMap<(&'static str, u32), DocumentId>,
}

impl Chat {
    fn new() -> Self {
        let world = World::new();
        let by = [("by_room_n", &["room", "n"][..]), ("by_author", &["author"][..])];
        world.engine.apply_schema(tables(&[indexed("messages", &by)])).unwrap();
        let mut messages = BTreeMap::new();
        for (room, n) in [("a", 1), ("a", 2), ("a", 3), ("b", 2)] {
            let author = if n == 1 { "y" } else { "x" };
            let body = object! { "room" => room, "n" => f64::from(n), "author" => author };
            messages.insert((room, n), world.insert("messages", body));
        }
        Self { world, messages }
    }

    /// Whether `write` hits what `read` read.
    fn hits(
        &self,
        read: impl FnOnce(&mut Transaction),
        write: impl FnOnce(&mut Transaction, &BTreeMap<(&'static str, u32), DocumentId>),
    ) -> bool {
        let mut reader = self.world.engine.begin(Head::Durable);
        read(&mut reader);
        let committed = self.world.apply(|tx| write(tx, &self.messages));
        self.world.engine.flush();
        let log = self.world.engine.log_between(reader.snapshot_ts(), committed.ts).unwrap();
        log.iter().any(|entry| entry.hit(reader.reads()).is_some())
    }
}

fn room(name: &str) -> Interval {
    continuing(&key::encode_all([Some(&Value::from(name))]))
}

/// A room from the message `n` on, that one excluded.
fn room_after(name: &str, n: f64) -> Interval {
    let prefix = key::encode_all([Some(&Value::from(name)), Some(&Value::from(n))]);
    Interval { start: continuing(&prefix).end.unwrap(), end: room(name).end }
}

fn take(tx: &mut Transaction, interval: Interval, order: Order, rows: usize) -> Vec<Row> {
    let by = index(tx, "messages", "by_room_n");
    let mut scan = tx.scan(&by, interval, order);
    (0..rows).filter_map(|_| tx.next(&mut scan).unwrap()).collect()
}

fn insert(tx: &mut Transaction, room: &str, n: f64) {
    let body = object! { "room" => room, "n" => n, "author" => "x" };
    tx.insert(&table("messages"), body).unwrap();
}

fn patch(tx: &mut Transaction, id: DocumentId, field: &str, value: impl Into<Value>) {
    tx.patch(id, BTreeMap::from([(field.to_owned(), Some(value.into()))])).unwrap();
}

type Messages = BTreeMap<(&'static str, u32), DocumentId>;
type Read = fn(&mut Transaction);
type Write = fn(&mut Transaction, &Messages);

#[track_caller]
fn check(read: Read, cases: &[(&str, Write, bool)]) {
    for (what, write, expected) in cases {
        assert_eq!(Chat::new().hits(read, write), *expected, "{what}");
    }
}

#[test]
fn a_row_that_moves_hits_the_range_it_leaves_and_the_one_it_enters() {
    let cases: [(&str, Write, bool); 2] = [
        ("moves", |tx, m| patch(tx, m[&("a", 2)], "room", "b"), true),
        ("another one", |tx, _| insert(tx, "c", 1.0), false),
    ];
    check(|tx| drop(take(tx, room("a"), Order::Asc, 9)), &cases);
    check(|tx| drop(take(tx, room("b"), Order::Asc, 9)), &cases);
}

#[test]
fn an_empty_result_is_a_dependency_on_its_range_alone() {
    let read: Read = |tx| assert!(take(tx, room_after("a", 10.0), Order::Asc, 1).is_empty());
    check(
        read,
        &[
            ("inside", |tx, _| insert(tx, "a", 11.0), true),
            ("at the bound", |tx, _| insert(tx, "a", 10.0), false),
            ("another room", |tx, _| insert(tx, "b", 11.0), false),
            ("moves in", |tx, m| patch(tx, m[&("b", 2)], "n", 11.0), false),
            ("moves in", |tx, m| patch(tx, m[&("a", 2)], "n", 11.0), true),
        ],
    );
}

#[test]
fn an_early_stop_depends_on_what_it_passed_in_its_direction() {
    check(
        |tx| assert_eq!(take(tx, room("a"), Order::Asc, 2).len(), 2),
        &[
            ("before the first", |tx, _| insert(tx, "a", 0.0), true),
            ("the first, another field", |tx, m| patch(tx, m[&("a", 1)], "author", "z"), true),
            ("between", |tx, _| insert(tx, "a", 1.5), true),
            ("the last one read", |tx, m| tx.delete(m[&("a", 2)]).unwrap(), true),
            ("behind it", |tx, _| insert(tx, "a", 2.5), false),
            ("the next", |tx, m| tx.delete(m[&("a", 3)]).unwrap(), false),
            ("equal to the last, but newer", |tx, _| insert(tx, "a", 2.0), false),
        ],
    );
    check(
        |tx| assert_eq!(take(tx, room("a"), Order::Desc, 1).len(), 1),
        &[
            ("above the first", |tx, _| insert(tx, "a", 4.0), true),
            ("the one read", |tx, m| patch(tx, m[&("a", 3)], "author", "z"), true),
            ("equal, but newer", |tx, _| insert(tx, "a", 3.0), true),
            ("behind it", |tx, _| insert(tx, "a", 2.5), false),
            ("the next", |tx, m| tx.delete(m[&("a", 2)]).unwrap(), false),
            ("the end of the range below", |tx, m| tx.delete(m[&("a", 1)]).unwrap(), false),
        ],
    );
    check(
        |tx| assert!(take(tx, room("a"), Order::Asc, 0).is_empty()),
        &[("nothing was asked for", |tx, _| insert(tx, "a", 0.0), false)],
    );
}

#[test]
fn a_scan_that_runs_dry_depends_on_its_whole_range() {
    for order in [Order::Asc, Order::Desc] {
        let chat = Chat::new();
        let hit = chat.hits(
            |tx| assert_eq!(take(tx, room("a"), order, 9).len(), 3),
            |tx, _| insert(tx, "a", 99.0),
        );
        assert!(hit);
        let chat = Chat::new();
        let hit = chat.hits(
            |tx| assert_eq!(take(tx, room("a"), order, 9).len(), 3),
            |tx, _| insert(tx, "aa", 0.0),
        );
        assert!(!hit);
    }
}

/// The first message of x in room a: skips that of y.
#[test]
fn a_filter_depends_on_the_rows_it_skipped() {
    let read: Read = |tx| {
        let by = index(tx, "messages", "by_room_n");
        let mut scan = tx.scan(&by, room("a"), Order::Asc);
        let of_x = |row: &Row| row.document.body().get("author") == Some(&Value::from("x"));
        while tx.next(&mut scan).unwrap().is_some_and(|row| !of_x(&row)) {}
    };
    check(
        read,
        &[
            ("the skipped one matches", |tx, m| patch(tx, m[&("a", 1)], "author", "x"), true),
            ("the skipped one goes", |tx, m| tx.delete(m[&("a", 1)]).unwrap(), true),
            ("another to skip", |tx, _| insert(tx, "a", 0.0), true),
            ("behind the match", |tx, _| insert(tx, "a", 5.0), false),
        ],
    );
}

#[test]
fn get_and_count_depend_on_one_key_and_on_all() {
    let chat = Chat::new();
    let id = chat.messages[&("a", 1)];
    assert!(chat.hits(|tx| drop(tx.get(id).unwrap()), |tx, _| patch(tx, id, "author", "q")));
    assert!(!chat.hits(|tx| drop(tx.get(id).unwrap()), |tx, m| tx.delete(m[&("a", 2)]).unwrap()));
    assert!(chat.hits(|tx| drop(tx.get(id).unwrap()), |tx, _| tx.delete(id).unwrap()));
    // Absent now, and still a dependency of who looked.
    let mut reader = chat.world.begin();
    assert!(reader.get(id).unwrap().is_none());
    let by_id = reader.table(&table("messages")).unwrap().by_id().id;
    assert!(reader.reads().contains(by_id, &id.internal.0));

    let count: Read = |tx| assert!(tx.count(&table("messages")).unwrap() > 0);
    check(
        count,
        &[
            ("insert", |tx, _| insert(tx, "z", 0.0), true),
            ("delete", |tx, m| tx.delete(m[&("b", 2)]).unwrap(), true),
            (
                "another table",
                |tx, _| drop(tx.insert(&table("x"), object! {}).unwrap().to_string()),
                false,
            ),
        ],
    );
}

#[test]
fn a_table_that_was_never_written_is_a_dependency_of_its_name() {
    let first: Write = |tx, _| drop(tx.insert(&table("likes"), object! {}).unwrap().to_string());
    let other: Write = |tx, _| drop(tx.insert(&table("like"), object! {}).unwrap().to_string());
    let reads: [(&str, Read); 3] = [
        ("table", |tx| assert!(tx.table(&table("likes")).is_none())),
        ("index", |tx| {
            assert!(tx.index(&table("likes"), &index_name("by_creation_time")).is_err())
        }),
        ("count", |tx| assert_eq!(tx.count(&table("likes")).unwrap(), 0)),
    ];
    for (what, read) in reads {
        assert!(Chat::new().hits(read, first), "{what}");
        assert!(!Chat::new().hits(read, other), "{what}");
    }
}

#[test]
fn an_index_that_is_replaced_hits_those_who_named_it() {
    let read: Read = |tx| drop(take(tx, room("zzz"), Order::Asc, 1));
    let by_author: Read = |tx| drop(index(tx, "messages", "by_author"));
    for (read, expected) in [(read, true), (by_author, false)] {
        let chat = Chat::new();
        let mut reader = chat.world.engine.begin(Head::Durable);
        read(&mut reader);
        let by = [("by_room_n", &["room"][..]), ("by_author", &["author"][..])];
        chat.world.engine.apply_schema(tables(&[indexed("messages", &by)])).unwrap();
        let durable = chat.world.engine.durable();
        let log = chat.world.engine.log_between(reader.snapshot_ts(), durable).unwrap();
        assert_eq!(log.iter().any(|entry| entry.hit(reader.reads()).is_some()), expected);
    }
}

/// A validator that says `v.id("rooms")` looks up the name, and so depends on it.
#[test]
fn ids_in_validators_depend_on_the_tables_they_name() {
    let chat = Chat::new();
    let text = r#"{"tables":[{"tableName":"likes","indexes":[],"documentType":{"type":"object","value":
        {"of":{"fieldType":{"type":"union","value":[{"type":"string"},{"type":"id","tableName":"rooms"}]},"optional":false},
         "n":{"fieldType":{"type":"any"},"optional":true}}}}],"schemaValidation":true}"#;
    chat.world.engine.apply_schema(schema(text)).unwrap();
    let mut writer = chat.world.begin();
    let id = chat.messages[&("a", 1)].to_string();
    writer.insert(&table("likes"), object! { "of" => id }).unwrap();
    let names = |name: &str| {
        let prefix = key::encode_all([Some(&Value::from(name))]);
        writer.reads().contains(crate::system::TABLES.index(0), &prefix)
    };
    assert!(names("likes"));
    assert!(!names("users"));
}

#[test]
fn own_writes_are_merged_into_scans_and_counts() {
    let chat = Chat::new();
    let mut tx = chat.world.begin();
    insert(&mut tx, "a", 2.5);
    tx.delete(chat.messages[&("a", 1)]).unwrap();
    patch(&mut tx, chat.messages[&("a", 3)], "n", 0.5);
    let ns = |rows: Vec<Row>| -> Vec<f64> {
        rows.iter().map(|row| row.document.body().get("n").unwrap().as_f64().unwrap()).collect()
    };
    assert_eq!(ns(take(&mut tx, room("a"), Order::Asc, 9)), [0.5, 2.0, 2.5]);
    assert_eq!(ns(take(&mut tx, room("a"), Order::Desc, 9)), [2.5, 2.0, 0.5]);
    assert_eq!(ns(take(&mut tx, room("a"), Order::Desc, 2)), [2.5, 2.0]);
    assert_eq!(tx.count(&table("messages")).unwrap(), 4);
    // Written behind the scan: not seen. Written or deleted before it: seen.
    let by = index(&mut tx, "messages", "by_room_n");
    let mut scan = tx.scan(&by, room("a"), Order::Asc);
    assert_eq!(ns(tx.next(&mut scan).unwrap().into_iter().collect()), [0.5]);
    insert(&mut tx, "a", 0.1);
    insert(&mut tx, "a", 0.7);
    tx.delete(chat.messages[&("a", 2)]).unwrap();
    assert_eq!(ns(all(&mut tx, scan)), [0.7, 2.5]);
}

#[test]
fn a_rollback_undoes_writes_and_keeps_reads() {
    let chat = Chat::new();
    let mut tx = chat.world.begin();
    let savepoint = tx.savepoint();
    tx.insert(&table("likes"), object! {}).unwrap();
    tx.delete(chat.messages[&("a", 1)]).unwrap();
    assert_eq!(take(&mut tx, room("b"), Order::Asc, 9).len(), 1);
    tx.rollback(savepoint);
    assert!(tx.table(&table("likes")).is_none());
    assert!(tx.get(chat.messages[&("a", 1)]).unwrap().is_some());
    assert_eq!(take(&mut tx, room("a"), Order::Asc, 9).len(), 3);
    assert!(!tx.has_writes());
    chat.world.apply(|tx| insert(tx, "b", 7.0));
    assert!(
        chat.world
            .engine
            .log_between(tx.snapshot_ts(), chat.world.engine.applied())
            .unwrap()
            .iter()
            .any(|entry| entry.hit(tx.reads()).is_some())
    );
    // And it writes nothing, so it is accepted all the same.
    assert!(!chat.world.engine.commit(&mut tx, None).unwrap().wrote);
}
