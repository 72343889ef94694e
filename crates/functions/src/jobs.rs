//! Runs scheduled functions that are due.
//!
//!     mutation   one transaction: row pending? ─ user code ─ row success        exactly once
//!     action     row in progress ─► user code ─► row success or failed          at most once
//!
//! Written against a `JobHost`, so that a simulation can drive it: no threads, no clock, no
//! randomness of its own. Source: spec/engine.md 14.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::range::{RangeBound, RangeOp};
use engine::{Order, Transaction, system};
use value::{DocumentId, FieldPath, FunctionPath, Timestamp, Value};

use crate::door::{BoxFuture, Origin, Parent};
use crate::error::Result;
use crate::log::LogLine;
use crate::registry::{FunctionKind, Registry};
use crate::scheduler::{Job, JobState, run_time_after};
use crate::system_rows;

/// How long finished jobs are kept, unless an operator says otherwise.
pub const FINISHED_JOBS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Finished jobs deleted in one transaction.
pub const FINISHED_JOBS_BATCH: usize = 1000;
/// Shortest wait after an error of the system; doubled with each one.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest wait after an error of the system.
const BACKOFF_MAX: Duration = Duration::from_secs(2 * 3600);
/// What became of an action that a dying process was running.
const INTERRUPTED: &str = "Transient error while executing action";

/// A step of a transaction. It may run several times, each on a new snapshot; the last one counts.
pub type Step = Arc<dyn Fn(&mut Transaction) -> Result<bool> + Send + Sync>;

/// What jobs and crons need of the server.
pub trait JobHost: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// A random number.
    fn random(&self) -> u64;
    /// The functions.
    fn registry(&self) -> Arc<Registry>;
    /// A transaction at the durable head, to read.
    fn begin(&self) -> Transaction;
    /// Runs a step and commits it, again after each conflict; done when it is durable. Gives what
    /// the step gave; after `false` nothing is committed.
    fn transact(&self, step: Step) -> BoxFuture<Result<bool>>;
    /// Runs a mutation without identity, in one transaction with the steps around it, again after
    /// each conflict. None: `before` gave false, nothing happened. The writes of a run that failed
    /// are not committed.
    fn mutation(&self, call: JobCall) -> BoxFuture<Option<JobOutcome>>;
    /// Runs an action without identity. The steps of the call are not used.
    fn action(&self, call: JobCall) -> BoxFuture<JobOutcome>;
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
}

/// A function to run for a job or cron.
#[derive(Clone)]
pub struct JobCall {
    /// What.
    pub path: FunctionPath,
    /// Its positional arguments: one object.
    pub args: Vec<Value>,
    /// The job, for what the function schedules.
    pub parent: Parent,
    /// Runs before the function: false if there is nothing to run any more.
    pub before: Step,
    /// Runs after the function succeeded.
    pub after: AfterStep,
}

/// A step that sees how the run went.
pub type AfterStep = Arc<dyn Fn(&mut Transaction, &JobOutcome) -> Result<()> + Send + Sync>;

/// How a run went.
#[derive(Clone, Debug)]
pub struct JobOutcome {
    /// The value, or why there is none.
    pub result: Result<Value>,
    /// What it logged.
    pub log_lines: Vec<LogLine>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Longest wait for a store that fails, before it is asked again.
const STORE_WAIT_MAX: Duration = Duration::from_secs(15);

/// Runs one due job to its end, however long the store fails; a job that is no longer pending is
/// left alone. Errors: a row that is broken.
pub async fn run_job(host: Arc<dyn JobHost>, id: DocumentId) -> Result<()> {
    let mut errors = 0;
    loop {
        match attempt(&*host, id).await {
            Err(error) if !error.is_deterministic() => {
                wait_after_error(&*host, errors).await;
                errors += 1;
            }
            settled => return settled,
        }
    }
}

async fn attempt(host: &dyn JobHost, id: DocumentId) -> Result<()> {
    let Some(job) = Job::load(&mut host.begin(), id)? else { return Ok(()) };
    if job.state != JobState::Pending || job.next.is_none_or(|next| next > host.now()) {
        return Ok(());
    }
    let kind = host.registry().get(&job.path).map(|function| function.kind());
    match kind {
        Some(FunctionKind::Mutation) => run_mutation(host, id, job).await,
        Some(FunctionKind::Action) => run_action(host, id, job).await,
        Some(FunctionKind::Query) => {
            let text = format!("Unsupported function type: {} is a query", job.path);
            finish(host, id, JobState::Pending, JobState::Failed { error: text }).await
        }
        None => {
            let text = format!("Could not find function for '{}'.", job.path);
            finish(host, id, JobState::Pending, JobState::Failed { error: text }).await
        }
    }
}

/// Fails the actions that the process before this one was running. For the start, before anything
/// is taken from the queue.
pub async fn fail_interrupted(host: Arc<dyn JobHost>) -> Result<()> {
    let now = host.now();
    let step: Step = Arc::new(move |tx| {
        let bounds = present("nextTs");
        let mut found = false;
        for row in
            system_rows::scan(tx, &system::SCHEDULED_JOBS, "by_next_ts", &bounds, Order::Asc, None)?
        {
            let Some(mut job) = Job::load(tx, row.id())? else { continue };
            if job.state == JobState::InProgress {
                job.finish(JobState::Failed { error: INTERRUPTED.to_string() }, now);
                job.save(tx, row.id())?;
                found = true;
            }
        }
        Ok(found)
    });
    host.transact(step).await.map(|_| ())
}

/// Deletes one batch of jobs that have been finished for longer than `kept`. True: there may be more.
pub async fn delete_finished(host: Arc<dyn JobHost>, kept: Duration) -> Result<bool> {
    let kept = u64::try_from(kept.as_nanos()).unwrap_or(u64::MAX);
    let horizon = i64::try_from(host.now().0.saturating_sub(kept)).unwrap_or(i64::MAX);
    let full = Arc::new(AtomicBool::new(false));
    let was_full = Arc::clone(&full);
    let step: Step = Arc::new(move |tx| {
        let mut bounds = present("completedTs");
        bounds.push(RangeBound::new(RangeOp::Lte, field("completedTs"), Some(horizon.into())));
        let limit = Some(FINISHED_JOBS_BATCH);
        let table = &system::SCHEDULED_JOBS;
        let rows = system_rows::scan(tx, table, "by_completed_ts", &bounds, Order::Asc, limit)?;
        for row in &rows {
            tx.delete(row.id())?;
        }
        full.store(rows.len() == FINISHED_JOBS_BATCH, Ordering::Relaxed);
        Ok(!rows.is_empty())
    });
    host.transact(step).await?;
    Ok(was_full.load(Ordering::Relaxed))
}

async fn run_mutation(host: &dyn JobHost, id: DocumentId, job: Job) -> Result<()> {
    let now = host.now();
    let before: Step = Arc::new(move |tx| {
        set_state(tx, id, &JobState::Pending, |job| job.state = JobState::InProgress)
    });
    let after: AfterStep = Arc::new(move |tx, _| {
        set_state(tx, id, &JobState::InProgress, |job| job.finish(JobState::Success, now))?;
        Ok(())
    });
    let errors = job.system_errors;
    let call = call_of(id, job, before, after);
    let Some(outcome) = host.mutation(call).await else { return Ok(()) };
    match outcome.result {
        Ok(_) => Ok(()),
        Err(error) if error.is_deterministic() => {
            let failed = JobState::Failed { error: error.message().to_string() };
            finish(host, id, JobState::Pending, failed).await
        }
        Err(_) => retry_later(host, id, errors).await,
    }
}

async fn run_action(host: &dyn JobHost, id: DocumentId, job: Job) -> Result<()> {
    let claim: Step = Arc::new(move |tx| {
        set_state(tx, id, &JobState::Pending, |job| job.state = JobState::InProgress)
    });
    if !host.transact(Arc::clone(&claim)).await? {
        return Ok(());
    }
    let nothing: AfterStep = Arc::new(|_, _| Ok(()));
    let outcome = host.action(call_of(id, job, claim, nothing)).await;
    let state = match outcome.result {
        Ok(_) => JobState::Success,
        Err(error) => JobState::Failed { error: error.message().to_string() },
    };
    finish(host, id, JobState::InProgress, state).await
}

fn call_of(id: DocumentId, job: Job, before: Step, after: AfterStep) -> JobCall {
    let args = match job.args {
        Value::Array(args) => args,
        other => vec![other],
    };
    let parent = Parent { origin: Origin::Scheduled, job: Some(id), ..Parent::default() };
    JobCall { path: job.path, args, parent, before, after }
}

/// Sets the final state of a job that is still in state `from`, until that is recorded.
async fn finish(host: &dyn JobHost, id: DocumentId, from: JobState, to: JobState) -> Result<()> {
    let now = host.now();
    let step: Step = Arc::new(move |tx| {
        let to = to.clone();
        set_state(tx, id, &from, |job| job.finish(to, now))
    });
    record(host, step).await
}

async fn retry_later(host: &dyn JobHost, id: DocumentId, errors: u32) -> Result<()> {
    let at = run_time_after(host.now(), backoff(errors, host.random()));
    let step: Step = Arc::new(move |tx| {
        set_state(tx, id, &JobState::Pending, |job| {
            job.system_errors = errors.saturating_add(1);
            job.next = Some(at);
        })
    });
    record(host, step).await
}

/// Commits a step however long it takes: what ran must not be forgotten.
pub(crate) async fn record(host: &dyn JobHost, step: Step) -> Result<()> {
    let mut errors = 0;
    loop {
        match host.transact(Arc::clone(&step)).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_deterministic() => return Err(error),
            Err(_) => {
                wait_after_error(host, errors).await;
                errors += 1;
            }
        }
    }
}

/// Waits longer with each error, but never long.
pub(crate) async fn wait_after_error(host: &dyn JobHost, errors: u32) {
    host.sleep(backoff(errors, host.random()).min(STORE_WAIT_MAX)).await;
}

/// Half to all of the doubled wait.
pub(crate) fn backoff(errors: u32, random: u64) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << errors.min(20)).min(BACKOFF_MAX);
    let half = doubled / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Changes a job if it is in state `from`; tells whether it was.
fn set_state(
    tx: &mut Transaction,
    id: DocumentId,
    from: &JobState,
    change: impl FnOnce(&mut Job),
) -> Result<bool> {
    match Job::load(tx, id)? {
        Some(mut job) if job.state == *from => {
            change(&mut job);
            job.save(tx, id)?;
            Ok(true)
        }
        Some(_) | None => Ok(false),
    }
}

/// The bound that leaves out rows without the field.
fn present(name: &str) -> Vec<RangeBound> {
    vec![RangeBound::new(RangeOp::Gt, field(name), None)]
}

fn field(name: &str) -> FieldPath {
    FieldPath::new(name).expect("names in the code are well formed")
}
