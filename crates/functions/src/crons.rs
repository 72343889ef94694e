//! Crons: what is declared, when it runs next, and what the last runs gave.
//!
//!     _cron_jobs ── what and when ──► _cron_next_run ── run ──► _cron_job_logs (the newest five)
//!
//! `sync` brings the rows to what an application declares; `run_cron` runs one that is due. One run
//! of a cron at a time; the next is computed when it ends. Source: spec/engine.md 15.

use std::sync::Arc;
use std::time::Duration;

use engine::range::{RangeBound, RangeOp};
use engine::{Order, Transaction, system};
use value::{DocumentId, FieldPath, FunctionPath, Object, Timestamp, Value, json, object};

use crate::door::{Origin, Parent};
use crate::error::{Error, Result};
use crate::jobs::{AfterStep, JobCall, JobHost, JobOutcome, Step, record, wait_after_error};
use crate::log::LogLine;
use crate::registry::FunctionKind;
use crate::schedule::Schedule;
use crate::system_rows;

/// Log rows kept for each cron.
pub const CRON_LOGS_MAX: usize = 5;
/// Bytes kept of a result, and of the log lines of a run.
pub const CRON_LOG_BYTES_MAX: usize = 1000;
/// Longest identifier of a cron, in bytes. Ours.
const IDENTIFIER_BYTES_MAX: usize = 1024;
/// A run this near keeps its time when the schedule changes.
const NEAR_RUN: Duration = Duration::from_secs(30);

/// A cron as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct CronSpec {
    /// Its name: printable ASCII.
    pub identifier: String,
    /// When it runs.
    pub schedule: Schedule,
    /// What runs.
    pub path: FunctionPath,
    /// With which arguments.
    pub args: Object,
}

/// What `sync` changed, by identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CronDiff {
    /// New ones.
    pub added: Vec<String>,
    /// With another schedule, function or arguments.
    pub updated: Vec<String>,
    /// Gone.
    pub deleted: Vec<String>,
}

/// Whether a text can name a cron.
pub fn check_identifier(identifier: &str) -> Result<(), String> {
    let printable = identifier.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if identifier.is_empty() || !printable || identifier.len() > IDENTIFIER_BYTES_MAX {
        return Err("the name of a cron is printable ASCII".to_string());
    }
    Ok(())
}

/// Reads the form that `cronJobs().export()` gives. Errors name the cron.
pub fn parse_export(exported: &serde_json::Value) -> Result<Vec<CronSpec>, String> {
    let exported = exported.as_object().ok_or("crons are not an object")?;
    let mut specs = Vec::new();
    for (identifier, cron) in exported {
        let spec = parse_cron(identifier, cron);
        specs.push(spec.map_err(|error| format!("cron {identifier:?}: {error}"))?);
    }
    Ok(specs)
}

fn parse_cron(identifier: &str, cron: &serde_json::Value) -> Result<CronSpec, String> {
    check_identifier(identifier)?;
    let name = cron.get("name").and_then(serde_json::Value::as_str).ok_or("no function")?;
    let args = match cron.get("args").and_then(serde_json::Value::as_array).map(Vec::as_slice) {
        Some([args]) => json::from_json(args.clone()).map_err(|error| error.message)?,
        Some([]) | None => Value::Object(Object::new()),
        Some(_) => return Err("more than one argument".to_string()),
    };
    Ok(CronSpec {
        identifier: identifier.to_string(),
        schedule: Schedule::from_json(cron.get("schedule").unwrap_or(&serde_json::Value::Null))?,
        path: FunctionPath::new(name).map_err(|error| error.to_string())?,
        args: args.into_object().map_err(|_| "the argument is not an object")?,
    })
}

/// Stages the rows that `specs` ask for. Crons that stay the same keep their times.
pub fn sync(
    tx: &mut Transaction,
    specs: &[CronSpec],
    now: Timestamp,
    mut random: impl FnMut() -> u64,
) -> Result<CronDiff> {
    let mut diff = CronDiff::default();
    let rows = system_rows::scan(tx, &system::CRON_JOBS, "by_name", &[], Order::Asc, None)?;
    let mut old = Vec::new();
    for row in rows {
        let spec = read_spec(row.body()).ok_or_else(broken)?;
        if specs.iter().any(|new| new.identifier == spec.identifier) {
            old.push((row.id(), spec));
        } else {
            delete_cron(tx, row.id(), &spec.identifier)?;
            diff.deleted.push(spec.identifier);
        }
    }
    for spec in specs {
        let found = old.iter().find(|(_, old)| old.identifier == spec.identifier);
        match found {
            None => {
                let id = tx.insert_system(&system::CRON_JOBS, write_spec(spec))?;
                if let Some(ts) = spec.schedule.first(now, random()) {
                    let next = NextRow { cron: id, in_progress: false, previous: None, next: ts };
                    tx.insert_system(&system::CRON_NEXT_RUN, next.write())?;
                }
                diff.added.push(spec.identifier.clone());
            }
            Some((_, old)) if old == spec => {}
            Some((id, old)) => {
                tx.replace(*id, write_spec(spec))?;
                if old.schedule != spec.schedule {
                    reschedule(tx, *id, spec, now, random())?;
                }
                diff.updated.push(spec.identifier.clone());
            }
        }
    }
    Ok(diff)
}

/// Gives a cron with a new schedule its next time, unless it runs soon anyway or is running.
fn reschedule(
    tx: &mut Transaction,
    cron: DocumentId,
    spec: &CronSpec,
    now: Timestamp,
    random: u64,
) -> Result<()> {
    let Some((id, mut next)) = next_of(tx, cron)? else { return Ok(()) };
    let near = next.next.0 <= now.0.saturating_add(NEAR_RUN.as_nanos() as u64);
    if next.in_progress || near {
        return Ok(());
    }
    if let Some(ts) = spec.schedule.first(now, random) {
        next.next = ts;
        tx.replace(id, next.write())?;
    }
    Ok(())
}

fn delete_cron(tx: &mut Transaction, id: DocumentId, identifier: &str) -> Result<()> {
    if let Some((next, _)) = next_of(tx, id)? {
        tx.delete(next)?;
    }
    trim_logs(tx, identifier, 0)?;
    Ok(tx.delete(id)?)
}

/// Runs one due cron to its end; `id` is its row in `_cron_next_run`. Errors: a broken row.
pub async fn run_cron(host: Arc<dyn JobHost>, id: DocumentId) -> Result<()> {
    let mut errors = 0;
    loop {
        // An error of the system is no result: the same occurrence runs again, in place.
        match attempt(&*host, id).await {
            Ok(true) => return Ok(()),
            Err(error) if error.is_deterministic() => return Err(error),
            Ok(false) | Err(_) => wait_after_error(&*host, errors).await,
        }
        errors += 1;
    }
}

/// Ends the crons that the process before this one was running: their actions are not repeated.
pub async fn fail_interrupted(host: Arc<dyn JobHost>) -> Result<()> {
    let now = host.now();
    let step: Step = Arc::new(move |tx| {
        let table = &system::CRON_NEXT_RUN;
        let mut found = false;
        for row in system_rows::scan(tx, table, "by_next_ts", &[], Order::Asc, None)? {
            let next = NextRow::read(row.body()).ok_or_else(broken)?;
            if next.in_progress {
                let run = Run { id: row.id(), due: next.next, in_progress: true };
                let error = crate::error("Transient error while executing action");
                let ended = JobOutcome {
                    result: Err(error),
                    log_lines: Vec::new(),
                    elapsed: Duration::ZERO,
                };
                complete(tx, run, now, &ended)?;
                found = true;
            }
        }
        Ok(found)
    });
    host.transact(step).await.map(|_| ())
}

/// One occurrence of a cron.
#[derive(Clone, Copy)]
struct Run {
    /// Row in `_cron_next_run`.
    id: DocumentId,
    /// The time it was due.
    due: Timestamp,
    /// Whether the row says that it is running.
    in_progress: bool,
}

/// Runs the occurrence that is due. False: an error of the system, to be tried again.
async fn attempt(host: &dyn JobHost, id: DocumentId) -> Result<bool> {
    let mut tx = host.begin();
    let Some((next, spec)) = load(&mut tx, id)? else { return Ok(true) };
    drop(tx);
    if next.in_progress || next.next > host.now() {
        return Ok(true);
    }
    let run = Run { id, due: next.next, in_progress: false };
    let now = host.now();
    let claim: Step = Arc::new(move |tx| claim(tx, run));
    let after: AfterStep = Arc::new(move |tx, outcome| {
        complete(tx, Run { in_progress: true, ..run }, now, outcome).map(|_| ())
    });
    let call = JobCall {
        path: spec.path.clone(),
        args: vec![Value::Object(spec.args.clone())],
        parent: Parent { origin: Origin::Cron, ..Parent::default() },
        before: Arc::clone(&claim),
        after,
    };
    let kind = host.registry().get(&spec.path).map(|function| function.kind());
    match kind {
        Some(FunctionKind::Mutation) => {
            let Some(outcome) = host.mutation(call).await else { return Ok(true) };
            match &outcome.result {
                Ok(_) => Ok(true),
                Err(error) if error.is_deterministic() => {
                    record_end(host, run, outcome).await.map(|()| true)
                }
                Err(_) => Ok(false),
            }
        }
        Some(FunctionKind::Action) => {
            if host.transact(claim).await? {
                let outcome = host.action(call).await;
                record_end(host, Run { in_progress: true, ..run }, outcome).await?;
            }
            Ok(true)
        }
        Some(FunctionKind::Query) | None => {
            let text = format!("Could not find a mutation or action at '{}'.", spec.path);
            let result = Err(crate::error(text));
            let outcome = JobOutcome { result, log_lines: Vec::new(), elapsed: Duration::ZERO };
            record_end(host, run, outcome).await.map(|()| true)
        }
    }
}

async fn record_end(host: &dyn JobHost, run: Run, outcome: JobOutcome) -> Result<()> {
    let now = host.now();
    record(host, Arc::new(move |tx| complete(tx, run, now, &outcome))).await
}

/// Marks an occurrence as running. False: it is not due any more.
fn claim(tx: &mut Transaction, run: Run) -> Result<bool> {
    let Some((mut next, _)) = load(tx, run.id)? else { return Ok(false) };
    if next.in_progress || next.next != run.due {
        return Ok(false);
    }
    next.in_progress = true;
    tx.replace(run.id, next.write())?;
    Ok(true)
}

/// Stages log rows and the next time. False: the cron was deleted or changed hands meanwhile.
fn complete(tx: &mut Transaction, run: Run, now: Timestamp, outcome: &JobOutcome) -> Result<bool> {
    let Some((next, spec)) = load(tx, run.id)? else { return Ok(false) };
    if next.in_progress != run.in_progress || next.next != run.due {
        return Ok(false);
    }
    let status = match &outcome.result {
        Ok(value) => object! { "type" => "success", "result" => cut(&json::to_string(value)) },
        Err(error) => object! { "type" => "err", "error" => cut(error.message()) },
    };
    insert_log(tx, &spec, run.due, status, outcome)?;
    let Some(after) = spec.schedule.next(run.due, now) else {
        tx.delete(run.id)?;
        return Ok(true);
    };
    if after.skipped > 0 {
        let skipped = i64::try_from(after.skipped).unwrap_or(i64::MAX);
        let status = object! { "type" => "canceled", "num_canceled" => skipped };
        let nothing =
            JobOutcome { result: Ok(Value::Null), log_lines: Vec::new(), elapsed: Duration::ZERO };
        insert_log(tx, &spec, now.max(run.due.succ()), status, &nothing)?;
        tracing::error!(cron = spec.identifier, skipped, "runs of a cron were skipped");
    }
    trim_logs(tx, &spec.identifier, CRON_LOGS_MAX)?;
    let next =
        NextRow { in_progress: false, previous: Some(run.due), next: after.ts, cron: next.cron };
    tx.replace(run.id, next.write())?;
    Ok(true)
}

fn insert_log(
    tx: &mut Transaction,
    spec: &CronSpec,
    ts: Timestamp,
    status: Object,
    outcome: &JobOutcome,
) -> Result<()> {
    let (lines, truncated) = cut_lines(&outcome.log_lines);
    let row = object! {
        "name" => spec.identifier.as_str(),
        "ts" => nanos(ts),
        "udfPath" => spec.path.with_js(),
        "udfArgs" => args_bytes(&spec.args),
        "status" => status,
        "logLines" => object! { "logLines" => lines, "isTruncated" => truncated },
        "executionTime" => outcome.elapsed.as_secs_f64(),
    };
    tx.insert_system(&system::CRON_JOB_LOGS, row)?;
    Ok(())
}

/// Deletes all but the newest `keep` log rows of a cron.
fn trim_logs(tx: &mut Transaction, identifier: &str, keep: usize) -> Result<()> {
    let bounds = [RangeBound::new(RangeOp::Eq, field("name"), Some(identifier.into()))];
    let table = &system::CRON_JOB_LOGS;
    let rows = system_rows::scan(tx, table, "by_name_and_ts", &bounds, Order::Desc, None)?;
    for row in rows.iter().skip(keep) {
        tx.delete(row.id())?;
    }
    Ok(())
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(CRON_LOG_BYTES_MAX)].to_string()
}

fn cut_lines(lines: &[LogLine]) -> (Vec<Value>, bool) {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for line in lines {
        let text = line.to_text();
        bytes += text.len();
        if bytes > CRON_LOG_BYTES_MAX {
            return (kept, true);
        }
        kept.push(Value::from(text));
    }
    (kept, false)
}

/// A row of `_cron_next_run`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextRow {
    cron: DocumentId,
    pub(crate) in_progress: bool,
    pub(crate) previous: Option<Timestamp>,
    pub(crate) next: Timestamp,
}

impl NextRow {
    fn write(self) -> Object {
        let state = if self.in_progress { "inProgress" } else { "pending" };
        let mut row = object! {
            "cronJobId" => self.cron.to_string(),
            "state" => object! { "type" => state },
            "nextTs" => nanos(self.next),
        };
        if let Some(previous) = self.previous {
            row.insert("prevTs", nanos(previous));
        }
        row
    }

    fn read(row: &Object) -> Option<NextRow> {
        let time = |name: &str| {
            let nanos = row.get(name)?.as_i64()?;
            u64::try_from(nanos).ok().map(Timestamp)
        };
        let state = row.get("state")?.as_object()?.get("type")?.as_str()?;
        Some(NextRow {
            cron: row.get("cronJobId")?.as_str()?.parse().ok()?,
            in_progress: state == "inProgress",
            previous: time("prevTs"),
            next: time("nextTs")?,
        })
    }
}

/// A cron by its row in `_cron_next_run`; None: it is gone.
fn load(tx: &mut Transaction, id: DocumentId) -> Result<Option<(NextRow, CronSpec)>> {
    let Some(row) = tx.get_system(&system::CRON_NEXT_RUN, id.internal)? else { return Ok(None) };
    let next = NextRow::read(row.body()).ok_or_else(broken)?;
    let Some(cron) = tx.get_system(&system::CRON_JOBS, next.cron.internal)? else {
        return Ok(None);
    };
    Ok(Some((next, read_spec(cron.body()).ok_or_else(broken)?)))
}

pub(crate) fn next_of(
    tx: &mut Transaction,
    cron: DocumentId,
) -> Result<Option<(DocumentId, NextRow)>> {
    let bounds = [RangeBound::new(RangeOp::Eq, field("cronJobId"), Some(cron.to_string().into()))];
    let table = &system::CRON_NEXT_RUN;
    let rows = system_rows::scan(tx, table, "by_cron_job_id", &bounds, Order::Asc, Some(1))?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some((row.id(), NextRow::read(row.body()).ok_or_else(broken)?)))
}

fn write_spec(spec: &CronSpec) -> Object {
    object! {
        "name" => spec.identifier.as_str(),
        "cronSpec" => object! {
            "udfPath" => spec.path.with_js(),
            "udfArgs" => args_bytes(&spec.args),
            "cronSchedule" => spec.schedule.to_object(),
        },
    }
}

pub(crate) fn read_spec(row: &Object) -> Option<CronSpec> {
    let spec = row.get("cronSpec")?.as_object()?;
    let args = std::str::from_utf8(spec.get("udfArgs")?.as_bytes()?).ok()?;
    let args = json::parse_args(args).ok()?.pop()?;
    Some(CronSpec {
        identifier: row.get("name")?.as_str()?.to_string(),
        schedule: Schedule::from_object(spec.get("cronSchedule")?.as_object()?).ok()?,
        path: FunctionPath::new(spec.get("udfPath")?.as_str()?).ok()?,
        args: args.into_object().ok()?,
    })
}

/// Positional arguments as JSON text.
fn args_bytes(args: &Object) -> Value {
    Value::Bytes(json::to_string(&Value::Array(vec![Value::Object(args.clone())])).into_bytes())
}

fn nanos(ts: Timestamp) -> Value {
    Value::Int64(i64::try_from(ts.0).unwrap_or(i64::MAX))
}

fn field(name: &str) -> FieldPath {
    FieldPath::new(name).expect("names in the code are well formed")
}

fn broken() -> Error {
    Error::coded("InternalServerError", "a row about crons is broken")
}
