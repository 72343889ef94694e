//! Scheduled functions, as transactions see them: rows of `_scheduled_jobs`.
//!
//!     pending ──► (actions: in progress) ──► success | failed | canceled        deleted after a week
//!
//! Scheduling is a write like any other: it happens if the transaction commits. What runs the jobs
//! is in `jobs`. Users see the rows as `_scheduled_functions`. Source: spec/engine.md 14.

use std::time::Duration;

use derive::Shape;
use engine::{Document, Transaction, system};
use serde::{Deserialize, Serialize};
use value::{DocumentId, FunctionPath, Object, Timestamp, Value, object};

use crate::call::Frame;
use crate::document::Id;
use crate::door::Parent;
use crate::error::{Error, Result};
use crate::registry::Registry;

/// How far from now a function may be scheduled, on both sides.
pub const SCHEDULE_DISTANCE_MAX: Duration = Duration::from_secs(5 * 366 * 24 * 3600);

/// A scheduled function, as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Shape)]
#[serde(rename_all = "camelCase")]
#[table("_scheduled_functions")]
pub struct ScheduledFunction {
    /// Path of the function, with `.js`.
    pub name: String,
    /// The arguments: one object.
    pub args: Vec<Value>,
    /// When it should run, milliseconds since the epoch.
    pub scheduled_time: f64,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_time: Option<f64>,
    /// How far it is.
    pub state: JobState,
}

/// How far a scheduled function is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Shape)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum JobState {
    /// Its time has not come, or it waits for its turn.
    Pending,
    /// It is running.
    InProgress,
    /// It is done.
    Success,
    /// It threw an error.
    Failed {
        /// The text of the error.
        error: String,
    },
    /// It was canceled before it was done.
    Canceled,
}

impl JobState {
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            JobState::Pending | JobState::InProgress => false,
            JobState::Success | JobState::Failed { .. } | JobState::Canceled => true,
        }
    }
}

/// `ctx.scheduler()`: functions to run if this mutation commits.
#[derive(Clone, Copy)]
pub struct Scheduler<'a> {
    frame: &'a Frame<'a>,
}

impl<'a> Scheduler<'a> {
    pub(crate) fn new(frame: &'a Frame<'a>) -> Self {
        Scheduler { frame }
    }

    /// Runs a function after a delay, without an identity.
    ///
    /// Errors: no such function; a time too far away; limits of scheduling.
    pub fn run_after(
        &self,
        delay: Duration,
        path: &str,
        args: Object,
    ) -> Result<Id<ScheduledFunction>> {
        let at = run_time_after(self.frame.call.start().now, delay);
        self.schedule(at, path, args)
    }

    /// Runs a function at a time in milliseconds since the epoch; at once if that has passed.
    pub fn run_at(&self, at_ms: f64, path: &str, args: Object) -> Result<Id<ScheduledFunction>> {
        self.schedule(run_time_at(at_ms)?, path, args)
    }

    fn schedule(&self, at: Timestamp, path: &str, args: Object) -> Result<Id<ScheduledFunction>> {
        let start = self.frame.call.start();
        let path = FunctionPath::new(path)
            .map_err(|error| Error::coded("InvalidScheduledFunction", error.to_string()))?;
        let request = Request { at, path, args, parent: &start.parent };
        let id = self.frame.call.with(|tx| schedule(tx, &start.registry, start.now, request))?;
        Ok(Id::from_document_id(id))
    }

    /// Cancels a scheduled function. Nothing happens when it is done already.
    ///
    /// Errors: `InvalidArgument` for an unknown id; a function that cancels itself.
    pub fn cancel(&self, job: &Id<ScheduledFunction>) -> Result<()> {
        let start = self.frame.call.start();
        let id = job.document_id();
        if start.parent.depth == 0 && start.parent.job == Some(id) {
            return Err(Error::coded(
                "ScheduledFunctionCancelingItself",
                "A scheduled mutation cannot cancel itself",
            ));
        }
        self.frame.call.with(|tx| cancel(tx, id, start.now))
    }
}

/// The time `delay` after `now`.
pub(crate) fn run_time_after(now: Timestamp, delay: Duration) -> Timestamp {
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    Timestamp(now.0.saturating_add(nanos))
}

/// The time that functions write as milliseconds. Errors: not a time after 1970.
pub(crate) fn run_time_at(ms: f64) -> Result<Timestamp> {
    if !(0.0..1e15).contains(&ms) {
        let text = format!("{ms} is not a time in milliseconds");
        return Err(Error::coded("InvalidScheduledFunctionDelay", text));
    }
    // In two parts: nanoseconds of today do not fit the 53 bits of a float.
    let nanos = (ms.fract() * 1e6) as u64;
    Ok(Timestamp((ms.trunc() as u64).saturating_mul(1_000_000).saturating_add(nanos)))
}

/// What is to be scheduled.
pub struct Request<'a> {
    /// When it should run.
    pub at: Timestamp,
    /// What.
    pub path: FunctionPath,
    /// With which arguments; not validated before the run.
    pub args: Object,
    /// Who schedules.
    pub parent: &'a Parent,
}

/// Stages a job. What a canceled job schedules is canceled from the beginning.
///
/// Errors: `InvalidScheduledFunction`, `InvalidScheduledFunctionDelay`, limits of scheduling.
pub fn schedule(
    tx: &mut Transaction,
    registry: &Registry,
    now: Timestamp,
    request: Request<'_>,
) -> Result<DocumentId> {
    if registry.get(&request.path).is_none() {
        let text = format!("Attempted to schedule function at nonexistent path: {}", request.path);
        return Err(Error::coded("InvalidScheduledFunction", text));
    }
    if request.at.0.abs_diff(now.0) > SCHEDULE_DISTANCE_MAX.as_nanos() as u64 {
        let text = format!("{} is scheduled more than five years from now", request.path);
        return Err(Error::coded("InvalidScheduledFunctionDelay", text));
    }
    let args = Value::Array(vec![Value::Object(request.args)]);
    tx.count_scheduled(args.size())?;
    let canceled = match request.parent.job {
        Some(parent) => Job::load(tx, parent)?.is_some_and(|job| job.state == JobState::Canceled),
        None => false,
    };
    let job = Job {
        path: request.path,
        args,
        state: if canceled { JobState::Canceled } else { JobState::Pending },
        next: (!canceled).then_some(request.at.max(now)),
        completed: canceled.then_some(now),
        scheduled: request.at,
        system_errors: 0,
    };
    Ok(tx.insert_system(&system::SCHEDULED_JOBS, job.write())?)
}

/// Stages the end of a job that is not done yet.
///
/// Errors: `InvalidArgument`: there is no such job.
pub fn cancel(tx: &mut Transaction, id: DocumentId, now: Timestamp) -> Result<()> {
    let unknown = || {
        let text = format!("Invalid argument `id` for `scheduler.cancel`: no scheduled job {id}");
        Error::coded("InvalidArgument", text)
    };
    if id.table != system::SCHEDULED_JOBS.number() {
        return Err(unknown());
    }
    let mut job = Job::load(tx, id)?.ok_or_else(unknown)?;
    if job.state.is_finished() {
        return Ok(());
    }
    job.finish(JobState::Canceled, now);
    job.save(tx, id)
}

/// A row of `_scheduled_jobs`. Times are int64 nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) path: FunctionPath,
    pub(crate) args: Value,
    pub(crate) state: JobState,
    /// When it runs; absent when it is done.
    pub(crate) next: Option<Timestamp>,
    pub(crate) completed: Option<Timestamp>,
    pub(crate) scheduled: Timestamp,
    pub(crate) system_errors: u32,
}

impl Job {
    pub(crate) fn load(tx: &mut Transaction, id: DocumentId) -> Result<Option<Job>> {
        let row = tx.get_system(&system::SCHEDULED_JOBS, id.internal)?;
        row.map(|row| Job::read(row.body())).transpose()
    }

    pub(crate) fn save(self, tx: &mut Transaction, id: DocumentId) -> Result<()> {
        Ok(tx.replace(id, self.write())?)
    }

    /// Sets a final state: nothing is due any more.
    pub(crate) fn finish(&mut self, state: JobState, now: Timestamp) {
        self.state = state;
        self.next = None;
        self.completed = Some(now);
    }

    fn write(self) -> Object {
        let nanos = |ts: Timestamp| Value::Int64(i64::try_from(ts.0).unwrap_or(i64::MAX));
        let state = match self.state {
            JobState::Pending => object! { "type" => "pending" },
            JobState::InProgress => object! { "type" => "inProgress" },
            JobState::Success => object! { "type" => "success" },
            JobState::Failed { error } => object! { "type" => "failed", "error" => error },
            JobState::Canceled => object! { "type" => "canceled" },
        };
        let mut row = object! {
            "udfPath" => self.path.with_js(),
            "args" => self.args,
            "state" => state,
            "originalScheduledTs" => nanos(self.scheduled),
            "attempts" => object! { "system_errors" => i64::from(self.system_errors) },
        };
        if let Some(next) = self.next {
            row.insert("nextTs", nanos(next));
        }
        if let Some(completed) = self.completed {
            row.insert("completedTs", nanos(completed));
        }
        row
    }

    pub(crate) fn read(row: &Object) -> Result<Job> {
        Job::try_read(row).ok_or_else(|| {
            Error::coded("InternalServerError", "a row of _scheduled_jobs is broken")
        })
    }

    fn try_read(row: &Object) -> Option<Job> {
        let time = |name: &str| {
            let nanos = row.get(name).and_then(Value::as_i64)?;
            u64::try_from(nanos).ok().map(Timestamp)
        };
        let state = row.get("state")?.as_object()?;
        let attempts = row.get("attempts")?.as_object()?.get("system_errors")?.as_i64()?;
        Some(Job {
            path: FunctionPath::new(row.get("udfPath")?.as_str()?).ok()?,
            args: row.get("args")?.clone(),
            state: match state.get("type")?.as_str()? {
                "pending" => JobState::Pending,
                "inProgress" => JobState::InProgress,
                "success" => JobState::Success,
                "failed" => JobState::Failed { error: state.get("error")?.as_str()?.to_string() },
                "canceled" => JobState::Canceled,
                _ => return None,
            },
            next: time("nextTs"),
            completed: time("completedTs"),
            scheduled: time("originalScheduledTs")?,
            system_errors: u32::try_from(attempts).ok()?,
        })
    }
}

/// What users see of a row: a [`ScheduledFunction`] with its system fields.
pub(crate) fn view(row: &Document) -> Option<Document> {
    let job = Job::try_read(row.body())?;
    let shown = ScheduledFunction {
        name: job.path.with_js(),
        args: job.args.as_array()?.to_vec(),
        scheduled_time: job.scheduled.as_ms_f64(),
        completed_time: job.completed.map(Timestamp::as_ms_f64),
        state: job.state,
    };
    let mut shown = value::serde::to_object(&shown).ok()?;
    for field in ["_id", "_creationTime"] {
        shown.insert(field, row.body().get(field)?.clone());
    }
    Some(Document::new(row.id(), shown))
}
