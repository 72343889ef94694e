//! What people see who watch: causes of runs, read sets in words, executions, tables and documents.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::{Engine, Env, ManualClock, SeededRandom};
use serde::Deserialize;
use store::MemoryStore;
use value::{DocumentId, Object, Timestamp, Value, object};

use super::world::{Message, SCHEMA, START, message};
use crate::admin::{
    DocumentPage, DocumentQuery, DocumentWrite, IntervalKind, JobList, JobQuery, JobView, Names,
};
use crate::recent::RecentPage;
use crate::{
    App, Caller, ClientCall, InstanceSecret, LiveSession, MutationCtx, Order, Origin, Parent,
    QueryCtx, QuerySpec, RequestKey, Result, Runtime, RuntimeParts, Schedule, Shape, UserIdentity,
    error,
};

#[derive(Deserialize, Shape)]
struct Room {
    room: String,
}

fn app() -> App {
    App::new("chat")
        .schema(SCHEMA)
        .query("m:list", |ctx: &QueryCtx, args: Room| {
            let rows = ctx.db().query::<Message>();
            Ok(rows.with_index("by_room_n", |q| q.eq("room", args.room)).collect()?.len() as f64)
        })
        .query("m:mine", |ctx: &QueryCtx, args: Room| {
            ctx.auth().get_user_identity()?;
            let rows = ctx.db().query::<Message>();
            Ok(rows.with_index("by_room_n", |q| q.eq("room", args.room)).collect()?.len() as f64)
        })
        .mutation("m:send", |ctx: &MutationCtx, args: Message| {
            ctx.log(format!("into {}", args.room));
            ctx.db().insert(args).map(|_| ())
        })
        .mutation("m:refuse", |_: &MutationCtx, (): ()| -> Result<()> { Err(error("no")) })
        .mutation("m:later", |ctx: &MutationCtx, args: Message| {
            let args = message(&args.room, args.n);
            ctx.scheduler().run_after(Duration::from_secs(60), "m:send", args).map(|_| ())
        })
        .cron("tick", Schedule::interval_minutes(5), "m:refuse", object! {})
}

struct World {
    runtime: Arc<Runtime>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> World {
        World::with(crate::RuntimeOptions::default())
    }

    fn with(options: crate::RuntimeOptions) -> World {
        let clock = Arc::new(ManualClock::new(START));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::open(store, env, engine::Options::default()).unwrap();
        let app = app().build().unwrap();
        engine.apply_schema(app.schema.unwrap()).unwrap();
        let crons = app.crons;
        engine
            .transact(|tx| {
                crate::crons::sync(tx, &crons, START, || 0).unwrap();
                Ok(())
            })
            .unwrap();
        let (secret, instance_name) = (InstanceSecret::new([9; 32]), Arc::from("test"));
        let parts = RuntimeParts { engine, registry: app.registry, secret, instance_name, options };
        let world = World { runtime: Runtime::new(parts), clock };
        world.settle();
        world
    }

    fn settle(&self) {
        while self.runtime.run_work(0) || self.runtime.append() {}
    }

    /// Runs a future, and whatever it waits for.
    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(std::task::Waker::noop());
        for _ in 0..1000 {
            if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
                return value;
            }
            self.settle();
        }
        panic!("the future waits for somebody");
    }

    fn call(&self, path: &str, args: Object, caller: Caller, key: Option<RequestKey>) -> Timestamp {
        let call = ClientCall { path: path.to_owned(), args: vec![Value::Object(args)], caller };
        self.wait(self.runtime.mutation_async(call, key, Parent::of_request("r1"))).ts
    }

    fn send(&self, room: &str, n: f64) -> Timestamp {
        self.clock.advance_ms(1);
        self.call("m:send", message(room, n), Caller::default(), None)
    }

    fn show(&self, path: &str, room: &str) -> LiveSession {
        let mut session = LiveSession::new(&self.runtime, Arc::new(|| {}));
        let args = vec![Value::Object(object! { "room" => room })];
        session.subscribe(0, QuerySpec { path: Arc::from(path), args, journal: None });
        self.poll(&mut session);
        session
    }

    fn poll(&self, session: &mut LiveSession) {
        self.settle();
        while session.poll(Timestamp(0)).unwrap().is_none() {
            self.settle();
        }
    }

    fn documents(&self, query: DocumentQuery) -> Result<DocumentPage> {
        self.wait(self.runtime.documents(query))
    }

    fn jobs(&self, list: JobList) -> Vec<JobView> {
        let query = JobQuery { list, function: None, limit: 10, cursor: None };
        self.wait(self.runtime.scheduled(query)).unwrap().jobs
    }

    fn executions(&self) -> RecentPage {
        self.runtime.recent().page(0, 100, false)
    }
}

fn all(table: &str) -> DocumentQuery {
    DocumentQuery {
        table: table.to_owned(),
        index: None,
        order: Order::Asc,
        equal: Vec::new(),
        limit: 2,
        cursor: None,
        at: None,
    }
}

fn alice() -> Caller {
    let user = UserIdentity::new("https://a", "alice", Default::default());
    Caller { identity: Some(Arc::new(user)), ..Caller::default() }
}

#[test]
fn each_run_names_the_commit_that_caused_it() {
    let world = World::new();
    let mut session = world.show("m:list", "a");
    let view = || world.runtime.live().page(0, 10, Some("m:list")).pop().unwrap();
    let names: Names = world.runtime.names();
    assert_eq!(view().history.len(), 1);
    assert!(view().history[0].cause.is_none(), "somebody came to look");

    world.send("b", 1.0);
    world.poll(&mut session);
    assert_eq!(view().runs, 1, "another room");

    world.clock.advance_ms(1000);
    let ts = world.call("m:send", message("a", 1.0), alice(), None);
    world.poll(&mut session);
    let run = view().history.pop().unwrap();
    let cause = names.cause(run.cause.as_ref().unwrap());
    assert!(run.changed && !run.failed && run.ts >= ts);
    assert_eq!((cause.ts, cause.function.as_deref()), (ts, Some("m:send")));
    assert_eq!((cause.origin, cause.request.as_deref()), ("client", Some("r1")));
    assert_eq!((&*cause.table, &*cause.index), ("messages", "by_room_n"));
    assert_eq!((cause.change, cause.more), ("appeared", 0));
    let id = cause.document.unwrap();
    let (_, found) = world.wait(world.runtime.document(id, None)).unwrap();
    assert_eq!(found.unwrap().get("room").unwrap(), &Value::from("a"));

    // By an administrator, over the pages of tables.
    let fields = [("n".to_owned(), Some(Value::from(9.0)))].into();
    let write = DocumentWrite::Patch { id, fields };
    let request = Some(Arc::from("r2"));
    let written = world.wait(world.runtime.write_documents(vec![write], request)).unwrap();
    world.poll(&mut session);
    let run = view().history.pop().unwrap();
    let cause = names.cause(run.cause.as_ref().unwrap());
    assert!(!run.changed, "as many rows as before");
    assert_eq!((cause.ts, cause.document), (written.ts, Some(id)));
    assert_eq!((cause.function.as_deref(), cause.origin), (Some("(admin)"), "admin"));
    assert_eq!((cause.request.as_deref(), cause.change), (Some("r2"), "vanished"));
}

#[test]
fn commits_on_top_are_counted_and_history_is_bounded() {
    let world = World::new();
    let mut session = world.show("m:list", "a");
    let view = || world.runtime.live().page(0, 10, None).pop().unwrap();
    // Three commits in one group: one run.
    for n in 0..3 {
        let args = vec![Value::Object(message("a", f64::from(n)))];
        let call = ClientCall { path: "m:send".to_owned(), args, caller: Caller::default() };
        world.runtime.mutation(call, None, Parent::default(), Box::new(|_| {}));
        assert!(world.runtime.run_work(0));
    }
    assert!(world.runtime.append());
    let waiting = view();
    assert_eq!(waiting.runs, 1);
    world.poll(&mut session);
    let run = view().history.pop().unwrap();
    let cause = run.cause.unwrap();
    assert_eq!((view().runs, cause.more), (2, 2));
    for n in 0..20 {
        world.send("a", f64::from(n));
        world.poll(&mut session);
    }
    let view = view();
    assert_eq!((view.runs, view.history.len()), (22, crate::live::RUNS_KEPT));
    assert!(view.stale_by.is_none() && view.valid.unwrap().1.is_none());
}

#[test]
fn the_cause_stays_with_those_who_get_an_entry_of_their_own() {
    let world = World::new();
    let mut session = world.show("m:mine", "a");
    let ts = world.send("a", 1.0);
    world.poll(&mut session);
    let view = world.runtime.live().page(0, 10, None).pop().unwrap();
    assert!(!view.shared && view.identity.is_none());
    let cause = view.history.last().unwrap().cause.as_ref().unwrap();
    assert_eq!(cause.ts, ts);
    let figures = world.runtime.registry();
    let mine = figures.counts().find(|counts| &*counts.name == "m:mine").unwrap().figures;
    assert_eq!((mine.abandoned, mine.live_runs, mine.live_reruns), (1, 3, 1));
}

#[test]
fn a_query_that_is_shown_while_the_first_commit_after_a_long_rest_is_published() {
    let world = World::new();
    world.clock.advance_ms(2 * 3_600_000);
    let args = vec![Value::Object(message("a", 1.0))];
    let call = ClientCall { path: "m:send".to_owned(), args, caller: Caller::default() };
    world.runtime.mutation(call, None, Parent::default(), Box::new(|_| {}));
    assert!(world.runtime.run_work(0));
    // On disk, and not published yet: the live queries still have the old head, whose time is over.
    world.runtime.engine().append_pending();
    assert!(world.runtime.live().head() < world.runtime.durable());
    let mut session = LiveSession::new(&world.runtime, Arc::new(|| {}));
    let args = vec![Value::Object(object! { "room" => "a" })];
    session.subscribe(0, QuerySpec { path: Arc::from("m:list"), args, journal: None });
    assert!(session.poll(Timestamp(0)).unwrap().is_none());
    while world.runtime.run_work(0) {}
    let covered = session.poll(Timestamp(0)).unwrap().unwrap();
    assert_eq!(covered.ts, world.runtime.durable());
}

#[test]
fn an_operator_says_how_many_results_are_kept_that_nobody_shows() {
    let check = |idle_entries_max, idle_bytes_max, expected: usize| {
        let options =
            crate::RuntimeOptions { idle_entries_max, idle_bytes_max, ..Default::default() };
        let world = World::with(options);
        for room in ["a", "b", "c"] {
            drop(world.show("m:list", room));
        }
        let stats = world.runtime.live().stats();
        assert_eq!((stats.idle, stats.entries), (expected, 0));
    };
    check(9, 1 << 20, 3);
    check(2, 1 << 20, 2);
    check(0, 1 << 20, 0);
    check(9, 1, 0);
}

#[test]
fn read_sets_and_sessions_in_words() {
    let world = World::new();
    let mut session = world.show("m:list", "a");
    session.set_caller(alice());
    let view = world.runtime.live().page(0, 10, None).pop().unwrap();
    let names = world.runtime.names();
    let (intervals, count) = names.intervals(view.reads.as_ref().unwrap(), 100);
    assert_eq!(intervals.len(), count);
    let own = intervals.iter().find(|interval| interval.table == "messages").unwrap();
    assert_eq!((&*own.index, own.kind), ("by_room_n", IntervalKind::Prefix));
    assert_eq!(own.text, "room = \"a\"");
    assert_eq!(own.fields, ["room", "n", "_creationTime", "_id"]);
    assert!(intervals.iter().any(|interval| interval.table == "_tables"), "names are read too");
    assert_eq!(names.intervals(view.reads.as_ref().unwrap(), 1).0.len(), 1);

    let sessions = world.runtime.live().sessions(0, 10);
    assert_eq!(sessions[0].identity.as_ref().unwrap().subject, "alice");
    assert_eq!(sessions[0].queries, [(0, view.number)]);
    assert!(world.runtime.live().sessions(sessions[0].number, 10).is_empty());
    let again = world.show("m:list", "a");
    let stats = world.runtime.live().stats();
    assert_eq!((stats.subscribed, stats.hits, stats.subscriptions), (2, 1, 2));
    assert_eq!((stats.sessions, stats.sessions_opened), (2, 2));
    drop((session, again));
    assert_eq!(world.runtime.live().stats().sessions, 0);
}

#[test]
fn executions_are_noted_once_with_what_they_said() {
    let world = World::new();
    let key = Some(RequestKey { session: [7; 16], request: 3 });
    for _ in 0..2 {
        // The second time it is answered from its record.
        world.call("m:send", message("a", 1.0), alice(), key);
    }
    world.call("m:refuse", object! {}, Caller::ADMIN, None);
    let page = world.executions();
    let [sent, refused] = page.executions.as_slice() else { panic!("{page:?}") };
    assert_eq!((&*sent.function, sent.origin), ("m:send", Origin::Client));
    assert_eq!((sent.user.as_deref(), sent.request.as_deref()), (Some("alice"), Some("r1")));
    assert_eq!(sent.log_lines[0].to_text(), "[LOG] into a");
    assert_eq!((&*refused.function, refused.origin), ("m:refuse", Origin::Admin));
    assert_eq!(refused.error.as_deref(), Some("Uncaught Error: no"));
    let registry = world.runtime.registry();
    let of = |name: &str| registry.counts().find(|counts| &*counts.name == name).unwrap().figures;
    assert_eq!((of("m:send").succeeded, of("m:send").executions()), (1, 1));
    assert_eq!((of("m:refuse").failed, of("m:refuse").elapsed_ns.count()), (1, 1));
    assert_eq!(of("m:list").executions(), 0);
}

#[test]
fn documents_come_in_pages_of_one_snapshot() {
    let world = World::new();
    for n in 0..5 {
        world.send("a", f64::from(n));
    }
    let first = world.documents(all("messages")).unwrap();
    assert_eq!((first.documents.len(), first.rows), (2, 2));
    world.send("a", 99.0);
    let mut seen = first.documents;
    let mut cursor = first.cursor;
    while let Some(next) = cursor {
        let page =
            world.documents(DocumentQuery { cursor: Some(next), ..all("messages") }).unwrap();
        assert_eq!(page.ts, first.ts);
        seen.extend(page.documents);
        cursor = page.cursor;
    }
    let n = |document: &Object| document.get("n").unwrap().as_f64().unwrap();
    assert_eq!(seen.iter().map(n).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0]);

    let equal = vec![("room".to_owned(), Value::from("a"))];
    let by_index = DocumentQuery {
        index: Some("by_room_n".to_owned()),
        order: Order::Desc,
        equal: equal.clone(),
        ..all("messages")
    };
    let page = world.documents(by_index.clone()).unwrap();
    assert_eq!(page.documents.iter().map(n).collect::<Vec<_>>(), [99.0, 4.0]);
    // A field that does not lead the index drops rows.
    let dropping = DocumentQuery {
        equal: vec![("n".to_owned(), Value::from(3.0))],
        limit: 100,
        ..all("messages")
    };
    let page = world.documents(dropping).unwrap();
    assert_eq!((page.documents.len(), page.rows, page.cursor), (1, 6, None));
    let by_id = DocumentQuery {
        index: Some("by_id".to_owned()),
        equal: vec![("_id".to_owned(), seen[1].get("_id").unwrap().clone())],
        ..all("messages")
    };
    let page = world.documents(by_id).unwrap();
    assert_eq!((page.documents.len(), page.rows), (1, 1));

    let code = |query: DocumentQuery| world.documents(query).unwrap_err().code().unwrap();
    assert_eq!(code(all("nothing")), "TableNotFound");
    assert_eq!(code(all("_tables")), "TableNotFound");
    assert_eq!(
        code(DocumentQuery { index: Some("by_x".to_owned()), ..all("messages") }),
        "IndexNotFoundError"
    );
    let foreign = world.documents(by_index).unwrap().cursor;
    assert_eq!(code(DocumentQuery { cursor: foreign, ..all("messages") }), "InvalidCursor");
    assert_eq!(code(DocumentQuery { at: Some(Timestamp(1)), ..all("messages") }), "OutOfRetention");
}

#[test]
fn writes_are_checked_by_the_schema_and_happen_together() {
    let world = World::new();
    let table = "messages".to_owned();
    let insert = |n: Value| DocumentWrite::Insert {
        table: table.clone(),
        document: object! { "room" => "a", "n" => n },
    };
    let write = |writes| world.wait(world.runtime.write_documents(writes, None));
    let refused = write(vec![insert(1.0.into()), insert("x".into())]).unwrap_err();
    assert_eq!(refused.code(), Some("SchemaEnforcementError"));
    assert_eq!(world.documents(all("messages")).unwrap().documents.len(), 0);
    let written = write(vec![insert(1.0.into()), insert(2.0.into())]).unwrap();
    let [first, second] = written.ids.as_slice() else { panic!("{written:?}") };
    let document = object! { "room" => "b", "n" => 3.0 };
    let replace = DocumentWrite::Replace { id: *first, document };
    write(vec![replace, DocumentWrite::Delete { id: *second }]).unwrap();
    let page = world.documents(all("messages")).unwrap();
    assert_eq!(page.documents.len(), 1);
    assert_eq!(page.documents[0].get("room").unwrap(), &Value::from("b"));
    let gone = write(vec![DocumentWrite::Delete { id: *second }]).unwrap_err();
    assert_eq!(gone.code(), Some("NonexistentDocument"));
    let system = world.runtime.engine().catalog();
    let row = system.active_schema().unwrap().0;
    assert_eq!(
        write(vec![DocumentWrite::Delete { id: row }]).unwrap_err().code(),
        Some("SystemTableError")
    );

    let tables = world.wait(world.runtime.tables()).unwrap();
    let messages = tables.iter().find(|table| table.name == "messages").unwrap();
    assert_eq!((messages.documents, messages.declared, messages.ephemeral), (1, true, false));
    let names: Vec<_> = messages.indexes.iter().map(|index| index.name.as_str()).collect();
    assert_eq!(names, ["by_id", "by_creation_time", "by_room_n"]);
    assert_eq!(messages.validator.as_ref().unwrap()["type"], "object");
    assert_eq!(world.runtime.totals().documents, 1);
}

#[test]
fn scheduled_functions_are_listed_and_canceled() {
    let world = World::new();
    for n in 0..3 {
        world.clock.advance_ms(1);
        world.call("m:later", message("a", f64::from(n)), Caller::default(), None);
    }
    let due = world.jobs(JobList::Due);
    assert_eq!(due.len(), 3);
    assert!(due[0].next < due[1].next && due[0].function == "m:send");
    let cancel = |id: DocumentId| world.wait(world.runtime.cancel_scheduled(id, None));
    assert_eq!(cancel(due[0].id).unwrap().jobs, 1);
    assert_eq!(cancel(due[0].id).unwrap().jobs, 0, "it has ended already");
    let foreign = DocumentId::new(value::TableNumber(10_001), due[0].id.internal);
    assert_eq!(cancel(foreign).unwrap_err().code(), Some("InvalidArgument"));
    let all = |function: &str| {
        world
            .wait(world.runtime.cancel_all_scheduled(Some(function.to_owned()), None))
            .unwrap()
            .jobs
    };
    assert_eq!((all("m:refuse"), all("m:send"), all("m:send")), (0, 2, 0));
    assert!(world.jobs(JobList::Due).is_empty());
    let finished = world.jobs(JobList::Finished);
    assert_eq!(finished.len(), 3);
    assert!(finished.iter().all(|job| job.state == crate::JobState::Canceled));
    assert_eq!(world.jobs(JobList::All).len(), 3);

    let crons = world.wait(world.runtime.crons()).unwrap();
    assert_eq!((&*crons[0].name, &*crons[0].function), ("tick", "m:refuse"));
    assert_eq!((crons[0].next, crons[0].runs.len()), (Some(START), 0));
}
