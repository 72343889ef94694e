//! The wire form and the edges.

use proptest::prelude::*;

use super::*;

#[test]
fn wire_form() {
    assert_eq!(Timestamp(0).to_wire(), "AAAAAAAAAAA=");
    assert_eq!(Timestamp(1).to_wire(), "AQAAAAAAAAA=");
    assert_eq!(Timestamp::from_wire("AQAAAAAAAAA="), Ok(Timestamp(1)));
    for bad in ["", "AQ==", "AQAAAAAAAAA", "AQAAAAAAAAAA", "*QAAAAAAAAA=", "é"] {
        assert!(Timestamp::from_wire(bad).is_err(), "{bad}");
    }
}

#[test]
fn neighbours_stay_inside() {
    assert_eq!(Timestamp(5).succ(), Timestamp(6));
    assert_eq!(Timestamp(5).pred(), Timestamp(4));
    assert_eq!(Timestamp::MAX.succ(), Timestamp::MAX);
    assert_eq!(Timestamp::MIN.pred(), Timestamp::MIN);
}

#[test]
fn milliseconds_keep_a_fraction() {
    assert_eq!(Timestamp(1_755_600_000_123_500_000).as_ms_f64(), 1_755_600_000_123.5);
}

proptest! {
    #[test]
    fn wire_round_trip(ns in any::<u64>()) {
        prop_assert_eq!(Timestamp::from_wire(&Timestamp(ns).to_wire()), Ok(Timestamp(ns)));
    }

    #[test]
    fn any_text_is_read_without_panic(text in ".*") {
        let _ = Timestamp::from_wire(&text);
    }
}
