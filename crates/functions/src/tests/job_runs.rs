use std::time::Duration;

use engine::system;
use serde::Deserialize;
use value::{DocumentId, Object, Timestamp, Value, object};

use super::world::{Message, SCHEMA, START, World, block_on, message};
use crate::jobs;
use crate::scheduler::{self, Job};
use crate::{
    ActionCtx, App, Doc, DueQueue, Id, JobState, MutationCtx, Order, Parent, QueryCtx, Result,
    ScheduledFunction, Shape, error,
};

#[derive(Deserialize, Shape)]
struct Later {
    ms: f64,
    path: String,
    n: f64,
}

#[derive(Deserialize, Shape)]
struct ById {
    id: Id<ScheduledFunction>,
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn app() -> App {
    App::new("chat")
        .schema(SCHEMA)
        .mutation("m:later", |ctx: &MutationCtx, args: Later| {
            let delay = Duration::from_millis(args.ms as u64);
            ctx.scheduler().run_after(delay, &args.path, message("a", args.n))
        })
        .mutation("m:at", |ctx: &MutationCtx, args: Later| {
            ctx.scheduler().run_at(args.ms, &args.path, message("a", args.n))
        })
        .mutation("m:cancel", |ctx: &MutationCtx, args: ById| ctx.scheduler().cancel(&args.id))
        .mutation("m:laterAndThrow", |ctx: &MutationCtx, args: Later| -> Result<()> {
            ctx.scheduler().run_after(Duration::ZERO, &args.path, message("a", args.n))?;
            Err(error("no"))
        })
        .mutation("m:laterNestedAndCaught", |ctx: &MutationCtx, args: Later| {
            let args = later(&args.path, args.ms, args.n);
            Ok(ctx.run_mutation("m:laterAndThrow", args).is_err())
        })
        .mutation("m:insertAndCountLater", |ctx: &MutationCtx, args: Later| {
            ctx.scheduler().run_after(Duration::ZERO, "m:count", message("a", args.n))?;
            ctx.db().insert(Message::new("a", args.n))
        })
        .internal_mutation("m:count", |ctx: &MutationCtx, _: Message| {
            let rows = ctx.db().query::<Message>().collect()?.len();
            ctx.db().insert(Message::new("counted", rows as f64))
        })
        .internal_mutation("m:send", |ctx: &MutationCtx, args: Message| {
            assert!(ctx.auth().get_user_identity()?.is_none());
            ctx.db().insert(args)
        })
        .internal_mutation("m:throw", |ctx: &MutationCtx, args: Message| -> Result<()> {
            ctx.db().insert(args)?;
            Err(error("no"))
        })
        .internal_mutation("m:suicide", |ctx: &MutationCtx, _: Message| -> Result<()> {
            let own = ctx.db().system().query::<ScheduledFunction>().first()?;
            let own = own.ok_or_else(|| error("no row"))?;
            assert_eq!(own.state, JobState::InProgress, "a job sees itself running");
            ctx.scheduler().cancel(&own.id)
        })
        .internal_action("a:send", |ctx: ActionCtx, args: Message| async move {
            ctx.run_mutation("m:send", message(&args.room, args.n)).await
        })
        .internal_action("a:chain", |ctx: ActionCtx, args: Message| async move {
            if args.n < 0.0 {
                let own = ctx.run_query("m:first", object! {}).await?;
                ctx.run_mutation("m:cancel", object! { "id" => own }).await?;
            }
            ctx.run_mutation("m:later", object! { "ms" => 0.0, "path" => "m:send", "n" => args.n })
                .await
        })
        .query("m:first", |ctx: &QueryCtx, (): ()| {
            Ok(ctx.db().system().query::<ScheduledFunction>().first()?.map(|row| row.id))
        })
        .query("m:sent", |ctx: &QueryCtx, (): ()| {
            let rows = ctx.db().query::<Message>().collect()?;
            Ok(rows.iter().map(|row| row.n).collect::<Vec<f64>>())
        })
        .query("m:jobs", |ctx: &QueryCtx, (): ()| -> Result<Vec<Doc<ScheduledFunction>>> {
            ctx.db().system().query::<ScheduledFunction>().collect()
        })
        .query("m:byNextTs", |ctx: &QueryCtx, (): ()| {
            let system = ctx.db().system();
            let query = system.query::<ScheduledFunction>().with_index("by_next_ts", |q| q);
            query.collect().map(|_| ())
        })
        .query("m:newest", |ctx: &QueryCtx, (): ()| {
            let query = ctx.db().system().query::<ScheduledFunction>();
            let waiting = query.filter(|q| q.eq(q.field("state.kind"), "pending"));
            Ok(waiting.order(Order::Desc).first()?.map(|row| row.scheduled_time))
        })
        .query("m:job", |ctx: &QueryCtx, args: ById| ctx.db().system().get(args.id))
}

fn later(path: &str, ms: f64, n: f64) -> Object {
    object! { "ms" => ms, "path" => path, "n" => n }
}

fn states(world: &World) -> Vec<String> {
    let jobs = world.ok("m:jobs", object! {});
    let jobs = jobs.as_array().unwrap().iter();
    jobs.map(|job| {
        let state = job.as_object().unwrap().get("state").unwrap().as_object().unwrap();
        state.get("kind").unwrap().as_str().unwrap().to_string()
    })
    .collect()
}

fn id_of(value: &Value) -> DocumentId {
    value.as_str().unwrap().parse().unwrap()
}

fn sent(world: &World) -> Vec<f64> {
    let sent = world.ok("m:sent", object! {});
    sent.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

#[test]
fn due_mutations_run_once_in_the_order_of_their_times() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    for (ms, n) in [(300.0, 3.0), (100.0, 1.0), (200.0, 2.0), (0.0, 0.0)] {
        world.ok("m:later", later("m:send", ms, n));
    }
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(sent(&world), [0.0]);
    assert_eq!(jobs.next().map(|ts| ts.0 - START.0), Some(100_000_000));
    world.clock.advance_ms(250);
    assert_eq!(world.drain(&mut jobs, &mut crons), 2);
    world.clock.advance_ms(250);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(sent(&world), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(states(&world), ["success"; 4]);
    assert_eq!((jobs.next(), world.drain(&mut jobs, &mut crons)), (None, 0));
}

#[test]
fn a_restart_loads_what_waits_and_fails_interrupted_actions() {
    let world = World::new(app());
    world.ok("m:later", later("m:send", 50.0, 1.0));
    world.clock.advance_ms(1);
    let action = id_of(&world.ok("m:later", later("a:send", 50.0, 2.0)));
    world.step(|tx| {
        let mut job = Job::load(tx, action).unwrap().unwrap();
        job.state = JobState::InProgress;
        job.save(tx, action).unwrap();
    });
    block_on(jobs::fail_interrupted(world.host())).unwrap();
    world.engine.take_published();
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    jobs.load(&mut world.engine.begin(engine::Head::Durable)).unwrap();
    world.clock.advance_ms(50);
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(sent(&world), [1.0]);
    assert_eq!(states(&world), ["success", "failed"]);
}

#[test]
fn rows_as_users_see_them() {
    let world = World::new(app());
    let id = world.ok("m:later", later("m:send", 2000.0, 1.0));
    let job = world.ok("m:job", object! { "id" => id.clone() });
    let job = job.as_object().unwrap();
    assert_eq!(job.get("name"), Some(&Value::from("m.js:send")));
    assert_eq!(job.get("args").unwrap().to_string(), r#"[{n: 1.0, room: "a"}]"#);
    assert_eq!(job.get("scheduledTime"), Some(&Value::from(1_704_881_252_000.0)));
    assert_eq!(job.get("state").unwrap().to_string(), r#"{kind: "pending"}"#);
    assert_eq!(job.get("completedTime"), None);
    assert_eq!(job.len(), 6);
    assert_eq!(world.ok("m:newest", object! {}), Value::from(1_704_881_252_000.0));
    let private = world.fails("m:byNextTs", object! {});
    assert!(private.contains("Index _scheduled_functions.by_next_ts not found."), "{private}");
    world.ok("m:cancel", object! { "id" => id.clone() });
    let job = world.ok("m:job", object! { "id" => id });
    let job = job.as_object().unwrap();
    assert_eq!(job.get("state").unwrap().to_string(), r#"{kind: "canceled"}"#);
    assert_eq!(job.get("completedTime"), Some(&Value::from(1_704_881_250_000.0)));
}

#[test]
fn failures_are_recorded_without_their_writes() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("m:throw", 0.0, 1.0));
    world.clock.advance_ms(1);
    world.ok("m:later", later("m:sent", 0.0, 1.0));
    let bad = world.run("m:later", later("m:nothing", 0.0, 1.0)).result.unwrap_err();
    assert!(bad.message().contains("nonexistent path: m:nothing"), "{bad}");
    assert_eq!(world.drain(&mut jobs, &mut crons), 2);
    assert_eq!(sent(&world), Vec::<f64>::new());
    assert_eq!(states(&world), ["failed", "failed"]);
    let rows = world.ok("m:jobs", object! {}).to_string();
    assert!(
        rows.contains("Uncaught Error: no") && rows.contains("Unsupported function type"),
        "{rows}"
    );
}

#[test]
fn canceled_before_the_start_never_runs_and_after_the_end_stays_done() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    let first = world.ok("m:later", later("m:send", 3.0, 1.0));
    world.clock.advance_ms(1);
    let second = world.ok("m:later", later("m:send", 0.0, 2.0));
    world.drain(&mut jobs, &mut crons);
    for id in [&first, &second, &first] {
        world.ok("m:cancel", object! { "id" => id.clone() });
    }
    world.clock.advance_ms(10);
    assert_eq!(world.drain(&mut jobs, &mut crons), 0);
    assert_eq!(sent(&world), [2.0]);
    assert_eq!(states(&world), ["canceled", "success"]);
    // Taken from the queue, canceled, then started: it finds itself canceled.
    let third = world.ok("m:later", later("m:send", 0.0, 3.0));
    world.ok("m:cancel", object! { "id" => third.clone() });
    block_on(jobs::run_job(world.host(), id_of(&third))).unwrap();
    assert_eq!(sent(&world), [2.0]);
    let unknown = DocumentId { internal: value::InternalId([1; 16]), ..id_of(&third) };
    let text = world.fails("m:cancel", object! { "id" => unknown.to_string() });
    assert!(text.contains("no scheduled job"), "{text}");
}

#[test]
fn a_job_is_scheduled_by_the_commit_of_its_transaction() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    assert_eq!(world.fails("m:laterAndThrow", later("m:send", 0.0, 1.0)), "Uncaught Error: no");
    let caught = world.ok("m:laterNestedAndCaught", later("m:send", 0.0, 2.0));
    assert_eq!(caught, Value::from(true));
    assert_eq!(states(&world), Vec::<String>::new());
    world.ok("m:insertAndCountLater", later("m:count", 0.0, 3.0));
    world.clock.advance_ms(1);
    assert_eq!(sent(&world), [3.0], "not before the commit, and not within it");
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(sent(&world), [3.0, 1.0], "it saw what its transaction wrote");
    assert_eq!(states(&world), ["success"]);
}

#[test]
fn a_job_ran_or_was_canceled_and_never_both() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    for n in 0..500_u32 {
        let id = world.ok("m:later", later("m:send", 0.0, f64::from(n)));
        // Before it starts, after it ended, or when it was taken and has not begun.
        match n % 3 {
            0 => drop(world.ok("m:cancel", object! { "id" => id })),
            1 => {
                world.drain(&mut jobs, &mut crons);
                world.ok("m:cancel", object! { "id" => id });
            }
            _ => {
                world.ok("m:cancel", object! { "id" => id.clone() });
                block_on(jobs::run_job(world.host(), id_of(&id))).unwrap();
            }
        }
        world.clock.advance_ms(1);
    }
    world.drain(&mut jobs, &mut crons);
    let ran: Vec<f64> = (0..500).filter(|n| n % 3 == 1).map(f64::from).collect();
    assert_eq!(sent(&world), ran);
    let states = states(&world);
    let count = |state: &str| states.iter().filter(|it| *it == state).count();
    assert_eq!((count("success"), count("canceled")), (ran.len(), 500 - ran.len()));
}

#[test]
fn a_job_cannot_cancel_itself() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("m:suicide", 0.0, 1.0));
    world.drain(&mut jobs, &mut crons);
    assert_eq!(states(&world), ["failed"]);
    assert!(world.ok("m:jobs", object! {}).to_string().contains("cannot cancel itself"));
}

#[test]
fn actions_run_and_what_a_canceled_one_schedules_is_canceled() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("a:send", 0.0, 5.0));
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!((sent(&world), states(&world)), (vec![5.0], vec!["success".to_string()]));

    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("a:chain", 0.0, 1.0));
    assert_eq!(world.drain(&mut jobs, &mut crons), 2);
    assert_eq!(sent(&world), [1.0]);

    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("a:chain", 0.0, -1.0));
    assert_eq!(world.drain(&mut jobs, &mut crons), 1);
    assert_eq!(sent(&world), Vec::<f64>::new());
    assert_eq!(states(&world), ["canceled", "canceled"]);
}

#[test]
fn limits_of_scheduling() {
    let world = World::new(app());
    let now = world.clock_now();
    let try_at = |at: Timestamp, args: Object| {
        world.step(|tx| {
            let path = "m:send".parse().unwrap();
            let request = scheduler::Request { at, path, args, parent: &Parent::default() };
            scheduler::schedule(tx, &world.app.registry, now, request)
        })
    };
    let far = scheduler::SCHEDULE_DISTANCE_MAX.as_nanos() as u64;
    assert!(try_at(Timestamp(now.0 + far), object! {}).is_ok());
    assert!(try_at(Timestamp(now.0 - far), object! {}).is_ok());
    for at in [Timestamp(now.0 + far + 1), Timestamp(now.0 - far - 1), Timestamp(u64::MAX)] {
        let error = try_at(at, object! {}).unwrap_err();
        assert_eq!(error.code(), Some("InvalidScheduledFunctionDelay"));
    }
    let large = try_at(now, object! { "x" => "x".repeat(17 << 20) }).unwrap_err();
    assert_eq!(large.code(), Some("ScheduledFunctionsArgumentsTooLarge"));
    let many = world.step(|tx| {
        (0..=1000).find_map(|_| {
            let path = "m:send".parse().unwrap();
            let parent = Parent::default();
            let request = scheduler::Request { at: now, path, args: object! {}, parent: &parent };
            scheduler::schedule(tx, &world.app.registry, now, request).err()
        })
    });
    assert_eq!(many.unwrap().code(), Some("TooManyFunctionsScheduled"));
}

#[test]
fn times_are_milliseconds() {
    let world = World::new(app());
    let at = |ms: f64| world.run("m:at", later("m:send", ms, 1.0)).result;
    let id = at(1_704_881_249_999.25).unwrap();
    let job = world.ok("m:job", object! { "id" => id.clone() });
    let scheduled = job.as_object().unwrap().get("scheduledTime").cloned();
    assert_eq!(scheduled, Some(Value::from(1_704_881_249_999.25)), "kept as it was asked for");
    let next = world.step(|tx| Job::load(tx, id_of(&id)).unwrap().unwrap().next);
    assert_eq!(next, Some(world.clock_now()), "and due at once");
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e16, 0.0] {
        assert_eq!(at(bad).unwrap_err().code(), Some("InvalidScheduledFunctionDelay"), "{bad}");
    }
}

#[test]
fn finished_jobs_are_deleted_after_a_week() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    for n in 0..3 {
        world.ok("m:later", later("m:send", 0.0, f64::from(n)));
    }
    world.drain(&mut jobs, &mut crons);
    world.ok("m:later", later("m:send", 1e9, 9.0));
    world.clock.advance_ms(7 * 24 * 3_600_000 - 1);
    assert!(!block_on(jobs::delete_finished(world.host(), jobs::FINISHED_JOBS_KEPT)).unwrap());
    assert_eq!(states(&world).len(), 4);
    world.clock.advance_ms(1);
    assert!(!block_on(jobs::delete_finished(world.host(), jobs::FINISHED_JOBS_KEPT)).unwrap());
    assert_eq!(states(&world), ["pending"]);
    let rows = world.step(|tx| {
        let table = &system::SCHEDULED_JOBS;
        crate::system_rows::scan(tx, table, "by_next_ts", &[], Order::Asc, None).unwrap().len()
    });
    assert_eq!(rows, 1);
}

#[test]
fn an_operator_says_how_long_finished_jobs_are_kept() {
    let world = World::new(app());
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    world.ok("m:later", later("m:send", 0.0, 1.0));
    world.drain(&mut jobs, &mut crons);
    let kept = std::time::Duration::from_secs(5);
    world.clock.advance_ms(4999);
    block_on(jobs::delete_finished(world.host(), kept)).unwrap();
    assert_eq!(states(&world).len(), 1);
    world.clock.advance_ms(1);
    block_on(jobs::delete_finished(world.host(), kept)).unwrap();
    assert!(states(&world).is_empty());
}

#[test]
fn an_operator_says_how_many_run_at_once() {
    let world = World::new(app());
    let queues = crate::due::DueQueues::new(3, 5);
    for n in 0..10 {
        world.ok("m:later", later("m:send", 0.0, f64::from(n)));
    }
    for entry in world.engine.take_published() {
        queues.jobs.lock().apply(&entry);
    }
    assert_eq!(queues.jobs.lock().take(world.clock_now()).len(), 3);
    assert_eq!(queues.crons.lock().parallel(), 5);
}

#[test]
fn places_are_limited_and_given_back() {
    let world = World::new(app());
    let mut jobs = DueQueue::jobs();
    for n in 0..10 {
        world.ok("m:later", later("m:send", 0.0, f64::from(n)));
    }
    for entry in world.engine.take_published() {
        jobs.apply(&entry);
    }
    let taken = jobs.take(world.clock_now());
    assert_eq!(taken.len(), crate::JOBS_PARALLEL);
    assert_eq!((jobs.take(world.clock_now()), jobs.next()), (vec![], None));
    block_on(jobs::run_job(world.host(), taken[0])).unwrap();
    jobs.done(taken[0]);
    let ninth = jobs.take(world.clock_now());
    assert_eq!(ninth.len(), 1);
    assert!(!taken.contains(&ninth[0]));
}

#[test]
fn a_row_that_ran_comes_back_once_at_most() {
    let world = World::new(app());
    let mut jobs = DueQueue::jobs();
    let id = id_of(&world.ok("m:later", later("m:send", 0.0, 1.0)));
    let before = world.engine.begin(engine::Head::Durable);
    for entry in world.engine.take_published() {
        jobs.apply(&entry);
    }
    assert_eq!(jobs.take(world.clock_now()), [id]);
    block_on(jobs::run_job(world.host(), id)).unwrap();
    jobs.done(id);
    // Loaded from a snapshot that is older than the commits that were already taken over.
    for entry in world.engine.take_published() {
        jobs.apply(&entry);
    }
    let mut before = before;
    jobs.load(&mut before).unwrap();
    assert_eq!(jobs.take(world.clock_now()), [id]);
    block_on(jobs::run_job(world.host(), id)).unwrap();
    jobs.done(id);
    assert_eq!((jobs.take(world.clock_now()), jobs.next()), (vec![], None));
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn a_burst_runs_exactly_once_over_crashes() {
    let mut world = World::new(app());
    for n in 0..60 {
        world.ok("m:later", later("m:send", f64::from(59 - n), f64::from(n)));
    }
    world.clock.advance_ms(100);
    for crash in 0..5 {
        let mut jobs = DueQueue::jobs();
        block_on(jobs::fail_interrupted(world.host())).unwrap();
        jobs.load(&mut world.engine.begin(engine::Head::Durable)).unwrap();
        let taken = jobs.take(world.clock_now());
        assert_eq!(taken.len(), crate::JOBS_PARALLEL);
        // Dies with some of them done, before anybody heard of it.
        for id in taken.into_iter().skip(crash) {
            block_on(jobs::run_job(world.host(), id)).unwrap();
        }
        world = world.restarted();
    }
    let (mut jobs, mut crons) = (DueQueue::jobs(), DueQueue::crons());
    jobs.load(&mut world.engine.begin(engine::Head::Durable)).unwrap();
    world.drain(&mut jobs, &mut crons);
    let mut ran = sent(&world);
    ran.sort_by(f64::total_cmp);
    assert_eq!(ran, (0..60).map(f64::from).collect::<Vec<f64>>());
    assert_eq!(states(&world), ["success"; 60]);
}

#[test]
fn waits_after_system_errors_grow_and_end() {
    let mut last = Duration::ZERO;
    for errors in 0..14 {
        let wait = jobs::backoff(errors, 0);
        assert!(
            wait > last && jobs::backoff(errors, u64::MAX) < wait * 2 + Duration::from_nanos(1)
        );
        last = wait;
    }
    assert_eq!(jobs::backoff(u32::MAX, 0), Duration::from_secs(3600));
}
