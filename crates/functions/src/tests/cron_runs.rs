use engine::system;
use value::{Object, Value, object};

use super::world::{Message, SCHEMA, START, World, block_on, message};
use crate::crons::{self, CronDiff, CronSpec};
use crate::{ActionCtx, App, DueQueue, MutationCtx, Order, QueryCtx, Result, Schedule, error};

fn app() -> App {
    App::new("chat")
        .schema(SCHEMA)
        .internal_mutation("m:tick", |ctx: &MutationCtx, args: Message| {
            ctx.log("tick");
            ctx.db().insert(args).map(|_| "x".repeat(2000))
        })
        .internal_mutation("m:throw", |_: &MutationCtx, (): ()| -> Result<()> { Err(error("no")) })
        .internal_action("a:tick", |ctx: ActionCtx, (): ()| async move {
            ctx.run_mutation("m:tick", message("a", 1.0)).await.map(|_| ())
        })
        .query("m:count", |ctx: &QueryCtx, (): ()| Ok(ctx.db().query::<Message>().count()? as f64))
}

fn tick(seconds: u64) -> CronSpec {
    spec("tick", seconds, "m:tick", message("a", 1.0))
}

fn spec(identifier: &str, seconds: u64, path: &str, args: Object) -> CronSpec {
    CronSpec {
        identifier: identifier.to_string(),
        schedule: Schedule::interval_seconds(seconds),
        path: path.parse().unwrap(),
        args,
    }
}

fn sync(world: &World, specs: &[CronSpec]) -> CronDiff {
    let now = world.clock_now();
    world.step(|tx| crons::sync(tx, specs, now, || 0).unwrap())
}

fn rows(world: &World, table: &'static system::SystemTable, index: &str) -> Vec<Object> {
    world.step(|tx| {
        let rows = crate::system_rows::scan(tx, table, index, &[], Order::Asc, None).unwrap();
        rows.iter().map(|row| row.body().clone()).collect()
    })
}

fn logs(world: &World) -> Vec<String> {
    let rows = rows(world, &system::CRON_JOB_LOGS, "by_name_and_ts");
    rows.iter()
        .map(|row| row.get("status").unwrap().as_object().unwrap())
        .map(|status| match status.get("num_canceled") {
            Some(skipped) => format!("canceled {skipped}"),
            None => status.get("type").unwrap().as_str().unwrap().to_string(),
        })
        .collect()
}

fn count(world: &World) -> f64 {
    world.ok("m:count", object! {}).as_f64().unwrap()
}

fn next_seconds(queue: &DueQueue) -> Option<f64> {
    // Runs take microseconds of the clock.
    queue.next().map(|ts| ((ts.0 - START.0) / 1_000_000) as f64 / 1e3)
}

#[test]
fn an_interval_runs_at_once_without_drift_and_skips_what_it_missed() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    let diff = sync(&world, &[tick(5)]);
    assert_eq!(diff.added, ["tick"]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(next_seconds(&crons), Some(5.0));
    // Late by a second: the cadence stays.
    world.clock.advance_ms(6000);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(next_seconds(&crons), Some(10.0));
    assert_eq!(logs(&world), ["success", "success"]);
    // Down for 33 seconds: one late run, the rest is skipped and said so.
    world.clock.advance_ms(33_000);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(count(&world), 3.0);
    assert_eq!(next_seconds(&crons), Some(40.0));
    assert_eq!(logs(&world), ["success", "success", "success", "canceled 5"]);
    for _ in 0..5 {
        world.clock.advance_ms(5000);
        assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    }
    assert_eq!(logs(&world), ["success"; 5], "the newest five are kept");
    let log = &rows(&world, &system::CRON_JOB_LOGS, "by_name_and_ts")[0];
    let result = log.get("status").unwrap().as_object().unwrap().get("result").unwrap();
    assert_eq!(result.as_str().unwrap().len(), crons::CRON_LOG_BYTES_MAX);
    let lines = log.get("logLines").unwrap();
    assert_eq!(lines.to_string(), r#"{isTruncated: false, logLines: ["[LOG] tick"]}"#);
    assert_eq!(log.get("executionTime"), Some(&Value::from(0.003)));
}

#[test]
fn a_push_changes_only_what_differs() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    sync(&world, &[tick(100), spec("other", 100, "m:throw", object! {})]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 2);
    for _ in 0..3 {
        assert_eq!(
            sync(&world, &[tick(100), spec("other", 100, "m:throw", object! {})]),
            CronDiff::default()
        );
    }
    assert_eq!(world.drain(&mut jobs, &mut crons), 0);
    // Other arguments keep the time.
    let other_args = spec("tick", 100, "m:tick", message("b", 2.0));
    let diff = sync(&world, &[other_args]);
    assert_eq!(
        (diff.updated.as_slice(), diff.deleted.as_slice()),
        (&["tick".to_string()][..], &["other".to_string()][..])
    );
    assert_eq!(world.drain(&mut jobs, &mut crons), 0);
    assert_eq!(next_seconds(&crons), Some(100.0));
    assert_eq!(logs(&world), ["success"], "logs go with their cron");
    // Another interval runs at once, and again after it.
    sync(&world, &[spec("tick", 7, "m:tick", message("b", 2.0))]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(next_seconds(&crons), Some(7.0));
    // A run within half a minute keeps its time.
    sync(&world, &[spec("tick", 50, "m:tick", message("b", 2.0))]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 0);
    assert_eq!(next_seconds(&crons), Some(7.0));
    sync(&world, &[]);
    world.drain(&mut jobs, &mut crons);
    assert_eq!(next_seconds(&crons), None);
    assert!(rows(&world, &system::CRON_JOBS, "by_name").is_empty());
}

#[test]
fn failures_and_missing_functions_are_logged_and_the_cron_goes_on() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    sync(&world, &[spec("a", 5, "m:throw", object! {}), spec("b", 5, "m:gone", object! {})]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 2);
    assert_eq!(logs(&world), ["err", "err"]);
    assert_eq!(next_seconds(&crons), Some(5.0));
}

#[test]
fn actions_run_and_are_not_repeated_after_a_crash() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    sync(&world, &[spec("a", 5, "a:tick", object! {})]);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!((count(&world), logs(&world)), (1.0, vec!["success".to_string()]));
    world.step(|tx| {
        let table = &system::CRON_NEXT_RUN;
        let row = crate::system_rows::scan(tx, table, "by_next_ts", &[], Order::Asc, None).unwrap();
        let mut body = row[0].body().clone();
        body.insert("state", object! { "type" => "inProgress" });
        tx.replace(row[0].id(), body).unwrap();
    });
    world.clock.advance_ms(12_000);
    block_on(crons::fail_interrupted(world.host())).unwrap();
    world.drain(&mut jobs, &mut crons);
    assert_eq!(count(&world), 1.0);
    assert_eq!(logs(&world), ["success", "err", "canceled 1"]);
    assert_eq!(next_seconds(&crons), Some(15.0));
}

#[test]
fn a_cron_that_is_deleted_while_it_is_due_does_nothing() {
    let world = World::new(app());
    let mut crons = DueQueue::crons();
    sync(&world, &[tick(5)]);
    for entry in world.engine.take_published() {
        crons.apply(&entry);
    }
    let due = crons.take(world.clock_now());
    sync(&world, &[]);
    block_on(crons::run_cron(world.host(), due[0])).unwrap();
    assert_eq!(count(&world), 0.0);
}

#[test]
fn exported_crons_are_read() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors/crons-export.json")).unwrap();
    let specs = crons::parse_export(&vectors["exported"]).unwrap();
    assert_eq!(specs.len(), 7);
    let daily = specs.iter().find(|spec| spec.identifier == "daily").unwrap();
    assert_eq!(daily.args.get("n"), Some(&Value::Int64(1)));
    let world = World::new(app());
    let diff = sync(&world, &specs);
    assert_eq!(diff.added.len(), 7);
    assert_eq!(sync(&world, &specs), CronDiff::default(), "rows read back as they were declared");
    for bad in [
        r#"[]"#,
        r#"{"x":{}}"#,
        r#"{"":{"name":"a:b","args":[{}],"schedule":{"type":"hourly"}}}"#,
        r#"{"x":{"name":"a:b","args":[1],"schedule":{"type":"hourly"}}}"#,
        r#"{"x":{"name":"a b","args":[{}],"schedule":{"type":"hourly"}}}"#,
        r#"{"x":{"name":"a:b","args":[{},{}],"schedule":{"type":"hourly"}}}"#,
    ] {
        assert!(crons::parse_export(&serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
    }
}
