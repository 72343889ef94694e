//! What a deploy brings: validators, schemas, schedules and cron jobs.
//!
//! Each line is tried as each of them, and as a value that every validator of the input checks.

use functions::{CronExpression, Schedule};
use serde_json::Value as Json;
use value::schema::Schema;
use value::validator::{Tables, Validator};
use value::{TableName, TableNumber, Timestamp, Value, json};

/// Most lines of one input.
const LINES_MAX: usize = 24;
/// 2024-01-10T10:07:30Z
const NOW: Timestamp = Timestamp(1_704_881_250_000_000_000);
/// Runs of a schedule that are followed.
const RUNS: usize = 4;

/// Lines of validators, schemas, schedules, cron expressions and values.
pub fn definitions(data: &[u8]) {
    let (mut validators, mut values) = (Vec::new(), Vec::new());
    for line in super::lines(data).take(LINES_MAX) {
        if let Ok(expression) = CronExpression::parse(line) {
            assert_eq!(CronExpression::parse(expression.as_str()).as_ref(), Ok(&expression));
            followed(&Schedule::Cron(expression));
        }
        values.extend(json::parse(line));
        if let Ok(schema) = Schema::from_json(line) {
            written(&schema);
        }
        let Ok(tree) = serde_json::from_str::<Json>(line) else { continue };
        validators.extend(validator(line, &tree));
        if let Ok(schedule) = Schedule::from_json(&tree) {
            let row = schedule.to_object();
            assert_eq!(Schedule::from_object(&row).as_ref(), Ok(&schedule));
            followed(&schedule);
        }
        if let Ok(crons) = functions::crons::parse_export(&tree) {
            crons.iter().for_each(|cron| followed(&cron.schedule));
        }
    }
    for one in &validators {
        for value in &values {
            checked(one, value, &validators);
        }
    }
}

fn written(schema: &Schema) {
    let again = Schema::from_json(&schema.to_json().to_string());
    assert_eq!(again.as_ref(), Ok(schema), "a schema is written as it was read");
}

fn validator(text: &str, tree: &Json) -> Option<Validator> {
    let _ = Validator::args_from_json(tree).map(|args| args.id_tables());
    let _ = Validator::returns_from_json(tree);
    let parsed = Validator::parse(text);
    let from_tree = Validator::from_json(tree);
    assert!(from_tree.is_ok() || parsed.is_err(), "refused as a tree: {text}");
    let validator = parsed.ok()?;
    let again = Validator::from_json(&validator.to_json());
    assert_eq!(again.as_ref(), Ok(&validator), "{text}");
    assert!(validator.is_subset_of(&validator) && validator.is_subset_of(&Validator::Any));
    assert!(!validator.to_string().is_empty());
    Some(validator)
}

/// Two tables, and one that only the system sees.
struct TwoTables;

impl Tables for TwoTables {
    fn number_of(&self, table: &TableName) -> Option<TableNumber> {
        match table.as_str() {
            "users" => Some(TableNumber(10_001)),
            "rooms" => Some(TableNumber(10_002)),
            "_tables" => Some(TableNumber(1)),
            _ => None,
        }
    }

    fn name_of(&self, number: TableNumber) -> Option<TableName> {
        let name = match number.0 {
            10_001 => "users",
            10_002 => "rooms",
            1 => "_tables",
            _ => return None,
        };
        Some(TableName::new(name).expect("a name"))
    }

    fn is_system(&self, number: TableNumber) -> bool {
        number.0 == 1
    }
}

/// What a validator accepts, every validator accepts that is said to accept more.
fn checked(one: &Validator, value: &Value, all: &[Validator]) {
    let result = one.check(value, &TwoTables);
    if let Err(error) = &result {
        assert!(!error.to_string().is_empty());
    }
    if one.check_args(std::slice::from_ref(value), &TwoTables).is_ok() {
        assert!(result.is_ok());
    }
    assert_eq!(one.check_returns(value, &TwoTables).is_ok(), result.is_ok());
    if result.is_err() {
        return;
    }
    for other in all {
        if one.is_subset_of(other) {
            assert_eq!(other.check(value, &TwoTables), Ok(()), "{one} is no part of {other}");
        }
    }
}

/// Runs come one after another, always later; splay or not.
fn followed(schedule: &Schedule) {
    assert_eq!(schedule.check(), Ok(()));
    for random in [0, 17, u64::MAX] {
        let Some(mut at) = schedule.first(NOW, random) else { continue };
        assert!(at >= NOW);
        for _ in 0..RUNS {
            let Some(next) = schedule.next(at, at) else { break };
            assert!(next.ts > at && next.skipped == 0, "{schedule:?} {at} {next:?}");
            at = next.ts;
        }
        // Long after, and at the ends of time.
        for now in [Timestamp(NOW.0 + 1_000_000_000_000_000), Timestamp::MIN, Timestamp::MAX] {
            let _ = schedule.next(at, now);
            let _ = schedule.first(now, random);
        }
    }
}
