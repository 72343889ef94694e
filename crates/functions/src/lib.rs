//! The function API and the one door to run functions.
//!
//!     App ──build──► Registry ──find──► FunctionDef
//!                                           │ run (call) / run_action (invoke)
//!     Transaction ──► Call ──► QueryCtx, MutationCtx ──► body ──► End
//!
//! - declaring: [`App`], [`Shape`] and its derive, [`Schedule`]
//! - inside a function: [`QueryCtx`], [`MutationCtx`], [`ActionCtx`], [`Query`], [`Doc`], [`Id`]
//! - running: `call` (one run), `invoke` (around every body), `door` (what actions ask for)
//! - later: `scheduler` (rows), `jobs` and `crons` (what runs them), `due` (what is next)
//! - `export`: all documents, for copies outside
//! - watching: `figures` (counts of each function), `recent` (the newest executions), `admin` (views)
//! - `paginate`, `plan`: database queries as data; `instance`: sealed texts
//!
//! May use value, engine. Must not know frames, requests, threads or the wall clock.

// The derive names this crate as `::functions`, also inside it.
extern crate self as functions;

pub mod admin;
mod app;
mod call;
mod context;
pub mod crons;
mod database;
mod document;
mod door;
mod due;
mod durability;
mod error;
mod export;
mod figures;
mod host;
mod identity;
pub mod instance;
mod invoke;
pub mod jobs;
pub mod live;
mod log;
mod options;
mod paginate;
mod patch;
mod plan;
mod pool;
mod query;
pub mod recent;
mod registry;
mod runner;
mod runtime;
mod schedule;
pub mod scheduler;
pub mod shape;
mod system_rows;
mod work;

#[cfg(test)]
mod tests;

pub use app::{App, AppError, Application};
pub use call::{CALL_DEPTH_MAX, End, IDENTITY_WITHHELD, Observed, Start, run};
pub use context::{ActionAuth, ActionCtx, ActionScheduler, Auth, MutationCtx, QueryCtx};
pub use database::{DatabaseReader, DatabaseWriter, SystemReader};
pub use derive::Shape;
pub use document::{AnyDocument, Doc, FromDocument, Id, Reference};
pub use door::{BoxFuture, Door, DoorCall, Origin, Parent};
pub use due::{CRONS_PARALLEL, DueQueue, DueStats, JOBS_PARALLEL};
pub use engine::{EngineStats, HistogramView, Order};
pub use error::{ERROR_MESSAGE_BYTES_MAX, Error, Result, application_error, error};
pub use export::{
    EXPORT_PAGE_BYTES, EXPORT_PAGE_ROWS_MAX, ExportDeltas, ExportError, ExportPage, ExportPosition,
    ExportRow, ExportTable, TableFilter,
};
pub use figures::{FunctionCounts, FunctionFigures, FunctionFiguresView};
pub use identity::{IdentityAccess, UserIdentity};
pub use instance::InstanceSecret;
pub use invoke::{ARGS_BYTES_MAX, ActionEnd, RESULT_BYTES_MAX, run_action};
pub use live::{
    Cause, Covered, Live, LiveEntryView, LiveOutcome, LiveResult, LiveRun, LiveSession,
    LiveSessionView, LiveStats, QuerySpec, Waker,
};
pub use log::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLevel, LogLine};
pub use options::RuntimeOptions;
pub use paginate::{PAGE_SIZE_MAX, PageStatus, PaginationOptions, PaginationResult};
pub use patch::Patch;
pub use plan::{OPERATORS_MAX, Operator, QueryPlan};
pub use pool::Pool;
pub use query::{Filter, Operand, Query, Range, Rows};
pub use registry::{
    ActionBody, Body, FunctionDef, FunctionKind, MutationBody, QueryBody, Registry, Visibility,
};
pub use runner::{ATTEMPTS_MAX, SESSION_RECORDS_KEPT, SESSION_RECORDS_MAX};
pub use runtime::{
    CallEnd, Caller, ClientCall, CommitHook, Done, READ_ONLY_TEXT, RequestKey, Runtime,
    RuntimeParts, RuntimeStats,
};
pub use schedule::{CronExpression, NextRun, Schedule, Weekday};
pub use scheduler::{JobState, ScheduledFunction, Scheduler};
pub use shape::{Bytes, Nullable, Shape, Table};
pub use value::object;
pub use value::validator::Validator;
pub use work::WORK_WAITING_MAX;
