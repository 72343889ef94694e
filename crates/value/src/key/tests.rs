//! Byte order is value order, and every key reads back.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::samples;

fn of(value: &Value) -> Vec<u8> {
    encode_all([Some(value)])
}

#[test]
fn increments() {
    let check = |prefix: &[u8], expected: Option<&[u8]>| {
        assert_eq!(increment(prefix).as_deref(), expected, "{prefix:?}");
    };
    check(&[], None);
    check(&[0xff, 0xff], None);
    check(&[0x01], Some(&[0x02]));
    check(&[0x01, 0xff], Some(&[0x02]));
    check(&[0xff, 0x00, 0xff], Some(&[0xff, 0x01]));
}

#[test]
fn the_key_of_another_value_may_begin_with_the_same_bytes() {
    assert!(of(&"a\0b".into()).starts_with(&of(&"a".into())));
    assert!(of(&crate::object! { "" => 1.0 }.into()).starts_with(&of(&crate::object! {}.into())));
}

#[test]
fn malformed_keys_are_refused() {
    let check = |bytes: &[u8]| assert!(decode(bytes).is_err(), "{bytes:02x?}");
    check(&[]);
    check(&[0x00]);
    check(&[0x02]);
    check(&[0x13]);
    check(&[0xff]);
    check(&[0x0d, 0, 0]);
    check(&[0x10, b'a']);
    check(&[0x10, 0xc3, 0x00]);
    check(&[0x09, 0x00]);
    check(&[0x0a, 0x00, 0x01]);
    check(&[0x07, 0x01]);
    check(&[0x12, 0x01, 0x00]);
    check(&[0x12, 0x03]);
    check(&[0x15, b'b', 0x00, 0x03, b'a', 0x00, 0x03, 0x00]);
    check(&[0x15, b'a', 0x00, 0x03, b'a', 0x00, 0x03, 0x00]);
}

#[test]
fn nesting_bombs_are_refused() {
    let mut bytes = vec![ARRAY; 10_000];
    assert!(decode(&bytes).is_err());
    bytes.extend(vec![END; 10_000]);
    assert!(decode(&bytes).is_err());
    let objects: Vec<u8> = [OBJECT, b'a', END].repeat(10_000);
    assert!(decode(&objects).is_err());
    let deepest: Vec<u8> = [vec![ARRAY; 64], vec![END; 64]].concat();
    assert!(decode(&deepest).is_ok());
}

proptest! {
    #[test]
    fn byte_order_is_value_order(a in samples::value(), b in samples::value()) {
        prop_assert_eq!(of(&a).cmp(&of(&b)), a.cmp(&b));
    }

    #[test]
    fn compound_keys_sort_like_tuples(
        a in vec(proptest::option::of(samples::value()), 3),
        b in vec(proptest::option::of(samples::value()), 3),
    ) {
        let key = |values: &[Option<Value>]| encode_all(values.iter().map(Option::as_ref));
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        prop_assert_eq!(decode_all(&key(&a)), Ok(a));
    }

    #[test]
    fn what_shares_its_first_values_lies_between_them_and_ff(
        a in samples::value(), b in samples::value(), c in samples::value()
    ) {
        let start = of(&a);
        let end = [start.as_slice(), &[0xff]].concat();
        let sharing = crate::Interval { start, end: Some(end) };
        prop_assert!(sharing.contains(&encode_all([Some(&a), Some(&b)])));
        prop_assert!(sharing.contains(&encode_all([Some(&a), None])));
        prop_assert_eq!(sharing.contains(&encode_all([Some(&b), Some(&c)])), a == b);
    }

    #[test]
    fn keys_read_back(value in samples::value(), tail in samples::bytes()) {
        let mut key = of(&value);
        key.push(NULL);
        key.extend_from_slice(&tail);
        let (decoded, rest) = decode(&key).unwrap();
        prop_assert_eq!(decoded, Some(value));
        prop_assert_eq!(&rest[1..], &tail[..]);
    }

    #[test]
    fn bytes_that_read_are_canonical(
        bytes in vec(prop_oneof![0u8..0x16, Just(0xff), any::<u8>()], 0..24)
    ) {
        if let Ok((value, rest)) = decode(&bytes) {
            prop_assert_eq!(encode_all([value.as_ref()]), &bytes[..bytes.len() - rest.len()]);
        }
    }
}
