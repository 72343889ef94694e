//! Intervals against sets of byte strings: bounds of up to three bytes, members of up to four.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const BYTES: [u8; 3] = [0x00, 0x01, 0xff];

/// Every string of up to four of the bytes: contains every bound that `interval` draws, so two
/// intervals that differ, differ here.
fn universe() -> Vec<Vec<u8>> {
    let mut all = vec![vec![]];
    let mut longest = all.clone();
    for _ in 0..4 {
        longest = (longest.iter())
            .flat_map(|head| BYTES.map(|byte| [head.as_slice(), &[byte]].concat()))
            .collect();
        all.extend(longest.clone());
    }
    all
}

fn bound() -> impl Strategy<Value = Vec<u8>> {
    vec(select(&BYTES[..]), 0..4)
}

fn interval() -> impl Strategy<Value = Interval> {
    (bound(), proptest::option::of(bound())).prop_map(|(start, end)| Interval { start, end })
}

fn members(interval: &Interval) -> Vec<Vec<u8>> {
    let inside =
        |key: &Vec<u8>| interval.start <= *key && interval.end.as_ref().is_none_or(|end| key < end);
    universe().into_iter().filter(inside).collect()
}

#[test]
fn the_edges() {
    assert!(Interval::empty().is_empty());
    assert!(!Interval::all().is_empty());
    assert!(Interval::all().contains(&[]));
    assert_eq!(Interval::prefix(&[]), Interval::all());
    assert_eq!(Interval::prefix(&[0xff]), Interval { start: vec![0xff], end: None });
}

proptest! {
    #[test]
    fn intervals_are_sets(a in interval(), b in interval()) {
        let (in_a, in_b) = (members(&a), members(&b));
        let both: Vec<_> = in_a.iter().filter(|key| in_b.contains(key)).cloned().collect();
        prop_assert_eq!(a.is_empty(), in_a.is_empty());
        prop_assert_eq!(members(&a.intersect(&b)), both.clone());
        prop_assert_eq!(a.intersects(&b), !both.is_empty());
        prop_assert_eq!(a.covers(&b), in_b.iter().all(|key| in_a.contains(key)));
        for key in universe() {
            prop_assert_eq!(a.contains(&key), in_a.contains(&key));
        }
    }

    #[test]
    fn a_prefix_holds_what_begins_with_it(prefix in bound()) {
        for key in universe() {
            prop_assert_eq!(Interval::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }
    }

    #[test]
    fn a_point_holds_itself_alone(point in bound()) {
        for key in universe() {
            prop_assert_eq!(Interval::point(&point).contains(&key), key == point);
        }
    }
}
