//! The interval index equals a loop over all read sets, and does not cost as much.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use store::IndexId;
use value::{Interval, Object, Value, key};

use super::boundaries::value_boundaries;
use super::{IntervalIndex, StabCost};
use crate::range::continuing;
use crate::read_set::ReadSet;

const INDEX: IndexId = IndexId(1);

fn reads(intervals: &[(u32, Interval)]) -> Arc<ReadSet> {
    let mut reads = ReadSet::new();
    for (index, interval) in intervals {
        reads.add(IndexId(*index), interval);
    }
    Arc::new(reads)
}

fn one(interval: Interval) -> Arc<ReadSet> {
    reads(&[(INDEX.0, interval)])
}

fn tuple(values: &[Value]) -> Vec<u8> {
    key::encode_all(values.iter().map(Some))
}

fn hits(index: &IntervalIndex<u32>, id: IndexId, key: &[u8]) -> Vec<u32> {
    let mut hits = Vec::new();
    index.stab(id, key, &mut |subscriber| hits.push(subscriber));
    hits.sort_unstable();
    hits
}

#[test]
fn each_shape_is_found() {
    let mut index = IntervalIndex::new();
    let room = tuple(&["room".into()]);
    let row = tuple(&["room".into(), 5.0.into()]);
    index.insert(1, one(Interval::all()));
    index.insert(2, one(Interval::point(&row)));
    index.insert(3, one(continuing(&room)));
    index.insert(4, one(Interval { start: room.clone(), end: Some(row.clone()) }));
    index.insert(5, one(Interval { start: row.clone(), end: None }));
    index.insert(6, one(continuing(b"")));
    index.insert(7, one(Interval::prefix(b"")));

    assert_eq!(hits(&index, INDEX, &row), [1, 2, 3, 5, 6, 7]);
    assert_eq!(hits(&index, INDEX, &room), [1, 3, 4, 6, 7]);
    assert_eq!(hits(&index, INDEX, &tuple(&["room".into(), 4.0.into()])), [1, 3, 4, 6, 7]);
    assert_eq!(hits(&index, INDEX, &tuple(&["other".into(), 5.0.into()])), [1, 6, 7]);
    assert_eq!(hits(&index, INDEX, b"\xff"), [1, 5, 7]);
    assert_eq!(hits(&index, IndexId(2), &row), [0u32; 0]);
}

#[test]
fn a_longer_string_is_behind_the_prefix() {
    let mut index = IntervalIndex::new();
    index.insert(1, one(continuing(&tuple(&["a".into()]))));
    assert_eq!(hits(&index, INDEX, &tuple(&["a".into(), "b".into()])), [1]);
    assert_eq!(hits(&index, INDEX, &tuple(&["a\0b".into()])), [0u32; 0]);
    assert_eq!(hits(&index, INDEX, &tuple(&["ab".into()])), [0u32; 0]);
}

#[test]
fn a_new_read_set_replaces_the_old() {
    let mut index = IntervalIndex::new();
    let (a, b, c) = (tuple(&["a".into()]), tuple(&["b".into()]), tuple(&["c".into()]));
    index.insert(1, reads(&[(1, continuing(&a)), (1, continuing(&b)), (2, Interval::point(&a))]));
    index.insert(2, one(continuing(&a)));
    index.insert(1, reads(&[(1, continuing(&b)), (1, continuing(&c))]));

    assert_eq!(index.len(), 2);
    assert_eq!(hits(&index, INDEX, &a), [2]);
    assert_eq!(hits(&index, INDEX, &b), [1]);
    assert_eq!(hits(&index, INDEX, &c), [1]);
    assert_eq!(hits(&index, IndexId(2), &a), [0u32; 0]);
    assert_eq!(index.get(1).map(|reads| reads.interval_count()), Some(2));

    assert!(index.remove(1).is_some());
    assert!(index.remove(1).is_none());
    assert_eq!(hits(&index, INDEX, &b), [0u32; 0]);
    assert!(index.remove(2).is_some());
    assert!(index.is_empty());
    assert!(index.indexes.is_empty(), "nothing is left behind");
}

#[test]
fn boundaries_are_between_values() {
    let nested = Value::Array(vec![
        Value::Object(Object::from_iter([
            (String::new(), "\0".into()),
            ("a".to_owned(), Value::Array(vec![])),
            ("b".to_owned(), Value::Object(Object::new())),
        ])),
        Value::Bytes(vec![0, 0, 255]),
    ]);
    let values = [None, Some("a\0".into()), Some(300i64.into()), Some(nested), Some(0.5.into())];
    let mut bytes = Vec::new();
    let mut ends = vec![0];
    for value in &values {
        key::encode(value.as_ref(), &mut bytes);
        ends.push(bytes.len());
    }
    assert_eq!(value_boundaries(&bytes).collect::<Vec<_>>(), ends);
    assert_eq!(value_boundaries(&bytes[..bytes.len() - 1]).last(), Some(ends[4]));
    // A key deeper than any value may be, and one that is no key.
    assert_eq!(value_boundaries(&[0x12; 100_000]).collect::<Vec<_>>(), [0]);
    assert_eq!(value_boundaries(b"\x08\xff").collect::<Vec<_>>(), [0]);
}

/// A hundred thousand queries on other rooms, members and times do not slow a write down.
#[test]
fn a_stab_does_not_see_the_others() {
    const OTHERS: u32 = 100_000;
    let mut index = IntervalIndex::new();
    for other in 0..OTHERS {
        let room = tuple(&[format!("room {other}").into()]);
        let newest = [room.as_slice(), &tuple(&[1e3.into()])].concat();
        index.insert(
            other,
            reads(&[
                (1, continuing(&room)),
                (2, Interval::point(&u128::from(other).to_be_bytes())),
                (3, Interval { end: continuing(&room).end, start: newest }),
            ]),
        );
    }
    let mine = tuple(&["room mine".into(), 2e3.into(), "id".into()]);
    let cost = |index: &IntervalIndex<u32>, id: u32, key: &[u8]| {
        let mut hits = 0;
        (index.stab_counting(IndexId(id), key, &mut |_| hits += 1), hits)
    };
    // Three values have four boundaries.
    assert_eq!(cost(&index, 1, &mine), (StabCost { probes: 4, nodes: 0 }, 0));
    assert_eq!(cost(&index, 2, &[0xff; 16]), (StabCost { probes: 1, nodes: 0 }, 0));
    let (ranges, hit) = cost(&index, 3, &mine);
    assert_eq!((ranges.probes, hit), (0, 0));
    assert!(ranges.nodes <= 80, "a logarithm of {OTHERS}, not {}", ranges.nodes);

    index.insert(OTHERS, one(continuing(&tuple(&["room mine".into()]))));
    assert_eq!(cost(&index, 1, &mine), (StabCost { probes: 4, nodes: 0 }, 1));
}

/// Many subscribers of one interval share its place.
#[test]
fn equal_intervals_share_a_place() {
    let mut index = IntervalIndex::new();
    let range = Interval { start: b"a".to_vec(), end: Some(b"c".to_vec()) };
    for subscriber in 0..1000 {
        index.insert(subscriber, one(range.clone()));
    }
    let mut hits = 0;
    let cost = index.stab_counting(INDEX, b"b", &mut |_| hits += 1);
    assert_eq!((hits, cost.nodes), (1000, 1));
}

fn any_value() -> impl Strategy<Value = Option<Value>> {
    let scalar = prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        prop::sample::select(vec![-300i64, -1, 0, 1, 2, 70_000]).prop_map(|i| Some(i.into())),
        prop::sample::select(vec![-1.0, 0.0, 1.0]).prop_map(|f: f64| Some(f.into())),
        any::<bool>().prop_map(|b| Some(b.into())),
        "[ab\0]{0,3}".prop_map(|s| Some(s.into())),
    ];
    scalar.prop_recursive(2, 6, 2, |inner| {
        let items = prop::collection::vec(inner, 0..3);
        items.prop_map(|items| Some(Value::Array(items.into_iter().flatten().collect())))
    })
}

/// Keys as indexes have them, and bytes as they have not.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any_value(), 0..4)
            .prop_map(|values| key::encode_all(values.iter().map(Option::as_ref))),
        1 => prop::collection::vec(
            prop::sample::select(vec![0x00u8, 0x01, 0x08, 0x09, 0x10, 0x12, 0x15, 0x61, 0xff]),
            0..6
        ),
    ]
}

fn any_interval() -> impl Strategy<Value = Interval> {
    prop_oneof![
        1 => Just(Interval::all()),
        4 => any_key().prop_map(|key| Interval::point(&key)),
        4 => any_key().prop_map(|key| continuing(&key)),
        1 => any_key().prop_map(|key| Interval::prefix(&key)),
        3 => (any_key(), any_key()).prop_map(|(a, b)| {
            let (start, end) = if a <= b { (a, b) } else { (b, a) };
            Interval { start, end: Some(end) }
        }),
        1 => any_key().prop_map(|start| Interval { start, end: None }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, Vec<(u32, Interval)>),
    Remove(u32),
    Stab(u32, Vec<u8>),
    /// A key at the start or the end of what somebody waits on, or a byte behind.
    StabNear(prop::sample::Index, Vec<u8>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let some_reads = prop::collection::vec((0u32..3, any_interval()), 0..6);
    let tail = prop::collection::vec(prop::sample::select(vec![0x00, 0x01, 0x08, 0xff]), 0..3);
    prop_oneof![
        4 => (0u32..12, some_reads).prop_map(|(who, reads)| Step::Insert(who, reads)),
        1 => (0u32..12).prop_map(Step::Remove),
        3 => (0u32..3, any_key()).prop_map(|(index, key)| Step::Stab(index, key)),
        4 => (any::<prop::sample::Index>(), tail).prop_map(|(at, tail)| Step::StabNear(at, tail)),
    ]
}

fn check_stab(
    index: &IntervalIndex<u32>,
    model: &BTreeMap<u32, Arc<ReadSet>>,
    id: IndexId,
    key: &[u8],
) -> Result<(), TestCaseError> {
    let holds = |(who, reads): (&u32, &Arc<ReadSet>)| reads.contains(id, key).then_some(*who);
    let expected: Vec<u32> = model.iter().filter_map(holds).collect();
    prop_assert_eq!(hits(index, id, key), expected, "key {:x?} of {:?}", key, id);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_loop_over_all(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut index = IntervalIndex::new();
        let mut model: BTreeMap<u32, Arc<ReadSet>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(who, intervals) => {
                    let reads = reads(&intervals);
                    index.insert(who, Arc::clone(&reads));
                    model.insert(who, reads);
                }
                Step::Remove(who) => prop_assert_eq!(index.remove(who), model.remove(&who)),
                Step::Stab(id, key) => check_stab(&index, &model, IndexId(id), &key)?,
                Step::StabNear(at, tail) => {
                    let keys: BTreeSet<(IndexId, &[u8])> = model
                        .values()
                        .flat_map(|reads| reads.intervals())
                        .flat_map(|(id, interval)| {
                            let end = interval.end.as_deref();
                            [Some(interval.start.as_slice()), end].into_iter().flatten()
                                .map(move |key| (id, key))
                        })
                        .collect();
                    if !keys.is_empty() {
                        let (id, key) = keys.iter().nth(at.index(keys.len())).unwrap();
                        check_stab(&index, &model, *id, key)?;
                        check_stab(&index, &model, *id, &[key, tail.as_slice()].concat())?;
                    }
                }
            }
            prop_assert_eq!(index.len(), model.len());
            for waiting in index.indexes.values() {
                waiting.ranges.assert_sound();
            }
        }
        for who in model.into_keys() {
            index.remove(who);
        }
        prop_assert!(index.is_empty() && index.indexes.is_empty());
    }
}
