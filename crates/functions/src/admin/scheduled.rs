//! Scheduled functions: what waits, runs and has ended, in pages; and canceling.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::range::{self, RangeBound, RangeOp};
use engine::{Order, system};
use value::{DocumentId, FieldPath, FunctionPath, Timestamp, Value};

use super::page::{self, Limits, Position, Sealer};
use crate::error::{Error, Result};
use crate::jobs::Step;
use crate::runtime::Runtime;
use crate::scheduler::{self, Job, JobState};

/// Most jobs of one page.
const PAGE_JOBS_MAX: usize = 1000;
/// Most rows that one page looks at.
const PAGE_ROWS_MAX: usize = 4096;
/// Bytes of rows after which a page ends.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Jobs that are canceled in one transaction.
const CANCEL_BATCH: usize = 500;

/// Which jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobList {
    /// Those that wait or run, the next one first.
    Due,
    /// Those that have ended, the newest first.
    Finished,
    /// All, the newest first.
    All,
}

/// Which jobs, and which part of them.
#[derive(Clone, Debug)]
pub struct JobQuery {
    /// Which.
    pub list: JobList,
    /// Of one function; none: of all.
    pub function: Option<String>,
    /// How many.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A scheduled function.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: DocumentId,
    /// What runs.
    pub function: String,
    /// With which arguments.
    pub args: Value,
    /// How far it is.
    pub state: JobState,
    /// When it was scheduled, in milliseconds since the epoch.
    pub created_ms: f64,
    /// When it was to run.
    pub scheduled: Timestamp,
    /// When it runs next: later than that after errors of the system. None: it has ended.
    pub next: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// Errors of the system after which it was tried again.
    pub system_errors: u32,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub struct JobPage {
    /// The snapshot.
    pub ts: Timestamp,
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; none: this was the last one.
    pub cursor: Option<String>,
}

/// What canceling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canceled {
    /// Jobs that were canceled.
    pub jobs: usize,
}

impl Runtime {
    /// A page of scheduled functions.
    ///
    /// Errors: `InvalidCursor`, `OutOfRetention`; a function path that is none.
    pub async fn scheduled(self: &Arc<Self>, query: JobQuery) -> Result<JobPage> {
        let function = query.function.as_deref().map(function_path).transpose()?;
        let secret = Arc::clone(self.secret());
        let question = format!("scheduled {:?} {:?}", query.list, query.function);
        let from = query.cursor.as_deref();
        let from = from.map(|cursor| Sealer::new(&secret, &question).open(cursor)).transpose()?;
        self.read(from.as_ref().map(|from| from.ts), move |_, tx| {
            let (position, bound, order) = match query.list {
                JobList::Due => (1, Some("nextTs"), Order::Asc),
                JobList::Finished => (2, Some("completedTs"), Order::Desc),
                JobList::All => (0, None, Order::Desc),
            };
            let table = tx.system_table(&system::SCHEDULED_JOBS);
            // The first index is by_id, the declared ones follow in order.
            let index = Arc::clone(&table.indexes[position + 1]);
            // Rows without the time are not of this list.
            let bounds: Vec<_> = bound.map(present).into_iter().collect();
            let interval = range::interval(&index.fields, &bounds)
                .map_err(|error| Error::coded(error.code, error.message))?;
            let after = from.as_ref().map(|from| from.after.as_slice());
            let rest = page::rest(interval, order, after);
            let items = query.limit.clamp(1, PAGE_JOBS_MAX);
            let limits = Limits { items, rows: PAGE_ROWS_MAX, bytes: PAGE_BYTES_MAX };
            let found = page::read(tx, &index, rest, order, limits, |row| {
                let job = view(&row.document)?;
                Ok(Some(job).filter(|(path, _)| function.as_ref().is_none_or(|f| f == path)))
            })?;
            let ts = tx.snapshot_ts();
            let sealer = Sealer::new(&secret, &question);
            let cursor = found.next.map(|after| sealer.seal(&Position { ts, after }));
            Ok(JobPage { ts, jobs: found.items.into_iter().map(|(_, job)| job).collect(), cursor })
        })
        .await
    }

    /// Cancels a scheduled function that has not ended; one that runs goes on, and what it schedules is
    /// canceled.
    ///
    /// Errors: `InvalidArgument`: there is no such job.
    pub async fn cancel_scheduled(
        self: &Arc<Self>,
        id: DocumentId,
        request: Option<Arc<str>>,
    ) -> Result<Canceled> {
        self.cancel_batch(vec![id], request, true).await
    }

    /// Cancels everything that is scheduled now and has not ended, of one function or of all.
    pub async fn cancel_all_scheduled(
        self: &Arc<Self>,
        function: Option<String>,
        request: Option<Arc<str>>,
    ) -> Result<Canceled> {
        let mut canceled = Canceled { jobs: 0 };
        let mut cursor = None;
        loop {
            let limit = CANCEL_BATCH;
            let query = JobQuery { list: JobList::Due, function: function.clone(), limit, cursor };
            let page = self.scheduled(query).await?;
            let ids: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
            if !ids.is_empty() {
                canceled.jobs += self.cancel_batch(ids, request.clone(), false).await?.jobs;
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(canceled);
            }
        }
    }

    async fn cancel_batch(
        self: &Arc<Self>,
        ids: Vec<DocumentId>,
        request: Option<Arc<str>>,
        must_exist: bool,
    ) -> Result<Canceled> {
        let now = self.now();
        let canceled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&canceled);
        let step: Step = Arc::new(move |tx| {
            let mut ended = 0;
            for id in &ids {
                // One that is deleted meanwhile has ended by itself.
                let there = if id.table == system::SCHEDULED_JOBS.number() {
                    Job::load(tx, *id)?
                } else {
                    None
                };
                match there {
                    Some(job) if job.state.is_finished() => {}
                    None if !must_exist => {}
                    Some(_) => {
                        scheduler::cancel(tx, *id, now)?;
                        ended += 1;
                    }
                    None => scheduler::cancel(tx, *id, now)?,
                }
            }
            counted.store(ended, Ordering::Relaxed);
            Ok(true)
        });
        self.write(request, step).await?;
        Ok(Canceled { jobs: canceled.load(Ordering::Relaxed) })
    }
}

fn view(row: &engine::Document) -> Result<(FunctionPath, JobView)> {
    let job = Job::read(row.body())?;
    let args = match job.args {
        Value::Array(mut args) if args.len() == 1 => args.swap_remove(0),
        other => other,
    };
    let view = JobView {
        id: row.id(),
        function: job.path.to_string(),
        args,
        state: job.state,
        created_ms: row.creation_time(),
        scheduled: job.scheduled,
        next: job.next,
        completed: job.completed,
        system_errors: job.system_errors,
    };
    Ok((job.path, view))
}

fn function_path(text: &str) -> Result<FunctionPath> {
    FunctionPath::new(text).map_err(|error| Error::coded("InvalidArgument", error.to_string()))
}

fn present(name: &str) -> RangeBound {
    let field = FieldPath::new(name).expect("names in the code are well formed");
    RangeBound::new(RangeOp::Gt, field, None)
}
