use serde_json::Value as Json;

use super::*;

/// `2024-01-10T10:08Z` or with seconds, as minutes from the epoch.
fn minutes(text: &str) -> i64 {
    let numbers: Vec<i64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap())
        .collect();
    let date = Date { year: numbers[0], month: numbers[1] as u8, day: numbers[2] as u8 };
    civil::days_of(date) * 1440 + numbers[3] * 60 + numbers[4]
}

/// Where the official parser also matches the value before a wrapping range; ours, by expression.
fn without_quirk(text: &str) -> Option<[&'static str; 4]> {
    Some(match text {
        "0 0 * * FRI-MON" | "0 0 * * 5-1" => {
            ["2024-01-12T00:00Z", "2024-01-13T00:00Z", "2024-01-14T00:00Z", "2024-01-15T00:00Z"]
        }
        "0 22-2 * * *" => {
            ["2024-01-10T22:00Z", "2024-01-10T23:00Z", "2024-01-11T00:00Z", "2024-01-11T01:00Z"]
        }
        _ => return None,
    })
}

#[test]
fn vectors_of_the_official_parser() {
    let vectors: Json =
        serde_json::from_str(include_str!("../../../vectors/cron-expr.json")).unwrap();
    // The start is half a minute after a minute: the next match is in a later minute.
    let after = minutes(vectors["after"].as_str().unwrap()) + 1;
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 50);
    let mut quirks = 0;
    for case in cases {
        let text = case["cron"].as_str().unwrap();
        let parsed = CronExpression::parse(text);
        if case["ok"] == Json::Bool(false) {
            assert!(parsed.is_err(), "{text:?} must be refused");
            let never = parsed.unwrap_err() == "expression never matches";
            assert_eq!(never, case["why"] == "never matches", "{text:?}");
            continue;
        }
        let parsed = parsed.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let ours = without_quirk(text);
        assert_eq!(ours.is_some(), case.get("quirk").is_some(), "{text:?}");
        quirks += usize::from(ours.is_some());
        let expected: Vec<i64> = match ours {
            Some(ours) => ours.iter().map(|text| minutes(text)).collect(),
            None => case["next"]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| minutes(text.as_str().unwrap()))
                .collect(),
        };
        let mut from = after;
        for expected in expected {
            let next = parsed.next_minute(from).unwrap();
            assert_eq!(next, expected, "{text:?}");
            from = next + 1;
        }
    }
    assert_eq!(quirks, 3);
}

#[test]
fn hostile_text_is_an_error() {
    for text in [
        "L-W * * * *",
        "* * L- * *",
        "* * L-W * *",
        "* * LX * *",
        "* * W * *",
        "* * L-31 * *",
        "* * 1,L * *",
        "* * * * MON#6",
        "* * * * #",
        "* * * * 7L",
        "* * * * éL",
        "300 * * * *",
        "1-2-3 * * * *",
        "1//2 * * * *",
        "1, * * * *",
        ", * * * *",
        "* * Lé-1W * *",
    ] {
        assert!(CronExpression::parse(text).is_err(), "{text:?}");
    }
    assert!(CronExpression::parse(&"*".repeat(5000)).is_err());
}

#[test]
fn days_at_the_edge_of_a_month() {
    let check = |text: &str, after: &str, expected: &str| {
        let next = CronExpression::parse(text).unwrap().next_minute(minutes(after));
        assert_eq!(next, Some(minutes(expected)), "{text:?}");
    };
    // 2024-06-01 is a Saturday, 2024-06-30 a Sunday, 2024-09-01 a Sunday.
    check("0 0 1W * *", "2024-05-15T00:00Z", "2024-06-03T00:00Z");
    check("0 0 LW * *", "2024-06-15T00:00Z", "2024-06-28T00:00Z");
    check("0 0 1W * *", "2024-08-15T00:00Z", "2024-09-02T00:00Z");
    check("0 0 31W * *", "2024-06-01T00:00Z", "2024-07-31T00:00Z");
    check("0 0 L-30 * *", "2024-06-02T00:00Z", "2024-07-01T00:00Z");
    check("59 23 31 12 *", "2024-06-01T00:00Z", "2024-12-31T23:59Z");
}

proptest::proptest! {
    #[test]
    fn any_text_is_an_expression_or_an_error(text in r"[0-9*,/\-#LWA-Za-z \t]{0,24}") {
        if let Ok(parsed) = CronExpression::parse(&text) {
            let next = parsed.next_minute(28_414_687).unwrap();
            proptest::prop_assert!(next >= 28_414_687);
            proptest::prop_assert_eq!(parsed.next_minute(next), Some(next));
        }
    }

    #[test]
    fn five_plausible_fields(fields in proptest::collection::vec(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9])?", 5)) {
        if let Ok(parsed) = CronExpression::parse(&fields.join(" ")) {
            let first = parsed.next_minute(0).unwrap();
            proptest::prop_assert_eq!(parsed.next_minute(first), Some(first));
        }
    }
}
