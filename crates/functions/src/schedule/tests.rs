use super::*;

/// 2024-01-10T10:07:30Z, a Wednesday.
const NOW_SECONDS: u64 = 1_704_881_250;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * NANOS)
}

#[test]
fn exported_schedules_read_and_round_trip() {
    let vectors: Json =
        serde_json::from_str(include_str!("../../vectors/crons-export.json")).unwrap();
    let mut kinds = Vec::new();
    for (name, cron) in vectors["exported"].as_object().unwrap() {
        let schedule = Schedule::from_json(&cron["schedule"]).unwrap();
        let row = schedule.to_object();
        assert_eq!(Schedule::from_object(&row).unwrap(), schedule, "{name}");
        kinds.push(cron["schedule"]["type"].as_str().unwrap().to_string());
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["cron", "daily", "hourly", "interval", "monthly", "weekly"]);
}

#[test]
fn bad_schedules_are_refused() {
    for text in [
        r#"{}"#,
        r#"{"type":"yearly"}"#,
        r#"{"type":"interval"}"#,
        r#"{"type":"interval","seconds":0}"#,
        r#"{"type":"interval","seconds":1.5}"#,
        r#"{"type":"interval","seconds":-1}"#,
        r#"{"type":"interval","seconds":1,"hours":1}"#,
        r#"{"type":"interval","hours":1e14}"#,
        r#"{"type":"hourly","minuteUTC":60}"#,
        r#"{"type":"daily"}"#,
        r#"{"type":"daily","hourUTC":24}"#,
        r#"{"type":"weekly","dayOfWeek":"Monday","hourUTC":1}"#,
        r#"{"type":"monthly","day":0,"hourUTC":1}"#,
        r#"{"type":"monthly","day":300,"hourUTC":1}"#,
        r#"{"type":"cron","cron":"0 0 30 2 *"}"#,
    ] {
        let json: Json = serde_json::from_str(text).unwrap();
        assert!(Schedule::from_json(&json).is_err(), "{text}");
    }
}

#[test]
fn intervals_do_not_drift_and_skip_what_was_missed() {
    let check = |previous: u64, now: u64, next: u64, skipped: u64| {
        let run = Schedule::interval_seconds(5).next(at(previous), at(now)).unwrap();
        assert_eq!((run.ts, run.skipped), (at(next), skipped), "{previous} {now}");
    };
    assert_eq!(Schedule::interval_hours(1).first(at(7), 99), Some(at(7)));
    check(100, 101, 105, 0);
    check(100, 104, 105, 0);
    check(100, 105, 105, 0);
    check(100, 106, 110, 1);
    check(100, 133, 135, 6);
    // A clock that stepped back changes nothing.
    check(100, 20, 105, 0);
}

#[test]
fn clock_schedules_keep_their_splay() {
    let first = |schedule: &Schedule, random: u64| schedule.first(at(NOW_SECONDS), random).unwrap();
    let minute = Schedule::cron("* * * * *").unwrap();
    assert_eq!(first(&minute, 0), at(NOW_SECONDS + 30));
    assert_eq!(first(&minute, 31), at(NOW_SECONDS + 1));
    assert_eq!(first(&minute, 30), at(NOW_SECONDS + 60), "strictly after now");
    assert_eq!(first(&minute, 60 + 31), at(NOW_SECONDS + 1));

    let hourly = Schedule::Hourly { minute: None };
    let next = first(&hourly, 3599);
    assert_eq!(next, at(NOW_SECONDS - 450 + 3599));
    let later = hourly.next(next, Timestamp(next.0 + NANOS * 7200)).unwrap();
    assert_eq!(later, NextRun { ts: at(NOW_SECONDS - 450 + 3599 + 3 * 3600), skipped: 0 });

    let daily = Schedule::Daily { hour: 3, minute: Some(30) };
    let run = first(&daily, 17);
    assert_eq!(run, at(NOW_SECONDS - 36_450 + 86_400 + 3 * 3600 + 30 * 60 + 17));
    assert_eq!(daily.next(run, run).unwrap().ts, Timestamp(run.0 + 86_400 * NANOS));

    let weekly = Schedule::Weekly { day: Weekday::Monday, hour: 9, minute: Some(0) };
    let monday = NOW_SECONDS - 36_450 + 5 * 86_400 + 9 * 3600;
    assert_eq!(first(&weekly, 0), at(monday));
    let monthly = Schedule::Monthly { day: 31, hour: 0, minute: Some(0) };
    let january = first(&monthly, 0);
    let march = monthly.next(january, january).unwrap().ts;
    assert_eq!((march.0 - january.0) / NANOS, 60 * 86_400, "February 2024 has no 31st");
}
