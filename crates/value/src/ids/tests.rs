//! Ids against the vectors, and their order.

use proptest::prelude::*;

use super::*;

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../vectors/ids.json")).unwrap()
}

fn internal(hex: &str) -> InternalId {
    InternalId(u128::from_str_radix(hex, 16).unwrap().to_be_bytes())
}

#[test]
fn listed_ids_are_written_and_read() {
    for case in vectors()["accept"].as_array().unwrap() {
        let text = case["id"].as_str().unwrap();
        let table = TableNumber(u32::try_from(case["tableNumber"].as_u64().unwrap()).unwrap());
        let id = DocumentId::new(table, internal(case["internalIdHex"].as_str().unwrap()));
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.len() as u64, case["length"].as_u64().unwrap());
    }
}

#[test]
fn listed_texts_are_refused() {
    for case in vectors()["reject"].as_array().unwrap() {
        let text = case["id"].as_str().unwrap();
        assert!(text.parse::<DocumentId>().is_err(), "{text}: {}", case["why"]);
    }
}

#[test]
fn each_reason() {
    let check = |text: &str, error| assert_eq!(text.parse::<DocumentId>(), Err(error), "{text}");
    check("", IdError::Length(0));
    check(&"0".repeat(38), IdError::Length(38));
    check("i579mf3y279f0jtrmv0yj3sxe97p6tfp", IdError::Character);
    check("j579mf3y27af0jtrmv0yj3sxe97p6tfp", IdError::Checksum);
    check("000020g30g2gc1r81450p30d1r7qha0", IdError::TableNumber);
    check("040020g30g2gc1r81450p30d1r7qke9", IdError::NotCanonical);
}

#[test]
fn seeking_finds_the_edges() {
    let table = TableNumber(10_001);
    let text = |internal| DocumentId::new(table, internal).to_string();
    let (first, last) = (InternalId([0; 16]), InternalId([0xff; 16]));
    let check = |from: &str, expected| {
        assert_eq!(first_internal_at_or_after(table, from), expected, "{from}");
    };
    check("", Some(first));
    check(&text(first), Some(first));
    check(&text(last), Some(last));
    check(&format!("{}0", text(last)), None);
    check("zzz", None);
    check("é", None);
}

fn any_internal() -> impl Strategy<Value = InternalId> {
    any::<[u8; 16]>().prop_map(InternalId)
}

proptest! {
    #[test]
    fn ids_read_back(table in 1..=u32::MAX, internal in any_internal()) {
        let id = DocumentId::new(TableNumber(table), internal);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn text_order_is_internal_order(
        table in 1..=u32::MAX, a in any_internal(), b in any_internal()
    ) {
        let text = |internal| DocumentId::new(TableNumber(table), internal).to_string();
        prop_assert_eq!(text(a).cmp(&text(b)), a.cmp(&b));
    }

    #[test]
    fn seeking_finds_the_smallest(
        table in 1..=u32::MAX,
        internal in any_internal(),
        text in prop_oneof!["[0-9a-z]{0,40}", ".*"],
        cut in 0usize..40,
    ) {
        let table = TableNumber(table);
        let id = |internal: u128| DocumentId::new(table, InternalId(internal.to_be_bytes()));
        let near = DocumentId::new(table, internal).to_string();
        let near = format!("{}{text}", &near[..cut.min(near.len())]);
        for text in [text, near] {
            match first_internal_at_or_after(table, &text) {
                None => prop_assert!(id(u128::MAX).to_string() < text),
                Some(InternalId(found)) => {
                    let found = u128::from_be_bytes(found);
                    prop_assert!(id(found).to_string() >= text);
                    if let Some(before) = found.checked_sub(1) {
                        prop_assert!(id(before).to_string() < text);
                    }
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in prop_oneof![".*", "[0-9a-hjkmnp-tv-z]{30,38}"]) {
        if let Ok(id) = text.parse::<DocumentId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
