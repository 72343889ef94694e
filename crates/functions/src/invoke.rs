//! Around every body: arguments, panics, errors, results. The one place where a function is run.
//!
//!     size and validator of args ─► body (panics caught) ─► validator of the result

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt as _;
use value::Value;
use value::validator::Tables;

use crate::call::Frame;
use crate::context::{ActionCtx, MutationCtx, QueryCtx};
use crate::door::BoxFuture;
use crate::error::{Error, Result, error};
use crate::log::LogLine;
use crate::registry::{Body, FunctionDef, FunctionKind};

/// Largest arguments of one call, by value size. Source: spec/data-model.md 10.3.
pub const ARGS_BYTES_MAX: usize = 16 << 20;
/// Largest result of one call, by value size.
pub const RESULT_BYTES_MAX: usize = 16 << 20;

/// What an action ends with.
#[derive(Debug)]
pub struct ActionEnd {
    /// The value, or why there is none.
    pub result: Result<Value>,
    /// What it logged.
    pub log_lines: Vec<LogLine>,
}

/// Runs a query or mutation as `frame` of its call.
pub(crate) fn invoke(frame: &Frame<'_>, function: &FunctionDef, args: Vec<Value>) -> Result<Value> {
    let args = frame.call.with(|tx| tx.with_tables(|tables| check_args(function, args, tables)))?;
    let body = AssertUnwindSafe(|| match &function.body {
        Body::Query(body) => body(&QueryCtx::new(frame), args),
        Body::Mutation(body) => body(&MutationCtx::new(frame), args),
        Body::Action(_) => function.expect_kind(FunctionKind::Query).map(|()| Value::Null),
    });
    let value = catch_unwind(body).unwrap_or_else(|panic| Err(panicked(&*panic)))?;
    frame.call.with(|tx| tx.with_tables(|tables| check_result(function, &value, tables)))?;
    Ok(value)
}

/// Runs an action. Dropping the future stops the action where it waits.
pub fn run_action(
    function: Arc<FunctionDef>,
    args: Vec<Value>,
    ctx: ActionCtx,
) -> BoxFuture<ActionEnd> {
    Box::pin(async move {
        let result = invoke_action(&function, args, ctx.clone()).await;
        ActionEnd { result, log_lines: ctx.take_log() }
    })
}

async fn invoke_action(function: &FunctionDef, args: Vec<Value>, ctx: ActionCtx) -> Result<Value> {
    function.expect_kind(FunctionKind::Action)?;
    let mut args = Some(args);
    let mut checked = None;
    ctx.door().with_tables(&mut |tables| {
        checked = args.take().map(|args| check_args(function, args, tables));
    });
    let args = checked.ok_or_else(|| Error::system("InternalServerError", "no tables"))??;
    let Body::Action(body) = &function.body else {
        return Err(error("not an action").uncaught());
    };
    // The closure may panic before there is a future, and the future whenever it is polled.
    let ran = match catch_unwind(AssertUnwindSafe(|| body(ctx.clone(), args))) {
        Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
        Err(panic) => Err(panic),
    };
    let value = ran.unwrap_or_else(|panic| Err(panicked(&*panic)))?;
    let mut checked = Ok(());
    ctx.door().with_tables(&mut |tables| checked = check_result(function, &value, tables));
    checked.map(|()| value)
}

/// The single argument of a function, validated.
fn check_args(function: &FunctionDef, mut args: Vec<Value>, tables: &dyn Tables) -> Result<Value> {
    let size: usize = args.iter().map(Value::size).sum();
    if size > ARGS_BYTES_MAX {
        return Err(error(format!(
            "Arguments for {} are too large (actual: {size} bytes, limit: {ARGS_BYTES_MAX} bytes)",
            function.path
        )));
    }
    function
        .args
        .check_args(&args, tables)
        .map_err(|invalid| Error::coded("InvalidArgs", invalid))?;
    args.pop().ok_or_else(|| Error::coded("InvalidArgs", "no arguments"))
}

fn check_result(function: &FunctionDef, value: &Value, tables: &dyn Tables) -> Result<()> {
    let size = value.size();
    if size > RESULT_BYTES_MAX {
        return Err(error(format!(
            "Function {} return value is too large (actual: {size} bytes, limit: {RESULT_BYTES_MAX} bytes)",
            function.path
        )));
    }
    let Some(returns) = &function.returns else { return Ok(()) };
    let checked = returns.check_returns(value, tables);
    checked.map_err(|invalid| Error::coded("InvalidReturnValue", invalid))
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    error(format!("panicked: {}", text.unwrap_or("unknown reason"))).uncaught()
}
