//! What a function gets as `ctx`.
//!
//!     QueryCtx     db (read) · auth · run_query · log · now · random
//!     MutationCtx  all of that · db (write) · scheduler · run_mutation
//!     ActionCtx    auth · run_query · run_mutation · run_action · scheduler     (async, through a Door)

mod action;

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use value::{Object, Value};

use crate::call::{CALL_DEPTH_MAX, Frame};
use crate::database::{DatabaseReader, DatabaseWriter};
use crate::error::{Error, Result};
use crate::identity::UserIdentity;
use crate::invoke;
use crate::log::LogLevel;
use crate::registry::{FunctionDef, FunctionKind};
use crate::scheduler::Scheduler;

pub use action::{ActionAuth, ActionCtx, ActionScheduler};

/// The context of a query.
pub struct QueryCtx<'a> {
    frame: &'a Frame<'a>,
}

/// The context of a mutation; whatever takes a `QueryCtx` takes it too.
pub struct MutationCtx<'a> {
    query: QueryCtx<'a>,
}

/// Who calls.
#[derive(Clone, Copy)]
pub struct Auth<'a> {
    frame: &'a Frame<'a>,
}

impl<'a> QueryCtx<'a> {
    pub(crate) fn new(frame: &'a Frame<'a>) -> Self {
        QueryCtx { frame }
    }

    /// The database.
    pub fn db(&self) -> DatabaseReader<'a> {
        DatabaseReader { frame: self.frame }
    }

    /// Who calls.
    pub fn auth(&self) -> Auth<'a> {
        Auth { frame: self.frame }
    }

    /// Milliseconds since the epoch, the same throughout the call: `Date.now()`.
    ///
    /// A live query does not run again because time passes.
    pub fn now(&self) -> f64 {
        (self.frame.call.now().0 / 1_000_000) as f64
    }

    /// A number in [0, 1): `Math.random()`.
    pub fn random(&self) -> f64 {
        let mut bytes = [0; 8];
        self.frame.call.fill_random(&mut bytes);
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Random bytes.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.frame.call.fill_random(bytes);
    }

    /// A random UUID: `crypto.randomUUID()`.
    pub fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.frame.call.fill_random(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// Writes a log line: `console.log`.
    pub fn log(&self, text: impl Into<String>) {
        self.log_at(LogLevel::Log, text);
    }

    /// Writes a log line of a level.
    pub fn log_at(&self, level: LogLevel, text: impl Into<String>) {
        self.frame.call.log(self.frame, level, text.into());
    }

    /// Runs another query in this transaction.
    ///
    /// Errors: those of the query; `MaximumCallDepthExceeded`; no such function.
    pub fn run_query(&self, path: &str, args: Object) -> Result<Value> {
        run_nested(self.frame, path, args, FunctionKind::Query)
    }
}

impl<'a> MutationCtx<'a> {
    pub(crate) fn new(frame: &'a Frame<'a>) -> Self {
        MutationCtx { query: QueryCtx::new(frame) }
    }

    /// The database.
    pub fn db(&self) -> DatabaseWriter<'a> {
        DatabaseWriter { reader: self.query.db() }
    }

    /// Functions to run later, if this mutation commits.
    pub fn scheduler(&self) -> Scheduler<'a> {
        Scheduler::new(self.query.frame)
    }

    /// Runs another mutation as a part of this one. When it fails its writes are undone, what it
    /// read stays a dependency, and the caller may go on.
    pub fn run_mutation(&self, path: &str, args: Object) -> Result<Value> {
        run_nested(self.query.frame, path, args, FunctionKind::Mutation)
    }
}

impl<'a> Deref for MutationCtx<'a> {
    type Target = QueryCtx<'a>;

    fn deref(&self) -> &QueryCtx<'a> {
        &self.query
    }
}

impl Auth<'_> {
    /// The signed-in user; None: nobody.
    ///
    /// A run that asks is not shared between users. Errors: the runner keeps the identity from a
    /// shared run; such a run is repeated, whatever the function makes of the error.
    pub fn get_user_identity(&self) -> Result<Option<Arc<UserIdentity>>> {
        self.frame.call.identity()
    }
}

/// Writes a formatted log line: `log!(ctx, "{n} left")`, or with a level `log!(ctx, Warn, "late")`.
#[macro_export]
macro_rules! log {
    ($ctx:expr, $level:ident, $($text:tt)+) => {
        $ctx.log_at($crate::LogLevel::$level, ::std::format!($($text)+))
    };
    ($ctx:expr, $($text:tt)+) => {
        $ctx.log(::std::format!($($text)+))
    };
}

fn run_nested(frame: &Frame<'_>, path: &str, args: Object, kind: FunctionKind) -> Result<Value> {
    if frame.depth + 1 >= CALL_DEPTH_MAX {
        return Err(Error::coded(
            "MaximumCallDepthExceeded",
            format!("Cross component call depth limit exceeded. Limit: {CALL_DEPTH_MAX}"),
        ));
    }
    let registry = Arc::clone(&frame.call.start().registry);
    let function: &FunctionDef = registry.find_for_function(path)?;
    function.expect_kind(kind)?;
    let nested = Frame {
        call: frame.call,
        function: &function.path,
        depth: frame.depth + 1,
        paginated: Cell::new(false),
    };
    let args = vec![Value::Object(args)];
    match kind {
        FunctionKind::Query | FunctionKind::Action => invoke::invoke(&nested, function, args),
        FunctionKind::Mutation => {
            let savepoint = frame.call.with(|tx| tx.savepoint());
            let result = invoke::invoke(&nested, function, args);
            if result.is_err() {
                frame.call.with(|tx| tx.rollback(savepoint));
            }
            result
        }
    }
}
