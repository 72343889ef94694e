use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use value::{Value, object};

use super::world::{Message, SCHEMA, World, block_on, message};
use crate::{
    ActionCtx, App, Error, IDENTITY_WITHHELD, IdentityAccess, MutationCtx, Parent, QueryCtx,
    Result, Schedule, Shape, UserIdentity, application_error, error,
};

#[derive(Deserialize, Shape)]
struct Depth {
    n: f64,
}

fn app() -> App {
    App::new("chat")
        .schema(SCHEMA)
        .mutation("m:send", |ctx: &MutationCtx, args: Message| ctx.db().insert(args))
        .query("m:count", |ctx: &QueryCtx, (): ()| Ok(ctx.db().query::<Message>().count()? as f64))
        .internal_mutation("m:sendAndFail", |ctx: &MutationCtx, args: Message| -> Result<()> {
            ctx.db().insert(args)?;
            ctx.scheduler().run_after(std::time::Duration::ZERO, "m:count2", object! {})?;
            Err(error("no"))
        })
        .internal_mutation("m:count2", |_: &MutationCtx, (): ()| Ok(()))
        .query("m:me", |ctx: &QueryCtx, (): ()| {
            Ok(ctx.auth().get_user_identity()?.map(|user| user.subject.clone()))
        })
}

#[test]
fn arguments_and_results_are_validated() {
    let app = app()
        .query("m:narrow", |_: &QueryCtx, args: BTreeMap<String, u8>| Ok(f64::from(args["n"])));
    let world = World::new(app);
    let function = world.app.registry.find("m:count", false).unwrap();
    let run = |args: Vec<Value>| {
        let tx = world.engine.begin(engine::Head::Durable);
        crate::run(function, args, world.start(Parent::default()), tx).result
    };
    assert_eq!(run(vec![object! {}.into()]).unwrap(), Value::from(0.0));
    for args in [vec![], vec![Value::Null], vec![object! {}.into(), object! {}.into()]] {
        let error = run(args).unwrap_err();
        assert!(error.message().starts_with("ArgumentValidationError: "), "{error}");
        assert_eq!(error.code(), Some("InvalidArgs"));
    }
    let extra = world.fails("m:count", object! { "x" => 1.0 });
    assert!(extra.starts_with("ArgumentValidationError: Object contains extra field"), "{extra}");
    let narrow = world.fails("m:narrow", object! { "n" => 256.0 });
    assert!(narrow.contains("ArgumentValidationError: "), "{narrow}");
    let long = "x".repeat(crate::ARGS_BYTES_MAX);
    let large = run(vec![object! { "x" => long }.into()]).unwrap_err();
    assert!(large.message().contains("too large"), "{large}");
}

#[test]
fn a_result_that_does_not_fit_is_an_error_and_not_committed() {
    struct Liar;
    impl Shape for Liar {
        fn validator() -> value::validator::Validator {
            value::validator::Validator::Null
        }
    }
    impl serde::Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_f64(1.0)
        }
    }
    let world = World::new(app().mutation("m:lie", |ctx: &MutationCtx, args: Message| {
        ctx.db().insert(args)?;
        Ok(Liar)
    }));
    let text = world.fails("m:lie", message("a", 1.0));
    assert!(text.starts_with("ReturnsValidationError: "), "{text}");
    assert_eq!(world.ok("m:count", object! {}), Value::from(0.0));
}

#[test]
fn panics_and_thrown_errors_end_the_call_alone() {
    let app = app()
        .query("m:panic", |_: &QueryCtx, (): ()| -> Result<()> { panic!("at {}", "once") })
        .query("m:data", |_: &QueryCtx, (): ()| -> Result<()> {
            Err(application_error(object! { "code" => "full" }))
        });
    let world = World::new(app);
    let text = world.fails("m:panic", object! {});
    assert_eq!(text, "Uncaught Error: panicked: at once");
    let error = world.run("m:data", object! {}).result.unwrap_err();
    assert_eq!(error.data().unwrap().to_string(), r#"{code: "full"}"#);
    assert_eq!(error.message(), r#"Uncaught ConvexError: {"code":"full"}"#);
}

#[test]
fn nested_mutations_roll_back_and_their_caller_goes_on() {
    let app = app()
        .mutation("m:outer", |ctx: &MutationCtx, (): ()| {
            ctx.db().insert(Message::new("a", 1.0))?;
            let failed = ctx.run_mutation("m:sendAndFail", message("a", 2.0)).unwrap_err();
            assert_eq!(failed.message(), "Uncaught Error: no");
            ctx.run_mutation("m:send", message("a", 3.0))?;
            ctx.run_query("m:count", object! {})
        })
        .mutation("m:wrongKind", |ctx: &MutationCtx, (): ()| {
            ctx.run_query("m:send", message("a", 1.0))
        })
        .query("m:missing", |ctx: &QueryCtx, (): ()| ctx.run_query("m:nothing", object! {}))
        .query("m:deep", |ctx: &QueryCtx, args: Depth| {
            crate::log!(ctx, "depth {}", args.n);
            crate::log!(ctx, Debug, "{}", args.n);
            ctx.run_query("m:deep", object! { "n" => args.n + 1.0 })
        });
    let world = World::new(app);
    let end = world.run("m:outer", object! {});
    assert_eq!(end.result.unwrap(), Value::from(2.0));
    assert_eq!(world.ok("m:count", object! {}), Value::from(2.0));
    assert_eq!(end.transaction.usage().functions_scheduled, 1);
    let jobs = world.step(|tx| {
        let table = &engine::system::SCHEDULED_JOBS;
        crate::system_rows::scan(tx, table, "by_next_ts", &[], crate::Order::Asc, None)
            .unwrap()
            .len()
    });
    assert_eq!(jobs, 0, "what a failed part scheduled is undone");
    assert!(
        world
            .fails("m:wrongKind", object! {})
            .contains("Trying to execute m.js:send as Query, but it is defined as Mutation.")
    );
    assert!(
        world.fails("m:missing", object! {}).contains("Could not find function for 'm:nothing'.")
    );
    let end = world.run("m:deep", object! { "n" => 0.0 });
    let text = end.result.unwrap_err();
    assert_eq!(text.message().matches("Uncaught Error: ").count(), 8);
    assert!(text.message().contains("call depth limit exceeded. Limit: 8"), "{text}");
    assert_eq!(end.log_lines.len(), 16);
    assert_eq!(end.log_lines[0].function, None);
    assert_eq!(end.log_lines[14].function.as_deref(), Some("m:deep"));
    assert_eq!(end.log_lines[14].to_text(), "[LOG] depth 7");
    assert_eq!(end.log_lines[15].to_text(), "[DEBUG] 7");
}

#[test]
fn observations_are_noted() {
    let app = app().query("m:time", |ctx: &QueryCtx, (): ()| Ok(ctx.now())).query(
        "m:random",
        |ctx: &QueryCtx, (): ()| {
            Ok(vec![ctx.random().to_string(), ctx.random().to_string(), ctx.uuid()])
        },
    );
    let world = World::new(app);
    let plain = world.run("m:count", object! {});
    assert_eq!(plain.observed, crate::Observed::default());
    let time = world.run("m:time", object! {});
    assert_eq!(time.result.unwrap(), Value::from(1_704_881_250_000.0));
    assert!(time.observed.time && !time.observed.random && !time.observed.identity);
    let start = world.start(Parent::default());
    let one = world.run_with("m:random", object! {}, start.clone());
    let two = world.run_with("m:random", object! {}, start);
    assert!(one.observed.random);
    let numbers = one.result.unwrap();
    assert_eq!(numbers, two.result.unwrap(), "the same seed gives the same numbers");
    assert_ne!(numbers.as_array().unwrap()[0], numbers.as_array().unwrap()[1]);
}

#[test]
fn a_withheld_identity_ends_the_run_whatever_the_body_does() {
    let app = app()
        .query("m:swallow", |ctx: &QueryCtx, (): ()| Ok(ctx.auth().get_user_identity().is_ok()));
    let world = World::new(app);
    let ann = Arc::new(UserIdentity::new("https://a.example", "ann", BTreeMap::new()));
    *world.identity.lock() = IdentityAccess::Known(Some(ann));
    let end = world.run("m:me", object! {});
    assert_eq!(end.result.unwrap(), Value::from("ann"));
    assert!(end.observed.identity && !end.identity_withheld);
    *world.identity.lock() = IdentityAccess::Withheld;
    let end = world.run("m:count", object! {});
    assert!(end.result.is_ok() && !end.identity_withheld);
    for path in ["m:me", "m:swallow"] {
        let end = world.run(path, object! {});
        assert!(end.identity_withheld, "{path}");
        assert_eq!(end.result.unwrap_err().code(), Some(IDENTITY_WITHHELD), "{path}");
    }
}

#[test]
fn internal_functions_do_not_exist_for_clients() {
    let world = World::new(app());
    let registry = &world.app.registry;
    assert!(registry.find("m:count", false).is_ok());
    assert!(registry.find("m.js:count", false).is_ok());
    assert!(registry.find("m:sendAndFail", true).is_ok());
    for path in ["m:sendAndFail", "m:nothing"] {
        let error = registry.find(path, false).unwrap_err();
        assert_eq!(error.message(), format!("Could not find public function for '{path}'."));
    }
    assert!(registry.find("not a path", false).is_err());
}

#[test]
fn actions_call_through_the_door() {
    let app = app()
        .action("a:run", |ctx: ActionCtx, (): ()| async move {
            ctx.log("begin");
            ctx.run_mutation("m:send", message("a", 1.0)).await?;
            ctx.run_query("m:count", object! {}).await
        })
        .action("a:late", |_: ActionCtx, (): ()| async move {
            std::future::ready(()).await;
            if true {
                panic!("late");
            }
            Ok(())
        })
        .action("a:early", |_: ActionCtx, (): ()| {
            if true {
                panic!("early");
            }
            async { Ok(()) }
        })
        .action("a:forever", |ctx: ActionCtx, (): ()| async move {
            ctx.run_action("a:forever", object! {}).await
        });
    let world = World::new(app);
    let run = |path: &str, args: Vec<Value>| {
        let function = Arc::clone(world.app.registry.find(path, false).unwrap());
        let ctx = ActionCtx::new(world.door(), None, Parent::default());
        block_on(crate::run_action(function, args, ctx))
    };
    let end = run("a:run", vec![object! {}.into()]);
    assert_eq!(end.result.unwrap(), Value::from(1.0));
    assert_eq!(end.log_lines[0].to_text(), "[LOG] begin");
    let refused = run("a:run", vec![Value::Null]).result.unwrap_err();
    assert!(refused.message().starts_with("ArgumentValidationError"), "{refused}");
    let wrong = run("m:count", vec![object! {}.into()]).result.unwrap_err();
    assert!(wrong.message().contains("as Action, but it is defined as Query"), "{wrong}");
    let forever = run("a:forever", vec![object! {}.into()]).result.unwrap_err();
    assert!(forever.message().contains("64 deep"), "{forever}");
    let ends = ["a:late", "a:early"].map(|path| run(path, vec![object! {}.into()]).result);
    let texts = ends.map(|end| end.unwrap_err().message().to_string());
    assert_eq!(texts, ["Uncaught Error: panicked: late", "Uncaught Error: panicked: early"]);
}

#[test]
fn mistakes_of_a_declaration_are_reported_together() {
    let app = app()
        .schema("{")
        .query("m:count", |_: &QueryCtx, (): ()| Ok(()))
        .query("no path", |_: &QueryCtx, (): ()| Ok(()))
        .cron("ok", Schedule::interval_seconds(1), "m:count2", object! {})
        .cron("ok", Schedule::interval_seconds(1), "m:count2", object! {})
        .cron("never", Schedule::interval_seconds(0), "m:count2", object! {})
        .cron("query", Schedule::interval_seconds(1), "m:count", object! {})
        .cron("nothing", Schedule::interval_seconds(1), "m:x", object! {})
        .cron("\u{e9}", Schedule::interval_seconds(1), "m:count2", object! {});
    let error = app.build().unwrap_err();
    assert_eq!(error.mistakes.len(), 8, "{error}");
}

#[test]
fn system_errors_are_not_the_function_s() {
    let error = Error::system("Overloaded", "wait");
    assert!(!error.is_deterministic());
    assert_eq!(error.code(), Some("Overloaded"));
}

#[test]
fn uuids_are_drawn_from_the_seed() {
    let world = World::new(app().query("m:uuid", |ctx: &QueryCtx, (): ()| Ok(ctx.uuid())));
    let function = world.app.registry.find("m:uuid", false).unwrap();
    let run = |seed: u8| {
        let start = crate::Start { seed: [seed; 32], ..world.start(Parent::default()) };
        let tx = world.engine.begin(engine::Head::Durable);
        let end = crate::run(function, vec![object! {}.into()], start, tx);
        assert!(end.observed.random);
        end.result.unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let uuid = run(1);
    assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
    assert!("89ab".contains(&uuid[19..20]), "{uuid}");
}
