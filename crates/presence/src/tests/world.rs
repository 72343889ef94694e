//! One server without threads and wall clock, its users, and what they watch.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use engine::{Engine, Env, Head, ManualClock, SeededRandom};
use functions::{
    CallEnd, Caller, ClientCall, Done, InstanceSecret, LiveOutcome, LiveSession, Parent, QuerySpec,
    Runtime, RuntimeParts, UserIdentity,
};
use serde_json::{Value as Json, json};
use store::MemoryStore;
use value::{Timestamp, Value};

/// 2024-01-10T10:07:30Z, in milliseconds.
pub(super) const START_MS: f64 = 1_704_881_250_000.0;

pub(super) const ADMIN: Caller = Caller::ADMIN;
pub(super) const NOBODY: Caller = Caller { identity: None, admin: false, read_only: false };

pub(super) fn user(name: &str) -> Caller {
    let identity = UserIdentity::new("https://auth.example", name, BTreeMap::new());
    Caller { identity: Some(Arc::new(identity)), ..Caller::default() }
}

pub(super) struct World {
    pub(super) clock: Arc<ManualClock>,
    pub(super) runtime: Arc<Runtime>,
}

impl World {
    pub(super) fn new() -> World {
        let clock = Arc::new(ManualClock::new(Timestamp(START_MS as u64 * 1_000_000)));
        let env = Env { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::open(store, env, engine::Options::default()).unwrap();
        let app = crate::app().build().unwrap();
        engine.apply_schema(app.schema.unwrap()).unwrap();
        engine.flush();
        let runtime = Runtime::new(RuntimeParts {
            engine,
            registry: app.registry,
            secret: InstanceSecret::new([9; 32]),
            instance_name: Arc::from("test"),
            options: functions::RuntimeOptions::default(),
        });
        World { clock, runtime }
    }

    /// Runs what is waiting and writes to disk, until nothing is left.
    pub(super) fn settle(&self) {
        while self.runtime.run_work(0) || self.runtime.append() {}
    }

    pub(super) fn query(&self, caller: &Caller, path: &str, args: &Json) -> Result<Json, String> {
        self.call(caller, path, args, |call, done| self.runtime.query(call, None, done))
    }

    pub(super) fn mutate(&self, caller: &Caller, path: &str, args: &Json) -> Result<Json, String> {
        self.call(caller, path, args, |call, done| {
            self.runtime.mutation(call, None, Parent::default(), done);
        })
    }

    fn call(
        &self,
        caller: &Caller,
        path: &str,
        args: &Json,
        run: impl FnOnce(ClientCall, Done),
    ) -> Result<Json, String> {
        // A clock that stands still would give documents one creation time.
        self.clock.advance_ns(1000);
        let (sender, ended) = mpsc::channel::<CallEnd>();
        let call =
            ClientCall { path: path.to_string(), args: arguments(args), caller: caller.clone() };
        run(call, Box::new(move |end| sender.send(end).unwrap()));
        self.settle();
        let end = ended.try_recv().unwrap();
        end.result.map(|value| to_json(&value)).map_err(|error| error.message().to_string())
    }

    /// A conversation of these users; the first one creates it.
    pub(super) fn conversation(&self, members: &[&str]) -> String {
        let args = json!({ "memberIds": members[1..] });
        let id = self.mutate(&user(members[0]), "conversations:create", &args).unwrap();
        id.as_str().unwrap().to_string()
    }

    pub(super) fn set(&self, name: &str, conversation: &str, status: &str) {
        let args = json!({ "conversationId": conversation, "status": status });
        assert_eq!(self.mutate(&user(name), "presence:setPresence", &args), Ok(Json::Null));
    }

    /// Who is seen in a conversation, as "user status".
    pub(super) fn seen_by(&self, caller: &Caller, conversation: &str) -> Vec<String> {
        let args = json!({ "conversationId": conversation });
        statuses(&self.query(caller, "presence:getPresence", &args).unwrap())
    }

    pub(super) fn say(&self, name: &str, conversation: &str, body: &str) -> String {
        let args = json!({ "conversationId": conversation, "body": body });
        let id = self.mutate(&user(name), "messages:send", &args).unwrap();
        id.as_str().unwrap().to_string()
    }

    /// All documents of a table, without their system fields.
    pub(super) fn rows(&self, table: &str) -> Vec<Json> {
        self.rows_by(table, "by_creation_time")
    }

    /// As `rows`, in the order of an index.
    pub(super) fn rows_by(&self, table: &str, index: &str) -> Vec<Json> {
        let mut tx = self.runtime.engine().begin(Head::Durable);
        let index = tx.index(&table.parse().unwrap(), &index.parse().unwrap());
        let mut scan = tx.scan(&index.unwrap(), value::Interval::all(), engine::Order::Asc);
        let mut rows = Vec::new();
        while let Some(row) = tx.next(&mut scan).unwrap() {
            rows.push(fields(&to_json(&Value::Object(row.document.body().clone()))));
        }
        rows
    }

    /// Shows a query to a user for as long as the watch lives.
    pub(super) fn watch(&self, caller: &Caller, path: &str, args: &Json) -> Watch {
        let mut session = LiveSession::new(&self.runtime, Arc::new(|| ()));
        session.set_caller(caller.clone());
        let spec = QuerySpec { path: Arc::from(path), args: arguments(args), journal: None };
        session.subscribe(0, spec);
        let mut watch = Watch { runtime: Arc::clone(&self.runtime), session };
        watch.poll(self);
        watch
    }

    /// The live queries that ran again in a step, as "path arguments", once for each run.
    pub(super) fn reran(&self, watches: &mut [&mut Watch], step: impl FnOnce()) -> Vec<String> {
        let before = self.runs();
        step();
        watches.iter_mut().for_each(|watch| drop(watch.poll(self)));
        let after = self.runs();
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        let again = after.iter().flat_map(|(query, runs)| {
            std::iter::repeat_n(query.clone(), (runs - before[query]) as usize)
        });
        again.collect()
    }

    /// Runs of live queries; entries that differ by their user alone are added up.
    fn runs(&self) -> BTreeMap<String, u64> {
        let mut runs = BTreeMap::new();
        for entry in self.runtime.live().entries() {
            *runs.entry(format!("{} {}", entry.path, entry.args)).or_default() += entry.runs;
        }
        runs
    }
}

/// One query that a user has on the screen.
pub(super) struct Watch {
    runtime: Arc<Runtime>,
    session: LiveSession,
}

impl Watch {
    /// What is shown now.
    pub(super) fn poll(&mut self, world: &World) -> Json {
        loop {
            world.settle();
            if let Some(covered) = self.session.poll(self.runtime.durable()).unwrap() {
                let (_, result) = &covered.results[0];
                return match &result.outcome {
                    LiveOutcome::Value(text) => serde_json::from_str(text).unwrap(),
                    LiveOutcome::Failed(error) => panic!("{error}"),
                };
            }
            assert!(self.runtime.stats().work_waiting > 0, "a poll that waits for nothing");
        }
    }
}

fn arguments(args: &Json) -> Vec<Value> {
    vec![value::json::from_json(args.clone()).unwrap()]
}

fn to_json(value: &Value) -> Json {
    value::json::to_json(value)
}

/// A document without its system fields, which it must have.
pub(super) fn fields(document: &Json) -> Json {
    let mut fields = document.as_object().unwrap().clone();
    assert!(fields.remove("_id").unwrap().is_string());
    assert!(fields.remove("_creationTime").unwrap().is_f64());
    Json::Object(fields)
}

/// The values of one field of each document.
pub(super) fn each(documents: &Json, field: &str) -> Vec<String> {
    let documents = documents.as_array().unwrap().iter();
    documents.map(|document| document[field].as_str().unwrap().to_string()).collect()
}

/// Records of presence as "user status".
pub(super) fn statuses(records: &Json) -> Vec<String> {
    let (users, states) = (each(records, "userId"), each(records, "status"));
    let mut pairs: Vec<_> =
        users.iter().zip(states).map(|(user, status)| format!("{user} {status}")).collect();
    pairs.sort();
    pairs
}
