//! One engine, one clock, the functions of a small chat, and a host that runs jobs in place.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::{Engine, Env, Head, ManualClock, SeededRandom, Transaction};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::MemoryStore;
use value::validator::Tables;
use value::{DocumentId, Object, Timestamp, Value, object};

use crate::jobs::{JobCall, JobHost, JobOutcome, Step};
use crate::scheduler::Request;
use crate::{
    ActionCtx, App, Application, BoxFuture, Door, DoorCall, DueQueue, End, Id, IdentityAccess,
    InstanceSecret, Parent, Result, Shape, Start,
};

/// 2024-01-10T10:07:30Z
pub(super) const START: Timestamp = Timestamp(1_704_881_250_000_000_000);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[table("messages")]
pub(super) struct Message {
    pub(super) room: String,
    pub(super) n: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<Id<Message>>,
}

impl Message {
    pub(super) fn new(room: &str, n: f64) -> Message {
        Message { room: room.to_string(), n, reply: None }
    }
}

pub(super) const SCHEMA: &str = r#"{"schemaValidation":true,"tables":[
  {"tableName":"messages",
   "indexes":[{"indexDescriptor":"by_room_n","fields":["room","n"]}],
   "documentType":{"type":"object","value":{
     "room":{"fieldType":{"type":"string"},"optional":false},
     "n":{"fieldType":{"type":"number"},"optional":false},
     "reply":{"fieldType":{"type":"id","tableName":"messages"},"optional":true}}}},
  {"tableName":"rooms","indexes":[]}]}"#;

pub(super) struct World {
    store: Arc<MemoryStore>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) app: Application,
    process: u64,
    seeds: AtomicU64,
    pub(super) identity: Mutex<IdentityAccess>,
}

impl World {
    pub(super) fn new(app: App) -> Arc<World> {
        let clock = Arc::new(ManualClock::new(START));
        let world = World::open(app.build().unwrap(), Arc::default(), clock, 0);
        if let Some(schema) = &world.app.schema {
            world.engine.apply_schema(schema.clone()).unwrap();
        }
        world.engine.flush();
        world.engine.take_published();
        world
    }

    fn open(
        app: Application,
        store: Arc<MemoryStore>,
        clock: Arc<ManualClock>,
        process: u64,
    ) -> Arc<World> {
        // Another process draws other ids.
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(process)) };
        let engine = Engine::open(store.clone(), env, engine::Options::default()).unwrap();
        let identity = Mutex::new(IdentityAccess::anonymous());
        Arc::new(World { store, engine, clock, app, process, seeds: AtomicU64::new(0), identity })
    }

    /// The same database in another process, after this one died: only the store is left.
    pub(super) fn restarted(&self) -> Arc<World> {
        World::open(self.app.clone(), self.store.clone(), self.clock.clone(), self.process + 1)
    }

    pub(super) fn start(&self, parent: Parent) -> Start {
        let mut seed = [0; 32];
        seed[0] = self.seeds.fetch_add(1, Ordering::Relaxed) as u8;
        Start {
            registry: Arc::new(self.app.registry.clone()),
            secret: Arc::new(InstanceSecret::new([9; 32])),
            instance_name: Arc::from("test"),
            identity: self.identity.lock().clone(),
            now: self.engine.env().clock.now(),
            seed,
            journal: None,
            parent,
        }
    }

    /// Runs a function; commits what a mutation that succeeded has staged.
    pub(super) fn run(&self, path: &str, args: Object) -> End {
        self.run_with(path, args, self.start(Parent::default()))
    }

    pub(super) fn run_with(&self, path: &str, args: Object, start: Start) -> End {
        let function = Arc::clone(self.app.registry.find(path, true).unwrap());
        let tx = self.engine.begin(Head::Durable);
        let mut end = crate::run(&function, vec![Value::Object(args)], start, tx);
        if end.result.is_ok() && end.transaction.has_writes() {
            self.commit(&mut end.transaction);
        }
        end
    }

    pub(super) fn ok(&self, path: &str, args: Object) -> Value {
        self.run(path, args).result.unwrap()
    }

    pub(super) fn fails(&self, path: &str, args: Object) -> String {
        self.run(path, args).result.unwrap_err().message().to_string()
    }

    pub(super) fn commit(&self, tx: &mut Transaction) {
        self.engine.commit(tx, None).unwrap();
        self.engine.flush();
    }

    pub(super) fn step<R>(&self, step: impl FnOnce(&mut Transaction) -> R) -> R {
        let mut tx = self.engine.begin(Head::Durable);
        let result = step(&mut tx);
        self.commit(&mut tx);
        result
    }

    /// Takes over published commits, runs everything that is due, until nothing is.
    pub(super) fn drain(self: &Arc<Self>, jobs: &mut DueQueue, crons: &mut DueQueue) -> usize {
        let mut ran = 0;
        loop {
            for entry in self.engine.take_published() {
                jobs.apply(&entry);
                crons.apply(&entry);
            }
            let due = jobs.take(self.clock_now());
            let due_crons = crons.take(self.clock_now());
            if due.is_empty() && due_crons.is_empty() {
                return ran;
            }
            for id in due {
                block_on(crate::jobs::run_job(self.host(), id)).unwrap();
                jobs.done(id);
                ran += 1;
            }
            for id in due_crons {
                block_on(crate::crons::run_cron(self.host(), id)).unwrap();
                crons.done(id);
                ran += 1;
            }
        }
    }

    pub(super) fn clock_now(&self) -> Timestamp {
        self.engine.env().clock.now()
    }

    pub(super) fn host(self: &Arc<Self>) -> Arc<dyn JobHost> {
        Arc::new(Host(Arc::clone(self)))
    }

    pub(super) fn door(self: &Arc<Self>) -> Arc<dyn Door> {
        Arc::new(Host(Arc::clone(self)))
    }
}

/// Runs a future that never has to wait for anybody else.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the future waits for somebody");
}

pub(super) struct Host(Arc<World>);

impl JobHost for Host {
    fn now(&self) -> Timestamp {
        self.0.clock_now()
    }

    fn random(&self) -> u64 {
        0
    }

    fn registry(&self) -> Arc<crate::Registry> {
        Arc::new(self.0.app.registry.clone())
    }

    fn begin(&self) -> Transaction {
        self.0.engine.begin(Head::Durable)
    }

    fn transact(&self, step: Step) -> BoxFuture<Result<bool>> {
        let mut tx = self.begin();
        let result = step(&mut tx);
        if let Ok(true) = result {
            self.0.commit(&mut tx);
        }
        Box::pin(async move { result })
    }

    fn mutation(&self, call: JobCall) -> BoxFuture<Option<JobOutcome>> {
        let outcome = self.run_mutation(&call);
        Box::pin(async move { outcome })
    }

    fn action(&self, call: JobCall) -> BoxFuture<JobOutcome> {
        let function = Arc::clone(self.0.app.registry.get(&call.path).unwrap());
        let ctx = ActionCtx::new(self.0.door(), None, call.parent);
        Box::pin(async move {
            let end = crate::run_action(function, call.args, ctx).await;
            JobOutcome { result: end.result, log_lines: end.log_lines, elapsed: Duration::ZERO }
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.0.clock.advance_ms(duration.as_millis() as u64);
        Box::pin(async {})
    }
}

impl Host {
    fn run_mutation(&self, call: &JobCall) -> Option<JobOutcome> {
        let mut tx = self.begin();
        if !(call.before)(&mut tx).unwrap() {
            return None;
        }
        let function = Arc::clone(self.0.app.registry.get(&call.path).unwrap());
        let start = self.0.start(call.parent.clone());
        let mut end = crate::run(&function, call.args.clone(), start, tx);
        let outcome = JobOutcome {
            result: end.result,
            log_lines: end.log_lines,
            elapsed: Duration::from_millis(3),
        };
        // Creation times follow the clock: rows of one job are older than those of the next.
        self.0.clock.advance_ns(1000);
        if outcome.result.is_ok() {
            (call.after)(&mut end.transaction, &outcome).unwrap();
            self.0.commit(&mut end.transaction);
        }
        Some(outcome)
    }

    fn call(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        let start = self.0.start(call.parent);
        let end = self.0.run_with(&call.path.to_string(), call.args, start);
        Box::pin(async move { end.result })
    }
}

impl Door for Host {
    fn run_query(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        self.call(call)
    }

    fn run_mutation(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        self.call(call)
    }

    fn run_action(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        let function = Arc::clone(self.0.app.registry.get(&call.path).unwrap());
        let ctx = ActionCtx::new(self.0.door(), call.identity, call.parent);
        let args = vec![Value::Object(call.args)];
        Box::pin(async move { crate::run_action(function, args, ctx).await.result })
    }

    fn schedule(&self, at: Timestamp, call: DoorCall) -> BoxFuture<Result<DocumentId>> {
        let now = self.0.clock_now();
        let id = self.0.step(|tx| {
            let request = Request { at, path: call.path, args: call.args, parent: &call.parent };
            crate::scheduler::schedule(tx, &self.0.app.registry, now, request)
        });
        Box::pin(async move { id })
    }

    fn cancel(&self, job: DocumentId) -> BoxFuture<Result<()>> {
        let now = self.0.clock_now();
        let canceled = self.0.step(|tx| crate::scheduler::cancel(tx, job, now));
        Box::pin(async move { canceled })
    }

    fn now(&self) -> Timestamp {
        self.0.clock_now()
    }

    fn random(&self) -> [u8; 32] {
        [1; 32]
    }

    fn with_tables(&self, check: &mut dyn FnMut(&dyn Tables)) {
        self.begin().with_tables(|tables| check(tables));
    }
}

/// An object with the room and number of a message.
pub(super) fn message(room: &str, n: f64) -> Object {
    object! { "room" => room, "n" => n }
}
