//! Order in indexes: mixed types, ties, creation times.

use store::Order;
use value::{Interval, Value, key, object};

use super::world::{World, all, collect, index, indexed, numbers, table, tables};
use crate::range::{RangeBound, RangeOp, interval};

#[test]
fn mixed_types_come_in_the_total_order() {
    let world = World::new();
    world.engine.apply_schema(tables(&[indexed("t", &[("by_v", &["v"])])])).unwrap();
    let values: Vec<Option<Value>> = vec![
        None,
        Some(Value::Null),
        Some(Value::Int64(-5)),
        Some(Value::Int64(3)),
        Some(Value::Float64(-0.5)),
        Some(Value::Float64(2.0)),
        Some(Value::Float64(f64::NAN)),
        Some(Value::Boolean(false)),
        Some(Value::Boolean(true)),
        Some(Value::from("")),
        Some(Value::from("a")),
        Some(Value::Bytes(vec![1])),
        Some(Value::Array(vec![])),
        Some(Value::from(object! {})),
    ];
    // Inserted in another order than that of the values.
    for at in (0..values.len()).rev() {
        let mut body = object! { "at" => at as f64 };
        if let Some(value) = values[at].clone() {
            body.insert("v", value);
        }
        world.insert("t", body);
    }
    let mut tx = world.begin();
    let expected: Vec<f64> = (0..values.len()).map(|at| at as f64).collect();
    assert_eq!(numbers(&collect(&mut tx, "t", "by_v", Order::Asc), "at"), expected);
    let backwards: Vec<f64> = expected.iter().rev().copied().collect();
    assert_eq!(numbers(&collect(&mut tx, "t", "by_v", Order::Desc), "at"), backwards);

    let by_v = index(&mut tx, "t", "by_v");
    let mut check = |op, value: Option<Value>, expected: Vec<f64>| {
        let bound = RangeBound::new(op, "v".parse().unwrap(), value);
        let range = interval(&by_v.fields, &[bound]).unwrap();
        let scan = tx.scan(&by_v, range, Order::Asc);
        let rows: Vec<_> = all(&mut tx, scan).into_iter().map(|row| row.document).collect();
        assert_eq!(numbers(&rows, "at"), expected);
    };
    check(RangeOp::Eq, None, vec![0.0]);
    check(RangeOp::Eq, Some(Value::Null), vec![1.0]);
    check(RangeOp::Lt, Some(Value::Null), vec![0.0]);
    check(RangeOp::Gt, Some(Value::Null), expected[2..].to_vec());
    check(RangeOp::Gt, None, expected[1..].to_vec());
    check(RangeOp::Lt, Some(Value::Float64(5.0)), expected[..6].to_vec());
}

#[test]
fn equal_keys_keep_the_order_of_insertion_and_creation_times_grow() {
    let world = World::new();
    world.engine.apply_schema(tables(&[indexed("t", &[("by_n", &["n"])])])).unwrap();
    world.commit(|tx| {
        for at in 0..5 {
            tx.insert(&table("t"), object! { "n" => 1.0, "at" => f64::from(at) }).unwrap();
        }
    });
    let mut tx = world.begin();
    let ascending = collect(&mut tx, "t", "by_n", Order::Asc);
    assert_eq!(numbers(&ascending, "at"), [0.0, 1.0, 2.0, 3.0, 4.0]);
    let descending = collect(&mut tx, "t", "by_n", Order::Desc);
    assert_eq!(numbers(&descending, "at"), [4.0, 3.0, 2.0, 1.0, 0.0]);
    let times: Vec<f64> = ascending.iter().map(|document| document.creation_time()).collect();
    for pair in times.windows(2) {
        assert_eq!(pair[1], pair[0].next_up());
    }
}

#[test]
fn creation_times_follow_the_clock_and_stay() {
    let world = World::new();
    // Rows of the catalog take creation times too.
    world.insert("t", object! {});
    world.clock.advance_ms(1000);
    let mut early = world.begin();
    world.clock.advance_ms(1000);
    let id = world.insert("t", object! {});
    let document = world.begin().get(id).unwrap().unwrap();
    let time = document.creation_time();
    assert_eq!(time, super::world::START.as_ms_f64() + 2000.0);
    // The one that began earlier has the earlier time, though it commits later.
    let other = early.insert(&table("u"), object! {}).unwrap();
    assert!(early.get(other).unwrap().unwrap().creation_time() < time);
    world.commit(|tx| tx.replace(id, object! { "a" => 1.0 }).unwrap());
    assert_eq!(world.begin().get(id).unwrap().unwrap().creation_time(), time);
    // A clock that stands behind the snapshot does not lead back.
    let ahead = world.engine.durable();
    let mut tx = world.begin();
    let id = tx.insert(&table("t"), object! {}).unwrap();
    assert!(tx.get(id).unwrap().unwrap().creation_time() >= ahead.as_ms_f64());
}

#[test]
fn borders_of_loaded_ranges_lose_and_repeat_nothing() {
    let world = World::new();
    world.engine.apply_schema(tables(&[indexed("t", &[("by_n", &["n"])])])).unwrap();
    world.commit(|tx| {
        for n in 0..40 {
            tx.insert(&table("t"), object! { "n" => f64::from(n) }).unwrap();
        }
    });
    let at = |n: f64| key::encode_all([Some(&Value::from(n))]);
    // Islands of known ranges first, then scans over islands and gaps.
    for islands in
        [vec![(5.0, 7.0)], vec![(0.0, 3.0), (3.0, 6.0), (20.0, 21.0)], vec![(39.0, 99.0)]]
    {
        for order in [Order::Asc, Order::Desc] {
            for prefetch in [1, 3, 100] {
                let engine =
                    World::over(std::sync::Arc::clone(&world.store), crate::Options::default());
                let mut tx = engine.begin();
                let by_n = index(&mut tx, "t", "by_n");
                for (from, to) in &islands {
                    let island = Interval { start: at(*from), end: Some(at(*to)) };
                    let scan = tx.scan(&by_n, island, order).prefetching(prefetch);
                    assert!(!all(&mut tx, scan).is_empty());
                }
                let whole = Interval { start: at(1.0), end: Some(at(39.5)) };
                let scan = tx.scan(&by_n, whole, order).prefetching(prefetch);
                let rows: Vec<_> = all(&mut tx, scan).into_iter().map(|r| r.document).collect();
                let mut expected: Vec<f64> = (1..40).map(f64::from).collect();
                if order == Order::Desc {
                    expected.reverse();
                }
                assert_eq!(numbers(&rows, "n"), expected);
            }
        }
    }
}
