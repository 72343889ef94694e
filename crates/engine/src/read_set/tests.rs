//! Read sets equal a plain list of intervals, in fewer of them.

use proptest::prelude::*;
use store::IndexId;
use value::Interval;

use super::{IntervalSet, ReadSet};

fn span(start: &str, end: &str) -> Interval {
    Interval { start: start.into(), end: (end != "∞").then(|| end.into()) }
}

fn set(intervals: &[(&str, &str)]) -> IntervalSet {
    let mut set = IntervalSet::new();
    for (start, end) in intervals {
        set.add(span(start, end));
    }
    set
}

fn check_merged(added: &[(&str, &str)], expected: &[(&str, &str)]) {
    let merged: Vec<Interval> = set(added).iter().cloned().collect();
    let expected: Vec<Interval> = expected.iter().map(|(start, end)| span(start, end)).collect();
    assert_eq!(merged, expected, "{added:?}");
}

#[test]
fn intervals_that_overlap_or_touch_are_merged() {
    check_merged(&[], &[]);
    check_merged(&[("b", "b"), ("c", "a")], &[]);
    check_merged(&[("c", "d"), ("a", "b")], &[("a", "b"), ("c", "d")]);
    check_merged(&[("a", "b"), ("b", "c")], &[("a", "c")]);
    check_merged(&[("b", "c"), ("a", "b")], &[("a", "c")]);
    check_merged(&[("a", "c"), ("b", "d")], &[("a", "d")]);
    check_merged(&[("b", "d"), ("a", "c")], &[("a", "d")]);
    check_merged(&[("a", "d"), ("b", "c")], &[("a", "d")]);
    check_merged(&[("b", "c"), ("a", "d")], &[("a", "d")]);
    check_merged(&[("a", "b"), ("c", "d"), ("e", "f"), ("b", "e")], &[("a", "f")]);
    check_merged(&[("a", "b"), ("c", "d"), ("e", "f"), ("aa", "c")], &[("a", "d"), ("e", "f")]);
    check_merged(&[("a", "b"), ("c", "d"), ("e", "f"), ("b", "∞")], &[("a", "∞")]);
    check_merged(&[("c", "∞"), ("d", "e"), ("a", "b")], &[("a", "b"), ("c", "∞")]);
    check_merged(&[("c", "d"), ("", "∞")], &[("", "∞")]);
}

#[test]
fn a_scan_is_one_interval_in_both_directions() {
    let key = |row: u32| row.to_be_bytes();
    let (mut up, mut down) = (ReadSet::new(), ReadSet::new());
    for row in 0..100_000 {
        up.add(
            IndexId(1),
            Interval { end: Interval::point(&key(row)).end, start: key(0).to_vec() },
        );
        let row = 100_000 - row;
        down.add(
            IndexId(1),
            Interval { start: key(row).to_vec(), end: Some(key(100_001).to_vec()) },
        );
    }
    assert_eq!(up.interval_count(), 1);
    assert_eq!(down.interval_count(), 1);
    assert!(up.contains(IndexId(1), &key(99_999)) && !up.contains(IndexId(1), &key(100_000)));
    assert!(down.contains(IndexId(1), &key(1)) && !down.contains(IndexId(1), &key(0)));
}

#[test]
fn indexes_are_apart() {
    let mut reads = ReadSet::new();
    reads.add(IndexId(7), span("a", "b"));
    let borrowed = span("b", "c");
    reads.add(IndexId(3), &borrowed);
    reads.add(IndexId(5), span("b", "b"));
    assert!(reads.contains(IndexId(7), b"a") && !reads.contains(IndexId(3), b"a"));
    assert!(reads.covers(IndexId(7), &span("a", "aa")));
    assert!(reads.covers(IndexId(9), &Interval::empty()));
    assert_eq!(reads.iter().map(|(index, _)| index.0).collect::<Vec<_>>(), [3, 7]);
    assert_eq!(reads.interval_count(), 2);
    assert!(!reads.is_empty() && ReadSet::new().is_empty());
    assert!(reads.get(IndexId(5)).is_none(), "an empty interval is no read");

    let mut other = ReadSet::new();
    other.add(IndexId(3), span("a", "b"));
    assert!(!reads.intersects(&other) && !other.intersects(&reads));
    other.add(IndexId(7), span("aa", "ab"));
    assert!(reads.intersects(&other) && other.intersects(&reads));
    other.merge(&reads);
    assert_eq!(other.get(IndexId(3)), Some(&set(&[("a", "c")])));
    assert_eq!(other.get(IndexId(7)), Some(&set(&[("a", "b")])));
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..4)
}

fn any_interval() -> impl Strategy<Value = Interval> {
    prop_oneof![
        8 => (any_key(), any_key()).prop_map(|(start, end)| Interval { start, end: Some(end) }),
        4 => any_key().prop_map(|key| Interval::point(&key)),
        1 => any_key().prop_map(|start| Interval { start, end: None }),
    ]
}

fn some_intervals() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec(any_interval(), 0..8)
}

fn merged(intervals: &[Interval]) -> IntervalSet {
    let mut set = IntervalSet::new();
    intervals.iter().for_each(|interval| set.add(interval));
    set
}

proptest! {
    #[test]
    fn holds_what_was_added(added in some_intervals(), key in any_key()) {
        let set = merged(&added);
        prop_assert_eq!(set.contains(&key), added.iter().any(|it| it.contains(&key)));
        let apart = |pair: &[Interval]| pair[0].end.as_ref().is_some_and(|end| *end < pair[1].start);
        let intervals: Vec<Interval> = set.iter().cloned().collect();
        prop_assert!(intervals.windows(2).all(apart), "{intervals:?}");
        prop_assert!(intervals.iter().all(|it| !it.is_empty()));
        prop_assert!(added.iter().all(|it| set.covers(it)));
    }

    #[test]
    fn order_does_not_matter((some, other) in some_intervals().prop_flat_map(|intervals| {
        (Just(intervals.clone()), Just(intervals).prop_shuffle())
    })) {
        prop_assert_eq!(merged(&some), merged(&other));
    }

    #[test]
    fn intersects_as_its_parts_do(ours in some_intervals(), theirs in some_intervals()) {
        let (left, right) = (merged(&ours), merged(&theirs));
        let meet = |a: &Interval, b: &Interval| !a.intersect(b).is_empty();
        for interval in &theirs {
            let expected = ours.iter().any(|it| meet(it, interval));
            prop_assert_eq!(left.intersects(interval), expected, "{:?}", interval);
        }
        let expected = ours.iter().any(|our| theirs.iter().any(|their| meet(our, their)));
        prop_assert_eq!(left.intersects_set(&right), expected);
        let mut both = left.clone();
        both.merge(&right);
        prop_assert_eq!(both, merged(&[ours, theirs].concat()));
    }

    #[test]
    fn covers_what_adding_does_not_change(added in some_intervals(), interval in any_interval()) {
        let set = merged(&added);
        let mut more = set.clone();
        more.add(&interval);
        prop_assert_eq!(set.covers(&interval), more == set);
    }
}
