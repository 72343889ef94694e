//! The runtime as seen by actions, scheduled functions and crons; and the loop that runs what is due.

use std::sync::Arc;
use std::time::Duration;

use engine::{Head, Transaction};
use parking_lot::Mutex;
use tokio::sync::Notify;
use value::validator::Tables;
use value::{DocumentId, Timestamp, Value};

use crate::context::ActionCtx;
use crate::door::{BoxFuture, Door, DoorCall, Parent};
use crate::due::DueQueues;
use crate::error::{Error, Result};
use crate::invoke;
use crate::jobs::{self, JobCall, JobHost, JobOutcome, Step};
use crate::registry::{FunctionKind, Registry};
use crate::runtime::{CallEnd, Caller, ClientCall, Runtime, Watched, channel, origin_of};
use crate::{crons, scheduler};

/// How often finished jobs are looked for, and history collected.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How long after a failure of the store interrupted jobs are looked at again.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);
/// Longest sleep of the loop: clocks may be set.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// The runtime for those who must not know it.
struct Host(Arc<Runtime>);

impl Runtime {
    /// Runs an action to its end, also when nobody waits for it any more. Needs an async runtime.
    pub async fn action_async(self: &Arc<Self>, call: ClientCall, parent: Parent) -> CallEnd {
        if let Err(error) = call.caller.check_may_act() {
            return self.failed(error);
        }
        let ts = self.engine().durable();
        let registry = self.registry();
        let found = registry.find(&call.path, call.caller.admin).and_then(|function| {
            function.expect_kind(FunctionKind::Action).map(|()| Arc::clone(function))
        });
        let function = match found {
            Ok(function) => function,
            Err(error) => return CallEnd::failed(error, ts),
        };
        let parent = Parent { origin: origin_of(&parent, &call.caller), ..parent };
        let (began, kind) = (self.now(), FunctionKind::Action);
        let watched = Watched::new(&call, kind, &parent, parent.request.clone(), began);
        let door: Arc<dyn Door> = Arc::new(Host(Arc::clone(self)));
        let (origin, path) = (parent.origin, function.path.clone());
        let ctx = ActionCtx::new(door, call.caller.identity, parent);
        let running = tokio::spawn(invoke::run_action(function, call.args, ctx));
        let end = match running.await {
            Ok(end) => CallEnd { result: end.result, log_lines: end.log_lines, ts },
            Err(_) => self.lost(),
        };
        if let Some(figures) = registry.figures(&path) {
            figures.ran(origin, &end.result, false, self.since(began));
        }
        watched.end(self, &end);
        end
    }

    /// Stages `step` and commits it; done when it is durable. Gives what the step gave; after `false`
    /// nothing is committed.
    pub async fn transact(self: &Arc<Self>, step: Step) -> Result<bool> {
        let (done, end) = channel();
        self.step(step, done);
        let end = end.await.unwrap_or_else(|_| self.lost());
        Ok(matches!(end.result?, Value::Boolean(true)))
    }

    /// Runs scheduled functions and crons when they are due, for ever. Needs an async runtime.
    ///
    /// Errors: what was under way when the process before this one ended cannot be settled.
    pub async fn run_due(self: &Arc<Self>) -> Result<()> {
        let host: Arc<dyn JobHost> = Arc::new(Host(Arc::clone(self)));
        let changed = Arc::new(Notify::new());
        let queues = {
            let options = &self.options;
            Arc::new(DueQueues::new(options.jobs_parallel, options.crons_parallel))
        };
        // Whoever watches looks at the first loop; there is never another one.
        let _ = self.due.set(Arc::clone(&queues));
        let (fed, woken) = (Arc::clone(&queues), Arc::clone(&changed));
        self.on_commit(Box::new(move |commits| {
            let mut jobs = fed.jobs.lock();
            let mut crons = fed.crons.lock();
            for commit in commits {
                jobs.apply(commit);
                crons.apply(commit);
            }
            drop((jobs, crons));
            woken.notify_one();
        }));
        queues.load(&mut self.engine().begin(Head::Durable))?;
        // A store that is out of order for a while must not stop jobs for ever.
        while let Err(error) = settle_interrupted(&host).await {
            if error.is_deterministic() {
                return Err(error);
            }
            tracing::warn!(%error, "interrupted jobs cannot be settled yet");
            host.sleep(SETTLE_AGAIN).await;
        }
        tokio::spawn(housekeeping(Arc::clone(&host), Arc::clone(self)));
        loop {
            let wait = queues.start_due(&host, &changed);
            let _ = tokio::time::timeout(wait, changed.notified()).await;
        }
    }
}

/// Ends what the process before this one was running.
async fn settle_interrupted(host: &Arc<dyn JobHost>) -> Result<()> {
    jobs::fail_interrupted(Arc::clone(host)).await?;
    crons::fail_interrupted(Arc::clone(host)).await
}

impl DueQueues {
    fn load(&self, tx: &mut Transaction) -> Result<()> {
        self.jobs.lock().load(tx)?;
        self.crons.lock().load(tx)
    }

    /// Starts everything that is due; gives how long nothing else will be.
    fn start_due(self: &Arc<Self>, host: &Arc<dyn JobHost>, changed: &Arc<Notify>) -> Duration {
        let now = host.now();
        for id in self.jobs.lock().take(now) {
            let (queues, host, changed) = (Arc::clone(self), Arc::clone(host), Arc::clone(changed));
            tokio::spawn(async move {
                note(jobs::run_job(host, id).await, "a scheduled function");
                queues.jobs.lock().done(id);
                changed.notify_one();
            });
        }
        for id in self.crons.lock().take(now) {
            let (queues, host, changed) = (Arc::clone(self), Arc::clone(host), Arc::clone(changed));
            tokio::spawn(async move {
                note(crons::run_cron(host, id).await, "a cron");
                queues.crons.lock().done(id);
                changed.notify_one();
            });
        }
        let next = self.jobs.lock().next().into_iter().chain(self.crons.lock().next()).min();
        let wait = next.map(|next| Duration::from_nanos(next.0.saturating_sub(host.now().0)));
        wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }
}

fn note(result: Result<()>, what: &str) {
    if let Err(error) = result {
        tracing::error!(%error, "{what} could not be settled");
    }
}

/// Deletes jobs that have been finished for long.
async fn housekeeping(host: Arc<dyn JobHost>, runtime: Arc<Runtime>) {
    let kept = runtime.options.finished_jobs_kept;
    loop {
        host.sleep(HOUSEKEEPING).await;
        match jobs::delete_finished(Arc::clone(&host), kept).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "finished jobs could not be deleted"),
        }
        if let Err(error) = runtime.forget_old_requests().await {
            tracing::warn!(%error, "old records of requests could not be deleted");
        }
    }
}

impl Host {
    async fn call(self, call: DoorCall, kind: FunctionKind) -> Result<Value> {
        let caller = Caller { identity: call.identity, ..Caller::ADMIN };
        let args = vec![Value::Object(call.args)];
        let client = ClientCall { path: call.path.to_string(), args, caller };
        let end = match kind {
            FunctionKind::Query => self.0.query_from_async(client, None, call.parent).await,
            FunctionKind::Mutation => self.0.mutation_async(client, None, call.parent).await,
            FunctionKind::Action => self.0.action_async(client, call.parent).await,
        };
        end.result
    }

    fn again(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Door for Host {
    fn run_query(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        Box::pin(self.again().call(call, FunctionKind::Query))
    }

    fn run_mutation(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        Box::pin(self.again().call(call, FunctionKind::Mutation))
    }

    fn run_action(&self, call: DoorCall) -> BoxFuture<Result<Value>> {
        Box::pin(self.again().call(call, FunctionKind::Action))
    }

    fn schedule(&self, at: Timestamp, call: DoorCall) -> BoxFuture<Result<DocumentId>> {
        let runtime = Arc::clone(&self.0);
        let id = Arc::new(Mutex::new(None));
        let made = Arc::clone(&id);
        Box::pin(async move {
            let (registry, now) = (runtime.registry(), runtime.engine().env().clock.now());
            let step: Step = Arc::new(move |tx| {
                let request = scheduler::Request {
                    at,
                    path: call.path.clone(),
                    args: call.args.clone(),
                    parent: &call.parent,
                };
                *made.lock() = Some(scheduler::schedule(tx, &registry, now, request)?);
                Ok(true)
            });
            runtime.transact(step).await?;
            let id = id.lock().take();
            id.ok_or_else(|| Error::system("InternalServerError", "nothing was scheduled"))
        })
    }

    fn cancel(&self, job: DocumentId) -> BoxFuture<Result<()>> {
        let runtime = Arc::clone(&self.0);
        Box::pin(async move {
            let now = runtime.engine().env().clock.now();
            let step: Step = Arc::new(move |tx| scheduler::cancel(tx, job, now).map(|()| true));
            runtime.transact(step).await.map(|_| ())
        })
    }

    fn now(&self) -> Timestamp {
        self.0.engine().env().clock.now()
    }

    fn random(&self) -> [u8; 32] {
        self.0.engine().env().random.seed()
    }

    fn with_tables(&self, check: &mut dyn FnMut(&dyn Tables)) {
        self.0.engine().begin(Head::Durable).with_tables(|tables| check(tables));
    }
}

impl JobHost for Host {
    fn now(&self) -> Timestamp {
        self.0.engine().env().clock.now()
    }

    fn random(&self) -> u64 {
        let seed = self.0.engine().env().random.seed();
        u64::from_le_bytes(*seed.first_chunk().expect("a seed is 32 bytes"))
    }

    fn registry(&self) -> Arc<Registry> {
        self.0.registry()
    }

    fn begin(&self) -> Transaction {
        self.0.engine().begin(Head::Durable)
    }

    fn transact(&self, step: Step) -> BoxFuture<Result<bool>> {
        let runtime = Arc::clone(&self.0);
        Box::pin(async move { runtime.transact(step).await })
    }

    fn mutation(&self, call: JobCall) -> BoxFuture<Option<JobOutcome>> {
        let runtime = Arc::clone(&self.0);
        Box::pin(async move {
            let began = runtime.engine().env().clock.now();
            let (sender, ended) = tokio::sync::oneshot::channel();
            runtime.job_mutation(call, Box::new(move |end| drop(sender.send(end))));
            let end = ended.await.unwrap_or_else(|_| Some(runtime.lost()));
            end.map(|end| outcome(&runtime, began, end))
        })
    }

    fn action(&self, call: JobCall) -> BoxFuture<JobOutcome> {
        let runtime = Arc::clone(&self.0);
        Box::pin(async move {
            let began = runtime.engine().env().clock.now();
            let caller = Caller::ADMIN;
            let client = ClientCall { path: call.path.to_string(), args: call.args, caller };
            let end = runtime.action_async(client, call.parent).await;
            outcome(&runtime, began, end)
        })
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

fn outcome(runtime: &Arc<Runtime>, began: Timestamp, end: CallEnd) -> JobOutcome {
    let now = runtime.engine().env().clock.now();
    let elapsed = Duration::from_nanos(now.0.saturating_sub(began.0));
    JobOutcome { result: end.result, log_lines: end.log_lines, elapsed }
}
