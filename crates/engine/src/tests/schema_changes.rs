//! Pushes of schemas under traffic: new indexes, validation, failure, and a restart in the middle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use store::Order;
use value::schema::Schema;
use value::{DocumentId, Value, object};

use super::dice::Dice;
use super::world::{World, code, collect, index_name, indexed, numbers, schema, table, tables};
use crate::{CommitError, Head, IndexState, STEP_DOCUMENTS, SchemaChangeError};

fn by_n() -> Schema {
    tables(&[indexed("t", &[("by_n", &["n"])])])
}

/// Table `t` with an object validator of these `(field, JSON of the type, optional)`.
fn validated(fields: &[(&str, &str, bool)], indexes: &str) -> Schema {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, kind, optional)| {
            format!(r#""{name}":{{"fieldType":{kind},"optional":{optional}}}"#)
        })
        .collect();
    schema(&format!(
        r#"{{"tables":[{{"tableName":"t","indexes":[{indexes}],"documentType":{{"type":"object","value":{{{}}}}}}}],"schemaValidation":true}}"#,
        fields.join(",")
    ))
}

const NUMBER: &str = r#"{"type":"number"}"#;
const STRING: &str = r#"{"type":"string"}"#;

/// The index holds exactly the documents of the table, in order.
#[track_caller]
fn check_index(world: &World, by: &str) {
    let mut tx = world.engine.begin(Head::Durable);
    let mut expected = numbers(&collect(&mut tx, "t", "by_creation_time", Order::Asc), "n");
    expected.sort_by(f64::total_cmp);
    assert_eq!(numbers(&collect(&mut tx, "t", by, Order::Asc), "n"), expected);
    // And again from the disk, past everything that was in memory.
    let fresh = World::over(std::sync::Arc::clone(&world.store), crate::Options::default());
    let mut tx = fresh.engine.begin(Head::Durable);
    assert_eq!(numbers(&collect(&mut tx, "t", by, Order::Asc), "n"), expected);
    assert_eq!(tx.count(&table("t")).unwrap(), expected.len() as u64);
}

fn fill(world: &World, rows: usize) -> Vec<DocumentId> {
    let mut ids = Vec::new();
    for chunk in (0..rows).collect::<Vec<_>>().chunks(400) {
        world.commit(|tx| {
            for n in chunk {
                ids.push(tx.insert(&table("t"), object! { "n" => *n as f64 }).unwrap());
            }
        });
    }
    ids
}

/// One random change of the table.
fn change(world: &World, ids: &mut Vec<DocumentId>, dice: &mut Dice) {
    let mut tx = world.begin();
    let n = Value::from(dice.roll(1000) as f64);
    let at = dice.roll(ids.len());
    let mut fresh = None;
    match dice.roll(4) {
        0 => fresh = Some(tx.insert(&table("t"), object! { "n" => n }).unwrap()),
        1 if ids.len() > 5 => tx.delete(ids.swap_remove(at)).unwrap(),
        _ => tx.patch(ids[at], [("n".to_owned(), Some(n))].into()).unwrap(),
    }
    world.engine.commit(&mut tx, None).unwrap();
    ids.extend(fresh);
}

#[test]
fn an_index_is_filled_between_writes_in_any_order() {
    for seed in 0..12 {
        println!("SEED={seed}");
        let mut dice = Dice::seeded(seed, usize::MAX);
        let world = World::new();
        let mut ids = fill(&world, STEP_DOCUMENTS * 2 + 300);
        let mut some_changes = |dice: &mut Dice| {
            for _ in 0..dice.roll(60) {
                change(&world, &mut ids, dice);
                if dice.once_in(3) {
                    world.engine.append_pending();
                }
                if dice.once_in(9) {
                    world.clock.advance_ms(1_000_000);
                    world.engine.collect(100).unwrap();
                }
            }
        };
        some_changes(&mut dice);
        let mut push = world.engine.begin_schema_change(by_n()).unwrap();
        some_changes(&mut dice);
        while !world.engine.step_schema_change(&mut push).unwrap() {
            let early = world.begin().index(&table("t"), &index_name("by_n"));
            assert_eq!(code(early).0, "IndexNotReady");
            some_changes(&mut dice);
        }
        some_changes(&mut dice);
        world.engine.finish_schema_change(push, |_| Ok(())).unwrap();
        some_changes(&mut dice);
        world.engine.flush();
        check_index(&world, "by_n");
    }
}

#[test]
fn an_index_is_filled_while_threads_write() {
    let world = World::new();
    let ids = fill(&world, STEP_DOCUMENTS * 3);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (world, ids, stop) = (&world, &ids, &stop);
        for worker in 0..3 {
            scope.spawn(move || {
                let mut dice = Dice::seeded(worker, usize::MAX);
                let mut mine: Vec<_> =
                    ids.iter().skip(worker as usize).step_by(3).copied().collect();
                while !stop.load(Ordering::Acquire) {
                    let mut tx = world.begin();
                    let at = dice.roll(mine.len());
                    let n = Value::from(dice.roll(1000) as f64);
                    let gone = dice.once_in(8).then(|| mine[at]);
                    match gone {
                        Some(id) => tx.delete(id).unwrap(),
                        None => tx.patch(mine[at], [("n".to_owned(), Some(n))].into()).unwrap(),
                    }
                    match world.engine.commit(&mut tx, None) {
                        Ok(_) if gone.is_some() => drop(mine.swap_remove(at).to_string()),
                        // The push itself is in the way of writers twice.
                        Ok(_) | Err(CommitError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    world.engine.append_pending();
                    if mine.len() < 10 {
                        return;
                    }
                }
            });
        }
        for fields in [&["n"][..], &["n", "m"][..]] {
            world.engine.apply_schema(tables(&[indexed("t", &[("by_n", fields)])])).unwrap();
        }
        stop.store(true, Ordering::Release);
    });
    world.engine.flush();
    check_index(&world, "by_n");
}

#[test]
fn an_empty_table_gets_its_index_without_work() {
    let world = World::new();
    // A transaction that is under way when the index appears must maintain it.
    let mut writer = world.begin();
    writer.insert(&table("t"), object! { "n" => 1.0 }).unwrap();
    world.engine.apply_schema(by_n()).unwrap();
    assert!(matches!(world.engine.commit(&mut writer, None), Err(CommitError::Conflict { .. })));
    world.insert("t", object! { "n" => 2.0 });
    check_index(&world, "by_n");
}

/// Writers are not refused because a push looks at their table, nor the push because of them.
#[test]
fn announcing_an_index_depends_on_no_document() {
    let world = World::new();
    let ids = fill(&world, 3);
    let mut attempts = 0;
    world
        .engine
        .transact(|tx| {
            attempts += 1;
            crate::schema_change::announce(tx, &by_n().into())?;
            world.apply(|other| {
                other.patch(ids[0], [("n".to_owned(), Some(Value::from(9.0)))].into()).unwrap();
            });
            Ok(())
        })
        .unwrap();
    assert_eq!(attempts, 1);
}

#[test]
fn a_staged_index_is_maintained_and_enabled_at_once() {
    let staged = |staged: bool| {
        let index = r#"[{"indexDescriptor":"by_n","fields":["n"]}]"#;
        let (indexes, staged) = if staged { ("[]", index) } else { (index, "[]") };
        schema(&format!(
            r#"{{"tables":[{{"tableName":"t","indexes":{indexes},"stagedDbIndexes":{staged}}}]}}"#
        ))
    };
    let world = World::new();
    fill(&world, 20);
    world.engine.apply_schema(staged(true)).unwrap();
    let refused = code(world.begin().index(&table("t"), &index_name("by_n")));
    assert_eq!(refused, ("StagedIndex", "Index t.by_n is staged and cannot be used.".to_owned()));
    fill(&world, 20);
    let id = world.begin().table(&table("t")).unwrap().index(&index_name("by_n")).unwrap().id;

    let mut push = world.engine.begin_schema_change(staged(false)).unwrap();
    assert!(world.engine.step_schema_change(&mut push).unwrap(), "nothing is left to fill");
    world.engine.finish_schema_change(push, |_| Ok(())).unwrap();
    check_index(&world, "by_n");
    // Off again, with its data, and on again.
    world.engine.apply_schema(staged(true)).unwrap();
    assert_eq!(code(world.begin().index(&table("t"), &index_name("by_n"))).0, "StagedIndex");
    fill(&world, 20);
    world.engine.apply_schema(staged(false)).unwrap();
    assert_eq!(super::world::index(&mut world.begin(), "t", "by_n").id, id);
    check_index(&world, "by_n");
}

#[test]
fn an_index_with_other_fields_serves_the_old_ones_until_the_switch() {
    let world = World::new();
    for n in 0..10 {
        world.insert("t", object! { "n" => f64::from(n), "m" => f64::from(10 - n) });
    }
    world.engine.apply_schema(by_n()).unwrap();
    let old = super::world::index(&mut world.begin(), "t", "by_n");
    let next = tables(&[indexed("t", &[("by_n", &["m"])])]);
    let mut push = world.engine.begin_schema_change(next).unwrap();
    let rows = |order| numbers(&collect(&mut world.begin(), "t", "by_n", order), "n");
    let ascending: Vec<f64> = (0..10).map(f64::from).collect();
    assert_eq!(rows(Order::Asc), ascending);
    while !world.engine.step_schema_change(&mut push).unwrap() {}
    world.insert("t", object! { "n" => 10.0, "m" => 0.0 });
    assert_eq!(rows(Order::Asc).len(), 11);
    let mut reader = world.engine.begin(Head::Durable);
    world.engine.finish_schema_change(push, |_| Ok(())).unwrap();
    assert_eq!(rows(Order::Desc), (0..11).map(f64::from).collect::<Vec<_>>());
    // Whoever began before still has the old one, and its entries are not collected under it.
    assert_eq!(super::world::index(&mut reader, "t", "by_n").id, old.id);
    world.clock.advance_ms(10_000_000);
    world.engine.collect(1000).unwrap();
    assert_eq!(numbers(&collect(&mut reader, "t", "by_n", Order::Asc), "n").len(), 11);
    drop(reader);
    let entries = |world: &World| {
        let all = value::Interval::all();
        let at = world.engine.durable();
        world.store.scan(old.tablet, old.id, &all, at, Order::Asc, 100).unwrap().rows.len()
    };
    assert_eq!(entries(&world), 11);
    while !world.engine.collect(1000).unwrap() {}
    assert_eq!(entries(&world), 0);
    assert!(world.engine.dropped.lock().is_empty());
}

#[test]
fn entries_of_dropped_indexes_go_after_a_restart_too() {
    let mut world = World::new();
    fill(&world, 10);
    world.engine.apply_schema(by_n()).unwrap();
    let old = super::world::index(&mut world.begin(), "t", "by_n");
    world.engine.apply_schema(tables(&[indexed("t", &[])])).unwrap();
    assert!(world.begin().index(&table("t"), &index_name("by_n")).is_err());
    world.reopen();
    assert_eq!(world.engine.dropped.lock().len(), 1);
    world.clock.advance_ms(10_000_000);
    while !world.engine.collect(1000).unwrap() {}
    let all = value::Interval::all();
    let at = world.engine.durable();
    let left = world.store.scan(old.tablet, old.id, &all, at, Order::Asc, 100).unwrap();
    assert_eq!(left.rows.len(), 0);
    world.reopen();
    assert!(world.engine.dropped.lock().is_empty());
}

#[test]
fn a_document_that_does_not_fit_fails_the_push_and_nothing_else() {
    let world = World::new();
    world.engine.apply_schema(validated(&[("n", NUMBER, false)], "")).unwrap();
    world.engine.apply_schema(schema(r#"{"tables":[{"tableName":"t","indexes":[]}]}"#)).unwrap();
    let good = world.insert("t", object! { "n" => 1.0 });
    let bad = world.insert("t", object! { "n" => 2.0, "extra" => "e" });
    let before = world.engine.catalog();
    let active = |catalog: &crate::Catalog| catalog.active_schema().map(|(id, s)| (id, s.clone()));

    let index = r#"{"indexDescriptor":"by_n","fields":["n"]}"#;
    let failed = world.engine.apply_schema(validated(&[("n", NUMBER, false)], index));
    let Err(SchemaChangeError::Mismatch(text)) = failed else { panic!("{failed:?}") };
    let start = format!("Document with ID \"{bad}\" in table \"t\" does not match the schema: ");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("extra"), "{text}");

    assert_eq!(active(&world.engine.catalog()), active(&before));
    assert!(world.begin().index(&table("t"), &index_name("by_n")).is_err());
    // Not enforced, neither as the active nor as the pending one, and its index is given up.
    let definition = world.begin().table(&table("t")).unwrap();
    assert_eq!(definition.indexes.len(), 2);
    assert_eq!(world.engine.dropped.lock().len(), 1);
    assert!(definition.validator.is_none() && definition.pending.is_none());
    world.insert("t", object! { "n" => 3.0, "extra" => 5.0 });
    // The next push goes through, without a restart.
    let fields = [("n", NUMBER, false), ("extra", r#"{"type":"any"}"#, true)];
    world.engine.apply_schema(validated(&fields, index)).unwrap();
    check_index(&world, "by_n");
    assert!(world.begin().get(good).unwrap().is_some());
}

#[test]
fn a_write_that_breaks_the_pending_schema_fails_the_push() {
    for rolled_back in [false, true] {
        let world = World::new();
        world.insert("t", object! { "n" => 1.0 });
        let next = validated(&[("n", NUMBER, false)], "");
        let mut push = world.engine.begin_schema_change(next).unwrap();
        while !world.engine.step_schema_change(&mut push).unwrap() {}
        let mut tx = world.begin();
        let savepoint = tx.savepoint();
        tx.insert(&table("t"), object! { "n" => "text" }).unwrap();
        if rolled_back {
            tx.rollback(savepoint);
        }
        tx.insert(&table("t"), object! { "n" => 2.0 }).unwrap();
        // The mutation itself is accepted.
        world.engine.commit(&mut tx, None).unwrap();
        let mut switched = false;
        let result = world.engine.finish_schema_change(push, |_| {
            switched = true;
            Ok(())
        });
        assert_eq!(switched, rolled_back);
        if rolled_back {
            result.unwrap();
            continue;
        }
        let Err(SchemaChangeError::Mismatch(text)) = result else { panic!("{result:?}") };
        let start = "New document in table \"t\" does not match the schema: ";
        assert!(text.starts_with(start) && text.len() > start.len(), "{text}");
        assert!(world.engine.catalog().active_schema().is_none());
        assert_eq!(world.begin().count(&table("t")).unwrap(), 3);
    }
}

#[test]
fn a_push_of_the_active_schema_does_nothing() {
    let world = World::new();
    fill(&world, 5);
    world.engine.apply_schema(by_n()).unwrap();
    let before = world.engine.applied();
    world.engine.apply_schema(by_n()).unwrap();
    assert_eq!(world.engine.applied(), before);
}

#[test]
fn a_superset_skips_the_documents() {
    let world = World::new();
    world.engine.apply_schema(validated(&[("n", NUMBER, false)], "")).unwrap();
    fill(&world, 5);
    let union = format!(r#"{{"type":"union","value":[{NUMBER},{STRING}]}}"#);
    let wider = validated(&[("n", &union, false), ("m", STRING, true)], "");
    let mut push = world.engine.begin_schema_change(wider.clone()).unwrap();
    let before = world.engine.stats().rows_loaded;
    assert!(world.engine.step_schema_change(&mut push).unwrap());
    assert_eq!(world.engine.stats().rows_loaded, before);
    world.engine.finish_schema_change(push, |_| Ok(())).unwrap();
    world.insert("t", object! { "n" => "text" });
    // A narrower one looks at them, and finds one.
    let narrow = validated(&[("n", NUMBER, false)], "");
    assert!(matches!(world.engine.apply_schema(narrow), Err(SchemaChangeError::Mismatch(_))));
    assert_eq!(world.engine.catalog().active_schema().unwrap().1.as_ref(), &wider);
}

#[test]
fn a_push_that_is_overtaken_says_so() {
    let world = World::new();
    fill(&world, 5);
    let first = world.engine.begin_schema_change(by_n()).unwrap();
    world.engine.apply_schema(tables(&[indexed("t", &[("by_m", &["m"])])])).unwrap();
    let late = world.engine.finish_schema_change(first, |_| Ok(()));
    assert!(matches!(late, Err(SchemaChangeError::Overwritten)), "{late:?}");
    let definition = world.begin().table(&table("t")).unwrap();
    let names: Vec<_> = definition.indexes.iter().map(|index| index.name.to_string()).collect();
    assert_eq!(names, ["by_id", "by_creation_time", "by_m"]);
    // Back to what was active, over one that never got ready: that one is forgotten.
    drop(world.engine.begin_schema_change(by_n()).unwrap());
    world.engine.apply_schema(tables(&[indexed("t", &[("by_m", &["m"])])])).unwrap();
    let definition = world.begin().table(&table("t")).unwrap();
    assert_eq!(definition.indexes.len(), 3);
    assert!(definition.pending.is_none());
}

#[test]
fn a_restart_in_the_middle_of_a_push_is_picked_up_by_the_next_one() {
    for steps in 0..4 {
        for later_collect in [false, true] {
            let mut world = World::new();
            let mut ids = fill(&world, STEP_DOCUMENTS * 2 + 10);
            let mut dice = Dice::seeded(steps, usize::MAX);
            {
                let mut push = world.engine.begin_schema_change(by_n()).unwrap();
                for _ in 0..steps {
                    change(&world, &mut ids, &mut dice);
                    if world.engine.step_schema_change(&mut push).unwrap() {
                        break;
                    }
                }
            }
            world.engine.flush();
            world.reopen();
            let index = world.begin().table(&table("t")).unwrap();
            let index = index.index(&index_name("by_n")).unwrap().clone();
            assert_ne!(index.state, IndexState::Enabled);
            for _ in 0..50 {
                change(&world, &mut ids, &mut dice);
            }
            world.engine.flush();
            if later_collect {
                world.clock.advance_ms(10_000_000);
                while !world.engine.collect(10_000).unwrap() {}
            }
            world.engine.apply_schema(by_n()).unwrap();
            check_index(&world, "by_n");
            let now = super::world::index(&mut world.begin(), "t", "by_n");
            assert_eq!(now.id, index.id, "the same index goes on");
        }
    }
}

#[test]
fn finishing_early_does_the_rest_first() {
    let world = World::new();
    fill(&world, STEP_DOCUMENTS + 5);
    let push = world.engine.begin_schema_change(by_n()).unwrap();
    world.engine.finish_schema_change(push, |_| Ok(())).unwrap();
    check_index(&world, "by_n");
}

/// A push that fails late gives up what it built, not what others need.
#[test]
fn a_failed_push_leaves_staged_indexes_and_later_pushes_alone() {
    let world = World::new();
    let bad = world.insert("t", object! { "n" => 1.0, "s" => "not a number" });
    let staged = r#"{"tables":[{"tableName":"t","indexes":[],
        "stagedDbIndexes":[{"indexDescriptor":"by_s","fields":["s"]}]}]}"#;
    world.engine.apply_schema(schema(staged)).unwrap();
    let states = |world: &World| -> Vec<(String, IndexState)> {
        let definition = world.begin().table(&table("t")).unwrap();
        let indexes = definition.indexes.iter().skip(2);
        indexes.map(|index| (index.name.to_string(), index.state)).collect()
    };
    let before = states(&world);
    assert_eq!(before, [("by_s".to_owned(), IndexState::Backfilled)]);

    let index = r#"{"indexDescriptor":"by_n","fields":["n"]}"#;
    let strict = validated(&[("n", NUMBER, false)], index);
    let mut overtaken = world.engine.begin_schema_change(strict.clone()).unwrap();
    assert!(matches!(
        world.engine.apply_schema(strict.clone()),
        Err(SchemaChangeError::Mismatch(_))
    ));
    assert_eq!(states(&world), before);

    // The overtaken one finds the bad document too, while another push is under way.
    let both = r#"{"tables":[{"tableName":"t","indexes":[{"indexDescriptor":"by_n","fields":["n"]}],
        "stagedDbIndexes":[{"indexDescriptor":"by_s","fields":["s"]}]}]}"#;
    let later = world.engine.begin_schema_change(schema(both)).unwrap();
    assert!(matches!(
        world.engine.step_schema_change(&mut overtaken),
        Err(SchemaChangeError::Mismatch(_))
    ));
    world.engine.finish_schema_change(later, |_| Ok(())).unwrap();
    check_index(&world, "by_n");
    world.commit(|tx| tx.delete(bad).unwrap());
    world.engine.apply_schema(strict).unwrap();
    check_index(&world, "by_n");
    world.clock.advance_ms(10_000_000);
    while !world.engine.collect(1000).unwrap() {}
    check_index(&world, "by_n");
}
