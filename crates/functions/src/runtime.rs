//! The one door to run functions.
//!
//!     query ───► job: snapshot of the durable head ────────────────────────► done
//!     mutation ► job: snapshot of the applied head ► commit ► durable? ────► done
//!     action ──► future on the async runtime, calling back through the door ► done
//!     append ──► one durable write ► answers ► stale live queries ► woken sessions
//!
//! Owns no thread: the pool, or a simulation, calls `run_work` and `append`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{AppendOutcome, Engine, EngineStats, Head, HistogramView, LogEntry};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use value::{Timestamp, Value};

use crate::call::{self, End, Start};
use crate::door::{Origin, Parent};
use crate::due::{DueQueues, DueStats};
use crate::durability::Durability;
use crate::error::{Error, Result};
use crate::identity::{IdentityAccess, UserIdentity};
use crate::instance::InstanceSecret;

use crate::live::Live;
use crate::log::LogLine;
use crate::options::RuntimeOptions;
use crate::recent::{Execution, Recent};
use crate::registry::{FunctionDef, FunctionKind, Registry};
use crate::work::{Work, WorkQueue};

/// Who calls from outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The signed-in user.
    pub identity: Option<Arc<UserIdentity>>,
    /// An administrator: internal functions exist for it.
    pub admin: bool,
    /// It may look and not act: its mutations and actions fail.
    pub read_only: bool,
}

/// What a caller who may only look is told.
pub const READ_ONLY_TEXT: &str = "this admin key is read-only: it runs queries alone";

impl Caller {
    /// An administrator that acts as itself, as the system does for jobs and crons.
    pub const ADMIN: Caller = Caller { identity: None, admin: true, read_only: false };

    /// Refuses who may only look. Errors: `OperationNotPermitted`.
    pub(crate) fn check_may_act(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::coded("OperationNotPermitted", READ_ONLY_TEXT));
        }
        Ok(())
    }
}

/// One call from outside.
#[derive(Clone, Debug)]
pub struct ClientCall {
    /// The function, as the client wrote it.
    pub path: String,
    /// Its arguments: normally one object.
    pub args: Vec<Value>,
    /// Who calls.
    pub caller: Caller,
}

/// The identity of one request of one sync session: what makes a resent mutation run once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The session's UUID.
    pub session: [u8; 16],
    /// The client's number for the request.
    pub request: u32,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct CallEnd {
    /// The value, or why there is none.
    pub result: Result<Value>,
    /// What it logged.
    pub log_lines: Vec<LogLine>,
    /// When: the commit of a mutation, else the snapshot.
    pub ts: Timestamp,
}

impl CallEnd {
    /// A call that failed without log lines.
    pub(crate) fn failed(error: Error, ts: Timestamp) -> Self {
        Self { result: Err(error), log_lines: Vec::new(), ts }
    }
}

/// Told when a call has ended. Must not block.
pub type Done = Box<dyn FnOnce(CallEnd) + Send>;

/// Told of commits that are on disk and of what they wrote, after sessions were. Must not block.
pub type CommitHook = Box<dyn Fn(&[Arc<LogEntry>]) + Send + Sync>;

/// What a runtime is made of.
pub struct RuntimeParts {
    /// The data.
    pub engine: Arc<Engine>,
    /// The functions.
    pub registry: Registry,
    /// Seals cursors and journals.
    pub secret: InstanceSecret,
    /// The name of the deployment.
    pub instance_name: Arc<str>,
    /// What an operator may set.
    pub options: RuntimeOptions,
}

/// Figures for people who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeStats {
    /// Bodies that ran, reruns included.
    pub executions: u64,
    /// Pieces of work that wait for a worker.
    pub work_waiting: usize,
    /// Answers that wait for the disk.
    pub answers_waiting: usize,
    /// Scheduled functions.
    pub jobs: DueStats,
    /// Crons.
    pub crons: DueStats,
}

/// A call from outside that is under way, as those see it who watch executions.
pub(crate) struct Watched {
    execution: Execution,
}

impl Watched {
    pub(crate) fn new(
        call: &ClientCall,
        kind: FunctionKind,
        parent: &Parent,
        request: Option<Arc<str>>,
        now: Timestamp,
    ) -> Self {
        let path = Arc::from(call.path.as_str());
        let user = call.caller.identity.as_ref().map(|user| Arc::from(user.subject.as_str()));
        let execution = Execution {
            request,
            user,
            began: now,
            ..Execution::new(path, kind, origin_of(parent, &call.caller))
        };
        Self { execution }
    }

    /// It has ended, and may be told to others.
    pub(crate) fn end(self, runtime: &Runtime, end: &CallEnd) {
        runtime.recent.note(Execution {
            ts: end.ts,
            elapsed: runtime.since(self.execution.began),
            error: end.result.as_ref().err().map(|error| error.message().to_owned()),
            log_lines: end.log_lines.clone(),
            ..self.execution
        });
    }
}

/// How a call came to run: an administrator is a client with other rights.
pub(crate) fn origin_of(parent: &Parent, caller: &Caller) -> Origin {
    match parent.origin {
        Origin::Client if caller.admin => Origin::Admin,
        Origin::Client
        | Origin::Admin
        | Origin::Action
        | Origin::Scheduled
        | Origin::Cron
        | Origin::Live => parent.origin,
    }
}

/// Runs functions over one engine.
pub struct Runtime {
    engine: Arc<Engine>,
    registry: RwLock<Arc<Registry>>,
    secret: Arc<InstanceSecret>,
    instance_name: Arc<str>,
    pub(crate) options: RuntimeOptions,
    pub(crate) work: WorkQueue,
    pub(crate) durability: Durability,
    live: Live,
    settling: Mutex<()>,
    /// Held for reading from a commit until somebody waits for it to be durable.
    pub(crate) registering: RwLock<()>,
    hooks: RwLock<Vec<CommitHook>>,
    executions: AtomicU64,
    recent: Recent,
    /// What is due; none before somebody runs it.
    pub(crate) due: OnceLock<Arc<DueQueues>>,
    /// Requests of sync sessions that run, with those who sent them again meanwhile.
    pub(crate) requests: Mutex<HashMap<(RequestKey, String), Vec<Done>>>,
    /// Where the walk through records of requests stands; a key of their table.
    pub(crate) forgotten_up_to: Mutex<Vec<u8>>,
}

impl Runtime {
    /// A runtime; nothing runs before somebody calls `run_work` and `append`.
    pub fn new(parts: RuntimeParts) -> Arc<Self> {
        let durable = parts.engine.durable();
        Arc::new(Self {
            durability: Durability::new(durable),
            live: Live::new(durable, &parts.options),
            engine: parts.engine,
            registry: RwLock::new(Arc::new(parts.registry)),
            secret: Arc::new(parts.secret),
            instance_name: parts.instance_name,
            options: parts.options,
            work: WorkQueue::default(),
            settling: Mutex::new(()),
            registering: RwLock::new(()),
            hooks: RwLock::default(),
            executions: AtomicU64::new(0),
            recent: Recent::new(parts.options.executions_kept),
            due: OnceLock::new(),
            requests: Mutex::default(),
            forgotten_up_to: Mutex::default(),
        })
    }

    /// The data.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The functions that can be called now.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read())
    }

    /// The secret of this instance.
    pub fn secret(&self) -> &Arc<InstanceSecret> {
        &self.secret
    }

    /// The name of this deployment.
    pub fn instance_name(&self) -> &Arc<str> {
        &self.instance_name
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.engine.env().clock.now()
    }

    /// The newest timestamp that may be told to clients.
    pub fn durable(&self) -> Timestamp {
        self.engine.durable()
    }

    /// Fresh random bytes.
    pub fn random(&self) -> [u8; 32] {
        self.engine.env().random.seed()
    }

    /// The live queries.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// The newest executions.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The time since `began`.
    pub(crate) fn since(&self, began: Timestamp) -> Duration {
        Duration::from_nanos(self.now().0.saturating_sub(began.0))
    }

    /// How late scheduled functions and crons began, in nanoseconds.
    pub fn due_delays(&self) -> [HistogramView; 2] {
        self.due.get().map(|due| due.delays()).unwrap_or_default()
    }

    /// How long superseded versions stay readable.
    pub fn retention(&self) -> Duration {
        self.engine.retention()
    }

    /// Figures of the engine.
    pub fn engine_stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Has `hook` told of every commit from now on.
    pub fn on_commit(&self, hook: CommitHook) {
        self.hooks.write().push(hook);
    }

    /// Whether commits can be made durable; may try a small write, and waits for the disk then.
    ///
    /// Errors: why not, for people.
    pub fn check_writable(&self) -> std::result::Result<(), String> {
        self.engine.check_writable()
    }

    /// Whether there is room for work.
    ///
    /// Errors: how much waits, for people.
    pub fn check_accepting(&self) -> std::result::Result<(), String> {
        if self.work.is_full() {
            return Err(format!("{} pieces of work wait for a worker", self.work.len()));
        }
        Ok(())
    }

    /// Figures for people who watch.
    pub fn stats(&self) -> RuntimeStats {
        let (jobs, crons) = self.due.get().map(|due| due.stats()).unwrap_or_default();
        RuntimeStats {
            jobs,
            crons,
            executions: self.executions.load(Ordering::Relaxed),
            work_waiting: self.work.len(),
            answers_waiting: self.durability.len(),
        }
    }

    /// Runs a query at the newest durable snapshot, or at `at`.
    pub fn query(self: &Arc<Self>, call: ClientCall, at: Option<Timestamp>, done: Done) {
        self.query_from(call, at, Parent::default(), done);
    }

    /// As [`Runtime::query`], and says where the call comes from.
    pub fn query_from(
        self: &Arc<Self>,
        call: ClientCall,
        at: Option<Timestamp>,
        parent: Parent,
        done: Done,
    ) {
        if self.work.is_full() {
            return done(self.overloaded());
        }
        self.spawn(Box::new(move |runtime| {
            let request = parent.request.clone();
            let kind = FunctionKind::Query;
            let watched = Watched::new(&call, kind, &parent, request, runtime.now());
            let end = runtime.run_query_now(&call, at, parent);
            watched.end(runtime, &end);
            done(end);
        }));
    }

    /// As [`Runtime::query`], to be awaited.
    pub async fn query_async(self: &Arc<Self>, call: ClientCall, at: Option<Timestamp>) -> CallEnd {
        self.query_from_async(call, at, Parent::default()).await
    }

    /// As [`Runtime::query_from`], to be awaited.
    pub async fn query_from_async(
        self: &Arc<Self>,
        call: ClientCall,
        at: Option<Timestamp>,
        parent: Parent,
    ) -> CallEnd {
        let (done, end) = channel();
        self.query_from(call, at, parent, done);
        end.await.unwrap_or_else(|_| self.lost())
    }

    /// As [`Runtime::mutation`], to be awaited.
    pub async fn mutation_async(
        self: &Arc<Self>,
        call: ClientCall,
        key: Option<RequestKey>,
        parent: Parent,
    ) -> CallEnd {
        let (done, end) = channel();
        self.mutation(call, key, parent, done);
        end.await.unwrap_or_else(|_| self.lost())
    }

    /// Runs the waiting piece of work at a position, in turn or drawn by a simulation. False: none
    /// was there.
    pub fn run_work(self: &Arc<Self>, position: usize) -> bool {
        let work = self.work.try_nth(position);
        let ran = work.is_some();
        if let Some(work) = work {
            work(self);
        }
        ran
    }

    /// Writes one group of commits to disk, then answers and publishes. False: nothing was waiting,
    /// or the store is out of order.
    pub fn append(self: &Arc<Self>) -> bool {
        let outcome = self.engine.append_pending();
        match &outcome {
            AppendOutcome::TakenBack { durable, epoch } => {
                self.durability.take_back(*durable, *epoch);
            }
            AppendOutcome::Idle | AppendOutcome::Durable(_) | AppendOutcome::Unavailable(_) => {}
        }
        self.settle();
        matches!(outcome, AppendOutcome::Durable(_))
    }

    /// Answers and publishes what has become durable, whoever wrote it.
    pub(crate) fn settle(self: &Arc<Self>) {
        let _one = self.settling.lock();
        let durable = self.engine.durable();
        let entries = self.engine.take_published();
        // Commits that came in between are published next time; the head must not run ahead of them.
        let durable = entries.last().map_or(durable, |last| last.ts);
        if entries.is_empty() && durable <= self.live.head() {
            return;
        }
        // All who commit at or before this timestamp wait for it by now.
        drop(self.registering.write());
        // Answers first: whoever sees a transition at a commit has been told of the commit.
        self.durability.settle(durable);
        self.live.publish(self, &entries, durable);
        for hook in self.hooks.read().iter() {
            hook(&entries);
        }
    }

    pub(crate) fn spawn(&self, work: Work) {
        self.work.push(work);
    }

    /// What a run starts with. `seed` and time come from the engine's environment.
    pub(crate) fn start(&self, identity: IdentityAccess, parent: &Parent) -> Start {
        Start {
            registry: self.registry(),
            secret: Arc::clone(&self.secret),
            instance_name: Arc::clone(&self.instance_name),
            identity,
            now: self.engine.env().clock.now(),
            seed: self.engine.env().random.seed(),
            journal: None,
            parent: parent.clone(),
        }
    }

    /// Runs a body, counted.
    pub(crate) fn run_body(
        &self,
        function: &FunctionDef,
        args: Vec<Value>,
        start: Start,
        tx: engine::Transaction,
    ) -> End {
        self.executions.fetch_add(1, Ordering::Relaxed);
        let (registry, origin) = (Arc::clone(&start.registry), start.parent.origin);
        let began = start.now;
        let end = call::run(function, args, start, tx);
        if let Some(figures) = registry.figures(&function.path) {
            figures.ran(origin, &end.result, end.identity_withheld, self.since(began));
        }
        end
    }

    fn run_query_now(
        self: &Arc<Self>,
        call: &ClientCall,
        at: Option<Timestamp>,
        parent: Parent,
    ) -> CallEnd {
        let tx = match at {
            Some(at) => self.engine.begin_at(at),
            None => Ok(self.engine.begin(Head::Durable)),
        };
        let tx = match tx {
            Ok(tx) => tx,
            Err(error) => return self.failed(error.into()),
        };
        let ts = tx.snapshot_ts();
        let parent = Parent { origin: origin_of(&parent, &call.caller), ..parent };
        let start = self.start(IdentityAccess::Known(call.caller.identity.clone()), &parent);
        let found = start.registry.find(&call.path, call.caller.admin).and_then(|function| {
            function.expect_kind(FunctionKind::Query).map(|()| Arc::clone(function))
        });
        match found {
            Ok(function) => {
                let end = self.run_body(&function, call.args.clone(), start, tx);
                CallEnd { result: end.result, log_lines: end.log_lines, ts }
            }
            Err(error) => CallEnd::failed(error, ts),
        }
    }

    /// A call that ended before anything ran.
    pub(crate) fn failed(&self, error: Error) -> CallEnd {
        CallEnd::failed(error, self.engine.durable())
    }

    pub(crate) fn overloaded(&self) -> CallEnd {
        self.failed(Error::system("TooManyConcurrentRequests", "too many calls wait for a worker"))
    }

    /// A call that was lost on its way: a worker panicked, or stopped.
    pub fn lost(&self) -> CallEnd {
        self.failed(Error::system("InternalServerError", "the call was lost"))
    }
}

/// A callback that can be awaited.
pub(crate) fn channel() -> (Done, oneshot::Receiver<CallEnd>) {
    let (sender, receiver) = oneshot::channel();
    // Whoever called may have gone; then nobody is to be told.
    (Box::new(move |end| drop(sender.send(end))), receiver)
}
