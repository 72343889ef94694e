//! Writes: what is elided, what collapses, what is refused, and in which words.

use std::collections::BTreeMap;

use store::{IndexId, LogRow};
use value::{DocumentId, InternalId, TableNumber, Timestamp, Value, object};

use super::world::{World, code, schema, table};
use crate::{Head, Limits, Options, Transaction, TxError, WriteKind};

fn patch(
    tx: &mut Transaction,
    id: DocumentId,
    field: &str,
    value: Option<Value>,
) -> Result<(), TxError> {
    tx.patch(id, BTreeMap::from([(field.to_owned(), value)]))
}

/// What is on disk of user tables since `after`.
fn logged(world: &World, after: Timestamp) -> Vec<LogRow> {
    let rows = world.store.log(after, 1000).unwrap();
    rows.into_iter().filter(|row| row.tablet.0 >= crate::system::FIRST_USER_TABLET).collect()
}

#[test]
fn writes_that_change_nothing_are_not_committed() {
    let world = World::new();
    let id = world.insert("t", object! { "n" => 1.0, "nan" => f64::NAN, "zero" => 0.0 });
    let durable = world.engine.durable();
    let writes: [fn(&mut Transaction, DocumentId); 6] = [
        |tx, id| patch(tx, id, "n", Some(Value::from(1.0))).unwrap(),
        |tx, id| patch(tx, id, "nan", Some(Value::from(f64::NAN))).unwrap(),
        |tx, id| patch(tx, id, "absent", None).unwrap(),
        |tx, id| patch(tx, id, "_id", None).unwrap(),
        |tx, id| {
            let body = tx.get(id).unwrap().unwrap().body().clone();
            tx.replace(id, body).unwrap();
        },
        |tx, id| {
            patch(tx, id, "n", Some(Value::from(2.0))).unwrap();
            patch(tx, id, "n", Some(Value::from(1.0))).unwrap();
        },
    ];
    for write in writes {
        let mut tx = world.begin();
        write(&mut tx, id);
        // Inserted and deleted again: nothing either.
        let own = tx.insert(&table("t"), object! {}).unwrap();
        tx.delete(own).unwrap();
        assert!(!world.engine.commit(&mut tx, None).unwrap().wrote);
    }
    assert_eq!(world.engine.applied(), durable);
    // -0 is another value than 0.
    world.commit(|tx| patch(tx, id, "zero", Some(Value::from(-0.0))).unwrap());
    assert_eq!(logged(&world, durable).len(), 1);
    // An elided write does not count.
    let mut tx = world.begin();
    patch(&mut tx, id, "n", Some(Value::from(1.0))).unwrap();
    assert_eq!(tx.usage().documents_written, 0);
}

#[test]
fn several_writes_to_one_document_are_one_entry() {
    let world = World::new();
    let id = world.insert("t", object! { "n" => 1.0 });
    let before = world.engine.durable();
    let created = world.begin().get(id).unwrap().unwrap().creation_time();
    world.commit(|tx| {
        patch(tx, id, "n", Some(Value::from(2.0))).unwrap();
        tx.replace(id, object! { "n" => 3.0 }).unwrap();
        patch(tx, id, "m", Some(Value::from(4.0))).unwrap();
        assert_eq!(tx.usage().documents_written, 3);
        let fresh = tx.insert(&table("t"), object! { "n" => 0.0 }).unwrap();
        tx.delete(fresh).unwrap();
    });
    let rows = logged(&world, before);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].prev_ts, Some(before));
    let body = world.begin().get(id).unwrap().unwrap().body().clone();
    let expected = object! {
        "_id" => id.to_string(), "_creationTime" => created, "n" => 3.0, "m" => 4.0
    };
    assert_eq!(body, expected);
    let log = world.engine.log_between(before, world.engine.applied()).unwrap();
    let kinds: Vec<_> = log[0].writes.iter().map(|write| write.kind).collect();
    assert_eq!(kinds, [WriteKind::Changed, WriteKind::Changed]);

    // Patched, then deleted: only the deletion.
    let before = world.engine.durable();
    world.commit(|tx| {
        patch(tx, id, "n", Some(Value::from(5.0))).unwrap();
        tx.delete(id).unwrap();
        assert_eq!(code(tx.delete(id)).0, "NonexistentDocument");
    });
    let rows = logged(&world, before);
    assert_eq!(rows.len(), 1);
    assert!(rows[0].body.is_none());
    assert_eq!(world.begin().count(&table("t")).unwrap(), 0);
}

#[test]
fn patches_are_shallow() {
    let world = World::new();
    let id = world.insert("t", object! { "a" => object! { "x" => 1.0, "y" => 2.0 }, "b" => 1.0 });
    world.commit(|tx| {
        patch(tx, id, "a", Some(Value::from(object! { "x" => 3.0 }))).unwrap();
        patch(tx, id, "b", None).unwrap();
    });
    let document = world.begin().get(id).unwrap().unwrap();
    assert_eq!(document.body().get("a"), Some(&Value::from(object! { "x" => 3.0 })));
    assert!(!document.body().contains_key("b"));
}

#[test]
fn documents_that_do_not_exist_are_named() {
    let world = World::new();
    let id = world.insert("t", object! {});
    world.commit(|tx| tx.delete(id).unwrap());
    let unknown = DocumentId { table: TableNumber(19_999), internal: InternalId([7; 16]) };
    let mut tx = world.begin();
    for id in [id, unknown] {
        assert!(tx.get(id).unwrap().is_none());
        let expect =
            |verb: &str| ("NonexistentDocument", format!("{verb} on nonexistent document ID {id}"));
        assert_eq!(code(patch(&mut tx, id, "n", None)), expect("Update"));
        assert_eq!(code(tx.replace(id, object! {})), expect("Replace"));
        assert_eq!(code(tx.delete(id)), expect("Delete"));
    }
}

#[test]
fn system_fields_cannot_be_chosen() {
    let world = World::new();
    let id = world.insert("t", object! { "n" => 1.0 });
    let document = world.begin().get(id).unwrap().unwrap();
    let mut tx = world.begin();
    let other = Value::from("j57000000000000000000000000000000");
    assert_eq!(code(tx.insert(&table("t"), document.body().clone())).0, "InvalidIdError");
    let body = object! { "_creationTime" => 1.0 };
    assert_eq!(code(tx.insert(&table("t"), body.clone())).0, "InvalidCreationTimeError");
    assert_eq!(code(tx.replace(id, body)).0, "InvalidCreationTimeError");
    assert_eq!(code(patch(&mut tx, id, "_id", Some(other.clone()))).0, "InvalidIdError");
    assert_eq!(code(tx.replace(id, object! { "_id" => other })).0, "InvalidIdError");
    assert_eq!(
        code(patch(&mut tx, id, "_creationTime", Some(Value::from(1.0)))).0,
        "InvalidCreationTimeError"
    );
    assert_eq!(
        code(patch(&mut tx, id, "_other", Some(Value::from(1.0)))).0,
        "InvalidDocumentError"
    );
    // Equal ones are tolerated, and removing them has no effect.
    let mut same = document.body().clone();
    same.insert("n", 2.0);
    tx.replace(id, same).unwrap();
    patch(&mut tx, id, "_creationTime", None).unwrap();
    patch(&mut tx, id, "_id", Some(Value::from(id.to_string()))).unwrap();
    let now = tx.get(id).unwrap().unwrap();
    assert_eq!(now.creation_time(), document.creation_time());
    assert_eq!(now.body().get("n"), Some(&Value::from(2.0)));
}

#[test]
fn what_failed_staged_nothing() {
    let world = World::new();
    let id = world.insert("t", object! { "n" => 1.0 });
    let mut tx = world.begin();
    let mut deep = Value::Null;
    for _ in 0..17 {
        deep = Value::Array(vec![deep]);
    }
    assert_eq!(code(patch(&mut tx, id, "deep", Some(deep))).0, "InvalidDocumentError");
    let long = Value::from("x".repeat(value::limits::DOCUMENT_BYTES_MAX));
    assert_eq!(code(tx.insert(&table("t"), object! { "s" => long })).0, "ValueTooLargeError");
    assert_eq!(code(tx.insert(&table("_t"), object! {})).0, "InvalidTableName");
    assert!(!tx.has_writes());
    assert_eq!(tx.count(&table("t")).unwrap(), 1);
}

#[test]
fn ids_name_their_table_and_their_day() {
    let world = World::new();
    let a = world.insert("a", object! {});
    let b = world.insert("b", object! {});
    assert_eq!((a.table, b.table), (TableNumber(10_001), TableNumber(10_002)));
    assert_ne!(a.internal, b.internal);
    let day = u16::from_be_bytes([a.internal.0[14], a.internal.0[15]]);
    assert_eq!(u64::from(day), super::world::START.0 / 86_400_000_000_000);
    let body = world.begin().get(a).unwrap().unwrap().body().clone();
    assert_eq!(body.get("_id"), Some(&Value::from(a.to_string())));
    assert_eq!(a.to_string().parse::<DocumentId>().unwrap(), a);
}

const STRICT: &str = r#"{"tables":[{"tableName":"t","indexes":[],"documentType":{"type":"object","value":
    {"n":{"fieldType":{"type":"number"},"optional":false}}}}],"schemaValidation":true}"#;

#[test]
fn a_schema_is_enforced_on_the_whole_document() {
    let world = World::new();
    world.engine.apply_schema(schema(STRICT)).unwrap();
    let mut tx = world.begin();
    let prefix = "Failed to insert or update a document in table \"t\" because it does not match the schema: ";
    let id = tx.insert(&table("t"), object! { "n" => 1.0 }).unwrap();
    for result in [
        tx.insert(&table("t"), object! { "n" => "1" }).map(drop),
        tx.insert(&table("t"), object! {}).map(drop),
        tx.insert(&table("t"), object! { "n" => 1.0, "m" => 1.0 }).map(drop),
        tx.replace(id, object! {}),
        patch(&mut tx, id, "n", None),
        patch(&mut tx, id, "m", Some(Value::from(1.0))),
    ] {
        let (code, message) = code(result);
        assert_eq!(code, "SchemaEnforcementError");
        assert!(message.starts_with(prefix) && message.len() > prefix.len(), "{message}");
    }
    // Tables that the schema does not name take anything.
    tx.insert(&table("free"), object! { "x" => 1.0 }).unwrap();
    world.engine.commit(&mut tx, None).unwrap();
}

fn limited(limits: Limits) -> World {
    World::with(Options { limits, ..Options::default() })
}

#[test]
fn limits_of_reading_say_which_one() {
    let defaults = Limits::default();
    assert_eq!((defaults.documents_read, defaults.bytes_read), (32_000, 16_777_216));
    assert_eq!((defaults.database_queries, defaults.documents_written), (4096, 16_000));

    let world = limited(Limits { documents_read: 3, ..defaults });
    let ids: Vec<_> = (0..4).map(|_| world.insert("t", object! {})).collect();
    let mut tx = world.begin();
    let by = super::world::index(&mut tx, "t", "by_creation_time");
    let mut scan = tx.scan(&by, value::Interval::all(), store::Order::Asc);
    for _ in 0..3 {
        tx.next(&mut scan).unwrap().unwrap();
    }
    let expected = "Too many documents read in a single function execution (limit: 3)";
    assert_eq!(code(tx.next(&mut scan)), ("TooManyDocumentsRead", expected.to_owned()));

    let world = limited(Limits { bytes_read: 100, ..defaults });
    let id = world.insert("t", object! { "s" => "x".repeat(200) });
    let expected = "Too many bytes read in a single function execution (limit: 100 bytes)";
    assert_eq!(code(world.begin().get(id)), ("TooManyBytesRead", expected.to_owned()));

    let world = limited(Limits { database_queries: 3, ..defaults });
    drop(ids);
    let ids: Vec<_> = (0..9).map(|_| world.insert("t", object! {})).collect();
    let mut tx = world.begin();
    for id in ids[..3].iter().chain(&ids[..3]) {
        tx.get(*id).unwrap();
    }
    let expected = "Too many reads in a single function execution (limit: 3)";
    assert_eq!(code(tx.get(ids[3])), ("TooManyReads", expected.to_owned()));
    // A scan is one interval, however many rows it passes, and system tables are free.
    let mut tx = world.begin();
    assert_eq!(super::world::collect(&mut tx, "t", "by_id", store::Order::Desc).len(), 9);
    tx.table(&table("other"));
    assert_eq!(tx.usage().database_queries, 1);
}

#[test]
fn limits_of_writing_say_which_one() {
    let defaults = Limits::default();
    let world = limited(Limits { documents_written: 2, ..defaults });
    let mut tx = world.begin();
    for _ in 0..2 {
        tx.insert(&table("t"), object! {}).unwrap();
    }
    let expected = "Too many documents written in a single function execution (limit: 2)";
    assert_eq!(code(tx.insert(&table("t"), object! {})), ("TooManyWrites", expected.to_owned()));
    assert_eq!(tx.count(&table("t")).unwrap(), 2);

    let world = limited(Limits { bytes_written: 100, ..defaults });
    let expected = "Too many bytes written in a single function execution (limit: 100 bytes)";
    let result = world.begin().insert(&table("t"), object! { "s" => "x".repeat(100) });
    assert_eq!(code(result), ("TooManyBytesWritten", expected.to_owned()));
}

/// A mutation may insert as many documents as the limit of writes says; nobody reads their ids.
#[test]
fn inserts_do_not_count_as_reads() {
    let world = limited(Limits { database_queries: 5, ..Limits::default() });
    world.commit(|tx| {
        for _ in 0..50 {
            tx.insert(&table("t"), object! {}).unwrap();
        }
        assert_eq!(tx.usage().database_queries, 0);
    });
    // The ids are dependencies all the same.
    let mut tx = world.begin();
    let id = tx.insert(&table("t"), object! {}).unwrap();
    let tablet = tx.table(&table("t")).unwrap().tablet;
    assert!(tx.reads().contains(IndexId::by_id(tablet), &id.internal.0));
}

#[test]
fn scheduled_functions_are_limited() {
    let limits =
        Limits { functions_scheduled: 1, scheduled_function_args_bytes: 10, ..Limits::default() };
    let world = limited(limits);
    let mut tx = world.begin();
    tx.count_scheduled(10).unwrap();
    assert_eq!(code(tx.count_scheduled(0)).0, "TooManyFunctionsScheduled");
    let mut tx = world.begin();
    assert_eq!(code(tx.count_scheduled(11)).0, "ScheduledFunctionsArgumentsTooLarge");
}

#[test]
fn counts_at_older_timestamps_survive_a_restart() {
    let mut world = World::new();
    world.insert("other", object! {});
    let empty = world.engine.durable();
    let id = world.insert("t", object! {});
    let one = world.engine.durable();
    world.commit(|tx| tx.delete(id).unwrap());
    let none = world.engine.durable();
    for _ in 0..2 {
        let count = |ts| world.engine.begin_at(ts).unwrap().count(&table("t")).unwrap();
        assert_eq!([count(empty), count(one), count(none)], [0, 1, 0]);
        assert_eq!(world.engine.begin(Head::Durable).count(&table("t")).unwrap(), 0);
        world.reopen();
    }
}
