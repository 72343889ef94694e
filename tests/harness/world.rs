//! One server without threads, sockets and wall clock: whoever drives it decides what runs next.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Engine, Env, ManualClock, Options, SeededRandom};
use functions::{
    Application, Caller, IdentityAccess, InstanceSecret, Parent, Runtime, RuntimeParts, Start,
    UserIdentity,
};
use store::{MemoryStore, Store};
use value::{Timestamp, Value};

use crate::app::without_pauses;
use crate::faults::FaultStore;

/// When the clock starts: 2024-01-10T10:07:30Z.
pub const START: Timestamp = Timestamp(1_704_881_250_000_000_000);
/// Who signs tokens in tests.
pub const ISSUER: &str = "https://sim";

/// A server.
pub struct World {
    /// The clock of everything.
    pub clock: Arc<ManualClock>,
    /// What survives a crash.
    pub disk: Arc<dyn Store>,
    /// The disk as the engine sees it.
    pub faults: Arc<FaultStore>,
    /// Runs the functions; another one after each crash.
    pub runtime: Arc<Runtime>,
    application: Application,
    env: Env,
    options: Options,
}

/// What a function gives when it is run again from scratch.
#[derive(Clone, Debug, PartialEq)]
pub enum Fresh {
    /// The value as encoded JSON.
    Value(serde_json::Value),
    /// The message, and the data if there is any.
    Failed(String, Option<serde_json::Value>),
    /// That timestamp cannot be read any more.
    TooOld,
}

/// The signed-in user with this name.
pub fn user(name: &str) -> Caller {
    let identity = UserIdentity::new(ISSUER, name, BTreeMap::new());
    Caller { identity: Some(Arc::new(identity)), ..Caller::default() }
}

impl World {
    /// A server over an empty store in memory.
    pub fn new(application: Application, seed: u64, options: Options) -> Self {
        Self::on(Arc::new(MemoryStore::new()), application, seed, options)
    }

    /// A server over a store.
    pub fn on(disk: Arc<dyn Store>, application: Application, seed: u64, options: Options) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(seed)) };
        let faults = Arc::new(FaultStore::new(Arc::clone(&disk)));
        let runtime = open(&faults, &application, &env, options);
        Self { clock, disk, faults, runtime, application, env, options }
    }

    /// Everything that is not on disk is gone; a new server opens what is.
    pub fn crash(&mut self) {
        self.faults = Arc::new(FaultStore::new(Arc::clone(&self.disk)));
        self.runtime = open(&self.faults, &self.application, &self.env, self.options);
    }

    /// Runs what is waiting and writes to disk, in turn, until nothing is left.
    pub fn settle(&self) {
        loop {
            let ran = self.runtime.run_work(0);
            let wrote = self.runtime.append();
            if !ran && !wrote {
                break;
            }
        }
    }

    /// The newest timestamp that is really on disk.
    pub fn on_disk(&self) -> Timestamp {
        self.disk.head().expect("the disk below the faults never fails")
    }

    /// Another engine over the same disk: without caches, and with nothing that is not on disk.
    pub fn judge(&self) -> Judge {
        let options = Options { retention_ns: u64::MAX, ..Options::default() };
        let engine = Engine::open(Arc::clone(&self.disk), self.env.clone(), options)
            .expect("what is on disk can be opened");
        Judge { engine, application: self.application.clone(), now: START }
    }
}

/// Brings a runtime up over a store, with the tables of the application.
fn open(
    faults: &Arc<FaultStore>,
    application: &Application,
    env: &Env,
    options: Options,
) -> Arc<Runtime> {
    let store: Arc<dyn Store> = Arc::<FaultStore>::clone(faults);
    let engine = Engine::open(store, env.clone(), options).expect("the store opens");
    if let Some(schema) = &application.schema {
        engine.apply_schema(schema.clone()).expect("the schema fits");
    }
    engine.flush();
    Runtime::new(RuntimeParts {
        engine,
        registry: application.registry.clone(),
        secret: secret(),
        instance_name: Arc::from("sim"),
        options: functions::RuntimeOptions::default(),
    })
}

fn secret() -> InstanceSecret {
    InstanceSecret::new([9; 32])
}

/// Runs queries from scratch at any timestamp that is on disk.
pub struct Judge {
    engine: Arc<Engine>,
    application: Application,
    now: Timestamp,
}

impl Judge {
    /// The timestamp of the newest commit when the judge was made.
    pub fn head(&self) -> Timestamp {
        self.engine.durable()
    }

    /// What a query gives at `ts`. `journal` is what a page must repeat.
    pub fn run(
        &self,
        ts: Timestamp,
        path: &str,
        args: &serde_json::Value,
        caller: &Caller,
        journal: Option<&str>,
    ) -> Fresh {
        let function = match self.application.registry.find(path, caller.admin) {
            Ok(function) => Arc::clone(function),
            Err(error) => return Fresh::Failed(error.message().to_owned(), None),
        };
        if let Err(error) = function.expect_kind(functions::FunctionKind::Query) {
            return Fresh::Failed(error.message().to_owned(), None);
        }
        let Ok(tx) = self.engine.begin_at(ts) else { return Fresh::TooOld };
        let start = Start {
            registry: Arc::new(self.application.registry.clone()),
            secret: Arc::new(secret()),
            instance_name: Arc::from("sim"),
            identity: IdentityAccess::Known(caller.identity.clone()),
            now: self.now,
            seed: [0; 32],
            journal: journal.map(str::to_owned),
            parent: Parent::default(),
        };
        let args = value::json::from_json(args.clone()).expect("arguments are values");
        let Value::Array(args) = args else { panic!("arguments are an array") };
        let end = without_pauses(|| functions::run(&function, args, start, tx));
        match end.result {
            Ok(value) => Fresh::Value(value::json::to_json(&value)),
            Err(error) if error.is_deterministic() => {
                Fresh::Failed(error.message().to_owned(), error.data().map(value::json::to_json))
            }
            Err(_) => Fresh::TooOld,
        }
    }
}
